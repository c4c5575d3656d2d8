//! What others have published: for Linux 2.6.32, which is compared, and for
//! BSD, which is only quoted. Both tables are of TCP and IPv4.

use super::trial::{Case, Part};
use crate::sys::lab::bind::Reuse;
use crate::sys::proc_net::Protocol;

/// Whether the second socket works, where the table says so: it knows neither
/// IPv6 nor sockets with both options.
pub fn linux_2_6_32(case: &Case) -> Option<bool> {
    let [first, second] = case.options;
    let is_in_it = case.protocol == Protocol::Tcp
        && case
            .addresses
            .iter()
            .all(|ip| [super::SPECIFIC, super::WILDCARD].contains(ip))
        && !case
            .options
            .iter()
            .any(|options| options.address && options.port);
    let (same_address, same_port) = (first.address && second.address, first.port && second.port);
    match case.part {
        Part::Serving if is_in_it => Some(same_port),
        Part::TimeWait if is_in_it => Some(same_port || same_address),
        _ => None,
    }
}

/// What is told of BSD where the second socket has these options.
pub fn bsd(part: Part, [first, second]: [Reuse; 2]) -> &'static str {
    match part {
        Part::TimeWait if second.address || second.port => "works",
        Part::Serving if first.port && second.port => "works",
        Part::Serving if second.address => "works, but fails at the same address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{OPTIONS, SPECIFIC, WILDCARD, reuse};
    use super::*;

    fn works(part: Part, options: [Reuse; 2]) -> Option<bool> {
        linux_2_6_32(&Case {
            part,
            protocol: Protocol::Tcp,
            addresses: [SPECIFIC, WILDCARD],
            options,
        })
    }

    #[test]
    fn the_table_is_as_published() {
        let [neither, address, port, both] = OPTIONS;
        assert_eq!(works(Part::Serving, [neither, neither]), Some(false));
        assert_eq!(works(Part::Serving, [address, address]), Some(false));
        assert_eq!(works(Part::Serving, [port, port]), Some(true));
        assert_eq!(works(Part::Serving, [port, neither]), Some(false));
        assert_eq!(works(Part::Serving, [neither, port]), Some(false));
        assert_eq!(works(Part::TimeWait, [address, address]), Some(true));
        assert_eq!(works(Part::TimeWait, [port, port]), Some(true));
        assert_eq!(works(Part::TimeWait, [neither, address]), Some(false));
        assert_eq!(works(Part::TimeWait, [address, port]), Some(false));
        assert_eq!(works(Part::Serving, [both, port]), None);
        assert_eq!(works(Part::Bound, [port, port]), None);
    }

    #[test]
    fn bsd_asks_the_second_only() {
        let (neither, address) = (reuse(false, false), reuse(true, false));
        assert_eq!(bsd(Part::TimeWait, [neither, address]), "works");
        assert_eq!(bsd(Part::TimeWait, [address, neither]), "");
        assert!(bsd(Part::Serving, [neither, address]).contains("same address"));
    }
}
