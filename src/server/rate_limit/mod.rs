//! Response rate limiting: a client's prefix gets so many replies a second that
//! say the same, so that whoever asks in another's name cannot have the server
//! flood it. Over UDP alone; who has shown by a cookie that it asks in its own
//! name is not limited.
//!
//! # One limit, several workers
//!
//! ```text
//!  worker 0          worker 1          worker 2
//!  table 0 ◄──┐      table 1 ◄──┐      table 2 ◄──┐   counts: the worker's
//!     │       │         │       │         │       │   grants: the balance's
//!     │ short │         │ short │         │ short │
//!     └───────┴──►──────┴───────┴──►──────┴─────► balance, every 10 ms
//! ```
//!
//! Each worker counts in a table of its own (`table`, `line`) and passes its
//! share of a key in a second, the limit divided by the workers and rounded up.
//! When three quarters of it are used, when all is, and now and then when
//! replies are withheld, it reports the key (a share under four only then); a
//! report that finds the channel full is lost. The balance (`balance`) reads
//! what all workers have passed, lowers those that are not short to that and
//! half of what they would have got of the rest, and divides what is left among
//! those that are. Where nobody is near the limit it has nothing to do, and the
//! workers write nothing that others read.
//!
//! # How far off it can be
//!
//! Counted for one key, a limit of R, W workers:
//!
//! - Too much: in a second by the clock at most R + W - 1 replies pass, which is
//!   W shares. Seconds do not know of each other: in one that begins in the middle
//!   of two, twice that may pass, at the end of one and the beginning of the next.
//!   Where more than four keys of one line of a table (of 16,384 by default) are
//!   granted something in the same second, the limit of one of them is R and the
//!   shares of all other workers, less than 2 R in all.
//! - Too little: a worker that alone sees a key has R / W at once. The rest comes
//!   within 10 ms each time that it is short, half of what the others could still
//!   get at first and what is left of it later, so that four times give all but a
//!   few. A key of up to 95 % of R a second that comes evenly loses none, up to
//!   25 workers and from shares of four on: it reports when a quarter is left,
//!   and that lasts for longer than 10 ms.
//! - A key that comes to a line in which four others are, in the same second, is
//!   counted as if it had sent what the least of them has. That is at most
//!   for a second, and costs an innocent prefix nothing unless all four are at
//!   their limits.
//!
//! Keys are told apart by 24 bits and the line: of two that have both in common,
//! which happens to two in 2^38 at the default size, each is counted as the other.

mod balance;
mod limited;
mod line;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

pub use balance::Balance;
use balance::Report;
pub use limited::{Withheld, answer};
use line::Taken;
use table::{Key, Secret, Table};

use crate::answer::Source;
use crate::wire::header::HEADER;
use crate::wire::name::{MAX_NAME, wire_length};
use crate::zone::Zone;

/// How often the balance runs.
pub const TICK: Duration = Duration::from_millis(10);
/// The highest limit.
pub const MAX_LIMIT: u32 = line::MAX_REPLIES;
/// Keys that each worker's table has room for: 1 MiB.
pub const ENTRIES: usize = 1 << 16;
/// The largest table: 256 MiB for each worker.
pub const MAX_ENTRIES: usize = 1 << 24;
/// Reports of a worker that wait for the balance: in 10 ms more keys than a flood
/// brings near their limits, and few enough to be settled in that time.
const MAX_REPORTS: usize = 256;

/// How replies are limited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Replies a second to a prefix that say the same, 1 to `MAX_LIMIT`.
    pub limit: u32,
    /// Every so manieth reply that is withheld is truncated instead of dropped:
    /// 0 none, 1 all.
    pub slip: u8,
    /// The bits of an IPv4 address that clients are told apart by.
    pub ipv4_prefix: u8,
    /// The bits of an IPv6 address.
    pub ipv6_prefix: u8,
    /// Clients that are not limited.
    pub exempt: Vec<Prefix>,
    /// Keys that each worker's table has room for, a power of two.
    pub entries: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            limit: 200,
            slip: 2,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: Vec::new(),
            entries: ENTRIES,
        }
    }
}

/// The addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// True for addresses of the prefix.
    pub fn holds(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && masked(address, self.bits) == masked(self.address, self.bits)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefix, String> {
        let form = || {
            "write an address and perhaps the bits that count, as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32".to_owned()
        };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) => bits.parse().map_err(|_| form())?,
            None => most,
        };
        if bits > most {
            return Err(format!("an address of this kind has {most} bits"));
        }
        Ok(Prefix { address, bits })
    }
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Pass,
    /// It is not; the client is told to come by TCP.
    Slip,
    /// It is not.
    Drop,
}

/// The limiter of one worker.
pub struct Limiter {
    options: Arc<Options>,
    secret: Secret,
    table: Arc<Table>,
    share: u32,
    /// `None` for a worker that is alone, and has all of the limit.
    reports: Option<Sender<Report>>,
}

/// Makes the limiters of so many workers, and the balance between them.
pub fn limiters(options: &Options, workers: usize, secret: Secret) -> (Vec<Limiter>, Balance) {
    let options = Arc::new(options.clone());
    let share = options.limit.div_ceil(workers as u32);
    let (mut limiters, mut tables, mut receivers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..workers {
        let table = Arc::new(Table::new(options.entries));
        let (reports, receiver) = crossbeam_channel::bounded(MAX_REPORTS);
        tables.push(table.clone());
        receivers.push(receiver);
        limiters.push(Limiter {
            options: options.clone(),
            secret,
            table,
            share,
            reports: (workers > 1).then_some(reports),
        });
    }
    let balance = Balance::new(tables, receivers, options.limit, share);
    (limiters, balance)
}

/// What a reply is about.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// What it was made from.
    pub source: Source,
    /// The hash of the name that was asked for.
    pub name: u64,
    /// The zone that answers for the name.
    pub zone: Option<&'a Zone>,
    /// The request.
    pub request: &'a [u8],
}

impl Limiter {
    /// Counts a reply to `client`, and decides about it.
    #[inline]
    pub fn judge(&self, client: IpAddr, about: About<'_>, now: Duration) -> Verdict {
        if self
            .options
            .exempt
            .iter()
            .any(|prefix| prefix.holds(client))
        {
            return Verdict::Pass;
        }
        let (family, bits) = match client {
            IpAddr::V4(_) => (0, self.options.ipv4_prefix),
            IpAddr::V6(_) => (1, self.options.ipv6_prefix),
        };
        let (kind, which) = self.kind(about);
        let key = Key::new(
            &self.secret,
            masked(client, bits),
            kind << 1 | family,
            which,
        );
        let second = now.as_secs();
        match self.table.take(key, second, self.share) {
            Taken::Passed => Verdict::Pass,
            Taken::PassedLow => {
                self.report(second, key);
                Verdict::Pass
            }
            Taken::Withheld { before, report } => {
                if report {
                    self.report(second, key);
                }
                match self.options.slip {
                    0 => Verdict::Drop,
                    slip if (u16::from(before) + 1).is_multiple_of(slip.into()) => Verdict::Slip,
                    _ => Verdict::Drop,
                }
            }
        }
    }

    /// The kind of a reply, and what tells those of the kind apart.
    #[inline]
    fn kind(&self, about: About<'_>) -> (u64, u64) {
        match (about.source, about.zone) {
            (Source::Name, _) => (0, about.name),
            (Source::Zone, Some(zone)) => (1, zone.lookup_name().hash_of(0)),
            (Source::Above(start), _) => (2, self.above(start, about.request)),
            (Source::Zone, None) | (Source::Server, _) => (3, 0),
        }
    }

    /// A hash of the end of the question's name.
    #[inline(never)]
    fn above(&self, start: u8, request: &[u8]) -> u64 {
        let question = request.get(HEADER..).unwrap_or_default();
        let length = wire_length(question).unwrap_or(0).min(MAX_NAME);
        let mut name = [0; MAX_NAME];
        name[..length].copy_from_slice(&question[..length]);
        name.make_ascii_lowercase();
        Key::which(&self.secret, &name[usize::from(start).min(length)..length])
    }

    #[cold]
    fn report(&self, second: u64, key: Key) {
        if let Some(reports) = &self.reports {
            // Too many wait: it will be said again.
            let _ = reports.try_send(Report { second, key });
        }
    }
}

/// The first bits of an address, the others zero.
#[inline]
fn masked(address: IpAddr, bits: u8) -> u128 {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u128::from(address.to_bits() & mask)
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            address.to_bits() & mask
        }
    }
}
