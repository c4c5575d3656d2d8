//! `bind`: who may bind beside whom, and who then receives. What is tried is
//! here; `trial` tries it, `found` says what it tells, `shown` makes tables and
//! `drawn` the figure of it, and `listing` asks what the kernel lists of three
//! that share a port.

mod drawn;
mod found;
mod listing;
mod published;
mod shown;
mod trial;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::lab::result::{ExperimentResult, rows};
use crate::lab::{Experiment, Lab, Practice};
use crate::sys::lab::bind::Reuse;
use crate::sys::proc_net::Protocol;
use listing::Listing;
use trial::{Case, GROUP, Part, Verdict, attempt};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "bind",
    question: "Who may bind beside whom, and who then receives?",
    method: "Two sockets try for one port that nobody has at any address: UDP and TCP, each at \
        127.0.0.1, 0.0.0.0, ::1 and :: (which takes IPv4 too: IPV6_V6ONLY is off) and at \
        127.0.0.1 beside 127.0.0.2, each with neither option, SO_REUSEADDR, SO_REUSEPORT or \
        both. The first serves when the second comes; with TCP also both bind before either \
        listens, and, for IPv4, the first has left a connection in TIME_WAIT (the accepting \
        side closes first; these stay for a minute, as always). As root, the second also \
        belongs to another user: a socket's owner is its thread's file-system user, which \
        setfsuid changes for one thread. A failure counts once it has repeated on another port. \
        Where both serve, datagrams or connections go to 127.0.0.1, 127.0.0.2 and ::1, from \
        many client ports where the address belongs to both; both also join a multicast group \
        on loopback. Last, what /proc/net and netlink list of two sockets at 127.0.0.1 and one \
        at 0.0.0.0. There are always two sockets, whatever --sockets says. The published table \
        is that for Linux 2.6.32, of TCP over IPv4. Not covered: IPV6_V6ONLY, SO_BINDTODEVICE, \
        network namespaces, groups with a BPF program; BSD is quoted, not measured.",
    expectation: "Both sockets must set SO_REUSEPORT, and belong to one user, to share a port \
        by flow; on one alone it does nothing. SO_REUSEADDR on both never lets two listen on \
        TCP; it passes TIME_WAIT. On UDP it lets the last binder take every datagram of the \
        same address. Where addresses overlap, the more specific socket gets its address's \
        share. Each member of a multicast group gets a copy. Of what SO_REUSEADDR allows, the \
        last binder is first in the kernel's list; but an IPv6 socket with SO_REUSEPORT is put \
        at its end (udp_lib_get_port in net/ipv4/udp.c), so that there one with both options, \
        bound after one with SO_REUSEADDR, gets nothing.",
    practice: PRACTICE,
    run,
};

const PRACTICE: &[Practice] = &[
    Practice {
        advice: "Set SO_REUSEPORT on every socket of the port before it is bound, the first one \
            included, all as the same user. A second shardns joins if both were started with \
            --join by one user.",
        source: "socket(7), SO_REUSEPORT; shardns serve, --join",
    },
    Practice {
        advice: "nginx opens such a socket for each worker process where listen says reuseport; \
            Envoy does for each worker thread unless enable_reuse_port is false.",
        source: "nginx, ngx_http_core_module, listen; Envoy, config.listener.v3.Listener, \
            enable_reuse_port",
    },
    Practice {
        advice: "Do not set SO_REUSEADDR on a UDP server's socket, unless for multicast: whoever \
            sets it too may take every datagram, as another user even.",
        source: "socket(7), SO_REUSEADDR",
    },
    Practice {
        advice: "Set SO_REUSEADDR on TCP listeners, so that a restart need not wait for \
            connections in TIME_WAIT.",
        source: "ip(7), DESCRIPTION",
    },
];

/// None, one, the other, both, in the order of the tables.
const OPTIONS: [Reuse; 4] = [
    reuse(false, false),
    reuse(true, false),
    reuse(false, true),
    reuse(true, true),
];
const SPECIFIC: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const WILDCARD: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ADDRESSES: [IpAddr; 4] = [
    SPECIFIC,
    WILDCARD,
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

const fn reuse(address: bool, port: bool) -> Reuse {
    Reuse { address, port }
}

/// A combination, and what came of it.
struct Tried {
    case: Case,
    verdict: Verdict,
}

impl Tried {
    fn works(&self) -> bool {
        self.verdict.refusal.is_none()
    }

    /// What was published of it.
    fn published(&self) -> Option<bool> {
        published::linux_2_6_32(&self.case)
    }

    fn differs(&self) -> Option<bool> {
        self.published().map(|published| published != self.works())
    }

    fn is_part(&self, part: Part, protocol: Protocol) -> bool {
        self.case.part == part && self.case.protocol == protocol
    }
}

#[derive(Serialize)]
struct TrialRow {
    part: &'static str,
    protocol: &'static str,
    first: String,
    second: String,
    first_options: &'static str,
    second_options: &'static str,
    result: &'static str,
    call: Option<&'static str>,
    errno: Option<String>,
    received_at_127_0_0_1: Option<&'static str>,
    received_at_127_0_0_2: Option<&'static str>,
    received_at_ipv6_loopback: Option<&'static str>,
    received_at_group: Option<&'static str>,
    published: Option<&'static str>,
    differs: Option<bool>,
    /// Of a port with three sockets: lines in /proc/net, sockets over netlink,
    /// and the addresses that these are of.
    listed_in_proc: Option<usize>,
    listed_by_netlink: Option<usize>,
    listed_addresses: Option<usize>,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let sets = sets();
    lab.plan(sets.len() + 1);
    let mut tried = Vec::new();
    for (part, protocol, addresses) in sets {
        let [first, second] = addresses;
        lab.step(format!(
            "{}, {}: {first}, {second}",
            shown::protocol(protocol),
            shown::part(part)
        ))?;
        for options in pairs(OPTIONS) {
            lab.check()?;
            let case = Case {
                part,
                protocol,
                addresses,
                options,
            };
            let verdict = attempt(&case)?;
            tried.push(Tried { case, verdict });
        }
    }
    lab.step("what the kernel lists")?;
    let listings = [Protocol::Tcp, Protocol::Udp].map(Listing::take);
    let listings: Vec<Listing> = listings.into_iter().collect::<anyhow::Result<_>>()?;
    let mut measured: Vec<TrialRow> = tried.iter().map(row).collect();
    measured.extend(listings.iter().map(listing_row));
    Ok(ExperimentResult {
        finding: found::finding(&tried),
        tables: shown::tables(&tried, &listings),
        figure: drawn::figure(&tried),
        rows: rows(&measured),
    })
}

/// What is tried with all options: parts, protocols and addresses that this
/// machine has.
fn sets() -> Vec<(Part, Protocol, [IpAddr; 2])> {
    use Protocol::{Tcp, Udp};
    let addresses: Vec<IpAddr> = ADDRESSES
        .into_iter()
        .filter(|&ip| trial::exists(ip))
        .collect();
    let mut all: Vec<[IpAddr; 2]> = pairs(addresses).collect();
    all.push([SPECIFIC, OTHER]);
    let kinds = [
        (Part::Serving, Udp),
        (Part::Serving, Tcp),
        (Part::Bound, Tcp),
    ];
    let mut sets = Vec::new();
    for (part, protocol) in kinds {
        sets.extend(all.iter().map(|&addresses| (part, protocol, addresses)));
    }
    let published = pairs([SPECIFIC, WILDCARD]);
    sets.extend(published.map(|addresses| (Part::TimeWait, Tcp, addresses)));
    if trial::has_other_user() {
        sets.extend([Udp, Tcp].map(|protocol| (Part::OtherUser, protocol, [SPECIFIC; 2])));
    }
    sets.push((Part::Multicast, Udp, [IpAddr::V4(GROUP); 2]));
    sets
}

/// Each beside each, also beside itself.
fn pairs<T: Copy>(all: impl IntoIterator<Item = T> + Clone) -> impl Iterator<Item = [T; 2]> {
    let seconds = all.clone();
    all.into_iter().flat_map(move |first| {
        let seconds: Vec<T> = seconds.clone().into_iter().collect();
        seconds.into_iter().map(move |second| [first, second])
    })
}

fn row(tried: &Tried) -> TrialRow {
    let Tried { case, verdict } = tried;
    let received = verdict
        .received
        .map(|receiver| receiver.map(shown::receiver));
    TrialRow {
        part: shown::part(case.part),
        protocol: shown::protocol(case.protocol),
        first: case.addresses[0].to_string(),
        second: case.addresses[1].to_string(),
        first_options: shown::options(case.options[0]),
        second_options: shown::options(case.options[1]),
        result: shown::result(tried.works()),
        call: verdict.refusal.as_ref().map(|refusal| refusal.call),
        errno: verdict
            .refusal
            .as_ref()
            .map(|refusal| refusal.errno.clone()),
        received_at_127_0_0_1: received[0],
        received_at_127_0_0_2: received[1],
        received_at_ipv6_loopback: received[2],
        received_at_group: verdict.received_by_group.map(shown::receiver),
        published: tried.published().map(shown::result),
        differs: tried.differs(),
        listed_in_proc: None,
        listed_by_netlink: None,
        listed_addresses: None,
    }
}

fn listing_row(listing: &Listing) -> TrialRow {
    TrialRow {
        part: "listing",
        protocol: shown::protocol(listing.protocol),
        first: "127.0.0.1, 127.0.0.1".into(),
        second: WILDCARD.to_string(),
        first_options: shown::options(reuse(false, true)),
        second_options: shown::options(reuse(false, true)),
        result: shown::result(true),
        call: None,
        errno: None,
        received_at_127_0_0_1: None,
        received_at_127_0_0_2: None,
        received_at_ipv6_loopback: None,
        received_at_group: None,
        published: None,
        differs: None,
        listed_in_proc: Some(listing.proc.len()),
        listed_by_netlink: listing.netlink.as_ref().map(Vec::len),
        listed_addresses: Some(listing.addresses()),
    }
}
