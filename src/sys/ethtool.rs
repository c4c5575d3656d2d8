//! What an interface and its driver tell of themselves, as `ip` and `ethtool` ask them
//! (netdevice(7), `linux/ethtool.h`). Of the latter a number's place is its offset in the
//! kernel's structure, in words of 32 bits.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;

use socket2::{Domain, Socket, Type};

/// `ETHTOOL_GDRVINFO`, and where the driver's name is.
const DRIVER: u32 = 0x3;
const DRIVER_NAME: std::ops::Range<usize> = 1..9;
/// `ETHTOOL_GFLAGS`, where the flags are, and `ETH_FLAG_RXVLAN` among them.
const FLAGS: u32 = 0x25;
const SET_FLAGS: usize = 1;
const STRIPS_VLAN_TAGS: u32 = 1 << 8;
/// `ETHTOOL_GRXFH`, and where the flow and the fields are.
const HASH_FIELDS: u32 = 0x29;
const FLOW: usize = 1;
const FIELDS: usize = 2;
/// `UDP_V4_FLOW` and `UDP_V6_FLOW`.
const UDP_FLOWS: [u32; 2] = [0x2, 0x6];
/// `ETHTOOL_GRXFHINDIR`, and where its size and its entries are.
const INDIRECTION: u32 = 0x38;
const ENTRIES: usize = 1;
const FIRST_ENTRY: usize = 2;
/// `ETHTOOL_GCHANNELS`, and where its numbers are.
const CHANNELS: u32 = 0x3c;
const MOST_RECEIVING: usize = 1;
const MOST_COMBINED: usize = 4;
const RECEIVING: usize = 5;
const COMBINED: usize = 8;

/// Words that are given to the kernel: more than any of these structures has, but for
/// the table, which is asked for where it has room.
const WORDS: usize = 1 << 14;

/// `ARPHRD_ETHER` (`linux/if_arp.h`).
const ETHERNET: u16 = 1;

/// The number of the interface of that name.
///
/// # Errors
///
/// No such interface, or a name that none can have.
pub fn number(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: `name` ends with a zero and lives through the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        number => Ok(number),
    }
}

/// The name by which the kernel tells of an interface, which may have others beside
/// (`altname` of ip-link(8)).
///
/// # Errors
///
/// No such interface, or a name that none can have.
pub fn main_name(interface: &str) -> io::Result<String> {
    Ethtool::new(interface)?.name_of(number(interface)?)
}

/// A queue for each flow that the card tells apart, or for several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Queues that receive.
    pub receiving: u32,
    /// As many as there could be.
    pub most: u32,
    /// Whether each sends, too; else those that send are counted apart.
    pub are_combined: bool,
}

impl Channels {
    /// The command that has an interface have so many.
    pub fn command(self, interface: &str, queues: usize) -> String {
        match self.are_combined {
            true => format!("ethtool -L {interface} combined {queues}"),
            false => format!("ethtool -L {interface} rx {queues} tx {queues}"),
        }
    }
}

/// A network interface, of the namespace of whoever asks.
pub struct Ethtool {
    socket: Socket,
    name: [libc::c_char; libc::IFNAMSIZ],
}

impl Ethtool {
    /// The interface of that name.
    ///
    /// # Errors
    ///
    /// A name that no interface can have, or no socket to be had.
    pub fn new(interface: &str) -> io::Result<Ethtool> {
        let name = in_place(interface)?;
        // Any socket of the network namespace will do.
        let socket = Socket::new(Domain::UNIX, Type::DGRAM, None)?;
        Ok(Ethtool { socket, name })
    }

    /// The name that the interface with this number has by now.
    ///
    /// # Errors
    ///
    /// No such interface any more.
    pub fn name_of(&self, number: u32) -> io::Result<String> {
        // SAFETY: all zero is a value of this structure of numbers.
        let mut request: libc::ifreq = unsafe { zeroed() };
        request.ifr_ifru.ifru_ifindex = number as libc::c_int;
        let answer = self.ask_about(libc::SIOCGIFNAME, request)?;
        let octets = answer.ifr_name.map(|octet| octet as u8);
        let name = CStr::from_bytes_until_nul(&octets).map_err(io::Error::other)?;
        Ok(name.to_string_lossy().into_owned())
    }

    /// Asks about the same interface by another name from now on.
    ///
    /// # Errors
    ///
    /// A name that no interface can have.
    pub fn rename(&mut self, interface: &str) -> io::Result<()> {
        self.name = in_place(interface)?;
        Ok(())
    }

    /// Whether it leads back to this machine.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn is_loopback(&self) -> io::Result<bool> {
        let answer = self.ask_device(libc::SIOCGIFFLAGS)?;
        // SAFETY: the kernel has written the flags, and any number is one.
        let flags = unsafe { answer.ifr_ifru.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_LOOPBACK != 0)
    }

    /// Whether its frames are those of Ethernet.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn is_ethernet(&self) -> io::Result<bool> {
        Ok(self.hardware()?.sa_family == ETHERNET)
    }

    /// The station that it is (its MAC address).
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn station(&self) -> io::Result<[u8; 6]> {
        let octets = self.hardware()?.sa_data;
        Ok(std::array::from_fn(|at| octets[at] as u8))
    }

    fn hardware(&self) -> io::Result<libc::sockaddr> {
        let answer = self.ask_device(libc::SIOCGIFHWADDR)?;
        // SAFETY: the kernel has written the address, whose family is the kind.
        Ok(unsafe { answer.ifr_ifru.ifru_hwaddr })
    }

    /// Octets of the longest IP datagram.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn mtu(&self) -> io::Result<usize> {
        let answer = self.ask_device(libc::SIOCGIFMTU)?;
        // SAFETY: the kernel has written the MTU, and any number is one.
        let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
        Ok(usize::try_from(mtu).unwrap_or(0))
    }

    /// Asks what every interface tells, card or not (netdevice(7)).
    fn ask_device(&self, what: libc::Ioctl) -> io::Result<libc::ifreq> {
        // SAFETY: all zero is a value of this structure of numbers.
        let mut request: libc::ifreq = unsafe { zeroed() };
        request.ifr_name = self.name;
        self.ask_about(what, request)
    }

    fn ask_about(&self, what: libc::Ioctl, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: the request is one for each of these questions, and lives through
        // the call.
        let returned = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut request) };
        super::check(returned)?;
        Ok(request)
    }

    /// The driver's name.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn driver(&self) -> io::Result<String> {
        let words = self.ask(DRIVER, &[])?;
        let octets = words[DRIVER_NAME]
            .iter()
            .flat_map(|word| word.to_ne_bytes());
        let octets: Vec<u8> = octets.take_while(|octet| *octet != 0).collect();
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }

    /// Whether VLAN tags are taken off frames before anybody sees them.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn strips_vlan_tags(&self) -> io::Result<bool> {
        let flags = self.ask(FLAGS, &[])?[SET_FLAGS];
        Ok(flags & STRIPS_VLAN_TAGS != 0)
    }

    /// How many queues receive.
    ///
    /// # Errors
    ///
    /// What the kernel says; many drivers do not tell.
    pub fn channels(&self) -> io::Result<Channels> {
        let words = self.ask(CHANNELS, &[])?;
        Ok(Channels {
            receiving: words[RECEIVING] + words[COMBINED],
            most: words[MOST_RECEIVING].max(words[MOST_COMBINED]),
            are_combined: words[MOST_COMBINED] > 0,
        })
    }

    /// Which fields of a UDP datagram choose the queue, in `ethtool`'s letters: `sdfn`
    /// for addresses and ports, `sd` for addresses alone.
    ///
    /// # Errors
    ///
    /// What the kernel says; many drivers do not tell.
    pub fn udp_hash_fields(&self, ipv6: bool) -> io::Result<String> {
        let words = self.ask(HASH_FIELDS, &[(FLOW, UDP_FLOWS[usize::from(ipv6)])])?;
        // A number of 64 bits, whose upper half has a flag that means nothing here.
        let octets: [[u8; 4]; 2] = [words[FIELDS].to_ne_bytes(), words[FIELDS + 1].to_ne_bytes()];
        let fields = u64::from_ne_bytes(*octets.as_flattened().first_chunk().unwrap_or(&[0; 8]));
        Ok(letters(fields))
    }

    /// The queue by the lower bits of the hash.
    ///
    /// # Errors
    ///
    /// What the kernel says; many drivers do not tell.
    pub fn indirection(&self) -> io::Result<Vec<u32>> {
        let entries = self.ask(INDIRECTION, &[])?[ENTRIES];
        let table = FIRST_ENTRY..FIRST_ENTRY + entries as usize;
        if table.end > WORDS {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        Ok(self.ask(INDIRECTION, &[(ENTRIES, entries)])?[table].to_vec())
    }

    fn ask(&self, command: u32, given: &[(usize, u32)]) -> io::Result<Vec<u32>> {
        // Structures have numbers of 64 bits: the memory is aligned for them.
        let mut memory = vec![0u64; WORDS / 2];
        let mut words = vec![0u32; WORDS];
        words[0] = command;
        for &(place, value) in given {
            words[place] = value;
        }
        for (place, pair) in memory.iter_mut().zip(words.chunks_exact(2)) {
            *place = join(pair[0], pair[1]);
        }
        let request = libc::ifreq {
            ifr_name: self.name,
            ifr_ifru: libc::__c_anonymous_ifr_ifru {
                ifru_data: memory.as_mut_ptr().cast(),
            },
        };
        let fd = self.socket.as_raw_fd();
        // SAFETY: `request` names memory that lives through the call and is larger than
        // the structure of any of the commands; of a table the kernel writes as many
        // entries as are asked for, which was seen to fit.
        let returned = unsafe { libc::ioctl(fd, libc::SIOCETHTOOL as _, &raw const request) };
        super::check(returned)?;
        let pairs = memory.iter().map(|pair| pair.to_ne_bytes());
        let words = pairs.flat_map(|[a, b, c, d, e, f, g, h]| {
            [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
        });
        Ok(words.collect())
    }
}

/// A name as it is given to the kernel, with a zero at its end.
fn in_place(interface: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (place, octet) in name.iter_mut().zip(interface.bytes()) {
        *place = octet as libc::c_char;
    }
    Ok(name)
}

fn join(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// `RXH_L2DA` to `RXH_L4_B_2_3`.
fn letters(fields: u64) -> String {
    let named = [
        (1, 'm'),
        (2, 'v'),
        (3, 't'),
        (4, 's'),
        (5, 'd'),
        (6, 'f'),
        (7, 'n'),
    ];
    let set = named.iter().filter(|(bit, _)| fields & (1 << bit) != 0);
    set.map(|(_, letter)| letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_letters() {
        assert_eq!(letters(0b1111 << 4), "sdfn");
        assert_eq!(letters(0b0011 << 4), "sd");
        assert_eq!(letters(0), "");
    }

    #[test]
    fn loopback_has_no_card_and_nothing_has_no_interface() {
        let loopback = Ethtool::new("lo").unwrap();
        assert!(loopback.channels().is_err() && loopback.indirection().is_err());
        assert!(Ethtool::new("no-such").unwrap().driver().is_err());
        assert!(Ethtool::new("a-name-that-is-too-long").is_err());
    }

    #[test]
    fn an_interface_has_a_number_and_that_a_name() {
        let asker = Ethtool::new("no-such").unwrap();
        let number = number("lo").unwrap();
        assert_eq!(asker.name_of(number).unwrap(), "lo");
        assert!(asker.name_of(0).is_err());
    }
}
