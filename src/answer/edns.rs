//! EDNS(0), in and out: sizes, DO, NSID, cookies, how long connections last and
//! extended errors (RFC 6891, RFC 3225, RFC 5001, RFC 7873, RFC 7828, RFC 8914). An
//! OPT record answers an OPT record and nothing else.

use std::num::NonZeroU16;

use super::cookie;
use super::terms::{MIN_UDP, Via};
use crate::wire::{Cursor, Rcode, RecordOctets, RrType};

/// Records of a request that are looked at. Queries have an OPT record, some a signature
/// besides; one name of 127 labels takes longer to pass over than an answer to find.
pub const MAX_RECORDS: u16 = 3;
/// Options that are looked at.
const MAX_OPTIONS: usize = 64;
/// Octets of an OPT record without options.
pub const OPT: usize = 11;
/// Octets of an option without data.
const OPTION: usize = 4;
/// Octets of an extended error without text.
const EXTENDED_ERROR: usize = OPTION + 2;
/// Octets of the edns-tcp-keepalive option of a reply.
const KEEPALIVE_OPTION: usize = OPTION + 2;
/// Octets of the COOKIE option of a reply.
pub const COOKIE_OPTION: usize = OPTION + cookie::BOTH;

/// The root, as it is written in messages.
const ROOT: &[u8] = b"\0";

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EDE: u16 = 15;
const DO: u8 = 0x80;
/// The NSID option is there. No flag of the record: there, it means nothing yet.
const HAS_NSID: u8 = 1;
/// The same for the COOKIE option.
const HAS_COOKIE: u8 = 2;
/// The same for the edns-tcp-keepalive option.
const HAS_KEEPALIVE: u8 = 4;
/// There is one that tells a timeout, which is the server's to tell.
const BAD_KEEPALIVE: u8 = 8;

/// What a request's OPT record says: four octets, and no more where there may
/// be none, so that it travels in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    size: NonZeroU16,
    /// The EDNS version; only 0 exists.
    pub version: u8,
    flags: u8,
}

/// INFO-CODEs that this server sends (RFC 8914 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ExtendedError {
    /// Something else: here, a chain of aliases that was cut off.
    Other = 0,
    /// No zone here holds the name.
    NotAuthoritative = 20,
    /// The operation or type is not supported.
    NotSupported = 21,
    /// A type that only bitmaps tell of (RFC 9824 §3.5).
    InvalidQueryType = 30,
}

impl Edns {
    /// `flags` is the upper half of the record's.
    #[inline]
    fn new(size: u16, version: u8, flags: u8) -> Edns {
        Edns {
            // Less than 512 is taken for 512 (RFC 6891 §6.2.3).
            size: NonZeroU16::new(size.max(MIN_UDP as u16)).expect("512 and more are not 0"),
            version,
            flags: flags & DO,
        }
    }

    /// What an OPT record says, its options left out.
    fn of(record: &RecordOctets<'_>) -> Edns {
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        Edns::new(record.class, version, flags)
    }

    /// The longest datagram the client takes.
    #[inline]
    pub fn size(self) -> usize {
        self.size.get().into()
    }

    /// The client asks for the server's name.
    #[inline]
    pub fn asks_for_nsid(self) -> bool {
        self.flags & HAS_NSID != 0
    }

    /// The client sends a cookie, whatever may be wrong with it.
    #[inline]
    pub fn has_cookie(self) -> bool {
        self.flags & HAS_COOKIE != 0
    }

    /// The client asks how long its connection may be idle.
    #[inline]
    pub fn asks_for_keepalive(self) -> bool {
        self.flags & HAS_KEEPALIVE != 0
    }

    /// The client says so itself: "Clients MUST specify an OPTION-LENGTH of 0 and
    /// omit the TIMEOUT value" (RFC 7828 §3.2.1).
    #[inline]
    pub fn has_bad_keepalive(self) -> bool {
        self.flags & BAD_KEEPALIVE != 0
    }

    /// The same without what means nothing where the request has come by: a server
    /// ignores the edns-tcp-keepalive option in a datagram, and sends none in
    /// another (RFC 7828 §3.3.1, §3.3.2).
    pub fn over(self, via: Via) -> Edns {
        let meaningless = match via {
            Via::Udp(_) => HAS_KEEPALIVE | BAD_KEEPALIVE,
            Via::Tcp => 0,
        };
        Edns {
            flags: self.flags & !meaningless,
            ..self
        }
    }

    /// The client wants signatures and proofs (RFC 3225 §3).
    #[inline(always)]
    pub fn wants_signatures(self) -> bool {
        self.flags & DO != 0
    }

    /// There is nothing to it but a size.
    #[inline(always)]
    pub fn is_plain(self) -> bool {
        self.version == 0 && self.flags == 0
    }

    /// There is more to it than a size and DO.
    #[inline(always)]
    pub fn is_unusual(self) -> bool {
        self.version != 0 || self.flags & !DO != 0
    }

    /// Reads the additional section, which ends the message: its OPT record, if it has
    /// one. An error where it is broken or does not, with the first OPT record that is
    /// whole, whatever is wrong with its options and the section.
    #[inline(always)]
    pub fn find(rest: &[u8], records: u16) -> Result<Option<Edns>, Option<Edns>> {
        if records == 0 {
            return if rest.is_empty() { Ok(None) } else { Err(None) };
        }
        // What nearly every request ends with: one OPT record without options.
        if records == 1
            && let Ok(opt) = <&[u8; OPT]>::try_from(rest)
            && let Some(edns) = Edns::without_options(opt)
        {
            return Ok(Some(edns));
        }
        Edns::search(Cursor::new(rest), records)
    }

    #[inline(always)]
    fn without_options(opt: &[u8; OPT]) -> Option<Edns> {
        // The root and the type, size, code, version, the flags' upper half.
        let head = u64::from_be_bytes(*opt.first_chunk()?);
        let length = u16::from_be_bytes(*opt.last_chunk()?);
        if head >> 40 != u64::from(RrType::OPT.0) || length != 0 {
            return None;
        }
        let (size, version, flags) = ((head >> 24) as u16, (head >> 8) as u8, head as u8);
        Some(Edns::new(size, version, flags))
    }

    #[cold]
    #[inline(never)]
    fn search(mut rest: Cursor<'_>, records: u16) -> Result<Option<Edns>, Option<Edns>> {
        let mut is_sound = records <= MAX_RECORDS;
        // The OPT record without its options, and with them.
        let (mut first, mut whole) = (None, None);
        for _ in 0..records.min(MAX_RECORDS) {
            let record = rest.record().ok_or(first)?;
            if record.rtype != RrType::OPT {
                continue;
            }
            // One OPT, at the root (RFC 6891 §6.1.1, §6.1.2).
            if first.is_some() {
                return Err(first);
            }
            if record.owner != ROOT {
                is_sound = false;
                continue;
            }
            let edns = Edns::of(&record);
            first = Some(edns);
            whole = Some(edns.with_options(record.data).ok_or(first)?);
        }
        if is_sound && rest.is_empty() {
            return Ok(whole);
        }
        Err(first)
    }

    /// The same record with what its options ask for; `None` where one runs over
    /// the end.
    fn with_options(self, options: &[u8]) -> Option<Edns> {
        let mut flags = self.flags;
        each_option(options, |code, data| {
            flags |= match code {
                NSID => HAS_NSID,
                COOKIE => HAS_COOKIE,
                KEEPALIVE if data.is_empty() => HAS_KEEPALIVE,
                KEEPALIVE => BAD_KEEPALIVE,
                _ => 0,
            };
        })?;
        Some(Edns { flags, ..self })
    }

    /// The OPT record of a reply, up to where `options` octets of them follow.
    #[inline(always)]
    pub fn reply(self, rcode: Rcode, size: u16, options: u16) -> [u8; OPT] {
        let [high, low] = RrType::OPT.0.to_be_bytes();
        let ([size_high, size_low], code) = (size.to_be_bytes(), rcode.high());
        let [length_high, length_low] = options.to_be_bytes();
        let flags = self.flags & DO;
        #[rustfmt::skip]
        let opt = [0, high, low, size_high, size_low, code, 0, flags, 0, length_high, length_low];
        opt
    }
}

/// The data of the first COOKIE option of a message that has been read: "all
/// others are ignored" (RFC 7873 §5.2).
pub fn cookie(message: &[u8]) -> Option<&[u8]> {
    let mut cookie = None;
    each_option(RecordOctets::first_opt(message)?.data, |code, data| {
        if code == COOKIE {
            cookie.get_or_insert(data);
        }
    })?;
    cookie
}

/// The options of a reply.
pub struct ReplyOptions<'a> {
    /// The client's cookie and ours, where it sent one.
    pub cookie: Option<&'a [u8; cookie::BOTH]>,
    /// How long the connection may be idle, in units of 100 ms, where that was asked.
    pub keepalive: Option<u16>,
    /// The server's name, where it was asked for.
    pub nsid: Option<&'a [u8]>,
    /// What is to be said about the reply.
    pub error: Option<ExtendedError>,
}

impl ReplyOptions<'_> {
    /// Their octets.
    pub fn octets(&self) -> usize {
        let cookie = self.cookie.map_or(0, |_| COOKIE_OPTION);
        let keepalive = self.keepalive.map_or(0, |_| KEEPALIVE_OPTION);
        let nsid = self.nsid.map_or(0, |identity| OPTION + identity.len());
        cookie + keepalive + nsid + self.error.map_or(0, |_| EXTENDED_ERROR)
    }

    /// Writes them into `rest`, which has room for them.
    pub fn write(&self, mut rest: &mut [u8]) {
        if let Some(cookie) = self.cookie {
            rest = put_option(rest, COOKIE, cookie);
        }
        if let Some(timeout) = self.keepalive {
            rest = put_option(rest, KEEPALIVE, &timeout.to_be_bytes());
        }
        if let Some(identity) = self.nsid {
            rest = put_option(rest, NSID, identity);
        }
        if let Some(error) = self.error {
            put_option(rest, EDE, &(error as u16).to_be_bytes());
        }
    }
}

/// Walks the options; unknown ones are passed over (RFC 6891 §6.1.2). `None`
/// where one runs over the end.
fn each_option<'m>(options: &'m [u8], mut take: impl FnMut(u16, &'m [u8])) -> Option<()> {
    let mut rest = Cursor::new(options);
    for _ in 0..=MAX_OPTIONS {
        if rest.is_empty() {
            return Some(());
        }
        let (code, length) = (rest.u16()?, rest.u16()?);
        take(code, rest.take(length.into())?);
    }
    None
}

fn put_option<'o>(out: &'o mut [u8], code: u16, data: &[u8]) -> &'o mut [u8] {
    let (head, rest) = out.split_at_mut(OPTION);
    head[..2].copy_from_slice(&code.to_be_bytes());
    head[2..].copy_from_slice(&(data.len() as u16).to_be_bytes());
    let (place, rest) = rest.split_at_mut(data.len());
    place.copy_from_slice(data);
    rest
}
