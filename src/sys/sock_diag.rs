//! What the kernel lists when it is asked over netlink, as `ss` does
//! (sock_diag(7)): more than the files that `proc_net` reads, where the kernel
//! was built with it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, IPPROTO_TCP, IPPROTO_UDP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags,
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

/// Octets of one answer; the kernel fills no more into one.
const ANSWER: usize = 32 << 10;

/// A socket as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it is bound to.
    pub local: SocketAddr,
    /// Its number, which no other socket has.
    pub inode: u32,
    /// Its owner.
    pub user: u32,
}

/// The IPv4 sockets that are bound to `port`: of UDP, or listeners of TCP.
///
/// # Errors
///
/// What the kernel says; it may have been built without these lists.
pub fn bound_to(port: u16, tcp: bool) -> io::Result<Vec<Listed>> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.send(&message(request(tcp), NLM_F_REQUEST | NLM_F_DUMP), 0)?;
    let mut found = Vec::new();
    for response in answers(&socket)? {
        let header = &response.header;
        found.push(Listed {
            local: local(&header.socket_id),
            inode: header.inode,
            user: header.uid,
        });
    }
    found.retain(|listed| listed.local.port() == port);
    Ok(found)
}

/// Reads what a request is answered with: a list up to its end, or the one socket
/// that was asked for.
pub(super) fn answers(socket: &Socket) -> io::Result<Vec<InetResponse>> {
    let mut found = Vec::new();
    loop {
        let mut answer = Vec::with_capacity(ANSWER);
        socket.recv(&mut answer, 0)?;
        let mut rest = &answer[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::other(error.to_string()))?;
            // Messages begin at multiples of four octets (netlink(7)).
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            let is_one_of_many = message.header.flags & NLM_F_MULTIPART != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    found.push(*response);
                    if !is_one_of_many {
                        return Ok(found);
                    }
                }
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::Done(_) => return Ok(found),
                _ => {}
            }
        }
    }
}

fn request(tcp: bool) -> InetRequest {
    let (protocol, states) = match tcp {
        true => (IPPROTO_TCP, StateFlags::LISTEN),
        false => (IPPROTO_UDP, StateFlags::all()),
    };
    InetRequest {
        family: AF_INET,
        protocol,
        extensions: ExtensionFlags::empty(),
        states,
        socket_id: SocketId::new_v4(),
    }
}

/// A request as octets.
pub(super) fn message(request: InetRequest, flags: u16) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

fn local(id: &SocketId) -> SocketAddr {
    let address: IpAddr = id.source_address;
    SocketAddr::new(address, id.source_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times that it is looked for at most.
    const READS: usize = 20;

    #[test]
    fn a_bound_socket_is_listed() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (local, tcp) in [
            (socket.local_addr().unwrap(), false),
            (listener.local_addr().unwrap(), true),
        ] {
            // While sockets come and go it may be missed, or be there twice.
            let mut lists = (0..READS).map(|_| bound_to(local.port(), tcp));
            match lists.find(|list| list.as_ref().map_or(true, |list| !list.is_empty())) {
                Some(Err(error)) => eprintln!("skipped: this kernel lists nothing: {error}"),
                found => {
                    let found = found.expect("it is listed").unwrap();
                    assert!(found.iter().all(|listed| listed.local == local));
                }
            }
        }
    }
}
