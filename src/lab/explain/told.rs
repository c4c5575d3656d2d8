//! How it is told: tables for people, JSON for programs.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::facts::{Evidence, Facts, Member};
use super::members::{Members, name};
use super::verdict::{Verdict, holders};
use crate::lab::figure::grouped;
use crate::lab::place::Machine;
use crate::lab::result::Table;
use crate::lab::statistics::Range;
use crate::sys::lab::borrow::{SocketFilter, SocketOptions};
use crate::sys::lab::diag::Described;
use crate::sys::proc_net::Protocol;
use crate::sys::user;

/// Below that, tenths of a second say little.
const TENTH: Duration = Duration::from_millis(100);
/// The version of what `json` writes: another one where a name changes or goes.
pub const VERSION: u32 = 1;

/// A number with its thousands set apart.
pub fn thousands(number: u64) -> String {
    grouped(&number.to_string())
}

/// So many of something: `1 flow`, `2,000 flows`.
pub fn counted(number: u64, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {one}{ending}", thousands(number))
}

/// `2 s`, `0.4 s`, `20 ms`.
pub fn seconds(duration: Duration) -> String {
    if duration < TENTH {
        return format!("{} ms", duration.as_millis());
    }
    format!("{:.1} s", duration.as_secs_f64()).replace(".0 s", " s")
}

/// A part of one; small ones keep a decimal.
pub fn percent(part: f64) -> String {
    let percent = part * 100.0;
    match percent {
        ..=0.0 => "0 %".into(),
        ..9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// `26–31 %`.
pub fn span(range: Range, words: fn(f64) -> String) -> String {
    let (low, high) = (words(range.low), words(range.high));
    if low == high {
        return high;
    }
    format!("{}–{high}", low.trim_end_matches(" %"))
}

/// The name of a user, or the number.
fn owner(uid: u32) -> String {
    match user::by_number(uid) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    }
}

/// All tables, those with nothing in them left out.
pub fn tables(members: &Members, facts: &Facts) -> Vec<Table> {
    let mut tables = vec![who(facts), load(facts)];
    if facts.members.iter().any(|member| member.options.is_some()) {
        tables.push(options(facts));
    }
    let others = others(members);
    if !others.rows.is_empty() {
        tables.push(others);
    }
    tables
}

fn title(facts: &Facts) -> String {
    let kind = match facts.protocol {
        Protocol::Udp => "UDP sockets",
        Protocol::Tcp => "TCP listeners",
    };
    format!(
        "{kind} that take what is sent to {}, in the order of binding",
        facts.address
    )
}

fn who(facts: &Facts) -> Table {
    let header = ["#", "bound to", "inode", "owner", "open in", "received by"];
    let mut table = Table::new(title(facts), &header);
    for (number, member) in (1..).zip(&facts.members) {
        let held = match holders(&member.holders) {
            held if held.is_empty() => "not told".into(),
            held => held,
        };
        let more = member.readers.len().saturating_sub(1);
        let readers = match (&member.readers[..], member.received) {
            _ if facts.protocol == Protocol::Tcp => "-".into(),
            ([], Some(_)) => "nobody".into(),
            ([], _) => "not told".into(),
            ([one], _) => one.clone(),
            ([first, ..], _) => format!("{first} and {more} more"),
        };
        table.row([
            format!("{number}"),
            bound_to(&member.socket),
            member.socket.inode.to_string(),
            owner(member.socket.user),
            held,
            readers,
        ]);
    }
    table
}

fn bound_to(socket: &Described) -> String {
    let takes_both = socket.local.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !socket.only_v6;
    let also = if takes_both { ", IPv4 too" } else { "" };
    let only = match socket.interface {
        0 => String::new(),
        interface => format!(", interface {interface} only"),
    };
    format!("{}{also}{only}", socket.local)
}

fn load(facts: &Facts) -> Table {
    let by_chance = match facts.chance {
        Some(chance) if facts.flows > 0 => {
            let count = |flows: f64| thousands(flows as u64);
            format!(
                "; by chance each has {} of {}, and the busiest {} of the load",
                span(chance.flows, count),
                counted(facts.flows as u64, "flow"),
                span(chance.busiest, percent)
            )
        }
        _ => String::new(),
    };
    let (took, waits) = match facts.protocol {
        Protocol::Udp => ("took", "octets waiting, most"),
        Protocol::Tcp => ("connections", "waiting, most"),
    };
    let flows = match facts.evidence {
        Evidence::Clients => "clients",
        _ => "flows",
    };
    let mut table = Table::new(
        format!("In {:.1} s{by_chance}", facts.lasted.as_secs_f64()),
        &[
            "#", took, "part", "hash", flows, waits, "room", "waited", "dropped", "ever",
        ],
    );
    let total: u64 = facts.members.iter().map(|it| it.took(facts.evidence)).sum();
    for (number, member) in (1..).zip(&facts.members) {
        table.row(load_row(facts, number, member, total));
    }
    table
}

/// False where clients were counted rather than what they sent, or nothing.
fn is_counted(facts: &Facts) -> bool {
    !matches!(facts.evidence, Evidence::Clients | Evidence::Nothing)
}

fn load_row(facts: &Facts, number: usize, member: &Member, total: u64) -> [String; 10] {
    let took = member.took(facts.evidence);
    let of = |part: u64, total: u64| match total {
        0 => String::new(),
        total => percent(part as f64 / total as f64),
    };
    let is_seen = facts.evidence != Evidence::Nothing;
    let is_counted = is_counted(facts);
    let by_hash = match facts.protocol {
        Protocol::Udp if facts.datagrams > 0 => of(member.by_hash, facts.datagrams),
        _ => percent(member.asked),
    };
    let only = |is: bool, words: String| if is { words } else { "-".into() };
    [
        number.to_string(),
        only(is_counted, thousands(took)),
        only(is_counted, of(took, total)),
        by_hash,
        only(is_seen, thousands(member.flows)),
        thousands(u64::from(member.queue.most)),
        thousands(u64::from(member.socket.room)),
        percent(member.queue.filled_share()),
        thousands(member.queue.drops()),
        thousands(u64::from(member.socket.drops) + member.queue.drops()),
    ]
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.into()
}

fn options(facts: &Facts) -> Table {
    let header = [
        "#",
        "SO_REUSEPORT",
        "SO_REUSEADDR",
        "filter of its own",
        "busy poll µs",
        "last CPU",
    ];
    let mut table = Table::new("Options, as a descriptor of each tells them", &header);
    for (number, member) in (1..).zip(&facts.members) {
        let Some(options) = member.options else {
            continue;
        };
        table.row([
            format!("{number}"),
            yes(options.reuse_port),
            yes(options.reuse_address),
            filter(options.filter),
            options.busy_poll_us.to_string(),
            options
                .incoming_cpu
                .map_or("-".into(), |cpu| cpu.to_string()),
        ]);
    }
    table
}

fn filter(filter: SocketFilter) -> String {
    match filter {
        SocketFilter::None => "none".into(),
        SocketFilter::Classic(instructions) => format!("classic BPF, {instructions} instructions"),
        SocketFilter::Extended => "eBPF".into(),
        SocketFilter::Unknown => "not told".into(),
    }
}

/// What else has the port: it explains why a datagram for another address goes
/// elsewhere.
fn others(members: &Members) -> Table {
    let mut table = Table::new(
        format!("Other sockets of port {}", members.address.port()),
        &["bound to", "sockets", "owner", "takes"],
    );
    let kinds = [
        (
            &members.behind,
            "other addresses; the above take precedence at this one",
        ),
        (&members.elsewhere, "its own address"),
        (&members.connected, "one peer"),
    ];
    for (sockets, takes) in kinds {
        let mut told: Vec<(String, u32, usize)> = Vec::new();
        for socket in sockets {
            let local = match socket.peer {
                Some(peer) => format!("{} (connected to {peer})", socket.local),
                None => socket.local.to_string(),
            };
            match told
                .iter_mut()
                .find(|it| (&it.0, it.1) == (&local, socket.user))
            {
                Some(known) => known.2 += 1,
                None => told.push((local, socket.user, 1)),
            }
        }
        for (local, uid, count) in told {
            table.row([local, count.to_string(), owner(uid), takes.into()]);
        }
    }
    table
}

/// How the parts were told, in words.
pub fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Receives => {
            "each receive by the kernel's tracepoint; flows as they came in, each where the \
                kernel's lookup has it (hash)"
        }
        Evidence::Datagrams => {
            "datagrams as they came in, each where the kernel's lookup has its flow"
        }
        Evidence::Connections => "connections by the process that has them",
        Evidence::Clients => {
            "clients of this machine that are connected, each where the kernel's lookup has it; \
                what they send is not counted"
        }
        Evidence::Nothing => "nothing but queues and drops",
    }
}

#[derive(Serialize)]
struct ToldMember<'a> {
    number: usize,
    bound_to: String,
    inode: u32,
    cookie: u64,
    uid: u32,
    interface: u32,
    mark: Option<u32>,
    holders: &'a [super::holders::Holder],
    receivers: &'a [String],
    received: Option<u64>,
    /// Nothing where it was not counted.
    took: Option<u64>,
    flows_by_hash: u64,
    datagrams_by_hash: Option<u64>,
    part_of_all_flows: f64,
    waiting: u32,
    waiting_most: u32,
    waiting_part_of_time: f64,
    room: u32,
    leaving: u32,
    dropped: u64,
    dropped_before: u32,
    options: Option<Value>,
}

fn member(facts: &Facts, number: usize, member: &Member) -> Value {
    let told = |options: SocketOptions| {
        json!({
            "reuse_port": options.reuse_port,
            "reuse_address": options.reuse_address,
            "incoming_cpu": options.incoming_cpu,
            "busy_poll_us": options.busy_poll_us,
            "filter": filter(options.filter),
        })
    };
    let Described {
        local,
        inode,
        cookie,
        user,
        interface,
        mark,
        room,
        leaving,
        drops,
        ..
    } = member.socket;
    json!(ToldMember {
        number,
        bound_to: local.to_string(),
        inode,
        cookie,
        uid: user,
        interface,
        mark,
        holders: &member.holders,
        receivers: &member.readers,
        received: member.received,
        took: is_counted(facts).then(|| member.took(facts.evidence)),
        flows_by_hash: member.flows,
        datagrams_by_hash: is_counted(facts).then_some(member.by_hash),
        part_of_all_flows: member.asked,
        waiting: member.queue.last,
        waiting_most: member.queue.most,
        waiting_part_of_time: member.queue.filled_share(),
        room,
        leaving,
        dropped: member.queue.drops(),
        dropped_before: drops,
        options: member.options.map(told),
    })
}

/// Everything, for programs.
pub fn json(members: &Members, facts: &Facts, verdict: &Verdict) -> Value {
    let range = |range: Range| json!({ "low": range.low, "high": range.high });
    let other = |socket: &Described| {
        json!({
            "bound_to": socket.local.to_string(),
            "peer": socket.peer.map(|peer| peer.to_string()),
            "inode": socket.inode,
            "uid": socket.user,
        })
    };
    let others = |sockets: &[Described]| sockets.iter().map(other).collect::<Vec<_>>();
    let numbered = (1..).zip(&facts.members);
    let sockets: Vec<Value> = numbered
        .map(|(number, it)| member(facts, number, it))
        .collect();
    json!({
        "version": VERSION,
        "place": Machine::here(),
        "address": facts.address.to_string(),
        "protocol": name(facts.protocol),
        "seconds": facts.lasted.as_secs_f64(),
        "verdict": verdict,
        "evidence": facts.evidence,
        "flows": facts.flows,
        "datagrams": is_counted(facts).then_some(facts.datagrams),
        "heaviest_flow": facts.heaviest.map(|flow| json!({
            "from": flow.peer.to_string(),
            "datagrams": flow.datagrams,
        })),
        "chance_busiest_part": facts.chance.map(|chance| range(chance.busiest)),
        "chance_flows_of_a_socket": facts.chance.map(|chance| range(chance.flows)),
        "sockets": sockets,
        "parties": facts.parties,
        "behind": others(&members.behind),
        "elsewhere": others(&members.elsewhere),
        "connected": others(&members.connected),
        "unknown": facts.unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let told = [0, 999, 1000, 12_004, 1_234_567].map(thousands);
        assert_eq!(told, ["0", "999", "1,000", "12,004", "1,234,567"]);
        let told = [0.0, 0.001, 0.0994, 0.0996, 0.934, 1.0].map(percent);
        assert_eq!(told, ["0 %", "0.1 %", "9.9 %", "10 %", "93 %", "100 %"]);
        let told = [0, 1, 2000].map(|number| counted(number, "flow"));
        assert_eq!(told, ["0 flows", "1 flow", "2,000 flows"]);
        let told = [0, 99, 100, 2000].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(told, ["0 ms", "99 ms", "0.1 s", "2 s"]);
        let range = |low, high| Range {
            low,
            median: low,
            high,
        };
        assert_eq!(span(range(0.26, 0.31), percent), "26–31 %");
        assert_eq!(span(range(1.0, 1.0), percent), "100 %");
    }
}
