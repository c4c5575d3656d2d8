//! One trial: two sockets try for one port, and what is sent to it is followed.

use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::sys::lab::bind::{Reuse, as_user, bind_tcp, bind_udp, multicast_sender, symbol};
use crate::sys::proc_net::Protocol;
use crate::sys::socket::connect_tcp;
use crate::sys::user;

/// The user `nobody` on most systems, who owns nothing.
const NOBODY: u32 = 65534;
/// Ports on which a socket may fail before it is believed: those of others may
/// stand in the way on one.
const ATTEMPTS: usize = 2;
/// Client ports that something is sent from before one socket is believed to
/// get everything: of two that share, chance takes the same as often once in
/// 2^31 times. A run has some hundred pairs that share.
const TRIES: usize = 32;
/// How long something may take on loopback until nobody has received it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the copies of one datagram may lie apart.
const GRACE: Duration = Duration::from_millis(300);
const NEITHER: Reuse = Reuse {
    address: false,
    port: false,
};
/// A group for the organisation's own use (RFC 2365 §6.2), here on loopback.
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 53, 1);
/// Where datagrams and connections are sent.
pub const DESTINATIONS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// How the sockets meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first serves when the second comes.
    Serving,
    /// Both are bound before either listens.
    Bound,
    /// Of the first, a connection in TIME_WAIT is left.
    TimeWait,
    /// The second belongs to another user.
    OtherUser,
    /// Both are members of a multicast group.
    Multicast,
}

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// How they meet.
    pub part: Part,
    /// UDP or TCP.
    pub protocol: Protocol,
    /// The addresses, the first socket's first.
    pub addresses: [IpAddr; 2],
    /// Their options.
    pub options: [Reuse; 2],
}

/// Why the second socket got nothing.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// `bind` or `listen`.
    pub call: &'static str,
    /// The error's symbol.
    pub errno: String,
}

/// Who got what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Receiver {
    /// The first socket, every time.
    First,
    /// The second, every time.
    Second,
    /// Now one, now the other.
    Shared,
    /// Both, each a copy.
    Each,
    /// Neither.
    Nobody,
}

/// What came of a trial.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Why it failed, where it did.
    pub refusal: Option<Refusal>,
    /// By `DESTINATIONS`, where it worked and that was tried.
    pub received: [Option<Receiver>; 3],
    /// By the multicast group.
    pub received_by_group: Option<Receiver>,
}

/// True where a socket can have the address.
pub fn exists(address: IpAddr) -> bool {
    bind_udp((address, 0).into(), NEITHER).is_ok()
}

/// True where this process may make sockets of another user.
pub fn has_other_user() -> bool {
    as_user(other_user(), || ()).is_some()
}

/// Anyone but the user that this process acts as.
fn other_user() -> u32 {
    NOBODY - u32::from(user::effective() == NOBODY)
}

/// True where what is sent to `narrow` may arrive at `wide`.
pub fn covers(wide: IpAddr, narrow: IpAddr) -> bool {
    let is_any = wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4());
    wide == narrow || is_any
}

/// Lets the sockets meet and sends to each address, from up to `TRIES` ports
/// where it belongs to both.
///
/// # Errors
///
/// A first socket that cannot be had, or a kernel that behaves like none.
pub fn attempt(case: &Case) -> anyhow::Result<Verdict> {
    let mut met = meet(case);
    for _ in 1..ATTEMPTS {
        if matches!(met, Ok(Ok(_))) {
            break;
        }
        // A port that somebody else then has takes back nothing that was found.
        met = match meet(case) {
            Err(_) if met.is_ok() => met,
            again => again,
        };
    }
    let mut verdict = Verdict {
        refusal: None,
        received: [None; 3],
        received_by_group: None,
    };
    match met? {
        Err(refusal) => verdict.refusal = Some(refusal),
        Ok(pair) if case.part == Part::Multicast => {
            verdict.received_by_group = Some(pair.follow_group()?);
        }
        Ok(pair) if pair.first.is_some() => verdict.received = pair.follow_all(case)?,
        Ok(_) => {}
    }
    Ok(verdict)
}

/// A port that no socket has at any address. One that the kernel chooses for a
/// socket with options may belong to others that have them too.
pub fn free_port(protocol: Protocol) -> io::Result<u16> {
    let free = |any: IpAddr| match protocol {
        Protocol::Udp => bind_udp((any, 0).into(), NEITHER)?.local_addr(),
        Protocol::Tcp => bind_tcp((any, 0).into(), NEITHER)?.local_addr(),
    };
    let address =
        free(Ipv6Addr::UNSPECIFIED.into()).or_else(|_| free(Ipv4Addr::UNSPECIFIED.into()));
    Ok(address?.port())
}

/// A socket that receives.
pub enum TrialEnd {
    /// Datagrams.
    Udp(UdpSocket),
    /// Connections.
    Tcp(TcpListener),
}

/// Opens a socket.
///
/// # Errors
///
/// What the kernel said to which call.
pub fn open(protocol: Protocol, address: SocketAddr, options: Reuse) -> Result<TrialEnd, Refusal> {
    match protocol {
        Protocol::Udp => bind_udp(address, options)
            .map(TrialEnd::Udp)
            .map_err(at_bind),
        Protocol::Tcp => {
            let bound = bind_tcp(address, options).map_err(at_bind)?;
            bound.listen().map(TrialEnd::Tcp).map_err(at_listen)
        }
    }
}

fn at_bind(error: io::Error) -> Refusal {
    let errno = symbol(&error);
    Refusal {
        call: "bind",
        errno,
    }
}

fn at_listen(error: io::Error) -> Refusal {
    let errno = symbol(&error);
    Refusal {
        call: "listen",
        errno,
    }
}

/// Both sockets; the first may be gone.
struct Pair {
    port: u16,
    first: Option<TrialEnd>,
    second: TrialEnd,
}

fn meet(case: &Case) -> anyhow::Result<Result<Pair, Refusal>> {
    let port = free_port(case.protocol)?;
    let [first_address, second_address] = case.addresses.map(|ip| SocketAddr::new(ip, port));
    let [first_options, second_options] = case.options;
    let no_first = || format!("the first socket cannot have {first_address}");
    if case.part == Part::Bound {
        let first = bind_tcp(first_address, first_options).with_context(no_first)?;
        let second = match bind_tcp(second_address, second_options) {
            Ok(second) => second,
            Err(error) => return Ok(Err(at_bind(error))),
        };
        let first = Some(TrialEnd::Tcp(first.listen().with_context(no_first)?));
        let second = second.listen().map(TrialEnd::Tcp).map_err(at_listen);
        return Ok(second.map(|second| Pair {
            port,
            first,
            second,
        }));
    }
    let first = match case.part {
        Part::TimeWait => {
            leave_in_time_wait(first_address, first_options).with_context(no_first)?;
            None
        }
        _ => match open(case.protocol, first_address, first_options) {
            Ok(first) => Some(first),
            Err(refusal) => bail!("{}: {}", no_first(), refusal.errno),
        },
    };
    let second = || open(case.protocol, second_address, second_options);
    let second = match case.part {
        Part::OtherUser => as_user(other_user(), second).context("cannot act as another user")?,
        _ => second(),
    };
    Ok(second.map(|second| Pair {
        port,
        first,
        second,
    }))
}

/// Has a connection whose accepting side closes first, which leaves that side
/// in TIME_WAIT (RFC 9293 §3.6), and closes the listener.
fn leave_in_time_wait(address: SocketAddr, options: Reuse) -> anyhow::Result<()> {
    let listener = bind_tcp(address, options)?.listen()?;
    let near = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let mut client = TcpStream::connect((near, address.port()))?;
    listener.set_nonblocking(false)?;
    drop(listener.accept()?);
    client.set_read_timeout(Some(PATIENCE))?;
    client
        .read(&mut [0])
        .context("the accepting side does not close")?;
    drop(client);
    drop(listener);
    // Nobody else has the port: what refuses it is what the connection left.
    if bind_tcp(address, NEITHER).is_ok() {
        bail!("no connection is left in TIME_WAIT; net.ipv4.tcp_max_tw_buckets limits how many");
    }
    Ok(())
}

impl Pair {
    fn follow_all(&self, case: &Case) -> anyhow::Result<[Option<Receiver>; 3]> {
        let mut received = [None; 3];
        for (received, destination) in received.iter_mut().zip(DESTINATIONS) {
            if exists(destination) {
                let to = SocketAddr::new(destination, self.port);
                // What only one of them can get needs no second look.
                let is_contested = case.addresses.iter().all(|&ip| covers(ip, destination));
                let tries = if is_contested { TRIES } else { 1 };
                let follow = || self.follow(case.protocol, to, tries);
                *received = Some(follow().with_context(|| format!("cannot send to {to}"))?);
            }
        }
        Ok(received)
    }

    /// Sends from one port after the other until it is clear that both receive.
    fn follow(&self, protocol: Protocol, to: SocketAddr, tries: usize) -> io::Result<Receiver> {
        let before = self.follow_one(protocol, to)?;
        if matches!(before, Receiver::Nobody | Receiver::Each) {
            return Ok(before);
        }
        for _ in 1..tries {
            let now = self.follow_one(protocol, to)?;
            if now != before && now != Receiver::Nobody {
                return Ok(Receiver::Shared);
            }
        }
        Ok(before)
    }

    fn follow_one(&self, protocol: Protocol, to: SocketAddr) -> io::Result<Receiver> {
        let client = match Client::reach(protocol, to) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                return Ok(Receiver::Nobody);
            }
            client => client?,
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.take(client.local()?) {
                [true, true] => return Ok(Receiver::Each),
                [true, false] => return Ok(Receiver::First),
                [false, true] => return Ok(Receiver::Second),
                [false, false] if client.is_refused() || Instant::now() > deadline => {
                    return Ok(Receiver::Nobody);
                }
                [false, false] => thread::yield_now(),
            }
        }
    }

    fn follow_group(&self) -> io::Result<Receiver> {
        for end in self.first.iter().chain([&self.second]) {
            if let TrialEnd::Udp(socket) = end {
                socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST)?;
            }
        }
        let sender = multicast_sender()?;
        sender.send_to(b"copy", (GROUP, self.port))?;
        let from = sender.local_addr()?;
        let deadline = Instant::now() + GRACE;
        let mut has = [false; 2];
        while has != [true; 2] && Instant::now() < deadline {
            let took = self.take(from);
            has = [has[0] || took[0], has[1] || took[1]];
            thread::yield_now();
        }
        Ok(match has {
            [true, true] => Receiver::Each,
            [true, false] => Receiver::First,
            [false, true] => Receiver::Second,
            [false, false] => Receiver::Nobody,
        })
    }

    /// Which of the sockets had something from that client.
    fn take(&self, client: SocketAddr) -> [bool; 2] {
        [
            self.first.as_ref().is_some_and(|first| first.take(client)),
            self.second.take(client),
        ]
    }
}

impl TrialEnd {
    /// Others may still send to who had the port before: what is not the client's
    /// is passed over.
    fn take(&self, client: SocketAddr) -> bool {
        let from = match self {
            TrialEnd::Udp(socket) => socket.recv_from(&mut [0; 8]).map(|(_, from)| from),
            // Ours is the accepting side, whose close the client answers with a
            // reset, so that no connection stays.
            TrialEnd::Tcp(listener) => listener.accept().map(|(_, from)| from),
        };
        // A socket of IPv6 tells an IPv4 address in its own form (RFC 4291 §2.5.5.2).
        from.is_ok_and(|from| {
            from.port() == client.port() && from.ip().to_canonical() == client.ip().to_canonical()
        })
    }
}

/// What sends, from a port of its own.
enum Client {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Client {
    fn reach(protocol: Protocol, to: SocketAddr) -> io::Result<Client> {
        if protocol == Protocol::Tcp {
            return connect_tcp(to).map(Client::Tcp);
        }
        let any = match to {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
        };
        let client = UdpSocket::bind((any, 0))?;
        client.set_nonblocking(true)?;
        client.connect(to)?;
        client.send(b"sent")?;
        Ok(Client::Udp(client))
    }

    fn local(&self) -> io::Result<SocketAddr> {
        match self {
            Client::Udp(client) => client.local_addr(),
            Client::Tcp(client) => client.local_addr(),
        }
    }

    /// True where the kernel has said that nobody is there. A connection from a
    /// port to itself, which TCP allows (RFC 9293 §3.5), reaches nobody either.
    fn is_refused(&self) -> bool {
        match self {
            Client::Udp(client) => client
                .recv(&mut [0; 8])
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused),
            Client::Tcp(client) => match (client.local_addr(), client.peer_addr()) {
                (Ok(local), Ok(peer)) => local == peer,
                _ => true,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_its_family_and_that_of_ipv6_both() {
        let covers =
            |wide: &str, narrow: &str| covers(wide.parse().unwrap(), narrow.parse().unwrap());
        assert!(covers("0.0.0.0", "127.0.0.1"));
        assert!(covers("::", "127.0.0.1") && covers("::", "0.0.0.0") && covers("::", "::1"));
        assert!(covers("127.0.0.1", "127.0.0.1"));
        assert!(!covers("0.0.0.0", "::1") && !covers("0.0.0.0", "::"));
        assert!(!covers("127.0.0.1", "127.0.0.2") && !covers("127.0.0.1", "0.0.0.0"));
    }

    #[test]
    fn what_others_send_is_passed_over() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let end =
            bind_udp(any, NEITHER).or_else(|_| bind_udp((Ipv4Addr::LOCALHOST, 0).into(), NEITHER));
        let end = end.unwrap();
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, end.local_addr().unwrap().port()));
        let end = TrialEnd::Udp(end);
        let [client, stranger] = [(); 2].map(|()| Client::reach(Protocol::Udp, to).unwrap());
        let local = client.local().unwrap();
        let took: Vec<bool> = (0..3).map(|_| end.take(local)).collect();
        assert_eq!(took, [true, false, false]);
        let Client::Udp(stranger) = stranger else {
            unreachable!("a client of UDP")
        };
        stranger.send(b"sent").unwrap();
        assert!(!end.take(local), "what a stranger sent");
    }

    #[test]
    fn a_connection_is_left_in_time_wait() {
        let address = (Ipv4Addr::LOCALHOST, free_port(Protocol::Tcp).unwrap()).into();
        leave_in_time_wait(address, NEITHER).unwrap();
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let local = format!(":{:04X}", address.port());
        let is_left = |line: &str| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            fields[1].ends_with(&local) && fields[3] == "06"
        };
        assert!(table.lines().any(is_left), "{table}");
    }
}
