//! What the trials tell, in words.

use super::trial::{Part, Receiver};
use super::{Tried, reuse, shown};
use crate::lab::result::Finding;
use crate::sys::lab::bind::Reuse;
use crate::sys::proc_net::Protocol;

/// What came of it.
pub fn finding(tried: &[Tried]) -> Finding {
    Finding::new(Claim::of(tried).sentence())
        .note(Taken::of(tried).sentence())
        .note(other_user(tried))
        .note(compared(tried))
}

/// On how many pairs of overlapping addresses the second socket gets the port,
/// with `SO_REUSEPORT` and nothing else.
struct Claim {
    pairs: usize,
    on_both: usize,
    on_first: usize,
    on_second: usize,
}

impl Claim {
    fn of(tried: &[Tried]) -> Claim {
        let (neither, port) = (reuse(false, false), reuse(false, true));
        let of = |options: [Reuse; 2]| {
            tried.iter().filter(move |tried| {
                let case = &tried.case;
                case.part == Part::Serving && case.options == options && shown::overlap(case)
            })
        };
        let works = |options| of(options).filter(|tried| tried.works()).count();
        Claim {
            pairs: of([port, port]).count(),
            on_both: works([port, port]),
            on_first: works([port, neither]),
            on_second: works([neither, port]),
        }
    }

    /// Who is right on how many must set it.
    fn sentence(&self) -> String {
        let Claim {
            pairs,
            on_both,
            on_first,
            on_second,
        } = self;
        if on_both < pairs {
            format!(
                "SO_REUSEPORT on both sockets is not always enough to share a port: it was for \
                    {on_both} of {pairs} pairs of overlapping addresses."
            )
        } else if on_first + on_second == 0 {
            format!(
                "Both sockets must set SO_REUSEPORT to share a port: with it on both, all \
                    {pairs} pairs of overlapping addresses bind; on one alone, none."
            )
        } else if on_first == pairs {
            format!(
                "It is enough that the first binder sets SO_REUSEPORT: with it alone, all \
                    {pairs} pairs of overlapping addresses bind."
            )
        } else {
            format!(
                "SO_REUSEPORT on one socket is sometimes enough: of {pairs} pairs of addresses, \
                    {on_first} bind with it on the first alone, {on_second} on the second."
            )
        }
    }
}

/// In how many ways two UDP sockets get one address with no more in common than
/// `SO_REUSEADDR`, and who then takes every datagram.
struct Taken {
    ways: usize,
    by_first: usize,
    by_last: usize,
}

impl Taken {
    fn of(tried: &[Tried]) -> Taken {
        let by_address_alone = |tried: &&Tried| {
            let [first, second] = tried.case.options;
            tried.is_part(Part::Serving, Protocol::Udp)
                && first.address
                && second.address
                && !(first.port && second.port)
                && tried.case.addresses[0] == tried.case.addresses[1]
                && tried.works()
        };
        let ways: Vec<&Tried> = tried.iter().filter(by_address_alone).collect();
        let by = |one: Receiver| {
            let takes_all = |tried: &&&Tried| shown::contested(tried).all(|got| got == one);
            ways.iter().filter(takes_all).count()
        };
        Taken {
            ways: ways.len(),
            by_first: by(Receiver::First),
            by_last: by(Receiver::Second),
        }
    }

    fn sentence(&self) -> String {
        let Taken {
            ways,
            by_first,
            by_last,
        } = self;
        if *ways == 0 {
            return "UDP sockets with only SO_REUSEADDR in common cannot have one address.".into();
        }
        if by_first + by_last < *ways {
            return format!(
                "UDP sockets with only SO_REUSEADDR in common: in {} of {ways} ways one takes \
                    everything at their address, in the others both receive.",
                by_first + by_last
            );
        }
        format!(
            "UDP sockets with only SO_REUSEADDR in common do not share: in {by_last} of {ways} \
                ways the last binder takes everything, in {by_first} the first."
        )
    }
}

fn other_user(tried: &[Tried]) -> &'static str {
    let is_refused = |protocol, options: Reuse| {
        let of = |tried: &&Tried| {
            tried.is_part(Part::OtherUser, protocol) && tried.case.options == [options; 2]
        };
        tried.iter().find(of).map(|tried| !tried.works())
    };
    let port = reuse(false, true);
    let refused = [Protocol::Udp, Protocol::Tcp].map(|protocol| is_refused(protocol, port));
    let stolen = is_refused(Protocol::Udp, reuse(true, false)) == Some(false);
    match refused {
        [None, _] | [_, None] => "Another user was not tried, for only root can.",
        [Some(true), Some(true)] if stolen => {
            "SO_REUSEPORT keeps other users out; SO_REUSEADDR lets them take a UDP port."
        }
        [Some(true), Some(true)] => "SO_REUSEPORT keeps other users out.",
        _ => "Another user may join sockets that share a port by SO_REUSEPORT.",
    }
}

fn compared(tried: &[Tried]) -> String {
    let differs: Vec<bool> = tried.iter().filter_map(Tried::differs).collect();
    let (all, differing) = (
        differs.len(),
        differs.iter().filter(|&&differs| differs).count(),
    );
    match differing {
        0 => format!("All {all} combinations of TCP are as the table for Linux 2.6.32 has them."),
        1 => format!("One of {all} combinations of TCP differs from the table for Linux 2.6.32."),
        _ => format!(
            "{differing} of {all} combinations of TCP differ from the table for Linux 2.6.32."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Case, Refusal, Verdict};
    use super::super::{OPTIONS, SPECIFIC, WILDCARD};
    use super::*;

    /// Trials of two sockets on UDP and TCP, where `works` says which options
    /// get the port; the last binder then takes all.
    fn tried(part: Part, works: impl Fn([Reuse; 2]) -> bool) -> Vec<Tried> {
        let mut all = Vec::new();
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for addresses in [[SPECIFIC; 2], [SPECIFIC, WILDCARD]] {
                for options in super::super::pairs(OPTIONS) {
                    let refusal = (!works(options)).then(|| Refusal {
                        call: "bind",
                        errno: "EADDRINUSE".into(),
                    });
                    let received = refusal.is_none().then_some(Receiver::Second);
                    all.push(Tried {
                        case: Case {
                            part,
                            protocol,
                            addresses,
                            options,
                        },
                        verdict: Verdict {
                            refusal,
                            received: [received, None, None],
                            received_by_group: None,
                        },
                    });
                }
            }
        }
        all
    }

    fn told(works: impl Fn([Reuse; 2]) -> bool) -> String {
        finding(&tried(Part::Serving, works)).to_string()
    }

    #[test]
    fn it_is_told_who_must_set_the_option() {
        let both = told(|[first, second]| first.port && second.port);
        assert!(
            both.starts_with(
                "Both sockets must set SO_REUSEPORT to share a port: with it on both, all 4 \
                pairs of overlapping addresses bind; on one alone, none."
            ),
            "{both}"
        );
        assert!(both.contains("cannot have one address"), "{both}");
        let first = told(|[first, _]| first.port);
        assert!(first.starts_with("It is enough that the first"), "{first}");
        let second = told(|[first, second]| second.port && (first.port || !first.address));
        assert!(
            second.contains(
                "of 4 pairs of addresses, 0 bind with it on the first alone, 4 on the \
                second."
            ),
            "{second}"
        );
        let none = told(|_| false);
        assert!(none.contains("it was for 0 of 4 pairs"), "{none}");
    }

    #[test]
    fn it_is_told_who_takes_all() {
        let by_address = |[first, second]: [Reuse; 2]| first.address && second.address;
        let last = told(by_address);
        assert!(
            last.contains("in 3 of 3 ways the last binder takes everything, in 0 the first."),
            "{last}"
        );
        let mut some = tried(Part::Serving, by_address);
        let one = some.iter_mut().find(|tried| tried.works()).unwrap();
        one.verdict.received[0] = Some(Receiver::Shared);
        let some = Taken::of(&some).sentence();
        assert!(some.contains("in 2 of 3 ways one takes"), "{some}");
    }

    #[test]
    fn another_user_is_told_of() {
        let told = |works: fn([Reuse; 2]) -> bool| other_user(&tried(Part::OtherUser, works));
        assert!(other_user(&[]).contains("only root"));
        assert!(told(|[first, _]| first.address).contains("take a UDP port"));
        assert!(told(|_| false).ends_with("keeps other users out."));
        assert!(told(|_| true).starts_with("Another user may join"));
    }

    #[test]
    fn differences_from_the_table_are_counted() {
        let port = |[first, second]: [Reuse; 2]| first.port && second.port;
        let mut all = tried(Part::Serving, port);
        assert!(compared(&all).starts_with("All 18 combinations"));
        let published = all.iter_mut().filter(|tried| tried.published().is_some());
        // Neither of the first two has the option on both.
        published
            .take(2)
            .for_each(|tried| tried.verdict.refusal = None);
        assert!(compared(&all).starts_with("2 of 18 combinations of TCP differ from"));
    }
}
