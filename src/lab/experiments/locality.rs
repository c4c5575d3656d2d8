//! `locality`: whether a worker runs on the CPU that received the datagram. The
//! workers tell in their replies where each datagram was received and where
//! they ran; who asked counts.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket as Client};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;

use crate::lab::figure::{Bars, Figure, Panel};
use crate::lab::group::ANY_PORT;
use crate::lab::outcome::{Outcome, Table, rows};
use crate::lab::veth::Veth;
use crate::lab::{Experiment, Lab};
use crate::server::placement::{Seat, allowed_cpus, take};
use crate::sys::batch::{Batch, Wait};
use crate::sys::cpu;
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::steer::{self, Steer};

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "locality",
    question: "Does the worker run where the packet arrived?",
    method: "A worker for each CPU (or as many as --sockets, 64 at most, 16 with --quick), held on its CPU or not, answers 256 flows of a client that is held on each of up to 8 CPUs in turn and sends one datagram after another. Every --steer policy, in rounds with new workers and ports; on loopback and, as root, between two network namespaces over a veth pair, as it is and with receive packet steering, which spreads flows over CPUs as a network card with several queues does. A filter on the socket notes the receiving CPU of each datagram in the length that it leaves of it, since SO_INCOMING_CPU is noted for connected UDP sockets only; it is read, too. Not covered: real network cards, CPUs beyond 1,390.",
    expectation: "Without a network card a datagram is received on the CPU that sends it. hash, query-id and random know nothing of CPUs: the worker is where the datagram was received as often as chance has it. cpu chooses the worker held on the receiving CPU, always, and with workers that are not held, only where the scheduler happens to run them there.",
    run,
};

/// The most workers, and the most CPUs that the client is held on.
const MOST_WORKERS: usize = 64;
const MOST_WORKERS_QUICK: usize = 16;
const MOST_CLIENT_CPUS: usize = 8;
const FLOWS: usize = 256;
/// Octets of a datagram, and those that the filter leaves of it at least: the
/// message ID.
const DATAGRAM: usize = 1400;
const BASE: usize = 2;
/// Octets of a reply: four numbers.
const REPLY: usize = 8;
const BUFFER: usize = 1 << 18;
/// How often a worker looks whether it is to end.
const TICK: Duration = Duration::from_millis(20);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Standard deviations within which 95 of 100 figures lie.
const SURE: f64 = 1.96;

const POLICIES: [(&str, Option<Steer>); 4] = [
    ("hash", None),
    ("query-id", Some(Steer::QueryId)),
    ("random", Some(Steer::Random)),
    ("cpu", Some(Steer::Cpu)),
];

const NETWORKS: [&str; 3] = ["loopback", "veth", "spread veth"];

/// Where client and server meet.
struct Network<'v> {
    name: &'static str,
    veth: Option<&'v Veth>,
}

/// A round of one policy with the client on one CPU.
#[derive(Serialize)]
struct Measured {
    network: &'static str,
    policy: &'static str,
    pinned: bool,
    round: usize,
    workers: usize,
    client_cpu: usize,
    datagrams: u64,
    /// Datagrams received on the CPU that the worker ran on.
    local: u64,
    /// `local` of all.
    share: f64,
    /// Datagrams received on the client's CPU.
    on_client_cpu: u64,
    /// Datagrams after which `SO_INCOMING_CPU` of the worker's socket named the
    /// CPU that received it.
    told: u64,
    /// Replies after which that of the client's connected socket named one.
    told_to_client: u64,
}

fn run(lab: &Lab) -> anyhow::Result<Outcome> {
    let rounds = lab.choose(5, 1);
    lab.plan(3 * rounds * POLICIES.len() * 2);
    let (mut measured, mut left_out) = (Vec::new(), Vec::new());
    let mut meet = |name, veth| {
        let network = Network { name, veth };
        (0..rounds).try_for_each(|round| measure_round(lab, &network, round, &mut measured))
    };
    meet(NETWORKS[0], None)?;
    match Veth::new() {
        Err(error) => left_out.push(format!("veth is left out, which needs root ({error:#})")),
        Ok(veth) => {
            meet(NETWORKS[1], Some(&veth))?;
            match veth.spread(&allowed_cpus()) {
                Err(error) => left_out.push(format!("spread veth is left out ({error:#})")),
                Ok(()) => meet(NETWORKS[2], Some(&veth))?,
            }
        }
    }
    // Rounds of the same together; the order is otherwise kept.
    let place = |name| POLICIES.iter().position(|(policy, _)| *policy == name);
    measured.sort_by_key(|m| {
        (
            NETWORKS.iter().position(|name| *name == m.network),
            place(m.policy),
            !m.pinned,
        )
    });
    let summaries = summaries(&measured);
    Ok(Outcome {
        finding: finding(&summaries, &measured, &left_out),
        tables: vec![table(&summaries, &left_out)],
        figure: figure(&summaries),
        rows: rows(&measured),
    })
}

fn measure_round(
    lab: &Lab,
    network: &Network,
    round: usize,
    measured: &mut Vec<Measured>,
) -> anyhow::Result<()> {
    for (policy, steer) in POLICIES {
        for pinned in [true, false] {
            let how = if pinned { "pinned" } else { "not pinned" };
            lab.step(format!("{}: {policy}, {how}", network.name))?;
            let new = |(client_cpu, tally): (usize, Tally)| Measured {
                network: network.name,
                policy,
                pinned,
                round,
                workers: workers(lab),
                client_cpu,
                datagrams: tally.answered,
                local: tally.local,
                share: tally.local as f64 / tally.answered.max(1) as f64,
                on_client_cpu: tally.on_client_cpu,
                told: tally.told,
                told_to_client: tally.told_to_client,
            };
            measured.extend(measure(lab, network, steer, pinned)?.into_iter().map(new));
        }
    }
    Ok(())
}

fn workers(lab: &Lab) -> usize {
    lab.sockets(allowed_cpus().len())
        .min(lab.choose(MOST_WORKERS, MOST_WORKERS_QUICK))
}

/// Lets the client ask from one CPU after the other.
fn measure(
    lab: &Lab,
    network: &Network,
    steer: Option<Steer>,
    pinned: bool,
) -> anyhow::Result<Vec<(usize, Tally)>> {
    let cpus = allowed_cpus();
    let seats: Vec<usize> = cpus.iter().copied().cycle().take(workers(lab)).collect();
    let sockets = network.at_server(|address| bind(address, seats.len()))?;
    if let Some(steer) = steer {
        steer::attach(&sockets[0], steer, &seats).context("cannot steer the group")?;
    }
    let clients = network.at_client(|| connect(sockets[0].local()))?;
    let (datagrams, stop) = (lab.choose(FLOWS as u16, 100), AtomicBool::new(false));
    thread::scope(|scope| {
        let _stopping = Stopping(&stop);
        for (socket, &cpu) in sockets.iter().zip(&seats) {
            let (seat, stop) = (Seat { cpu, pinned }, &stop);
            // A worker that fails does not answer, which the client tells.
            scope.spawn(move || serve(socket, seat, stop));
        }
        let ask = |&cpu: &usize| {
            let asking = scope.spawn({
                let (clients, stop) = (&clients, lab.stop());
                move || ask(clients, cpu, datagrams, stop)
            });
            let tally = asking
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            lab.check()?;
            Ok((cpu, tally?))
        };
        cpus.iter().take(MOST_CLIENT_CPUS).map(ask).collect()
    })
}

/// Ends the workers, however their scope is left.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        // Relaxed: nothing is read on the strength of it.
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Network<'_> {
    fn at_server<T: Send>(
        &self,
        work: impl FnOnce(SocketAddr) -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        match self.veth {
            None => work(ANY_PORT),
            Some(veth) => veth.server().within(|| work(veth.address())),
        }
    }

    fn at_client<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        match self.veth {
            None => work(),
            Some(veth) => veth.client().within(work),
        }
    }
}

fn bind(address: SocketAddr, count: usize) -> anyhow::Result<Vec<UdpSocket>> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: BUFFER,
        timeout: TICK,
    };
    let mut sockets: Vec<UdpSocket> = Vec::new();
    while sockets.len() < count {
        let address = sockets.first().map_or(address, UdpSocket::local);
        let socket = UdpSocket::bind(address, &options, &mut Vec::new()).context("cannot bind")?;
        cpu::tell_by_length(&socket, BASE as u16).context("cannot put a filter on a socket")?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn connect(peer: SocketAddr) -> anyhow::Result<Vec<Client>> {
    let client = |_| {
        let client = Client::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        client.connect(peer)?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(client)
    };
    let clients: std::io::Result<Vec<Client>> = (0..FLOWS).map(client).collect();
    clients.with_context(|| format!("cannot open {FLOWS} client sockets; raise `ulimit -n`"))
}

/// What a worker says of a datagram: its ID, and CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    id: u16,
    received: u16,
    ran: u16,
    told: Option<u16>,
}

impl Seen {
    fn write(self) -> [u8; REPLY] {
        // No kernel has that many CPUs.
        let told = self.told.unwrap_or(u16::MAX);
        let mut reply = [0; REPLY];
        let numbers = [self.id, self.received, self.ran, told];
        for (place, number) in reply.chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        reply
    }

    fn read(reply: [u8; REPLY]) -> Seen {
        let [a, b, c, d, e, f, g, h] = reply;
        let told = u16::from_be_bytes([g, h]);
        Seen {
            id: u16::from_be_bytes([a, b]),
            received: u16::from_be_bytes([c, d]),
            ran: u16::from_be_bytes([e, f]),
            told: (told != u16::MAX).then_some(told),
        }
    }
}

fn serve(socket: &UdpSocket, seat: Seat, stop: &AtomicBool) -> anyhow::Result<()> {
    if !take(seat) {
        bail!("cannot hold a worker on CPU {}", seat.cpu);
    }
    let mut batch = Batch::new(socket, 32, DATAGRAM, REPLY);
    while !stop.load(Ordering::Relaxed) {
        let received = batch.receive(socket, Wait::ForOne)?;
        for slot in 0..received {
            let (request, reply) = batch.exchange(slot);
            let Some((id, rest)) = request.split_first_chunk() else {
                continue;
            };
            let seen = Seen {
                id: u16::from_be_bytes(*id),
                received: rest.len() as u16,
                ran: cpu::current()? as u16,
                told: cpu::incoming(socket)?.map(|cpu| cpu as u16),
            };
            reply.copy_from_slice(&seen.write());
            batch.set_reply(slot, REPLY);
        }
        batch.send(socket, |_| {});
    }
    Ok(())
}

/// What the client was told.
#[derive(Default)]
struct Tally {
    answered: u64,
    local: u64,
    on_client_cpu: u64,
    told: u64,
    told_to_client: u64,
}

fn ask(clients: &[Client], cpu: usize, datagrams: u16, stop: &AtomicBool) -> anyhow::Result<Tally> {
    if !take(Seat { cpu, pinned: true }) {
        bail!("cannot hold the client on CPU {cpu}");
    }
    let (mut tally, mut datagram) = (Tally::default(), [0; DATAGRAM]);
    for (id, client) in (0..datagrams).zip(clients.iter().cycle()) {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        datagram[..BASE].copy_from_slice(&id.to_be_bytes());
        client.send(&datagram).context("cannot send")?;
        let mut reply = [0; REPLY];
        client
            .recv(&mut reply)
            .context("a worker does not answer")?;
        let seen = Seen::read(reply);
        if seen.id != id {
            bail!("a worker answers {} in place of {id}", seen.id);
        }
        tally.answered += 1;
        tally.local += u64::from(seen.received == seen.ran);
        tally.on_client_cpu += u64::from(usize::from(seen.received) == cpu);
        tally.told += u64::from(seen.told == Some(seen.received));
        tally.told_to_client += u64::from(cpu::incoming(client)?.is_some());
    }
    Ok(tally)
}

/// A policy on a network, with all rounds and all of the client's CPUs.
struct Summary {
    network: &'static str,
    policy: &'static str,
    pinned: bool,
    datagrams: u64,
    local: f64,
    /// The smallest and the largest share of a round.
    rounds: (f64, f64),
    on_client_cpu: f64,
    told: f64,
    /// The share that chance would have, within what chance does to it.
    is_chance: bool,
}

fn summaries(measured: &[Measured]) -> Vec<Summary> {
    let same = |a: &Measured, b: &Measured| {
        (a.network, a.policy, a.pinned) == (b.network, b.policy, b.pinned)
    };
    measured.chunk_by(same).map(summary).collect()
}

fn summary(group: &[Measured]) -> Summary {
    let share = |group: &[Measured], count| {
        sum(group, count) as f64 / sum(group, |m| m.datagrams).max(1) as f64
    };
    let rounds = group.chunk_by(|a, b| a.round == b.round);
    // The hash decides once for each flow, and so does what spreads them; the
    // client asks from each CPU with the same flows.
    let flows = rounds.clone().map(|round| round[0].datagrams).sum();
    let local = share(group, |m| m.local);
    let by_round = rounds.map(|round| share(round, |m| m.local));
    Summary {
        network: group[0].network,
        policy: group[0].policy,
        pinned: group[0].pinned,
        datagrams: sum(group, |m| m.datagrams),
        local,
        rounds: by_round.fold((1.0, 0.0), |(low, high), share| {
            (share.min(low), share.max(high))
        }),
        on_client_cpu: share(group, |m| m.on_client_cpu),
        told: share(group, |m| m.told),
        // Workers that are not held are moved about or not: nothing in that is
        // independent from one datagram to the next.
        is_chance: group[0].pinned && is_chance(local, allowed_cpus().len(), flows),
    }
}

fn sum(measured: &[Measured], count: fn(&Measured) -> u64) -> u64 {
    measured.iter().map(count).sum()
}

/// True where so many independent choices among the CPUs may well have made
/// the share.
fn is_chance(share: f64, cpus: usize, chances: u64) -> bool {
    let expected = 1.0 / cpus as f64;
    let deviation = (expected * (1.0 - expected) / chances.max(1) as f64).sqrt();
    cpus > 1 && (share - expected).abs() <= SURE * deviation
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn by_round(summary: &Summary) -> String {
    let (low, high) = summary.rounds;
    match (percent(low), percent(high)) {
        (low, high) if low == high => low,
        (low, high) => format!("{}–{high}", low.trim_end_matches(" %")),
    }
}

fn table(summaries: &[Summary], left_out: &[String]) -> Table {
    let mut title = "Share of datagrams received on the worker's CPU".to_owned();
    for reason in left_out {
        title += &format!("; {reason}");
    }
    let header = [
        "network",
        "policy",
        "workers",
        "datagrams",
        "on the worker's CPU",
        "by round",
        "on the client's CPU",
        "SO_INCOMING_CPU right",
    ];
    let mut table = Table::new(title, &header);
    for s in summaries {
        let chance = if s.is_chance { ", as chance" } else { "" };
        table.row([
            s.network.into(),
            s.policy.into(),
            if s.pinned { "pinned" } else { "not pinned" }.into(),
            s.datagrams.to_string(),
            percent(s.local) + chance,
            by_round(s),
            percent(s.on_client_cpu),
            percent(s.told),
        ]);
    }
    table
}

fn figure(summaries: &[Summary]) -> Figure {
    let panel = |own: &[Summary]| {
        let bars = |name: &str, pinned: bool| {
            let own = own.iter().filter(|s| s.pinned == pinned);
            (name.to_owned(), own.map(|s| s.local).collect())
        };
        Panel::Bars(Bars {
            title: format!("Received on the worker's CPU, {}", own[0].network),
            y: "share of datagrams".into(),
            groups: POLICIES.map(|(name, _)| name.to_owned()).into(),
            series: vec![bars("pinned", true), bars("not pinned", false)],
        })
    };
    let networks = summaries.chunk_by(|a, b| a.network == b.network);
    Figure {
        panels: networks.map(panel).collect(),
    }
}

fn finding(summaries: &[Summary], measured: &[Measured], left_out: &[String]) -> String {
    let networks = summaries.chunk_by(|a, b| a.network == b.network);
    let said: Vec<String> = networks.map(finding_on).collect();
    let all = sum(measured, |m| m.datagrams).max(1) as f64;
    let told = percent(sum(measured, |m| m.told) as f64 / all);
    let told_to_client = percent(sum(measured, |m| m.told_to_client) as f64 / all);
    let mut finding = format!(
        "Of all datagrams these are received on the worker's CPU: {}; SO_INCOMING_CPU names it for {told} on the workers' sockets, and names one for {told_to_client} on the clients', which are connected",
        said.join("; ")
    );
    for reason in left_out {
        finding += &format!("; {reason}");
    }
    finding + "."
}

fn finding_on(network: &[Summary]) -> String {
    let join = |parts: Vec<String>| parts.join(", ");
    let (by_chance, other): (Vec<&Summary>, Vec<&Summary>) = network
        .iter()
        .filter(|s| s.pinned)
        .partition(|s| s.is_chance);
    let of = |s: &&Summary| format!("{} {}", s.policy, percent(s.local));
    let mut pinned: Vec<String> = other.iter().map(of).collect();
    if !by_chance.is_empty() {
        let names = by_chance.iter().map(|s| s.policy.to_owned()).collect();
        pinned.push(format!("{} as many as chance has", join(names)));
    }
    let free = network.iter().filter(|s| !s.pinned);
    let free = free.map(|s| format!("{} {}", s.policy, by_round(s)));
    format!(
        "on {} {}, and from round to round where workers are not pinned {}",
        network[0].network,
        join(pinned),
        join(free.collect())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_told() {
        for told in [None, Some(0), Some(1023)] {
            let seen = Seen {
                id: 0x1234,
                received: 300,
                ran: 2,
                told,
            };
            assert_eq!(Seen::read(seen.write()), seen);
        }
    }

    #[test]
    fn chance_has_a_range() {
        // Half of 256, give or take 16.
        assert!(is_chance(0.5, 2, 256) && is_chance(0.56, 2, 256));
        assert!(!is_chance(0.57, 2, 256) && !is_chance(1.0, 2, 256));
        // One CPU leaves nothing to chance.
        assert!(!is_chance(1.0, 1, 256));
    }
}
