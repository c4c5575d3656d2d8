//! Sockets that a service manager has bound: made as many as there are workers,
//! where the kernel lets others join them. It does for a process of the same user
//! and where they are of a group (`SO_REUSEPORT`); a service manager that is root
//! and a server that is not are two users, so that as many sockets as there are
//! workers have to be handed in then.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use super::bind::{self, Held};
use super::{Config, Sharing};
use crate::sys::socket::UdpSocket;

/// A socket that nobody reads would take its share of the datagrams all the same,
/// and closing it here does not close it: the service manager has it too.
pub fn fewest_workers(held: &Held) -> usize {
    held.groups.iter().map(Vec::len).max().unwrap_or(1)
}

/// Adds sockets and listeners where they lack, and the options of those that are
/// bound here; what cannot be had becomes a note.
pub fn complete(held: &mut Held, config: &Config, workers: usize) {
    // Every socket meets the same obstacles; each is told once.
    let mut notes = BTreeSet::new();
    for group in &mut held.groups {
        for socket in group.iter() {
            let mut own = Vec::new();
            socket.tune(&bind::options(config), &mut own);
            notes.extend(own);
        }
        if config.sharing == Sharing::Reuseport && group.len() < workers {
            notes.extend(fill(group, config, workers));
        }
    }
    notes.extend(listeners(held, config));
    held.notes.extend(notes);
}

/// Adds sockets to a group until each worker has one; where that cannot be, none.
fn fill(group: &mut Vec<Arc<UdpSocket>>, config: &Config, workers: usize) -> Option<String> {
    let (handed, address) = (group.len(), group[0].local());
    let reason = if group[0].is_grouped() {
        let added: Result<Vec<_>, _> = (handed..workers)
            .map(|_| UdpSocket::bind(address, &bind::options(config), &mut Vec::new()))
            .collect();
        match added {
            Ok(added) => {
                group.extend(added.into_iter().map(Arc::new));
                return None;
            }
            Err(error) => format!("the kernel lets no other join them: {error}"),
        }
    } else {
        "without ReusePort=yes no other can join them".to_owned()
    };
    let sockets = if handed == 1 { "socket" } else { "sockets" };
    Some(format!(
        "{workers} workers read {handed} {sockets} of {address}; {reason}. For one each, have the \
            service manager bind {workers}: ReusePort=yes, and ListenDatagram={address} {workers} \
            times"
    ))
}

/// Adds TCP listeners to the addresses that came without; takes away all where TCP
/// is not served.
fn listeners(held: &mut Held, config: &Config) -> Vec<String> {
    let has: BTreeSet<SocketAddr> = held
        .listeners
        .iter()
        .filter_map(|listener: &TcpListener| listener.local_addr().ok())
        .collect();
    if config.tcp.is_none() {
        held.listeners.clear();
        let told = |address| format!("TCP {address} was handed in and is not served (--no-tcp)");
        return has.into_iter().map(told).collect();
    }
    let mut notes = Vec::new();
    for address in held.addresses() {
        if has.contains(&address) {
            continue;
        }
        match bind::listener(config, address) {
            Ok(listener) => held.listeners.extend(listener),
            Err(error) => notes.push(format!(
                "{address} is served over UDP alone: {error}; ListenStream={address} hands a TCP \
                    socket in"
            )),
        }
    }
    notes
}
