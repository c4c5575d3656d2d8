//! The program that the kernel runs on each frame that comes in: it takes
//! datagrams that are for this server to the queue's socket, and passes everything
//! else on to the kernel as it came, counted by the reason.
//!
//! It takes only what a reply can be made of in place: unicast Ethernet without
//! tags, IPv4 without options or fragments, IPv6 without extension headers, lengths
//! that agree, an IPv4 header whose checksum is right, and a source that may be
//! replied to. Where nobody reads the queue, it passes datagrams, too. The
//! checksum of UDP is not looked at: of what comes from the same machine only a part
//! has been computed when the program sees it.
//!
//! ```text
//!  0 Ethernet: destination, source, type        14 IPv4            14 IPv6
//!                                               34 UDP             54 UDP
//! ```

use super::assembler::Condition::{AnyBitOf, AtLeast, Equal, Greater, NotEqual};
use super::assembler::Operation::{Add, And, ShiftRight, Subtract};
use super::assembler::Register::{R0, R1, R2, R3, R6, R7, R8, R9, R10};
use super::assembler::Size::{Double, Half, Octet, Word};
use super::assembler::With::{Number, Register};
use super::assembler::{Assembler, Instruction, Label, With};

/// Why a frame went to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Passed {
    /// Not addressed to one station, or from none.
    NotUnicast,
    /// Neither IPv4 nor IPv6, or tagged.
    NotIp,
    /// Not UDP, or behind an extension header.
    NotUdp,
    /// IPv4 with options.
    Options,
    /// A part of a datagram.
    Fragment,
    /// Longer than a request is.
    TooLong,
    /// Lengths or checksum are wrong.
    Malformed,
    /// From an address that nobody has.
    Source,
    /// To another address or port.
    Elsewhere,
    /// Nobody reads its queue.
    NoReader,
    /// The interface's MTU leaves replies no room for now.
    SmallMtu,
}

impl Passed {
    /// All reasons, with the word that metrics have for each.
    pub const ALL: [(Passed, &'static str); 11] = [
        (Passed::NotUnicast, "not_unicast"),
        (Passed::NotIp, "not_ip"),
        (Passed::NotUdp, "not_udp"),
        (Passed::Options, "options"),
        (Passed::Fragment, "fragment"),
        (Passed::TooLong, "too_long"),
        (Passed::Malformed, "malformed"),
        (Passed::Source, "source"),
        (Passed::Elsewhere, "elsewhere"),
        (Passed::NoReader, "no_reader"),
        (Passed::SmallMtu, "small_mtu"),
    ];
}

/// Descriptors of the maps that the program uses.
#[derive(Clone, Copy)]
pub(super) struct Maps {
    /// Sockets by queue (`BPF_MAP_TYPE_XSKMAP`).
    pub sockets: i32,
    /// What is served, as `key` makes them (`BPF_MAP_TYPE_HASH`).
    pub served: i32,
    /// `NUMBERS` of them: one for each of `Passed`, in its order, and what `CLOSED` says
    /// (`BPF_MAP_TYPE_ARRAY`).
    pub numbers: i32,
}

/// The number that is not 0 where nothing is taken for now.
pub(super) const CLOSED: usize = Passed::ALL.len();
pub(super) const NUMBERS: usize = CLOSED + 1;

/// What the program answers (`enum xdp_action`).
pub(super) const PASS: i32 = 2;
pub(super) const REDIRECT: i32 = 4;

/// Helpers by their numbers (`linux/bpf.h`).
const MAP_LOOKUP: i32 = 1;
const REDIRECT_MAP: i32 = 51;
/// `bpf_xdp_get_buff_len`, since Linux 5.18.
const FRAME_LENGTH: i32 = 188;

/// Octets of a key of the map of what is served.
pub(super) const KEY: usize = 20;
/// Where the key is on the stack, the index of a counter, and the frame's length.
const KEY_AT: i16 = -(KEY as i16) - 4;
const INDEX_AT: i16 = -4;
const LENGTH_AT: i16 = KEY_AT - 8;

const IPV6: Label = Label::new("ipv6");
const LOOK: Label = Label::new("look whether it is served");
const PASS_ON: Label = Label::new("pass");
const END: Label = Label::new("end");

/// An address, IPv4 as `::ffff:a.b.c.d`, and a port, as they are in a datagram.
pub(super) fn key(address: std::net::SocketAddr) -> [u8; KEY] {
    let mut key = [0; KEY];
    let octets = match address.ip() {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    };
    key[..16].copy_from_slice(&octets);
    key[16..18].copy_from_slice(&address.port().to_be_bytes());
    key
}

/// The program, for frames to a station with IP datagrams of up to `longest` octets.
pub(super) fn program(maps: Maps, station: [u8; 6], longest: u16) -> Vec<Instruction> {
    let mut a = Assembler::default();
    a.set(R6, Register(R1));
    // To take one pointer from another, `CAP_BPF` would not be enough.
    a.call(FRAME_LENGTH);
    a.store(Double, R10, LENGTH_AT, Register(R0));
    // R7 is where the frame begins, R8 where it ends.
    a.load(Word, R7, R6, 0);
    a.load(Word, R8, R6, 4);
    ethernet(&mut a, station);
    ipv4(&mut a, longest);
    a.jump(LOOK);
    a.label(IPV6);
    ipv6(&mut a, longest);
    a.label(LOOK);
    redirect(&mut a, maps);
    a.label(PASS_ON);
    count(&mut a, maps.numbers, Register(R9), PASS);
    a.finish()
}

/// From here on this is the reason for passing a frame.
fn reason(a: &mut Assembler, reason: Passed) {
    a.set(R9, Number(reason as i32));
}

/// Passes frames of which fewer than `octets` are there.
fn at_least(a: &mut Assembler, octets: i32) {
    a.set(R2, Register(R7));
    a.compute(Add, R2, Number(octets));
    a.jump_if(R2, Greater, Register(R8), PASS_ON);
}

/// A number as it lies in the frame, in the network's order.
fn network(number: u16) -> i32 {
    u16::from_ne_bytes(number.to_be_bytes()).into()
}

fn ethernet(a: &mut Assembler, station: [u8; 6]) {
    reason(a, Passed::NotIp);
    at_least(a, 42);
    reason(a, Passed::NotUnicast);
    for station in [0, 6] {
        a.load(Octet, R0, R7, station);
        a.jump_if(R0, AnyBitOf, Number(1), PASS_ON);
    }
    // A switch that does not know a station, or an interface that takes all, brings
    // frames to others.
    reason(a, Passed::Elsewhere);
    for at in [0, 2, 4] {
        let half = u16::from_be_bytes([station[at], station[at + 1]]);
        a.load(Half, R0, R7, at as i16);
        a.jump_if(R0, NotEqual, Number(network(half)), PASS_ON);
    }
    reason(a, Passed::NotIp);
    a.load(Half, R0, R7, 12);
    a.jump_if(R0, Equal, Number(network(0x86dd)), IPV6);
    a.jump_if(R0, NotEqual, Number(network(0x0800)), PASS_ON);
}

fn ipv4(a: &mut Assembler, longest: u16) {
    reason(a, Passed::NotUdp);
    a.load(Octet, R0, R7, 23);
    a.jump_if(R0, NotEqual, Number(17), PASS_ON);
    // Version 4, and a header of five words.
    reason(a, Passed::Options);
    a.load(Octet, R0, R7, 14);
    a.jump_if(R0, NotEqual, Number(0x45), PASS_ON);
    // More fragments, or not the first one.
    reason(a, Passed::Fragment);
    a.load(Half, R0, R7, 20);
    a.jump_if(R0, AnyBitOf, Number(network(0x3fff)), PASS_ON);
    header_checksum(a);
    a.load(Half, R1, R7, 16);
    a.number_of_half(R1);
    a.load(Half, R3, R7, 38);
    a.number_of_half(R3);
    a.compute(Add, R3, Number(20));
    lengths(a, longest);
    // 0.0.0.0/8, 127.0.0.0/8, multicast, reserved, broadcast.
    reason(a, Passed::Source);
    a.load(Octet, R0, R7, 26);
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    a.jump_if(R0, Equal, Number(127), PASS_ON);
    a.jump_if(R0, AtLeast, Number(224), PASS_ON);
    a.store(Double, R10, KEY_AT, Number(0));
    // ::ffff: before the address.
    let mapped = i32::from_ne_bytes([0, 0, 0xff, 0xff]);
    a.store(Word, R10, KEY_AT + 8, Number(mapped));
    a.load(Word, R0, R7, 30);
    a.store(Word, R10, KEY_AT + 12, Register(R0));
    a.load(Half, R0, R7, 36);
    a.store(Word, R10, KEY_AT + 16, Register(R0));
}

/// The sum of its 16-bit words, with what is carried added again, is 0xffff
/// (RFC 1071), in either order of octets.
fn header_checksum(a: &mut Assembler) {
    reason(a, Passed::Malformed);
    a.load(Half, R0, R7, 14);
    for word in 1..10 {
        a.load(Half, R1, R7, 14 + 2 * word);
        a.compute(Add, R0, Register(R1));
    }
    // The second time, there is no more than one bit to carry.
    for _ in 0..2 {
        a.set(R1, Register(R0));
        a.compute(ShiftRight, R1, Number(16));
        a.compute(And, R0, Number(0xffff));
        a.compute(Add, R0, Register(R1));
    }
    a.jump_if(R0, NotEqual, Number(0xffff), PASS_ON);
}

/// R1 is the length that IP states, after the Ethernet header, R3 the one that UDP
/// makes of it.
fn lengths(a: &mut Assembler, longest: u16) {
    a.jump_if(R1, NotEqual, Register(R3), PASS_ON);
    a.load(Double, R2, R10, LENGTH_AT);
    a.compute(Subtract, R2, Number(14));
    a.jump_if(R1, Greater, Register(R2), PASS_ON);
    // With what may be behind the datagram: it has to have room, too.
    reason(a, Passed::TooLong);
    a.jump_if(R2, Greater, Number(longest.into()), PASS_ON);
}

fn ipv6(a: &mut Assembler, longest: u16) {
    reason(a, Passed::Malformed);
    at_least(a, 54);
    a.load(Octet, R0, R7, 14);
    a.compute(And, R0, Number(0xf0));
    a.jump_if(R0, NotEqual, Number(0x60), PASS_ON);
    a.load(Octet, R0, R7, 20);
    reason(a, Passed::Fragment);
    a.jump_if(R0, Equal, Number(44), PASS_ON);
    reason(a, Passed::NotUdp);
    a.jump_if(R0, NotEqual, Number(17), PASS_ON);
    reason(a, Passed::Malformed);
    at_least(a, 62);
    // A checksum is no choice here (RFC 8200, section 8.1).
    a.load(Half, R0, R7, 60);
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    a.load(Half, R1, R7, 18);
    a.number_of_half(R1);
    a.load(Half, R3, R7, 58);
    a.number_of_half(R3);
    a.compute(Add, R1, Number(40));
    a.compute(Add, R3, Number(40));
    lengths(a, longest);
    // Multicast, and ::/64 with the unspecified address and loopback.
    reason(a, Passed::Source);
    a.load(Octet, R0, R7, 22);
    a.jump_if(R0, Equal, Number(0xff), PASS_ON);
    a.load(Double, R0, R7, 22);
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    // An IPv4 address in IPv6 (RFC 4291, section 2.5.5.2) is served as IPv4 alone.
    reason(a, Passed::Elsewhere);
    a.load(Double, R0, R7, 38);
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    for half in [0, 8] {
        a.load(Double, R0, R7, 38 + half);
        a.store(Double, R10, KEY_AT + half, Register(R0));
    }
    a.load(Half, R0, R7, 56);
    a.store(Word, R10, KEY_AT + 16, Register(R0));
}

/// Hands the frame to the socket of its queue, if the key on the stack is served.
fn redirect(a: &mut Assembler, maps: Maps) {
    reason(a, Passed::Elsewhere);
    a.set_map(R1, maps.served);
    a.set(R2, Register(R10));
    a.compute(Add, R2, Number(KEY_AT.into()));
    a.call(MAP_LOOKUP);
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    reason(a, Passed::SmallMtu);
    number(a, maps.numbers, Number(CLOSED as i32));
    a.jump_if(R0, Equal, Number(0), PASS_ON);
    a.load(Double, R0, R0, 0);
    a.jump_if(R0, NotEqual, Number(0), PASS_ON);
    reason(a, Passed::NoReader);
    // Which queue the frame came in on (`struct xdp_md`).
    a.load(Word, R2, R6, 16);
    a.set_map(R1, maps.sockets);
    a.set(R3, Number(PASS));
    a.call(REDIRECT_MAP);
    a.jump_if(R0, Equal, Number(REDIRECT), END);
}

/// R0 = where a number of a map of them is.
fn number(a: &mut Assembler, map: i32, index: With) {
    a.store(Word, R10, INDEX_AT, index);
    a.set_map(R1, map);
    a.set(R2, Register(R10));
    a.compute(Add, R2, Number(INDEX_AT.into()));
    a.call(MAP_LOOKUP);
}

/// Adds 1 to a number of a map of them and ends the program with `answer`. Whoever
/// jumps to `END` has the answer already.
pub(super) fn count(a: &mut Assembler, map: i32, index: With, answer: i32) {
    number(a, map, index);
    a.set(R1, Register(R0));
    a.set(R0, Number(answer));
    a.jump_if(R1, Equal, Number(0), END);
    a.set(R2, Number(1));
    a.add_at(R1, R2);
    a.label(END);
    a.exit();
}

#[cfg(test)]
mod tests;
