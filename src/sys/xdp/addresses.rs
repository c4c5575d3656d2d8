//! Which addresses are still the machine's, as they come and go (rtnetlink(7)).

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use netlink_packet_core::{NetlinkBuffer, NlasIterator};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Notices of addresses, by family (`RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`).
const GROUPS: u32 = 0x10 | 0x100;
/// Octets that are read at once; the kernel fills no more into one.
const ANSWER: usize = 32 << 10;
/// Octets of a message's header (`nlmsghdr`), and of what is said first of an address
/// (`ifaddrmsg`).
const HEADER: usize = 16;
const ADDRESS: usize = 8;
/// `IFA_ADDRESS` and `IFA_LOCAL`, which differ where the link has two ends.
const OF_LINK: u16 = 1;
const LOCAL: u16 = 2;

/// Addresses that no request comes from: the machine's own, and those that are
/// everybody's. Written by the control thread, read by the workers; `Relaxed`, since each
/// flag stands for itself, and what comes in just then may be taken for either.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// Sorted, each with whether it still is one.
    all: Box<[(IpAddr, AtomicBool)]>,
    /// The machine's own among them.
    own: BTreeSet<IpAddr>,
    /// Whether any is none any more.
    has_changed: AtomicBool,
}

impl Strangers {
    /// The machine's `own` addresses, and others that stay what they are.
    pub fn new(own: BTreeSet<IpAddr>, others: impl Iterator<Item = IpAddr>) -> Strangers {
        let all: BTreeSet<IpAddr> = own.iter().copied().chain(others).collect();
        Strangers {
            all: all.into_iter().map(|one| (one, true.into())).collect(),
            own,
            has_changed: false.into(),
        }
    }

    fn is_one(&self, address: IpAddr) -> Option<bool> {
        let at = self.all.binary_search_by_key(&address, |(one, _)| *one);
        at.ok().map(|at| self.all[at].1.load(Ordering::Relaxed))
    }

    /// True for an address that no request comes from.
    pub fn contain(&self, address: IpAddr) -> bool {
        self.is_one(address) == Some(true)
    }

    /// True for an address that was the machine's and is no longer.
    pub fn have_lost(&self, address: IpAddr) -> bool {
        self.has_changed.load(Ordering::Relaxed) && self.is_one(address) == Some(false)
    }

    /// Goes by the addresses that the machine has now.
    pub fn follow(&self, now: &BTreeSet<IpAddr>) {
        let mut has_changed = false;
        for (address, is_one) in &self.all {
            if self.own.contains(address) {
                is_one.store(now.contains(address), Ordering::Relaxed);
                has_changed |= !now.contains(address);
            }
        }
        self.has_changed.store(has_changed, Ordering::Relaxed);
    }
}

/// Hears of addresses that come and go in the network namespace of whoever made it.
pub struct AddressWatch {
    socket: Socket,
    /// What has been listed so far, where a list is on its way.
    listing: Option<BTreeSet<IpAddr>>,
    /// Whether there is news that the list may not have.
    is_stale: bool,
}

impl AddressWatch {
    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn new() -> io::Result<AddressWatch> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        socket.set_non_blocking(true)?;
        Ok(AddressWatch {
            socket,
            listing: None,
            // Somebody has looked before, and not seen what came in between.
            is_stale: true,
        })
    }

    /// All addresses of the machine, where they may have changed; a list takes more
    /// than one look. Never waits.
    pub fn look(&mut self) -> Option<BTreeSet<IpAddr>> {
        let mut listed = None;
        let mut answer = Vec::with_capacity(ANSWER);
        loop {
            answer.clear();
            match self.socket.recv(&mut answer, 0) {
                Ok(_) => self.read(&answer, &mut listed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // There was more news than room for it.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.is_stale = true,
                Err(_) => break,
            }
        }
        if self.is_stale && self.listing.is_none() && self.socket.send(&request(), 0).is_ok() {
            (self.is_stale, self.listing) = (false, Some(BTreeSet::new()));
        }
        listed
    }

    fn read(&mut self, answer: &[u8], listed: &mut Option<BTreeSet<IpAddr>>) {
        for message in messages(answer) {
            let flags = i32::from(message.flags());
            // A list during which something changed may lack what did not.
            self.is_stale |= flags & libc::NLM_F_DUMP_INTR != 0;
            match i32::from(message.message_type()) {
                libc::NLMSG_DONE => {
                    *listed = self.listing.take().filter(|_| !self.is_stale);
                }
                libc::NLMSG_ERROR => (self.listing, self.is_stale) = (None, true),
                _ if flags & libc::NLM_F_MULTI == 0 => self.is_stale = true,
                _ => {
                    if let Some(listing) = &mut self.listing {
                        listing.extend(address(message.payload()));
                    }
                }
            }
        }
    }
}

/// Asks for all addresses (`RTM_GETADDR`, of any family).
fn request() -> Vec<u8> {
    let length = (HEADER + ADDRESS) as u32;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(libc::RTM_GETADDR.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.resize(HEADER + ADDRESS, 0);
    request
}

/// The messages in what was read.
fn messages(mut rest: &[u8]) -> impl Iterator<Item = NetlinkBuffer<&[u8]>> {
    std::iter::from_fn(move || {
        let message = NetlinkBuffer::new_checked(rest).ok()?;
        // Messages begin at multiples of four octets (netlink(7)).
        let length = (message.length() as usize).next_multiple_of(4);
        rest = rest.get(length..).unwrap_or_default();
        Some(message)
    })
}

/// The address that a message is of.
fn address(body: &[u8]) -> Option<IpAddr> {
    let (mut of_link, mut local) = (None, None);
    for attribute in NlasIterator::new(body.get(ADDRESS..)?) {
        let attribute = attribute.ok()?;
        let data = attribute.value();
        let address = match data.len() {
            4 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            _ => None,
        };
        match attribute.kind() {
            OF_LINK => of_link = address,
            LOCAL => local = address,
            _ => {}
        }
    }
    local.or(of_link)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn addresses(all: &[&str]) -> BTreeSet<IpAddr> {
        all.iter().map(|one| one.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_that_is_lost_may_be_a_clients() {
        let own = addresses(&["192.0.2.1", "2001:db8::1"]);
        let strangers = Strangers::new(own, addresses(&["192.0.2.255"]).into_iter());
        let [one, other, all] = ["192.0.2.1", "2001:db8::1", "192.0.2.255"];
        let told = |address: &str| {
            let address = address.parse().unwrap();
            (strangers.contain(address), strangers.have_lost(address))
        };
        assert_eq!([one, other, all].map(told), [(true, false); 3]);
        assert_eq!(told("192.0.2.2"), (false, false));
        strangers.follow(&addresses(&[other, "192.0.2.2"]));
        assert_eq!(told(one), (false, true));
        assert_eq!([other, all].map(told), [(true, false); 2]);
        strangers.follow(&addresses(&[one, other]));
        assert_eq!(told(one), (true, false));
    }

    #[test]
    fn all_addresses_are_listed_where_there_may_be_news() {
        let begin = Instant::now();
        let mut watch = AddressWatch::new().unwrap();
        let is_listed = |watch: &mut AddressWatch| {
            let all = super::super::interface::addresses().unwrap();
            let all: BTreeSet<IpAddr> = all.iter().map(|one| one.address).collect();
            assert!(!all.is_empty());
            watch.look() == Some(all)
        };
        while !is_listed(&mut watch) {
            assert!(begin.elapsed() < Duration::from_secs(20));
            // Somebody may have changed them just then.
            watch.is_stale |= watch.listing.is_none();
        }
    }

    /// The kernel goes on by position, and may skip one when one before it goes.
    #[test]
    fn a_list_that_was_disturbed_is_read_again() {
        let message = |kind: i32, flags: i32| {
            let mut message = (HEADER as u32).to_ne_bytes().to_vec();
            message.extend((kind as u16).to_ne_bytes());
            message.extend((flags as u16).to_ne_bytes());
            message.resize(HEADER, 0);
            message
        };
        let done = message(libc::NLMSG_DONE, libc::NLM_F_MULTI);
        let interrupted = libc::NLM_F_MULTI | libc::NLM_F_DUMP_INTR;
        let disturbed = message(libc::NLMSG_DONE, interrupted);
        let news = message(libc::RTM_DELADDR.into(), 0);
        for (messages, is_good) in [
            (done.clone(), true),
            (disturbed, false),
            ([news, done].concat(), false),
        ] {
            let mut watch = AddressWatch::new().unwrap();
            (watch.listing, watch.is_stale) = (Some(BTreeSet::new()), false);
            let mut listed = None;
            watch.read(&messages, &mut listed);
            assert_eq!((listed.is_some(), watch.is_stale), (is_good, !is_good));
            assert!(watch.listing.is_none());
        }
    }

    #[test]
    fn what_makes_no_sense_is_no_address() {
        let short = [&[0; ADDRESS][..], &[3, 0, 1, 0]].concat();
        for body in [&[][..], &[0; ADDRESS], &short] {
            assert_eq!(address(body), None);
        }
        assert_eq!(messages(&[255; 20]).count(), 0);
        assert_eq!(messages(&[1, 0, 0]).count(), 0);
        assert_eq!(messages(&[0; 64]).count(), 0);
    }
}
