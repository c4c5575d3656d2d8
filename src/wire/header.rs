//! The twelve octets before the question (RFC 1035 §4.1.1), and the codes in
//! them.

use std::fmt;

/// Octets in a message header.
pub const HEADER: usize = 12;

/// Flags in the header's third and fourth octet, read as one big-endian word.
pub mod flag {
    /// This message is a response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// The four opcode bits; 0 is a query.
    pub const OPCODE: u16 = 0x7800;
}

/// Response codes that this server sends (RFC 6895 §2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rcode {
    /// No error, which includes "no data".
    NoError = 0,
    /// The message could not be understood.
    FormErr = 1,
    /// The server failed.
    ServFail = 2,
    /// The name does not exist.
    NxDomain = 3,
    /// The kind of query is not supported.
    NotImp = 4,
    /// Not answered for a reason of policy: no zone here holds the name.
    Refused = 5,
    /// A name that DNAME substitution made too long (RFC 6672 §2.2).
    YxDomain = 6,
    /// EDNS version not supported (RFC 6891 §6.1.3). Over 15: the upper bits
    /// travel in the OPT record.
    BadVers = 16,
    /// The server cookie is missing or wrong, and needed (RFC 7873 §8).
    BadCookie = 23,
}

impl Rcode {
    /// Every code above, in the order in which tables show them.
    pub const ALL: [Rcode; 9] = [
        Rcode::NoError,
        Rcode::NxDomain,
        Rcode::Refused,
        Rcode::FormErr,
        Rcode::NotImp,
        Rcode::ServFail,
        Rcode::YxDomain,
        Rcode::BadVers,
        Rcode::BadCookie,
    ];

    /// The four bits that go into the header.
    pub fn low(self) -> u16 {
        self as u16 & 15
    }

    /// The eight bits that go into the OPT record.
    pub fn high(self) -> u8 {
        self as u8 >> 4
    }

    /// The name in the registry.
    pub fn name(self) -> &'static str {
        match self {
            Rcode::NoError => "NOERROR",
            Rcode::FormErr => "FORMERR",
            Rcode::ServFail => "SERVFAIL",
            Rcode::NxDomain => "NXDOMAIN",
            Rcode::NotImp => "NOTIMP",
            Rcode::Refused => "REFUSED",
            Rcode::YxDomain => "YXDOMAIN",
            Rcode::BadVers => "BADVERS",
            Rcode::BadCookie => "BADCOOKIE",
        }
    }
}

impl fmt::Display for Rcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Classes (RFC 6895 §3.2).
pub mod class {
    /// Internet.
    pub const IN: u16 = 1;
    /// Chaos, in which servers tell about themselves.
    pub const CH: u16 = 3;
    /// Any class, in questions only.
    pub const ANY: u16 = 255;
}
