//! EDNS(0), in and out: sizes, DO, NSID and extended errors (RFC 6891,
//! RFC 3225, RFC 5001, RFC 8914). An OPT record answers an OPT record and
//! nothing else.

use crate::wire::{Cursor, Rcode, RrType};

/// Octets of an OPT record without options.
pub const OPT: usize = 11;
/// Octets of an option without data.
const OPTION: usize = 4;
/// Octets of an extended error without text.
const EXTENDED_ERROR: usize = OPTION + 2;

const NSID: u16 = 3;
const EDE: u16 = 15;
const DO: u8 = 0x80;

/// What a request's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The longest datagram the client takes.
    pub size: u16,
    /// The EDNS version; only 0 exists.
    pub version: u8,
    /// The client wants DNSSEC records.
    pub dnssec_ok: bool,
    /// The client asks for the server's name.
    pub nsid: bool,
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
}

impl Edns {
    /// Reads the additional section to its end. `None` where it is broken;
    /// `Some(None)` where it holds no OPT.
    #[inline]
    pub fn find(rest: &mut Cursor<'_>, records: u16) -> Option<Option<Edns>> {
        // What nearly every request ends with: one OPT record without options.
        if records == 1
            && let [0, 0, 41, upper, lower, _, version, flags, _, 0, 0] = *rest.rest()
        {
            *rest = Cursor::new(&[]);
            return Some(Some(Edns {
                size: u16::from_be_bytes([upper, lower]),
                version,
                dnssec_ok: flags & DO != 0,
                nsid: false,
            }));
        }
        Edns::search(rest, records)
    }

    fn search(rest: &mut Cursor<'_>, records: u16) -> Option<Option<Edns>> {
        let mut edns = None;
        for _ in 0..records {
            let owner = rest.rest();
            rest.skip_name()?;
            let rtype = RrType(rest.u16()?);
            let size = rest.u16()?;
            let [_, version, upper, _] = rest.u32()?.to_be_bytes();
            let length = rest.u16()?;
            let options = rest.take(length.into())?;
            if rtype != RrType::OPT {
                continue;
            }
            // One OPT, at the root (RFC 6891 §6.1.1, §6.1.2).
            if edns.is_some() || owner.first() != Some(&0) {
                return None;
            }
            edns = Some(Edns {
                size,
                version,
                dnssec_ok: upper & DO != 0,
                nsid: asks_for_nsid(options)?,
            });
        }
        Some(edns)
    }

    /// Writes the OPT record of a reply into `out`, which has room for it;
    /// returns its octets.
    #[inline]
    pub fn write(self, out: &mut [u8], reply: &OptReply<'_>) -> usize {
        let options = reply.octets() - OPT;
        let [size, length] = [reply.size, options as u16].map(u16::to_be_bytes);
        let [high, low] = RrType::OPT.0.to_be_bytes();
        let dnssec_ok = if self.dnssec_ok { DO } else { 0 };
        let code = reply.rcode.high();
        let fixed: [u8; OPT] = [
            0, high, low, size[0], size[1], code, 0, dnssec_ok, 0, length[0], length[1],
        ];
        out[..OPT].copy_from_slice(&fixed);
        if options > 0 {
            reply.write_options(&mut out[OPT..]);
        }
        OPT + options
    }
}

/// What goes into a reply's OPT record.
pub struct OptReply<'a> {
    /// The response code, whose upper bits travel here.
    pub rcode: Rcode,
    /// The longest request that the server takes.
    pub size: u16,
    /// The server's name, where it was asked for.
    pub nsid: Option<&'a [u8]>,
    /// What is to be said about the reply.
    pub error: Option<ExtendedError>,
}

impl OptReply<'_> {
    fn write_options(&self, mut rest: &mut [u8]) {
        if let Some(identity) = self.nsid {
            rest = put_option(rest, NSID, identity);
        }
        if let Some(error) = self.error {
            put_option(rest, EDE, &(error as u16).to_be_bytes());
        }
    }

    /// Octets of the whole record.
    #[inline]
    pub fn octets(&self) -> usize {
        let nsid = self.nsid.map_or(0, |identity| OPTION + identity.len());
        OPT + nsid + self.error.map_or(0, |_| EXTENDED_ERROR)
    }
}

/// Walks the options; unknown ones are passed over (RFC 6891 §6.1.2). `None`
/// where one runs over the end.
fn asks_for_nsid(options: &[u8]) -> Option<bool> {
    let mut rest = Cursor::new(options);
    let mut nsid = false;
    while !rest.is_empty() {
        let (code, length) = (rest.u16()?, rest.u16()?);
        rest.take(length.into())?;
        nsid |= code == NSID;
    }
    Some(nsid)
}

fn put_option<'o>(out: &'o mut [u8], code: u16, data: &[u8]) -> &'o mut [u8] {
    let (head, rest) = out.split_at_mut(OPTION);
    head[..2].copy_from_slice(&code.to_be_bytes());
    head[2..].copy_from_slice(&(data.len() as u16).to_be_bytes());
    let (place, rest) = rest.split_at_mut(data.len());
    place.copy_from_slice(data);
    rest
}
