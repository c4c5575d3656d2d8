//! A slice that shrinks from the front as it is read. Code that reads a
//! message takes from the cursor and never indexes, so it cannot run over.

use super::RrType;

/// A record where it stands in a message (RFC 1035 §4.1.3), nothing in it decoded
/// but its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOctets<'m> {
    /// The owner as it is written, a pointer at its end perhaps.
    pub owner: &'m [u8],
    /// The type.
    pub rtype: RrType,
    /// The class; of an OPT record a size.
    pub class: u16,
    /// The TTL; of an OPT record code, version and flags.
    pub ttl: u32,
    /// The data.
    pub data: &'m [u8],
}

impl<'m> RecordOctets<'m> {
    /// The first OPT record of a message, if it can be read up to there.
    pub fn first_opt(message: &'m [u8]) -> Option<RecordOctets<'m>> {
        let mut rest = Cursor::new(message);
        // The ID and the flags.
        rest.take(4)?;
        let questions = rest.u16()?;
        let records = u32::from(rest.u16()?) + u32::from(rest.u16()?) + u32::from(rest.u16()?);
        for _ in 0..questions {
            rest.skip_name()?;
            rest.take(4)?;
        }
        for _ in 0..records {
            let record = rest.record()?;
            if record.rtype == RrType::OPT {
                return Some(record);
            }
        }
        None
    }
}

/// The unread rest of a message or of RDATA, integers in network byte order.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'m> {
    rest: &'m [u8],
}

impl<'m> Cursor<'m> {
    /// A cursor at the start of `octets`.
    pub fn new(octets: &'m [u8]) -> Self {
        Cursor { rest: octets }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'m [u8] {
        self.rest
    }

    /// True once everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` octets, or `None` where fewer are left.
    pub fn take(&mut self, n: usize) -> Option<&'m [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    /// The next octet.
    pub fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|octets| octets[0])
    }

    /// The next two octets.
    pub fn u16(&mut self) -> Option<u16> {
        let (octets, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*octets))
    }

    /// The next four octets.
    pub fn u32(&mut self) -> Option<u32> {
        let (octets, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*octets))
    }

    /// The next record. Inlined, since reading a request's OPT record waits for it.
    #[inline(always)]
    pub fn record(&mut self) -> Option<RecordOctets<'m>> {
        let before = self.rest;
        self.skip_name()?;
        let owner = &before[..before.len() - self.rest.len()];
        let (rtype, class, ttl) = (RrType(self.u16()?), self.u16()?, self.u32()?);
        let length = self.u16()?;
        Some(RecordOctets {
            owner,
            rtype,
            class,
            ttl,
            data: self.take(length.into())?,
        })
    }

    /// Passes over one domain name, which may end in a compression pointer
    /// (RFC 1035 §4.1.4). The pointer is not followed.
    pub fn skip_name(&mut self) -> Option<()> {
        // A name may have 127 labels, and a message many names.
        let (octets, mut end) = (self.rest, 0);
        let last = loop {
            let length = *octets.get(end)?;
            end += 1;
            if !(1..=63).contains(&length) {
                break length;
            }
            end += usize::from(length);
        };
        match last {
            0 => {}
            192.. => end += 1,
            // RFC 6891 §5 retired the 0b01 labels; 0b10 was never given out.
            _ => return None,
        }
        self.take(end)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_up_to_the_end_and_not_past_it() {
        let mut cursor = Cursor::new(&[1, 0, 2, 0, 0, 0, 3]);
        assert_eq!(cursor.u8(), Some(1));
        assert_eq!(cursor.u16(), Some(2));
        assert_eq!(cursor.take(5), None);
        assert_eq!(cursor.u32(), Some(3));
        assert!(cursor.is_empty());
        assert_eq!(cursor.u8(), None);
    }

    #[test]
    fn a_record_is_whole_or_none() {
        let octets = b"\x01a\xc0\x0c\0\x01\0\x02\0\0\0\x03\0\x02xy";
        let record = RecordOctets {
            owner: b"\x01a\xc0\x0c",
            rtype: RrType::A,
            class: 2,
            ttl: 3,
            data: b"xy",
        };
        assert_eq!(Cursor::new(octets).record(), Some(record));
        for length in 0..octets.len() {
            assert_eq!(Cursor::new(&octets[..length]).record(), None);
        }
    }

    #[test]
    fn the_first_opt_record_is_found_behind_all_others() {
        let head = b"\0\0\0\0\0\x01\0\x01\0\0\0\x02";
        let question = b"\x01a\0\0\x01\0\x01";
        let address = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x01x";
        let opt = b"\0\0\x29\x04\xd0\0\0\x80\0\0\0";
        let message = [&head[..], question, address, opt, opt].concat();
        let found = RecordOctets::first_opt(&message).unwrap();
        assert_eq!((found.class, found.ttl), (1232, 0x8000));
        let whole = message.len() - opt.len();
        assert!(RecordOctets::first_opt(&message[..whole]).is_some());
        assert_eq!(RecordOctets::first_opt(&message[..whole - 1]), None);
    }

    #[test]
    fn skips_plain_and_compressed_names() {
        for name in [&b"\0"[..], b"\x01a\0", b"\xc0\x0c", b"\x01a\xc0\x0c"] {
            let octets = [name, b"!"].concat();
            let mut cursor = Cursor::new(&octets);
            assert_eq!(cursor.skip_name(), Some(()));
            assert_eq!(cursor.rest(), b"!");
        }
        for broken in [&b""[..], b"\x01", b"\x01a", b"\xc0", b"\x40a\0", b"\x80\0"] {
            assert_eq!(Cursor::new(broken).skip_name(), None, "{broken:?}");
        }
    }
}
