//! Workers that tell in their replies on which CPU each datagram was received
//! and on which one they ran, and the client that asks them and counts.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket as Client};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};

use super::group::any_port_towards;
use super::site::Site;
use crate::server::placement::{Seat, take};
use crate::sys::lab::cpu;
use crate::sys::port::{Port, SocketPort, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::steer::{self, Steer};

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
/// Workers that run until they are dropped.
pub struct CpuWorkers {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    running: Vec<JoinHandle<()>>,
}

impl CpuWorkers {
    /// Binds a group and starts a worker on each socket, one for each of the CPUs,
    /// held there or not.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn start(
        site: Site,
        cpus: &[usize],
        pinned: bool,
        steer: Option<Steer>,
    ) -> anyhow::Result<CpuWorkers> {
        let sockets = bind(site, cpus.len())?;
        let first = sockets.first().context("there is to be a worker")?;
        if let Some(steer) = steer {
            steer::attach(first, steer, cpus).context("cannot steer the group")?;
        }
        let mut workers = CpuWorkers {
            address: first.local(),
            stop: Arc::default(),
            running: Vec::new(),
        };
        for (socket, &cpu) in sockets.into_iter().zip(cpus) {
            let (seat, stop) = (Seat { cpu, pinned }, workers.stop.clone());
            let thread = thread::Builder::new().name("shardns-probe".into());
            // One that fails does not answer, which the client tells.
            let serve = move || drop(serve(&socket, seat, &stop));
            workers.running.push(thread.spawn(serve)?);
        }
        Ok(workers)
    }

    /// Where they answer.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for CpuWorkers {
    fn drop(&mut self) {
        // Relaxed: the flag is all that is passed on.
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.running.drain(..) {
            let _ = worker.join();
        }
    }
}

fn bind(site: Site, count: usize) -> anyhow::Result<Vec<Arc<UdpSocket>>> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: BUFFER,
        timeout: TICK,
    };
    let mut sockets: Vec<Arc<UdpSocket>> = Vec::new();
    while sockets.len() < count {
        let address = sockets.first().map_or(site.address, |first| first.local());
        let socket = UdpSocket::bind(address, &options, &mut Vec::new()).context("cannot bind")?;
        cpu::tell_by_length(&socket, BASE as u16, site.source)
            .context("cannot put a filter on a socket")?;
        sockets.push(Arc::new(socket));
    }
    Ok(sockets)
}

/// Opens the client's sockets, each a flow to `peer`.
///
/// # Errors
///
/// What the kernel says, with what to do.
pub fn connect(peer: SocketAddr, flows: usize) -> anyhow::Result<Vec<Client>> {
    let client = |_| {
        let client = Client::bind(any_port_towards(peer))?;
        client.connect(peer)?;
        client.set_read_timeout(Some(PATIENCE))?;
        Ok(client)
    };
    let clients: std::io::Result<Vec<Client>> = (0..flows).map(client).collect();
    clients.with_context(|| format!("cannot open {flows} client sockets; raise `ulimit -n`"))
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

/// Answers until `stop` is set, on the seat's CPU.
fn serve(socket: &Arc<UdpSocket>, seat: Seat, stop: &AtomicBool) -> anyhow::Result<()> {
    if !take(seat) {
        bail!("cannot hold a worker on CPU {}", seat.cpu);
    }
    let mut port = SocketPort::new(socket.clone(), 32, DATAGRAM, REPLY);
    while !stop.load(Ordering::Relaxed) {
        let received = port.receive(Wait::ForOne)?;
        for slot in 0..received {
            let (request, reply) = port.exchange(slot);
            let Some((id, rest)) = request.split_first_chunk() else {
                continue;
            };
            let seen = Seen {
                id: u16::from_be_bytes(*id),
                received: rest.len() as u16,
                ran: cpu::current()? as u16,
                told: cpu::incoming(&**socket)?.map(|cpu| cpu as u16),
            };
            reply.copy_from_slice(&seen.write());
            port.set_reply(slot, REPLY);
        }
        port.send(|_| {});
    }
    Ok(())
}

/// What the client was told, in datagrams.
#[derive(Debug, Default)]
pub struct CpuTally {
    /// All.
    pub answered: u64,
    /// Received on the CPU that the worker ran on.
    pub local: u64,
    /// Received on the client's CPU.
    pub on_client_cpu: u64,
    /// By the CPU that received them.
    pub by_cpu: BTreeMap<usize, u64>,
    /// `SO_INCOMING_CPU` of the worker's socket named the CPU.
    pub told: u64,
    /// That of the client's named one, of the reply.
    pub told_to_client: u64,
}

/// Sends a datagram for each of the IDs from one CPU, each when the one before
/// is answered.
///
/// # Errors
///
/// A CPU that cannot be had, a worker that does not answer.
pub fn ask(
    clients: &[Client],
    cpu: usize,
    ids: &[u16],
    stop: &AtomicBool,
) -> anyhow::Result<CpuTally> {
    if !take(Seat { cpu, pinned: true }) {
        bail!("cannot hold the client on CPU {cpu}");
    }
    let (mut tally, mut datagram) = (CpuTally::default(), [0; DATAGRAM]);
    for (&id, client) in ids.iter().zip(clients.iter().cycle()) {
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
        *tally.by_cpu.entry(seen.received.into()).or_default() += 1;
        tally.told += u64::from(seen.told == Some(seen.received));
        tally.told_to_client += u64::from(cpu::incoming(client)?.is_some());
    }
    Ok(tally)
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
}
