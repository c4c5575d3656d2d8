//! Two sockets at 127.0.0.1 and one at 0.0.0.0 share a port: what the kernel
//! lists of them, and how a reader of that list comes to see only two.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::anyhow;

use super::trial::{TrialEnd, free_port, open};
use super::{SPECIFIC, WILDCARD, reuse, shown};
use crate::lab::result::Table;
use crate::sys::proc_net::{Protocol, listed};
use crate::sys::sock_diag::{Listed, bound_to};

/// Sockets that there are.
const SOCKETS: usize = 3;
/// Ports that are tried; a socket of somebody else may get in between.
const ATTEMPTS: usize = 3;

/// Times that the lists are read until they are complete: one that is read
/// while sockets come and go may miss some or have some twice, as the kernel
/// goes on by position (`udp_get_idx` in `net/ipv4/udp.c`).
const READS: usize = 5;

/// What is listed of the three.
pub struct Listing {
    /// UDP, or listeners of TCP.
    pub protocol: Protocol,
    /// The lines of /proc/net/udp or tcp.
    pub proc: Vec<SocketAddr>,
    /// The sockets over netlink, where the kernel has that.
    pub netlink: Option<Vec<Listed>>,
}

impl Listing {
    /// Opens the three and reads the lists.
    ///
    /// # Errors
    ///
    /// Sockets that cannot be had.
    pub fn take(protocol: Protocol) -> anyhow::Result<Listing> {
        let (_sockets, port) = open_three(protocol)?;
        let mut listing = Listing::read(protocol, port);
        for _ in 1..READS {
            if !listing.is_complete() {
                listing = Listing::read(protocol, port);
            }
        }
        Ok(listing)
    }

    fn read(protocol: Protocol, port: u16) -> Listing {
        let proc = listed(protocol).into_iter();
        Listing {
            protocol,
            proc: proc.filter(|local| local.port() == port).collect(),
            netlink: bound_to(port, protocol == Protocol::Tcp).ok(),
        }
    }

    /// Different pairs of address and port among the lines.
    pub fn addresses(&self) -> usize {
        self.proc.iter().collect::<BTreeSet<_>>().len()
    }

    fn is_complete(&self) -> bool {
        let inodes = |listed: &Vec<Listed>| {
            let inodes: BTreeSet<u32> = listed.iter().map(|listed| listed.inode).collect();
            listed.len() == SOCKETS && inodes.len() == SOCKETS
        };
        self.proc.len() == SOCKETS && self.netlink.as_ref().is_none_or(inodes)
    }
}

fn open_three(protocol: Protocol) -> anyhow::Result<(Vec<TrialEnd>, u16)> {
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let port = free_port(protocol)?;
        let open = |ip| open(protocol, SocketAddr::new(ip, port), reuse(false, true));
        match [SPECIFIC, SPECIFIC, WILDCARD]
            .into_iter()
            .map(open)
            .collect()
        {
            Ok(sockets) => return Ok((sockets, port)),
            Err(refusal) => last = refusal.errno,
        }
    }
    Err(anyhow!("three sockets cannot share a port: {last}"))
}

/// The lists, side by side.
pub fn table(listings: &[Listing]) -> Table {
    // Who sees two of the three may have a tool that shows each address once.
    let mut table = Table::new(
        "Two sockets at 127.0.0.1 and one at 0.0.0.0 on one port with SO_REUSEPORT: what is listed",
        &["list", "sockets", "addresses", "at 127.0.0.1", "at 0.0.0.0"],
    );
    for listing in listings {
        let name = shown::protocol(listing.protocol);
        let proc = format!("/proc/net/{}", name.to_lowercase());
        table.row(cells(proc, &listing.proc));
        let list = format!("netlink sock_diag, {name}");
        match &listing.netlink {
            Some(listed) => {
                let locals: Vec<SocketAddr> = listed.iter().map(|listed| listed.local).collect();
                table.row(cells(list, &locals));
            }
            None => table.row([
                list + ": not in this kernel",
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ]),
        }
    }
    table
}

fn cells(list: String, locals: &[SocketAddr]) -> [String; 5] {
    let at = |ip| {
        locals
            .iter()
            .filter(|local| local.ip() == ip)
            .count()
            .to_string()
    };
    let addresses = locals.iter().collect::<BTreeSet<_>>().len();
    [
        list,
        locals.len().to_string(),
        addresses.to_string(),
        at(SPECIFIC),
        at(WILDCARD),
    ]
}
