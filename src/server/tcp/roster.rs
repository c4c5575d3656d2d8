//! Who is connected, how many connections each client has, and which of them
//! give way when there are too many.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A connection that has got nowhere for so long gives way to a new one where
/// there are too many and none is idle: otherwise whoever opens them all, and
/// sends an octet on each, locks everyone else out.
const STALLED: Duration = Duration::from_secs(1);

/// What counts as one client, see `Limits::per_client`.
pub fn client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// Who is connected, in the order of the last progress. Every connection is
/// in `all`; the idle ones are also in `idle` and in their client's `idle`.
#[derive(Default)]
pub struct Roster {
    pub(super) all: BTreeSet<(Instant, usize)>,
    pub(super) idle: BTreeSet<(Instant, usize)>,
    pub(super) clients: HashMap<IpAddr, Client>,
}

#[derive(Default)]
pub(super) struct Client {
    connections: usize,
    idle: BTreeSet<(Instant, usize)>,
}

/// Where a connection stands in the roster.
#[derive(Clone, Copy, PartialEq)]
pub struct RosterEntry {
    /// The connection.
    pub number: usize,
    /// Whose it is, see `client`.
    pub client: IpAddr,
    /// Its last progress.
    pub since: Instant,
    /// Nothing of it is under way, so that it can be closed.
    pub idle: bool,
}

impl Roster {
    /// The connection that has got nowhere for longest, and since when.
    pub fn oldest(&self) -> Option<(Instant, usize)> {
        self.all.first().copied()
    }

    /// The connection that has got nowhere for longest, if that is long enough
    /// to give its place to somebody else.
    pub fn stalled(&self) -> Option<usize> {
        let (since, number) = self.oldest()?;
        (since.elapsed() >= STALLED).then_some(number)
    }

    /// The connection that has been idle longest.
    pub fn idlest(&self) -> Option<usize> {
        self.idle.first().map(|&(_, number)| number)
    }

    /// The connection of one client that has been idle longest.
    pub fn idlest_of(&self, client: IpAddr) -> Option<usize> {
        self.clients
            .get(&client)?
            .idle
            .first()
            .map(|&(_, number)| number)
    }

    /// How many connections a client has.
    pub fn connections_of(&self, client: IpAddr) -> usize {
        self.clients
            .get(&client)
            .map_or(0, |client| client.connections)
    }

    /// A connection has come.
    pub fn enter(&mut self, entry: RosterEntry) {
        self.clients.entry(entry.client).or_default().connections += 1;
        self.add(entry);
    }

    /// A connection has gone.
    pub fn leave(&mut self, entry: RosterEntry) {
        self.remove(entry);
        if let Some(client) = self.clients.get_mut(&entry.client) {
            client.connections -= 1;
            if client.connections == 0 {
                self.clients.remove(&entry.client);
            }
        }
    }

    /// A connection stands elsewhere now.
    pub fn change(&mut self, before: RosterEntry, after: RosterEntry) {
        if before != after {
            self.remove(before);
            self.add(after);
        }
    }

    fn add(&mut self, entry: RosterEntry) {
        let key = (entry.since, entry.number);
        self.all.insert(key);
        if entry.idle {
            self.idle.insert(key);
            if let Some(client) = self.clients.get_mut(&entry.client) {
                client.idle.insert(key);
            }
        }
    }

    fn remove(&mut self, entry: RosterEntry) {
        let key = (entry.since, entry.number);
        self.all.remove(&key);
        if entry.idle {
            self.idle.remove(&key);
            if let Some(client) = self.clients.get_mut(&entry.client) {
                client.idle.remove(&key);
            }
        }
    }
}
