//! A slice that shrinks from the front as it is read. Code that reads a
//! message takes from the cursor and never indexes, so it cannot run over.

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

    /// Passes over one domain name, which may end in a compression pointer
    /// (RFC 1035 §4.1.4). The pointer is not followed.
    pub fn skip_name(&mut self) -> Option<()> {
        loop {
            match self.u8()? {
                0 => return Some(()),
                length @ 1..=63 => self.take(length as usize)?,
                192.. => {
                    self.u8()?;
                    return Some(());
                }
                // RFC 6891 §5 retired the 0b01 labels; 0b10 was never given out.
                64..=191 => return None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

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
