//! Who holds an address already: `/proc/net/udp` and `/proc/net/tcp`, which
//! list each socket's local address and its owner, and are always there. What
//! the kernel tells over netlink besides is in `sock_diag`.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

/// Transport protocols that an address can be held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Datagrams.
    Udp,
    /// Connections; only listeners count.
    Tcp,
}

/// Times that the files are read for one address: while sockets come and go, one reading
/// may miss some and have others twice, as the kernel goes on by position from one page to
/// the next (`udp_get_idx` in `net/ipv4/udp.c`).
const READS: usize = 3;

/// The users whose sockets stand in the way of `address`, one entry a socket.
pub fn owners(protocol: Protocol, address: SocketAddr) -> Vec<u32> {
    let read = (0..READS).flat_map(|_| read(protocol));
    let in_the_way = read.filter(|socket| collide(socket.local, address));
    let users: BTreeMap<u32, u32> = in_the_way.map(|it| (it.inode, it.user)).collect();
    users.into_values().collect()
}

/// The addresses of all sockets, of TCP those that listen, as one reading has them.
pub fn listed(protocol: Protocol) -> Vec<SocketAddr> {
    read(protocol).iter().map(|socket| socket.local).collect()
}

/// A line of the files.
struct Line {
    local: SocketAddr,
    user: u32,
    inode: u32,
}

fn read(protocol: Protocol) -> Vec<Line> {
    let (name, listening) = match protocol {
        Protocol::Udp => ("udp", None),
        Protocol::Tcp => ("tcp", Some("0A")),
    };
    let tables = [name.to_owned(), format!("{name}6")];
    let texts = tables
        .map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let lines = texts.iter().flat_map(|text| text.lines().skip(1));
    lines.filter_map(|line| parse(line, listening)).collect()
}

/// Inodes of UDP sockets by what the kernel writes for their place in memory, which
/// is the same in all its texts and no address; none where it writes zeroes.
pub fn pointers() -> HashMap<String, u32> {
    let tables = ["udp", "udp6"].map(|table| format!("/proc/net/{table}"));
    let read = || {
        tables
            .each_ref()
            .map(|table| std::fs::read_to_string(table).unwrap_or_default())
    };
    let texts: Vec<String> = (0..READS).flat_map(|_| read()).collect();
    let lines = texts.iter().flat_map(|text| text.lines().skip(1));
    let pointer = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (inode, pointer) = (fields.get(9)?.parse().ok()?, *fields.get(11)?);
        let is_told = pointer.bytes().any(|digit| digit != b'0');
        is_told.then(|| (pointer.to_owned(), inode))
    };
    lines.filter_map(pointer).collect()
}

/// `sl local remote st queues timers retransmits uid timeout inode …`.
fn parse(line: &str, state: Option<&str>) -> Option<Line> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, found, _, _, _, user, _, inode, ..] = fields[..] else {
        return None;
    };
    if state.is_some_and(|state| state != found) {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Line {
        local: SocketAddr::new(parse_address(address)?, port),
        user: user.parse().ok()?,
        inode: inode.parse().ok()?,
    })
}

/// Words of 32 bits in the machine's order, each as eight digits.
fn parse_address(digits: &str) -> Option<IpAddr> {
    let mut octets = Vec::new();
    for word in digits.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    if let Ok(octets) = <[u8; 4]>::try_from(&octets[..]) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(&octets[..]).ok().map(IpAddr::from)
}

/// A wildcard stands in the way of every address of its family; one of IPv6
/// may stand in the way of IPv4 as well.
fn collide(held: SocketAddr, wanted: SocketAddr) -> bool {
    let same = match (held.ip(), wanted.ip()) {
        (held, wanted) if held.is_ipv4() == wanted.is_ipv4() => {
            held == wanted || held.is_unspecified() || wanted.is_unspecified()
        }
        (IpAddr::V6(held), IpAddr::V4(_)) => held.is_unspecified(),
        _ => false,
    };
    same && held.port() == wanted.port()
}

#[cfg(test)]
mod tests {
    use super::super::user;
    use super::*;

    #[test]
    fn a_bound_socket_is_found_with_its_owner() {
        for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
            let socket = std::net::UdpSocket::bind(address).unwrap();
            let bound = socket.local_addr().unwrap();
            assert!(
                owners(Protocol::Udp, bound).contains(&user::effective()),
                "{bound}"
            );
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bound = listener.local_addr().unwrap();
        assert_eq!(owners(Protocol::Tcp, bound), [user::effective()]);
    }

    #[test]
    fn wildcards_collide_within_their_reach() {
        let collide =
            |held: &str, wanted: &str| collide(held.parse().unwrap(), wanted.parse().unwrap());
        assert!(collide("0.0.0.0:53", "127.0.0.1:53"));
        assert!(collide("127.0.0.1:53", "0.0.0.0:53"));
        assert!(collide("[::]:53", "127.0.0.1:53"));
        assert!(!collide("[::1]:53", "127.0.0.1:53"));
        assert!(!collide("127.0.0.2:53", "127.0.0.1:53"));
        assert!(!collide("127.0.0.1:53", "127.0.0.1:54"));
        assert!(!collide("0.0.0.0:53", "[::1]:53"));
    }
}
