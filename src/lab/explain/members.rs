//! Which sockets a datagram for an address may land on, and which of them stand
//! behind others: the kernel prefers a socket bound to the address to one bound
//! to all, and one of IPv4 to one of IPv6 that takes IPv4 too (`compute_score` in
//! `net/ipv4/udp.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sys::lab::diag::{Described, Diag};
use crate::sys::proc_net::Protocol;

/// Neighbours that are named where nothing is found.
const NAMED: usize = 6;

/// The sockets of a port, as seen from one address of it.
#[derive(Debug)]
pub struct Members {
    /// Where datagrams are sent to.
    pub address: SocketAddr,
    /// UDP, or listeners of TCP.
    pub protocol: Protocol,
    /// What takes them, in the order of binding as far as the kernel's list has it.
    pub sockets: Vec<Described>,
    /// Sockets of the port that others take precedence over at this address.
    pub behind: Vec<Described>,
    /// Sockets of the port whose address is another.
    pub elsewhere: Vec<Described>,
    /// Sockets of the port that hear one peer alone.
    pub connected: Vec<Described>,
}

/// There is nothing to explain, but perhaps something near.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {protocol} socket takes what is sent to {address}; {near}")]
pub struct NoSocket {
    protocol: &'static str,
    address: SocketAddr,
    near: String,
}

impl Members {
    /// Finds the sockets.
    ///
    /// # Errors
    ///
    /// `NoSocket`, or what the kernel says.
    pub fn find(diag: &Diag, protocol: Protocol, address: SocketAddr) -> anyhow::Result<Members> {
        let members = Members::among(diag.on_port(address.port())?, protocol, address);
        if !members.sockets.is_empty() {
            return Ok(members);
        }
        Err(NoSocket {
            protocol: name(protocol),
            address,
            near: near(&members, &diag.all()?),
        }
        .into())
    }

    fn among(listed: Vec<Described>, protocol: Protocol, address: SocketAddr) -> Members {
        let mut members = Members {
            address,
            protocol,
            sockets: Vec::new(),
            behind: Vec::new(),
            elsewhere: Vec::new(),
            connected: Vec::new(),
        };
        // A socket is put before those that were bound earlier, but one of IPv6 in a
        // group behind them (`__inet_hash` in `net/ipv4/inet_hashtables.c`,
        // `udp_lib_get_port` in `net/ipv4/udp.c`). So Linux 6.18 has it; the order is
        // promised nowhere, and other kernels' lists may have another.
        let is_ipv6 = |socket: &Described| socket.local.is_ipv6();
        let (mut listed, of_ipv4): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_ipv6);
        listed.extend(of_ipv4.into_iter().rev());
        let is_connected = |socket: &Described| socket.peer.is_some();
        let (connected, listed): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_connected);
        members.connected = connected;
        let rank = |socket: &Described| rank(socket, address.ip());
        let best = listed.iter().filter_map(rank).max();
        for socket in listed {
            match rank(&socket) {
                None => members.elsewhere.push(socket),
                found if found == best => members.sockets.push(socket),
                Some(_) => members.behind.push(socket),
            }
        }
        members
    }

    /// The member with this cookie.
    pub fn position(&self, cookie: u64) -> Option<usize> {
        self.sockets
            .iter()
            .position(|socket| socket.cookie == cookie)
    }

    /// True for every socket of the port that was there at the beginning.
    pub fn knows(&self, cookie: u64) -> bool {
        let others = [&self.behind, &self.elsewhere, &self.connected];
        let mut all = others.into_iter().flatten().chain(&self.sockets);
        all.any(|socket| socket.cookie == cookie)
    }

    /// The interface that all are bound to; 0 where there is none, or several.
    pub fn interface(&self) -> u32 {
        let interfaces: BTreeSet<u32> =
            self.sockets.iter().map(|socket| socket.interface).collect();
        match interfaces.into_iter().collect::<Vec<_>>()[..] {
            [interface] => interface,
            _ => 0,
        }
    }

    /// True where datagrams of IPv4, or of IPv6, may come here.
    pub fn takes(&self, ipv6: bool) -> bool {
        let takes = |socket: &Described| match socket.local.ip() {
            IpAddr::V4(_) => !ipv6,
            IpAddr::V6(ip) if ip.is_unspecified() => ipv6 || !socket.only_v6,
            IpAddr::V6(_) => ipv6,
        };
        let asked = self.address.ip();
        let is_of_family = asked.is_ipv6() == ipv6;
        let is_open = asked == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        (is_of_family || is_open) && self.sockets.iter().any(takes)
    }
}

/// How closely a socket's address fits; `None` where it does not.
fn rank(socket: &Described, asked: IpAddr) -> Option<u8> {
    match (socket.local.ip(), asked) {
        (held, asked) if held == asked => Some(3),
        (IpAddr::V4(held), IpAddr::V4(_)) if held.is_unspecified() => Some(2),
        (IpAddr::V6(held), IpAddr::V6(_)) if held.is_unspecified() => Some(2),
        (IpAddr::V6(held), IpAddr::V4(_)) if held.is_unspecified() && !socket.only_v6 => Some(1),
        _ => None,
    }
}

/// `UDP` or `TCP`.
pub fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    }
}

/// The same port elsewhere, else other ports of the same address.
fn near(members: &Members, all: &[Described]) -> String {
    let is_open = |socket: &&Described| socket.peer.is_none() && socket.local.port() != 0;
    let same_port: Vec<&Described> = members.elsewhere.iter().filter(is_open).collect();
    if !same_port.is_empty() {
        return format!("on this port there is {}", list(&same_port));
    }
    let ip = members.address.ip();
    let fits = |socket: &&Described| is_open(socket) && rank(socket, ip).is_some();
    let mut same_address: Vec<&Described> = all.iter().filter(fits).collect();
    let distance = |it: &&Described| it.local.port().abs_diff(members.address.port());
    same_address.sort_by_key(distance);
    let elsewhere = "a socket in another network namespace is seen from there only: \
        `nsenter --net --target PID shardns lab explain …`";
    match same_address.is_empty() {
        true => elsewhere.into(),
        false => format!(
            "at this address there is {}; {elsewhere}",
            list(&same_address)
        ),
    }
}

/// Addresses, each once, with how many sockets have it.
fn list(sockets: &[&Described]) -> String {
    let (mut order, mut counts) = (Vec::new(), BTreeMap::new());
    for socket in sockets {
        let count: &mut usize = counts.entry(socket.local).or_default();
        if *count == 0 {
            order.push(socket.local);
        }
        *count += 1;
    }
    let more = order.len().saturating_sub(NAMED);
    let mut named: Vec<String> = order
        .iter()
        .take(NAMED)
        .map(|local| match counts[local] {
            1 => local.to_string(),
            count => format!("{local} ({count} sockets)"),
        })
        .collect();
    if more > 0 {
        named.push(format!("{more} more"));
    }
    named.join(", ")
}

/// Reads `ADDR:PORT`, `[ADDR]:PORT` or `:PORT`, which is that of all addresses.
///
/// # Errors
///
/// A sentence on what is wrong.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let everywhere = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    let parsed = match everywhere {
        Some(port) => port
            .parse()
            .ok()
            .map(|port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        None => text.parse().ok(),
    };
    match parsed {
        Some(address) if address.port() != 0 => Ok(address),
        _ => Err("an address and a port are wanted, such as 127.0.0.1:53, [::1]:53 or :53".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::sys::lab::bind::{Reuse, bind_tcp, bind_udp};

    /// A socket bound to `local`.
    fn socket(local: &str, cookie: u64) -> Described {
        Described {
            local: local.parse().unwrap(),
            peer: None,
            interface: 0,
            cookie,
            inode: cookie as u32,
            user: 0,
            only_v6: false,
            mark: None,
            waiting: 0,
            room: 1 << 20,
            leaving: 0,
            drops: 0,
        }
    }

    fn cookies(sockets: &[Described]) -> Vec<u64> {
        sockets.iter().map(|socket| socket.cookie).collect()
    }

    #[test]
    fn the_closest_address_takes_precedence() {
        let listed = || {
            let only_v6 = Described {
                only_v6: true,
                ..socket("[::]:53", 6)
            };
            let connected = Described {
                peer: Some("192.0.2.1:5353".parse().unwrap()),
                ..socket("127.0.0.1:53", 7)
            };
            vec![
                socket("127.0.0.1:53", 1),
                socket("127.0.0.1:53", 2),
                socket("0.0.0.0:53", 3),
                socket("[::]:53", 4),
                socket("[::1]:53", 5),
                only_v6,
                connected,
            ]
        };
        let among =
            |address: &str| Members::among(listed(), Protocol::Udp, address.parse().unwrap());
        for (address, sockets, behind, elsewhere) in [
            ("127.0.0.1:53", vec![2, 1], vec![4, 3], vec![5, 6]),
            ("127.0.0.2:53", vec![3], vec![4], vec![5, 6, 2, 1]),
            ("0.0.0.0:53", vec![3], vec![4], vec![5, 6, 2, 1]),
            ("[::1]:53", vec![5], vec![4, 6], vec![3, 2, 1]),
            ("[::2]:53", vec![4, 6], vec![], vec![5, 3, 2, 1]),
        ] {
            let members = among(address);
            assert_eq!(cookies(&members.sockets), sockets, "{address}");
            assert_eq!(cookies(&members.behind), behind, "{address}");
            assert_eq!(cookies(&members.elsewhere), elsewhere, "{address}");
            assert_eq!(cookies(&members.connected), [7]);
        }
        let everywhere = Members::among(
            vec![socket("[::]:53", 4)],
            Protocol::Udp,
            "[::]:53".parse().unwrap(),
        );
        assert!(everywhere.takes(false) && everywhere.takes(true));
        assert!(among("127.0.0.1:53").takes(false) && !among("127.0.0.1:53").takes(true));
    }

    /// Four of a group, in the order of binding, and where they are.
    fn bound(protocol: Protocol, local: &str) -> (SocketAddr, Vec<OwnedFd>) {
        let grouped = Reuse {
            address: false,
            port: true,
        };
        let mut address = local.parse().unwrap();
        if protocol == Protocol::Udp {
            // The kernel may give a socket of a group the port of another one.
            let alone = std::net::UdpSocket::bind(address).unwrap();
            address = alone.local_addr().unwrap();
        }
        let mut sockets = Vec::new();
        for _ in 0..4 {
            sockets.push(match protocol {
                Protocol::Udp => {
                    let socket = bind_udp(address, grouped).unwrap();
                    address = socket.local_addr().unwrap();
                    socket.into()
                }
                Protocol::Tcp => {
                    let socket = bind_tcp(address, grouped).unwrap();
                    address = socket.local_addr().unwrap();
                    socket.listen().unwrap().into()
                }
            });
        }
        (address, sockets)
    }

    /// Fails on a kernel whose lists have another order.
    #[test]
    fn sockets_are_in_the_order_of_binding() {
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for (local, asked) in [
                ("127.0.0.1:0", "127.0.0.1"),
                ("0.0.0.0:0", "127.0.0.1"),
                ("[::1]:0", "::1"),
                ("[::]:0", "::1"),
                ("[::]:0", "127.0.0.1"),
            ] {
                let diag = Diag::open(protocol).unwrap();
                if let Err(error) = diag.on_port(9) {
                    return eprintln!("SKIPPED: this kernel lists nothing: {error}");
                }
                let (address, sockets) = bound(protocol, local);
                let asked = SocketAddr::new(asked.parse().unwrap(), address.port());
                let members = Members::find(&diag, protocol, asked).unwrap();
                let listed = members.sockets.iter().map(|it| u64::from(it.inode));
                let inode = |socket| File::from(socket).metadata().unwrap().ino();
                let listed: Vec<u64> = listed.collect();
                let bound: Vec<u64> = sockets.into_iter().map(inode).collect();
                assert_eq!(listed, bound, "{protocol:?} at {local} asked as {asked}");
            }
        }
    }

    #[test]
    fn neighbours_are_named() {
        let near = |listed: Vec<Described>| {
            let address = "127.0.0.1:53".parse().unwrap();
            let on_port = listed.iter().filter(|it| it.local.port() == 53);
            let members = Members::among(on_port.cloned().collect(), Protocol::Udp, address);
            near(&members, &listed)
        };
        let other = vec![
            socket("127.0.0.2:53", 1),
            socket("127.0.0.2:53", 2),
            socket("[::1]:53", 3),
        ];
        let words = "on this port there is [::1]:53, 127.0.0.2:53 (2 sockets)";
        assert_eq!(near(other), words);
        let ports = vec![
            socket("127.0.0.1:5300", 1),
            socket("127.0.0.1:54", 2),
            socket("127.0.0.2:52", 3),
        ];
        let words = "at this address there is 127.0.0.1:54, 127.0.0.1:5300; ";
        assert!(near(ports).starts_with(words));
        assert!(near(vec![]).contains("nsenter"));
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, address) in [
            ("127.0.0.1:53", "127.0.0.1:53"),
            (":53", "0.0.0.0:53"),
            ("*:53", "0.0.0.0:53"),
            ("[::1]:53", "[::1]:53"),
        ] {
            assert_eq!(parse_address(text), Ok(address.parse().unwrap()));
        }
        for text in [
            "",
            ":",
            "53",
            "127.0.0.1",
            "::1",
            "127.0.0.1:0",
            "localhost:53",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }
}
