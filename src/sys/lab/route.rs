//! By which interface datagrams leave for a host, as the kernel itself would choose
//! (rtnetlink(7)).

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// Octets of a header (netlink(7)), and of what a question about routes adds to it.
const HEADER: usize = 16;
const ROUTE: usize = 12;
/// Octets of the length and the kind of an attribute.
const ATTRIBUTE: usize = 4;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// Octets of the longest answer.
const ANSWER: usize = 8192;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its number, in the network namespace of whoever asked.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// The interface that leads to `peer`.
///
/// # Errors
///
/// What the kernel says, as where no route leads there.
pub fn towards(peer: SocketAddr) -> io::Result<Interface> {
    let index = match peer {
        // A link-local address says by itself on which link.
        SocketAddr::V6(peer) if peer.scope_id() != 0 => peer.scope_id(),
        _ => route(peer.ip().to_canonical())?,
    };
    Ok(Interface {
        index,
        name: name(index)?,
    })
}

fn route(peer: IpAddr) -> io::Result<u32> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.send(&question(peer), 0)?;
    let mut answer = Vec::with_capacity(ANSWER);
    socket.recv(&mut answer, 0)?;
    outgoing(&answer)
}

/// `RTM_GETROUTE` for one destination.
fn question(peer: IpAddr) -> Vec<u8> {
    let (family, destination) = match peer {
        IpAddr::V4(peer) => (libc::AF_INET, peer.octets().to_vec()),
        IpAddr::V6(peer) => (libc::AF_INET6, peer.octets().to_vec()),
    };
    let length = ATTRIBUTE + destination.len();
    let mut octets = Vec::new();
    octets.extend(((HEADER + ROUTE + length) as u32).to_ne_bytes());
    octets.extend(libc::RTM_GETROUTE.to_ne_bytes());
    octets.extend(REQUEST.to_ne_bytes());
    // No sequence, and no port: there is one answer.
    octets.extend([0; 8]);
    octets.extend([family as u8, 8 * destination.len() as u8]);
    octets.extend([0; ROUTE - 2]);
    octets.extend((length as u16).to_ne_bytes());
    octets.extend(libc::RTA_DST.to_ne_bytes());
    octets.extend(destination);
    octets
}

/// The outgoing interface of an answer.
fn outgoing(answer: &[u8]) -> io::Result<u32> {
    let strange = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = u16::from_ne_bytes(*chunk(answer, 4).ok_or_else(strange)?);
    if i32::from(kind) == libc::NLMSG_ERROR {
        let number = i32::from_ne_bytes(*chunk(answer, HEADER).ok_or_else(strange)?);
        return Err(io::Error::from_raw_os_error(-number));
    }
    let mut rest = answer.get(HEADER + ROUTE..).ok_or_else(strange)?;
    while let (Some(length), Some(kind)) = (chunk(rest, 0), chunk(rest, 2)) {
        let length = usize::from(u16::from_ne_bytes(*length));
        if u16::from_ne_bytes(*kind) == libc::RTA_OIF {
            let index = chunk(rest, ATTRIBUTE).ok_or_else(strange)?;
            return Ok(u32::from_ne_bytes(*index));
        }
        // Attributes begin at multiples of four octets.
        let step = length.max(ATTRIBUTE).next_multiple_of(4);
        rest = rest.get(step..).unwrap_or_default();
    }
    Err(strange())
}

fn chunk<const N: usize>(octets: &[u8], at: usize) -> Option<&[u8; N]> {
    octets.get(at..)?.first_chunk()
}

fn name(index: u32) -> io::Result<String> {
    let mut octets = [0u8; libc::IFNAMSIZ];
    // SAFETY: the buffer has the `IF_NAMESIZE` octets that the call may write.
    let found = unsafe { libc::if_indextoname(index, octets.as_mut_ptr().cast()) };
    if found.is_null() {
        return Err(io::Error::last_os_error());
    }
    let name = CStr::from_bytes_until_nul(&octets).map_err(io::Error::other)?;
    Ok(name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_leads_to_itself() {
        let found = towards("127.0.0.1:53".parse().unwrap()).unwrap();
        assert_eq!(
            found,
            Interface {
                index: 1,
                name: "lo".into()
            }
        );
    }

    #[test]
    fn what_is_cut_off_is_no_answer() {
        assert!(outgoing(&[]).is_err());
        assert!(outgoing(&question("192.0.2.1".parse().unwrap())).is_err());
        let mut refused = vec![0; HEADER];
        refused[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        refused.extend((-libc::ENETUNREACH).to_ne_bytes());
        let error = outgoing(&refused).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
    }
}
