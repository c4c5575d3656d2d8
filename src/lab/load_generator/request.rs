//! What is asked, and whom it may be sent to.

use std::net::IpAddr;

use crate::wire::header::HEADER;
use crate::wire::name::wire_length;

/// The longest request: a header, a name of 255 octets, type, class, OPT.
pub(super) const REQUEST: usize = 512;

/// True for loopback, private (RFC 1918, RFC 4193) and link-local addresses:
/// a load that goes elsewhere is an attack.
pub fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

/// A request, its id left open.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    pub(super) octets: Vec<u8>,
    /// Where the question ends.
    question: usize,
}

impl LoadRequest {
    /// A request from its octets, `None` where they hold no whole question.
    pub fn new(octets: Vec<u8>) -> Option<LoadRequest> {
        let question = HEADER + wire_length(octets.get(HEADER..)?)? + 4;
        let fits = (question..=REQUEST).contains(&octets.len());
        fits.then_some(LoadRequest { octets, question })
    }

    /// True for a response that repeats the question, or has none, as that to a
    /// request that was not understood.
    pub(super) fn is_answered_by(&self, reply: &[u8]) -> bool {
        let [_, _, flags, _, count @ ..] = reply else {
            return false;
        };
        let same = reply.get(HEADER..self.question) == Some(&self.octets[HEADER..self.question]);
        let none = reply.len() >= HEADER && count.starts_with(&[0, 0]);
        flags & 0x80 != 0 && (same || none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_addresses_are_told_from_others() {
        let near = |text: &str| is_near(text.parse().unwrap());
        for address in [
            "127.0.0.1",
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.3.4",
            "169.254.0.1",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(near(address), "{address}");
        }
        for address in [
            "0.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fbff::1",
            "fe00::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:192.0.2.1",
        ] {
            assert!(!near(address), "{address}");
        }
    }
}
