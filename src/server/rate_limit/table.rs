//! A worker's table: lines of counts, as many as at the start for ever. A key is
//! hashed with a secret, so that nobody who does not know it can choose keys that
//! get into each other's way.

use siphasher::sip::SipHasher13;

use super::line::{Identity, KEYS, Line, Taken};

/// The secret of all tables of a server.
pub type Secret = [u8; 16];

/// The hash of what replies are counted by: a client's prefix, the kind of reply,
/// and what tells replies of the kind apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

impl Key {
    /// Hashes what replies are counted by.
    #[inline]
    pub fn new(secret: &Secret, prefix: u128, kind: u64, which: u64) -> Key {
        let mut octets = [0; 32];
        octets[..16].copy_from_slice(&prefix.to_ne_bytes());
        octets[16..24].copy_from_slice(&kind.to_ne_bytes());
        octets[24..].copy_from_slice(&which.to_ne_bytes());
        Key(SipHasher13::new_with_key(secret).hash(&octets))
    }

    /// Hashes octets, for use as what tells replies apart.
    pub fn which(secret: &Secret, octets: &[u8]) -> u64 {
        SipHasher13::new_with_key(secret).hash(octets)
    }
}

/// The counts of one worker.
#[derive(Debug)]
pub struct Table {
    lines: Box<[Line]>,
}

impl Table {
    /// A table for so many keys, a power of two.
    pub fn new(entries: usize) -> Table {
        let lines = (entries / KEYS).next_power_of_two();
        Table {
            lines: (0..lines).map(|_| Line::default()).collect(),
        }
    }

    /// Decides about a reply in a second; see `Line::take`.
    #[inline]
    pub fn take(&self, key: Key, second: u64, share: u32) -> Taken {
        self.line(key).take(Identity::new(key.0, second), share)
    }

    /// How many replies of a key have passed in a second, and how many may.
    pub fn state(&self, key: Key, second: u64, share: u32) -> (u32, u32) {
        self.line(key).state(Identity::new(key.0, second), share)
    }

    /// Has so many replies of a key pass in a second.
    pub fn grant(&self, key: Key, second: u64, replies: u32) {
        self.line(key).grant(Identity::new(key.0, second), replies);
    }

    #[inline]
    fn line(&self, key: Key) -> &Line {
        // The length is a power of two.
        &self.lines[key.0 as usize & (self.lines.len() - 1)]
    }
}
