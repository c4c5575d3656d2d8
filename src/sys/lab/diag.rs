//! The sockets of one port over netlink, with their queues and drops, and the
//! kernel's own choice between them: asked for the socket that takes a flow, it
//! runs the lookup that a datagram would meet, and nothing is sent
//! (`udp_dump_one` in `net/ipv4/udp_diag.c`). No privilege is needed for either.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use super::super::proc_net::Protocol;
use super::super::sock_diag::{answers, message};

/// Stands for every socket in a request (`INET_DIAG_NOCOOKIE`).
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// A socket, as the kernel describes it to anybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// What it is bound to.
    pub local: SocketAddr,
    /// The one peer that it hears, where it is connected.
    pub peer: Option<SocketAddr>,
    /// The interface that it is bound to; 0 for none.
    pub interface: u32,
    /// Its number in the kernel's books, which is never given again.
    pub cookie: u64,
    /// Its number among open files.
    pub inode: u32,
    /// Its owner.
    pub user: u32,
    /// True where it is of IPv6 and takes no IPv4.
    pub only_v6: bool,
    /// `SO_MARK`, which only an administrator is told.
    pub mark: Option<u32>,
    /// Octets that wait to be read; of a listener, connections to be accepted.
    pub waiting: u32,
    /// Octets that may wait, as the kernel counts them; of a listener, connections.
    pub room: u32,
    /// Octets on their way out.
    pub leaving: u32,
    /// Datagrams, or connections, dropped since it was opened.
    pub drops: u32,
}

/// A line to the kernel.
pub struct Diag {
    socket: Socket,
    protocol: Protocol,
}

impl Diag {
    /// Opens the line, for UDP or for listeners of TCP.
    ///
    /// # Errors
    ///
    /// What the kernel says to `socket`.
    pub fn open(protocol: Protocol) -> io::Result<Diag> {
        Ok(Diag {
            socket: Socket::new(NETLINK_SOCK_DIAG)?,
            protocol,
        })
    }

    /// The sockets on `port`, those that a connection has apart; IPv4, then IPv6.
    ///
    /// # Errors
    ///
    /// What the kernel says; it may have been built without these lists.
    pub fn on_port(&self, port: u16) -> io::Result<Vec<Described>> {
        let states = match self.protocol {
            Protocol::Udp => StateFlags::all(),
            Protocol::Tcp => StateFlags::LISTEN,
        };
        self.list(port, 0, states)
    }

    /// The connections that were accepted on `port`, or, of UDP, the sockets here
    /// that are connected to it somewhere.
    ///
    /// # Errors
    ///
    /// As `on_port`.
    pub fn connected(&self, port: u16) -> io::Result<Vec<Described>> {
        let states = StateFlags::ESTABLISHED;
        match self.protocol {
            Protocol::Udp => self.list(0, port, states),
            Protocol::Tcp => self.list(port, 0, states | StateFlags::CLOSE_WAIT),
        }
    }

    /// All sockets of the protocol, to find a port's neighbours.
    ///
    /// # Errors
    ///
    /// As `on_port`.
    pub fn all(&self) -> io::Result<Vec<Described>> {
        self.on_port(0)
    }

    /// Port 0 is every port.
    fn list(&self, local: u16, peer: u16, states: StateFlags) -> io::Result<Vec<Described>> {
        let mut found = Vec::new();
        for family in [AF_INET, AF_INET6] {
            let mut request = self.request(family, states.clone());
            request.socket_id.source_port = local;
            request.socket_id.destination_port = peer;
            self.socket
                .send(&message(request, NLM_F_REQUEST | NLM_F_DUMP), 0)?;
            found.extend(answers(&self.socket)?.iter().map(|it| self.describe(it)));
        }
        // A list that is read while sockets come and go may have some twice.
        let mut known = BTreeSet::new();
        found.retain(|socket: &Described| known.insert(socket.cookie));
        Ok(found)
    }

    /// The cookie of the socket that takes what `peer` sends to `local` by way of
    /// an interface (0 for any), as far as the kernel's hash decides: a program on
    /// the group is not asked, since there is no datagram that it could look at
    /// (`reuseport_select_sock` in `net/core/sock_reuseport.c`).
    ///
    /// # Errors
    ///
    /// What the kernel says, other than that there is none.
    pub fn chosen(
        &self,
        peer: SocketAddr,
        local: SocketAddr,
        interface: u32,
    ) -> io::Result<Option<u64>> {
        let family = match local {
            SocketAddr::V4(_) => AF_INET,
            SocketAddr::V6(_) => AF_INET6,
        };
        let mut request = self.request(family, StateFlags::all());
        // UDP is asked as the datagram has it, TCP as the socket has it ("src and
        // dst are swapped for historical reasons", says the kernel of the former).
        let (source, destination) = match self.protocol {
            Protocol::Udp => (peer, local),
            Protocol::Tcp => (local, peer),
        };
        request.socket_id = SocketId {
            source_port: source.port(),
            destination_port: destination.port(),
            source_address: source.ip(),
            destination_address: destination.ip(),
            interface_id: interface,
            cookie: ANY_COOKIE,
        };
        self.socket.send(&message(request, NLM_F_REQUEST), 0)?;
        match answers(&self.socket) {
            Ok(found) => Ok(found.first().map(cookie)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn request(&self, family: u8, states: StateFlags) -> InetRequest {
        InetRequest {
            family,
            protocol: match self.protocol {
                Protocol::Udp => IPPROTO_UDP,
                Protocol::Tcp => IPPROTO_TCP,
            },
            extensions: ExtensionFlags::SKMEMINFO,
            states,
            socket_id: match family {
                AF_INET => SocketId::new_v4(),
                _ => SocketId::new_v6(),
            },
        }
    }

    fn describe(&self, response: &InetResponse) -> Described {
        let (header, id) = (&response.header, &response.header.socket_id);
        let mut described = Described {
            local: SocketAddr::new(id.source_address, id.source_port),
            peer: (id.destination_port != 0)
                .then(|| SocketAddr::new(id.destination_address, id.destination_port)),
            interface: id.interface_id,
            cookie: cookie(response),
            inode: header.inode,
            user: header.uid,
            only_v6: false,
            mark: None,
            waiting: header.recv_queue,
            room: header.send_queue,
            leaving: 0,
            drops: 0,
        };
        for attribute in &response.nlas {
            match attribute {
                Nla::MemInfo(memory) => {
                    described.drops = memory.drops;
                    if self.protocol == Protocol::Udp {
                        described.room = memory.receive_queue_max;
                        described.leaving = memory.bottom_send_queues;
                    }
                }
                Nla::SkV6Only(only) => described.only_v6 = *only,
                Nla::Mark(mark) => described.mark = Some(*mark),
                _ => {}
            }
        }
        described
    }
}

fn cookie(response: &InetResponse) -> u64 {
    u64::from_ne_bytes(response.header.socket_id.cookie)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    /// Kernels without these lists are told from a fault by the other test's
    /// words; here they are only passed by.
    fn diag(protocol: Protocol) -> Option<Diag> {
        let diag = Diag::open(protocol).unwrap();
        match diag.on_port(9) {
            Ok(_) => Some(diag),
            Err(error) => {
                eprintln!("SKIPPED: this kernel lists nothing: {error}");
                None
            }
        }
    }

    #[test]
    fn what_waits_is_told() {
        let Some(diag) = diag(Protocol::Udp) else {
            return;
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let local = socket.local_addr().unwrap();
            let client = UdpSocket::bind(address).unwrap();
            client.connect(local).unwrap();
            client.send(b"words").unwrap();
            let found = diag.on_port(local.port()).unwrap();
            let own = found.iter().find(|found| found.local == local).unwrap();
            assert!(own.waiting > 0 && own.room > own.waiting, "{own:?}");
            assert_eq!((own.peer, own.drops, own.interface), (None, 0, 0));
            assert_eq!(own.user, super::super::super::user::effective());
            let peer = client.local_addr().unwrap();
            let connected = diag.connected(local.port()).unwrap();
            assert!(connected.iter().any(|found| found.local == peer));
            assert_eq!(diag.chosen(peer, local, 0).unwrap(), Some(own.cookie));
        }
    }

    #[test]
    fn a_listener_tells_of_connections() {
        let Some(diag) = diag(Protocol::Tcp) else {
            return;
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(local).unwrap();
        let found = diag.on_port(local.port()).unwrap();
        assert_eq!((found.len(), found[0].waiting), (1, 1));
        assert!(found[0].room > 1);
        let stranger = SocketAddr::new(local.ip(), 9);
        let chosen = diag.chosen(stranger, local, 0).unwrap();
        assert_eq!(chosen, Some(found[0].cookie));
        drop(listener);
        drop(client);
        assert_eq!(diag.chosen(stranger, local, 0).unwrap(), None);
    }
}
