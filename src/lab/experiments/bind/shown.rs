//! Tables for people: grids that gather address pairs, the published tables
//! beside what came out, and who receives.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::listing::{self, Listing};
use super::published::bsd;
use super::trial::{Case, DESTINATIONS, Part, Receiver, covers};
use super::{ADDRESSES, OPTIONS, SPECIFIC, Tried, WILDCARD, pairs, reuse};
use crate::lab::result::Table;
use crate::sys::lab::bind::Reuse;
use crate::sys::proc_net::Protocol;

/// What is gathered in a grid of options.
const GRIDS: [(Part, Protocol); 7] = [
    (Part::Serving, Protocol::Udp),
    (Part::Serving, Protocol::Tcp),
    (Part::Bound, Protocol::Tcp),
    (Part::TimeWait, Protocol::Tcp),
    (Part::OtherUser, Protocol::Udp),
    (Part::OtherUser, Protocol::Tcp),
    (Part::Multicast, Protocol::Udp),
];

/// How the sockets meet, in a word or two.
pub fn part(part: Part) -> &'static str {
    match part {
        Part::Serving => "first serves",
        Part::Bound => "both bound first",
        Part::TimeWait => "first in TIME_WAIT",
        Part::OtherUser => "another user",
        Part::Multicast => "multicast",
    }
}

/// The protocol's name.
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    }
}

/// The options' names.
pub fn options(options: Reuse) -> &'static str {
    match (options.address, options.port) {
        (false, false) => "neither",
        (true, false) => "SO_REUSEADDR",
        (false, true) => "SO_REUSEPORT",
        (true, true) => "both",
    }
}

/// Whether the second socket got what it asked for.
pub fn result(works: bool) -> &'static str {
    if works { "works" } else { "fails" }
}

/// Who got what was sent.
pub fn receiver(receiver: Receiver) -> &'static str {
    match receiver {
        Receiver::First => "first",
        Receiver::Second => "second",
        Receiver::Shared => "shared",
        Receiver::Each => "each",
        Receiver::Nobody => "nobody",
    }
}

/// True where an address belongs to both sockets.
pub fn overlap(case: &Case) -> bool {
    let [first, second] = case.addresses;
    covers(first, second) || covers(second, first)
}

/// Who got what was sent to addresses that belong to both.
pub fn contested(tried: &Tried) -> impl Iterator<Item = Receiver> {
    let sent = DESTINATIONS.into_iter().zip(tried.verdict.received);
    let [first, second] = tried.case.addresses;
    let of_both = sent.filter(move |&(to, _)| covers(first, to) && covers(second, to));
    let received = of_both.filter_map(|(_, receiver)| receiver);
    received.chain(tried.verdict.received_by_group)
}

/// All tables, the grids first.
pub fn tables(tried: &[Tried], listings: &[Listing]) -> Vec<Table> {
    vec![
        grids(tried),
        beside_published(tried),
        receivers(tried),
        listing::table(listings),
    ]
}

fn grids(tried: &[Tried]) -> Table {
    let mut title = "Address pairs that overlap on which the second socket works; its options \
        across, the first's down"
        .to_owned();
    for ip in ADDRESSES {
        if !tried.iter().any(|tried| tried.case.addresses.contains(&ip)) {
            title += &format!("; {ip} was not tried, for this machine does not have it");
        }
    }
    let mut table = Table::new(
        title,
        &[
            "",
            "first",
            "neither",
            "SO_REUSEADDR",
            "SO_REUSEPORT",
            "both",
        ],
    );
    for (kind, transport) in GRIDS {
        let own: Vec<&Tried> = tried
            .iter()
            .filter(|tried| tried.is_part(kind, transport) && overlap(&tried.case))
            .collect();
        let name = format!("{}, {}", protocol(transport), part(kind));
        if own.is_empty() {
            let reason = "not tried: only root can";
            table.row([
                name,
                reason.into(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]);
            continue;
        }
        for first in OPTIONS {
            let [neither, address, port, both] =
                OPTIONS.map(|second| gathered(&own, [first, second]));
            let name = if first == OPTIONS[0] {
                name.clone()
            } else {
                String::new()
            };
            table.row([name, options(first).into(), neither, address, port, both]);
        }
    }
    table
}

fn gathered(tried: &[&Tried], options: [Reuse; 2]) -> String {
    let own = tried.iter().filter(|tried| tried.case.options == options);
    let works: Vec<bool> = own.map(|tried| tried.works()).collect();
    match works.iter().filter(|&&works| works).count() {
        0 => "–".into(),
        all if all == works.len() => format!("all {all}"),
        some => format!("{some} of {}", works.len()),
    }
}

fn beside_published(tried: &[Tried]) -> Table {
    let mut table = Table::new(
        "TCP, IPv4: here / published for Linux 2.6.32 (* where they differ), and BSD for comparison",
        &[
            "first",
            "second",
            "127.0.0.1, same",
            "127.0.0.1, 0.0.0.0",
            "0.0.0.0, 127.0.0.1",
            "0.0.0.0, same",
            "BSD (not measured; blank: not told)",
        ],
    );
    for kind in [Part::Serving, Part::TimeWait] {
        for [first, second] in pairs([OPTIONS[0], OPTIONS[1], OPTIONS[2]]) {
            let cell = |addresses: [IpAddr; 2]| {
                let is_it = |tried: &&Tried| {
                    tried.is_part(kind, Protocol::Tcp)
                        && tried.case.addresses == addresses
                        && tried.case.options == [first, second]
                };
                tried.iter().find(is_it).map_or(String::new(), compare)
            };
            let state = if kind == Part::TimeWait {
                ", TIME_WAIT"
            } else {
                ""
            };
            table.row([
                format!("{}{state}", options(first)),
                options(second).into(),
                cell([SPECIFIC, SPECIFIC]),
                cell([SPECIFIC, WILDCARD]),
                cell([WILDCARD, SPECIFIC]),
                cell([WILDCARD, WILDCARD]),
                bsd(kind, [first, second]).into(),
            ]);
        }
    }
    table
}

fn compare(tried: &Tried) -> String {
    let published = tried.published().map_or("", result);
    let mark = if tried.differs() == Some(true) {
        " *"
    } else {
        ""
    };
    format!("{} / {published}{mark}", result(tried.works()))
}

fn receivers(tried: &[Tried]) -> Table {
    let mut counts: BTreeMap<[&str; 4], BTreeMap<Receiver, usize>> = BTreeMap::new();
    for tried in tried.iter().filter(|tried| tried.works()) {
        let Case {
            part: kind,
            protocol: transport,
            addresses: [first, second],
            options: both,
        } = tried.case;
        let reach = match (covers(first, second), covers(second, first)) {
            (true, true) => "the same address",
            (true, false) => "first wider",
            (false, _) => "second wider",
        };
        let common = reuse(
            both[0].address && both[1].address,
            both[0].port && both[1].port,
        );
        let key = [part(kind), protocol(transport), reach, options(common)];
        for receiver in contested(tried) {
            *counts.entry(key).or_default().entry(receiver).or_default() += 1;
        }
    }
    let mut table = Table::new(
        "Who gets what is sent to an address of both (number of combinations)",
        &["", "", "addresses", "options in common", "receiver"],
    );
    for ([part, protocol, reach, common], receivers) in counts {
        let receivers = receivers.iter();
        let told = receivers.map(|(who, count)| format!("{} {count}", receiver(*who)));
        let told = told.collect::<Vec<_>>().join(", ");
        table.row([
            protocol.into(),
            part.into(),
            reach.into(),
            common.into(),
            told,
        ]);
    }
    table
}
