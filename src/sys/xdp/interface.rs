//! What has to be known of an interface before its queues are read past the sockets:
//! whether it is one on which a reply may go back where its request came from, and
//! the addresses that it has.

use std::fs;
use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::XdpError;
use crate::sys::ethtool::{self, Channels, Ethtool};

/// What every host takes in one piece (RFC 791, section 3.2): room for a reply of 512
/// octets.
pub(super) const MIN_MTU: usize = 576;

/// An interface.
pub(super) struct Facts {
    /// Whom to ask more.
    pub ethtool: Ethtool,
    pub name: String,
    pub index: u32,
    /// Octets of the longest IP datagram.
    pub mtu: usize,
    /// Queues, where the driver tells of one at least.
    pub channels: Option<Channels>,
    /// Its own address on the link.
    pub station: [u8; 6],
}

impl Facts {
    /// Asks the kernel.
    pub fn of(name: &str) -> Result<Facts, XdpError> {
        let failed = |error| XdpError::Kernel {
            interface: name.into(),
            what: "ask for the interface",
            error,
        };
        let index = ethtool::number(name).map_err(|_| XdpError::NoInterface(name.into()))?;
        let name = &ethtool::main_name(name).map_err(failed)?;
        let ethtool = Ethtool::new(name).map_err(failed)?;
        if ethtool.is_loopback().map_err(failed)? {
            return Err(XdpError::Loopback(name.clone()));
        }
        if !ethtool.is_ethernet().map_err(failed)? {
            return Err(XdpError::NotEthernet(name.clone()));
        }
        // Where it is not told, it is assumed.
        if ethtool.strips_vlan_tags().unwrap_or(true)
            && let Some(vlan) = vlan_on(Path::new(VLANS), name)
        {
            return Err(XdpError::HiddenTags {
                interface: name.clone(),
                vlan,
            });
        }
        let mtu = ethtool.mtu().map_err(failed)?;
        if mtu < MIN_MTU {
            return Err(XdpError::SmallMtu(name.clone(), mtu));
        }
        let channels = ethtool.channels().ok();
        let station = ethtool.station().map_err(failed)?;
        Ok(Facts {
            ethtool,
            name: name.clone(),
            index,
            mtu,
            station,
            channels: channels.filter(|told| told.receiving > 0),
        })
    }
}

/// A file for each VLAN, and one that says what they are on, which root alone can read.
const VLANS: &str = "/proc/thread-self/net/vlan";
const VLAN_LIST: &str = "config";

/// A VLAN that is made of the interface's tagged frames, or may be, in words.
fn vlan_on(vlans: &Path, interface: &str) -> Option<String> {
    match fs::read_to_string(vlans.join(VLAN_LIST)) {
        // VLAN Dev name | VLAN ID | Device
        Ok(list) => list.lines().find_map(|line| {
            let mut fields = line.split('|').map(str::trim);
            let (name, _, on) = (fields.next()?, fields.next()?, fields.next()?);
            (on == interface).then(|| name.to_owned())
        }),
        // A kernel without VLANs.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => vlan_anywhere(vlans),
    }
}

/// What any VLAN is on is not to be had.
fn vlan_anywhere(vlans: &Path) -> Option<String> {
    let Ok(files) = fs::read_dir(vlans) else {
        return Some("a VLAN, if it has one, which cannot be seen,".into());
    };
    let mut names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let vlan = names.find(|name| name != VLAN_LIST)?;
    Some(format!("{vlan}, if it is on it, which root alone can see,"))
}

/// An address of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub interface: String,
    pub is_loopback: bool,
    pub address: IpAddr,
    /// The addresses of all hosts of its network: by its mask, and as it was set.
    pub broadcast: [Option<Ipv4Addr>; 2],
}

/// All addresses of the machine, of the network namespace of whoever asks.
pub(super) fn addresses() -> io::Result<Vec<Address>> {
    let mut list = std::ptr::null_mut();
    // SAFETY: `list` is a place for a pointer.
    super::super::check(unsafe { libc::getifaddrs(&raw mut list) })?;
    let mut found = Vec::new();
    let mut next = list.cast_const();
    // SAFETY: the list is the one that the call has made, and ends with a null
    // pointer.
    while let Some(entry) = unsafe { next.as_ref() } {
        found.extend(address_of(entry));
        next = entry.ifa_next;
    }
    // SAFETY: the list was made by `getifaddrs`, and nothing points into it any more.
    unsafe { libc::freeifaddrs(list) };
    Ok(found)
}

fn address_of(entry: &libc::ifaddrs) -> Option<Address> {
    // SAFETY: the name ends with a zero and lives as long as the entry.
    let name = unsafe { std::ffi::CStr::from_ptr(entry.ifa_name) };
    let flags = entry.ifa_flags;
    let address = ip(entry.ifa_addr)?;
    let has_broadcast = flags & libc::IFF_BROADCAST as u32 != 0;
    let when = |pointer| has_broadcast.then(|| ip(pointer)).flatten();
    let by_mask = match (address, when(entry.ifa_netmask)) {
        // A network of one or two hosts has none (RFC 3021).
        (IpAddr::V4(address), Some(IpAddr::V4(mask))) if mask.to_bits() | 1 != u32::MAX => {
            Some(address | !mask)
        }
        _ => None,
    };
    let as_set = match when(entry.ifa_ifu) {
        Some(IpAddr::V4(broadcast)) if !broadcast.is_unspecified() => Some(broadcast),
        _ => None,
    };
    // An address with a label has that for its interface's name (`eth0:1`).
    let interface = name.to_string_lossy().split(':').next()?.to_owned();
    Some(Address {
        interface,
        is_loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
        address,
        broadcast: [by_mask, as_set],
    })
}

/// The IP address that a socket address has, if it is one.
fn ip(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or a socket address that lives as long as its entry.
    let family = unsafe { address.as_ref() }?.sa_family;
    const _: () = assert!(size_of::<libc::sockaddr_in>() <= size_of::<libc::sockaddr>());
    match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: an address of this family is such a structure.
            let address = unsafe { &*address.cast::<libc::sockaddr_in>() };
            Some(Ipv4Addr::from(address.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an address of this family is such a structure.
            let address = unsafe { &*address.cast::<libc::sockaddr_in6>() };
            Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_that_may_be_there_is_assumed() {
        let folder = tempfile::tempdir().unwrap();
        let vlans = folder.path().join("vlan");
        assert_eq!(vlan_on(&vlans, "eth0"), None, "no VLANs at all");
        fs::create_dir(&vlans).unwrap();
        let list = vlans.join(VLAN_LIST);
        fs::write(
            &list,
            "VLAN Dev name\t | VLAN ID\nName-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD\n\
             eth1.7         | 7  | eth1\n",
        )
        .unwrap();
        assert_eq!(vlan_on(&vlans, "eth0"), None, "one on another interface");
        assert_eq!(vlan_on(&vlans, "eth1").as_deref(), Some("eth1.7"));
        // What cannot be read as a file, by root either.
        fs::remove_file(&list).unwrap();
        fs::create_dir(&list).unwrap();
        assert_eq!(vlan_on(&vlans, "eth0"), None, "none on any interface");
        fs::write(vlans.join("eth1.7"), "").unwrap();
        let said = vlan_on(&vlans, "eth0").unwrap();
        assert!(said.starts_with("eth1.7, if it is on it"), "{said}");
    }
}
