//! What is known of a group of sockets, put together: from the kernel's lists, the
//! processes, and what was seen for a while. What could not be known is said too.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::chance::Chance;
use super::holders::{Holder, Holders};
use super::members::Members;
use super::window::{Queue, Seen};
use crate::sys::lab::borrow::{self, SocketOptions};
use crate::sys::lab::diag::{Described, Diag};
use crate::sys::lab::tap::Ends;
use crate::sys::proc_net::Protocol;

/// Flows that nobody has, for which the kernel is asked, for each socket; one that
/// is in use is passed over by all of them once in e^256 times.
const ASKED: usize = 256;
/// The fewest and the most of them: the latter take a third of a second.
const ALL_ASKED: std::ops::RangeInclusive<usize> = 4096..=1 << 16;
/// Networks for documentation (RFC 5737 §3, RFC 3849): nobody sends from there.
const NOBODY_V4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NOBODY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// What tells how much each socket took, from the best to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Each receive, counted by the kernel's tracepoint.
    Receives,
    /// Datagrams as they came in, each where the kernel's lookup says that its
    /// flow goes.
    Datagrams,
    /// Connections, by the process that has them.
    Connections,
    /// Clients of this machine that are connected, by the kernel's lookup; how much
    /// they send is not known.
    Clients,
    /// Nothing.
    Nothing,
}

/// A socket that takes its part.
#[derive(Clone, Debug)]
pub struct Member {
    /// As the kernel describes it.
    pub socket: Described,
    /// Who has it open.
    pub holders: Vec<Holder>,
    /// What a descriptor tells, where one could be borrowed.
    pub options: Option<SocketOptions>,
    /// The part of all possible flows that the kernel's lookup gives it.
    pub asked: f64,
    /// Flows that were seen and that the lookup gives it.
    pub flows: u64,
    /// Datagrams of these.
    pub by_hash: u64,
    /// Datagrams that were received from it, where that was counted, or
    /// connections.
    pub received: Option<u64>,
    /// Threads that received, the busiest first.
    pub readers: Vec<String>,
    /// How its queue went.
    pub queue: Queue,
}

/// A flow and how much it carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heaviest {
    /// Where it came from.
    pub peer: SocketAddr,
    /// Datagrams.
    pub datagrams: u64,
}

/// All that is known.
#[derive(Debug)]
pub struct Facts {
    /// UDP, or listeners of TCP.
    pub protocol: Protocol,
    /// Where datagrams are sent to.
    pub address: SocketAddr,
    /// How long it was watched.
    pub lasted: Duration,
    /// The sockets.
    pub members: Vec<Member>,
    /// What their parts are told from.
    pub evidence: Evidence,
    /// Flows that were seen.
    pub flows: usize,
    /// Datagrams of them.
    pub datagrams: u64,
    /// The one with the most datagrams, where these were counted.
    pub heaviest: Option<Heaviest>,
    /// What chance would make of the flows.
    pub chance: Option<Chance>,
    /// Processes, those of one server together.
    pub parties: Vec<Vec<Holder>>,
    /// What could not be known, and what would help.
    pub unknown: Vec<String>,
}

impl Member {
    /// What it took, as far as the evidence goes: what nobody read for want of
    /// room counts too.
    pub fn took(&self, evidence: Evidence) -> u64 {
        match evidence {
            Evidence::Receives => self.received.unwrap_or(0) + self.queue.drops(),
            Evidence::Connections => self.received.unwrap_or(0),
            Evidence::Datagrams | Evidence::Clients => self.by_hash,
            Evidence::Nothing => 0,
        }
    }
}

impl Facts {
    /// Puts together what was seen.
    ///
    /// # Errors
    ///
    /// What the kernel says to a lookup.
    pub fn gather(diag: &Diag, members: &Members, seen: Seen, seed: u64) -> anyhow::Result<Facts> {
        let connections = match members.protocol {
            Protocol::Tcp => diag.connected(members.address.port())?,
            Protocol::Udp => Vec::new(),
        };
        let sockets = members.sockets.iter().chain(&connections);
        let inodes: BTreeSet<u32> = sockets.map(|socket| socket.inode).collect();
        let holders = Holders::find(&inodes);
        let mut facts = Facts {
            protocol: members.protocol,
            address: members.address,
            lasted: seen.lasted,
            members: describe(members, &holders, &seen),
            evidence: Evidence::Nothing,
            flows: 0,
            datagrams: 0,
            heaviest: None,
            chance: None,
            parties: holders.parties_of(members.sockets.iter().map(|socket| socket.inode)),
            unknown: unknown(members, &holders, &seen),
        };
        facts.ask(diag, members, seed)?;
        let weights = match members.protocol {
            Protocol::Udp => facts.place(diag, members, &seen)?,
            Protocol::Tcp => facts.share_out(members, &connections, &holders),
        };
        let open = facts.members.iter().filter(|member| member.asked > 0.0);
        facts.chance = Chance::of(&weights, open.count(), seed);
        Ok(facts)
    }

    /// Has the kernel say where flows would go that nobody has.
    fn ask(&mut self, diag: &Diag, members: &Members, seed: u64) -> anyhow::Result<()> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let nobody: IpAddr = match members.address {
            SocketAddr::V4(_) => NOBODY_V4.into(),
            SocketAddr::V6(_) => NOBODY_V6.into(),
        };
        let count = (ASKED * self.members.len()).clamp(*ALL_ASKED.start(), *ALL_ASKED.end());
        for _ in 0..count {
            let peer = SocketAddr::new(nobody, random.random_range(1..=u16::MAX));
            let chosen = diag.chosen(peer, members.address, members.interface())?;
            if let Some(index) = chosen.and_then(|cookie| members.position(cookie)) {
                self.members[index].asked += 1.0 / count as f64;
            }
        }
        Ok(())
    }

    /// Puts each flow where the kernel's lookup has it; returns their datagrams.
    fn place(&mut self, diag: &Diag, members: &Members, seen: &Seen) -> anyhow::Result<Vec<u64>> {
        let clients;
        let flows: &HashMap<Ends, u64> = match seen.flows.get() {
            Some(flows) => {
                self.evidence = Evidence::Datagrams;
                &flows.datagrams
            }
            None => {
                self.evidence = Evidence::Clients;
                clients = clients_here(diag, members)?;
                &clients
            }
        };
        let mut weights = Vec::new();
        for (&(peer, ip), &datagrams) in flows {
            let local = SocketAddr::new(ip, members.address.port());
            let chosen = diag.chosen(peer, local, members.interface())?;
            // A socket with an address of its own takes what is sent there.
            let Some(index) = chosen.and_then(|cookie| members.position(cookie)) else {
                continue;
            };
            self.members[index].flows += 1;
            self.members[index].by_hash += datagrams;
            weights.push(datagrams);
            let is_heavier = |other: &Heaviest| datagrams > other.datagrams;
            if self.evidence == Evidence::Datagrams && self.heaviest.as_ref().is_none_or(is_heavier)
            {
                self.heaviest = Some(Heaviest { peer, datagrams });
            }
        }
        // Chance is drawn in an order, which is to be the same for the same flows.
        weights.sort_unstable();
        (self.flows, self.datagrams) = (weights.len(), weights.iter().sum());
        if self.flows == 0 && self.evidence == Evidence::Clients {
            self.evidence = Evidence::Nothing;
        }
        if let Some(recorded) = seen.receipts.get() {
            self.evidence = Evidence::Receives;
            for member in &mut self.members {
                let receipts = recorded.of.get(&member.socket.inode);
                let threads = receipts.map(|it| it.threads.clone()).unwrap_or_default();
                member.received = Some(receipts.map_or(0, |it| it.datagrams.round() as u64));
                member.readers = readers(&threads, &member.holders);
            }
        }
        Ok(weights)
    }

    /// Counts connections by the process that accepted them, where each listener
    /// has a process of its own.
    fn share_out(
        &mut self,
        members: &Members,
        connections: &[Described],
        holders: &Holders,
    ) -> Vec<u64> {
        let asked = members.address.ip();
        let here = |it: &&Described| asked.is_unspecified() || it.local.ip() == asked;
        let connections: Vec<&Described> = connections.iter().filter(here).collect();
        (self.flows, self.datagrams) = (connections.len(), connections.len() as u64);
        let processes = |held: &[Holder]| -> BTreeSet<u32> {
            held.iter().map(|holder| holder.process).collect()
        };
        let own: Vec<BTreeSet<u32>> = self
            .members
            .iter()
            .map(|it| processes(&it.holders))
            .collect();
        let all: BTreeSet<u32> = own.iter().flatten().copied().collect();
        let is_told = own.iter().all(|own| !own.is_empty())
            && all.len() == own.iter().map(BTreeSet::len).sum::<usize>();
        if !is_told {
            self.unknown.push(
                "which listener a connection came through is told only where each listener has \
                    a process of its own"
                    .into(),
            );
            return vec![1; connections.len()];
        }
        self.evidence = Evidence::Connections;
        for (member, own) in self.members.iter_mut().zip(&own) {
            let is_its = |it: &&&Described| {
                let by = holders.of(it.inode);
                by.iter().any(|holder| own.contains(&holder.process))
            };
            let count = connections.iter().filter(is_its).count() as u64;
            member.received = Some(count);
            member.flows = count;
        }
        vec![1; connections.len()]
    }
}

fn describe(members: &Members, holders: &Holders, seen: &Seen) -> Vec<Member> {
    let describe = |(socket, queue): (&Described, &Queue)| {
        let held = holders.of(socket.inode);
        let borrow =
            |holder: &Holder| borrow::options(holder.process, holder.descriptor, socket.cookie);
        Member {
            socket: socket.clone(),
            holders: held.to_vec(),
            options: held.iter().find_map(|holder| borrow(holder).ok()),
            asked: 0.0,
            flows: 0,
            by_hash: 0,
            received: None,
            readers: Vec::new(),
            queue: queue.clone(),
        }
    };
    members
        .sockets
        .iter()
        .zip(&seen.queues)
        .map(describe)
        .collect()
}

/// Clients on this machine that are connected to the group, one datagram each.
fn clients_here(diag: &Diag, members: &Members) -> anyhow::Result<HashMap<Ends, u64>> {
    let asked = members.address.ip();
    let connected = diag.connected(members.address.port())?.into_iter();
    let flow = |client: Described| {
        let ip = client.peer?.ip();
        let is_here = asked == ip || (asked.is_unspecified() && ip.is_loopback());
        is_here.then_some(((client.local, ip), 1))
    };
    Ok(connected.filter_map(flow).collect())
}

/// Threads by name, with their numbers, the busiest first.
fn readers(threads: &BTreeMap<u32, f64>, holders: &[Holder]) -> Vec<String> {
    let mut threads: Vec<(&u32, &f64)> = threads.iter().collect();
    threads.sort_by(|a, b| b.1.total_cmp(a.1));
    let name = |(thread, _): (&u32, &f64)| {
        let name = holders.iter().find_map(|holder| {
            let path = format!("/proc/{}/task/{thread}/comm", holder.process);
            fs::read_to_string(path).ok()
        });
        let name = name.as_deref().unwrap_or("thread").trim().to_owned();
        format!("{name} ({thread})")
    };
    threads.into_iter().map(name).collect()
}

fn unknown(members: &Members, holders: &Holders, seen: &Seen) -> Vec<String> {
    let mut unknown = Vec::new();
    let is_hidden = |socket: &Described| holders.of(socket.inode).is_empty();
    let hidden = members
        .sockets
        .iter()
        .filter(|socket| is_hidden(socket))
        .count();
    if hidden > 0 {
        let why = match holders.are_hidden {
            true => "its user or root may ask",
            false => "it may be in another container",
        };
        unknown.push(format!("who has {hidden} of the sockets open: {why}"));
    }
    if members.protocol == Protocol::Udp {
        for (what, why) in [
            ("which datagrams come in", seen.flows.why()),
            ("who receives them", seen.receipts.why()),
        ] {
            unknown.extend(why.map(|why| format!("{what}: {why}")));
        }
    }
    if let Some(missed) = seen
        .flows
        .get()
        .map(|flows| flows.missed)
        .filter(|it| *it > 0)
    {
        unknown.push(format!(
            "the flows of {missed} datagrams, which came too fast"
        ));
    }
    let estimated = seen.receipts.get().map_or(0, |it| it.estimated);
    if estimated > 0 {
        unknown.push(format!(
            "who received {estimated} datagrams; they are shared out like the others of their CPU"
        ));
    }
    if seen.gone + seen.joined > 0 {
        unknown.push(format!(
            "what it was like all the time: {} sockets came and {} went meanwhile",
            seen.joined, seen.gone
        ));
    }
    unknown
}
