//! The figure: what people ask, each as a table of the two sockets' options.

use std::net::IpAddr;

use super::trial::{Part, Receiver, covers};
use super::{OPTIONS, Tried, shown};
use crate::lab::figure::{Drawing, Figure, Matrix, Panel, Shade};
use crate::sys::lab::bind::Reuse;
use crate::sys::proc_net::Protocol;

/// How the sockets meet, and at which addresses.
struct Relation {
    title: &'static str,
    part: Part,
    protocol: Protocol,
    holds: fn([IpAddr; 2]) -> bool,
}

const RELATIONS: [Relation; 4] = [
    Relation {
        title: "UDP, both at the same address",
        part: Part::Serving,
        protocol: Protocol::Udp,
        holds: is_same,
    },
    Relation {
        title: "UDP, one at all addresses, the other at some of them",
        part: Part::Serving,
        protocol: Protocol::Udp,
        holds: |[first, second]| covers(first, second) != covers(second, first),
    },
    Relation {
        title: "TCP, both at the same address",
        part: Part::Serving,
        protocol: Protocol::Tcp,
        holds: is_same,
    },
    Relation {
        title: "TCP, the first gone, its connection in TIME_WAIT",
        part: Part::TimeWait,
        protocol: Protocol::Tcp,
        holds: |[first, second]| covers(first, second) || covers(second, first),
    },
];

const DEPENDS: &str = "it depends";
/// How it is said that nothing is shared.
const TAKES_ALL: &str = "takes all";

fn is_same([first, second]: [IpAddr; 2]) -> bool {
    first == second
}

/// A panel for each relation.
pub fn figure(tried: &[Tried]) -> Figure {
    let panel = |relation: &Relation| Panel {
        title: relation.title.into(),
        drawing: Drawing::Matrix(matrix(tried, relation)),
    };
    Figure {
        panels: RELATIONS.iter().map(panel).collect(),
    }
}

fn matrix(tried: &[Tried], relation: &Relation) -> Matrix {
    let cell = |options: [Reuse; 2]| {
        let own: Vec<&Tried> = tried
            .iter()
            .filter(|tried| {
                tried.is_part(relation.part, relation.protocol)
                    && (relation.holds)(tried.case.addresses)
                    && tried.case.options == options
            })
            .collect();
        cell(&own)
    };
    let names = OPTIONS.map(|options| shown::options(options).trim_start_matches("SO_").into());
    let cells: Vec<Vec<(String, Shade)>> = OPTIONS
        .map(|first| OPTIONS.map(|second| cell([first, second])).into())
        .into();
    Matrix {
        down: "first".into(),
        across: "second socket's options".into(),
        rows: names.clone().into(),
        columns: names.into(),
        legend: legend(relation, &cells),
        cells,
    }
}

/// What is not on this panel needs no explanation.
fn legend(relation: &Relation, cells: &[Vec<(String, Shade)>]) -> String {
    let mut legend = "Green: the second socket binds; grey: it does not, and why.".to_owned();
    if cells
        .iter()
        .flatten()
        .any(|(_, shade)| *shade == Shade::Warned)
    {
        legend += " Yellow: it binds, and one of the two takes everything.";
    }
    if relation.protocol == Protocol::Tcp {
        legend += " Orange, if any: unlike the published table.";
    }
    if cells.iter().flatten().any(|(words, _)| words == DEPENDS) {
        legend += " It depends: not the same at all addresses; the tables tell more.";
    }
    legend
}

/// What came of all address pairs, where it is the same.
fn cell(tried: &[&Tried]) -> (String, Shade) {
    let shade = if tried.iter().any(|tried| tried.differs() == Some(true)) {
        Shade::Marked
    } else if !tried.iter().any(|tried| tried.works()) {
        Shade::Bad
    } else if tried
        .iter()
        .flat_map(|tried| outcome(tried))
        .any(|words| words.ends_with(TAKES_ALL))
    {
        Shade::Warned
    } else {
        Shade::Good
    };
    let mut words: Vec<String> = tried.iter().flat_map(|tried| outcome(tried)).collect();
    words.sort();
    words.dedup();
    match words.as_slice() {
        [] => ("not tried".into(), Shade::Unmarked),
        [word] => (word.clone(), shade),
        _ => (DEPENDS.into(), shade),
    }
}

/// What came of one pair, at each address that belongs to both.
fn outcome(tried: &Tried) -> Vec<String> {
    if let Some(refusal) = &tried.verdict.refusal {
        return vec![refusal.errno.clone()];
    }
    let [first, second] = tried.case.addresses;
    // Whose addresses are the fewer ones.
    let narrow = match (covers(first, second), covers(second, first)) {
        (true, false) => Some(Receiver::Second),
        (false, true) => Some(Receiver::First),
        _ => None,
    };
    let told = |receiver: Receiver| match receiver {
        Receiver::Nobody => "nobody receives",
        Receiver::Shared => "both receive",
        Receiver::Each => "each gets a copy",
        one if narrow == Some(one) => "specific one wins",
        Receiver::First => "first binder takes all",
        Receiver::Second => "last binder takes all",
    };
    let received: Vec<String> = shown::contested(tried).map(told).map(Into::into).collect();
    match received.is_empty() {
        true => vec!["binds".into()],
        false => received,
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Case, Refusal, Verdict};
    use super::super::{SPECIFIC, WILDCARD, reuse};
    use super::*;

    fn tried(addresses: [IpAddr; 2], verdict: Result<Receiver, &str>) -> Tried {
        let port = reuse(false, true);
        let refusal = verdict.err().map(|errno| Refusal {
            call: "bind",
            errno: errno.into(),
        });
        Tried {
            case: Case {
                part: Part::Serving,
                protocol: Protocol::Tcp,
                addresses,
                options: [port; 2],
            },
            verdict: Verdict {
                refusal,
                received: [verdict.ok(), None, None],
                received_by_group: None,
            },
        }
    }

    #[test]
    fn a_cell_says_what_all_its_pairs_have_in_common() {
        let told = |all: &[Tried]| cell(&all.iter().collect::<Vec<_>>());
        let same = |verdict| tried([SPECIFIC; 2], verdict);
        for (verdict, words, shade) in [
            (Receiver::Shared, "both receive", Shade::Good),
            (Receiver::First, "first binder takes all", Shade::Warned),
            (Receiver::Second, "last binder takes all", Shade::Warned),
            (Receiver::Nobody, "nobody receives", Shade::Good),
        ] {
            assert_eq!(told(&[same(Ok(verdict))]), (words.into(), shade));
        }
        let both = [same(Ok(Receiver::Shared)), same(Ok(Receiver::Second))];
        assert_eq!(told(&both), ("it depends".into(), Shade::Warned));
        // The published table has it work.
        let refused = [same(Err("EADDRINUSE"))];
        assert_eq!(told(&refused), ("EADDRINUSE".into(), Shade::Marked));
        assert_eq!(told(&[]).1, Shade::Unmarked);
    }

    #[test]
    fn the_specific_socket_is_named_as_such_whoever_came_first() {
        let narrow_last = tried([WILDCARD, SPECIFIC], Ok(Receiver::Second));
        let narrow_first = tried([SPECIFIC, WILDCARD], Ok(Receiver::First));
        assert_eq!(cell(&[&narrow_last, &narrow_first]).0, "specific one wins");
        let wide = tried([WILDCARD, SPECIFIC], Ok(Receiver::First));
        assert_eq!(outcome(&wide), ["first binder takes all"]);
    }
}
