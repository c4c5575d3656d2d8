//! Frames that somebody made up, run through the program by the kernel
//! (`BPF_PROG_TEST_RUN`). Only who may load programs can do that.

use std::time::{Duration, Instant};

use super::super::filter::Filter;
use super::super::memory::Frames;
use super::super::queue;
use super::*;
use crate::sys::user;

const LONGEST: u16 = 470;

/// The program, with 198.51.100.7 and 2001:db8::53 served at port 53.
struct Bench(Filter);

impl Bench {
    /// `None` where the process may not load programs, as only root may.
    fn new() -> Option<Bench> {
        let served = ["198.51.100.7:53", "[2001:db8::53]:53"];
        let served = served.map(|address| key(address.parse().unwrap()));
        match Filter::new(&served, [2, 0, 0, 0, 0, 1], 1, LONGEST) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) && user::effective() != 0 => {
                eprintln!("SKIPPED: programs of the kernel: only root may load them");
                None
            }
            made => Some(Bench(made.unwrap())),
        }
    }

    /// Why the program passes a frame, which it counts; `None` for one that it takes.
    fn run(&self, frame: &[u8]) -> Option<Passed> {
        let before = self.0.passed();
        let verdict = self.0.program.try_on(frame).unwrap();
        let after = self.0.passed();
        let counted = Passed::ALL.iter().zip(before.iter().zip(after));
        let mut counted = counted.filter(|(_, (before, after))| **before != *after);
        let reason = counted.next().map(|((reason, _), _)| *reason);
        assert!(counted.next().is_none());
        assert_eq!(verdict, if reason.is_some() { PASS } else { REDIRECT });
        reason
    }
}

/// A frame with a request of so many octets to one of the addresses, all as it
/// should be.
fn frame(ipv4: bool, payload: usize) -> Vec<u8> {
    let length = (8 + payload) as u16;
    let mut frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02".to_vec();
    if ipv4 {
        frame.extend(b"\x08\0\x45\0");
        frame.extend((20 + length).to_be_bytes());
        frame.extend(b"\x12\x34\x40\0\x33\x11\0\0\xc0\0\x02\x01\xc6\x33\x64\x07");
    } else {
        frame.extend(b"\x86\xdd\x60\0\0\0");
        frame.extend(length.to_be_bytes());
        frame.extend(b"\x11\x33\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01");
        frame.extend(b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x53");
    }
    frame.extend(b"\xc3\x50\0\x35");
    frame.extend(length.to_be_bytes());
    frame.extend([0x12, 0x34]);
    frame.extend(vec![0; payload]);
    with_checksum(frame)
}

/// The same with an IPv4 header whose checksum is right again.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    if frame[12..14] == [8, 0] {
        frame[24..26].fill(0);
        let words = frame[14..34].chunks(2);
        let mut sum: u32 = words
            .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
    frame
}

/// The frame with these octets from this place on.
fn changed(ipv4: bool, at: usize, octets: &[u8]) -> Vec<u8> {
    let mut frame = frame(ipv4, 30);
    frame[at..at + octets.len()].copy_from_slice(octets);
    with_checksum(frame)
}

/// A name, whether it is IPv4, octets that are changed from a place on, and why that
/// frame is passed.
type Case = (&'static str, bool, usize, &'static [u8], Option<Passed>);

#[test]
fn what_is_not_for_us_or_not_plain_is_passed_and_counted() {
    let Some(bench) = Bench::new() else { return };
    // Without a socket, what would be taken goes to the kernel, too.
    let taken = Some(Passed::NoReader);
    let cases: &[Case] = &[
        ("as it should be", true, 0, &[2], taken),
        ("as it should be", false, 0, &[2], taken),
        (
            "to everybody",
            true,
            0,
            &[0xff; 6],
            Some(Passed::NotUnicast),
        ),
        (
            "to a group",
            false,
            0,
            &[0x33, 0x33],
            Some(Passed::NotUnicast),
        ),
        ("to another", true, 5, &[2], Some(Passed::Elsewhere)),
        ("to another", false, 0, &[6], Some(Passed::Elsewhere)),
        ("to nobody", true, 0, &[0; 6], Some(Passed::Elsewhere)),
        (
            "IPv6 of version 4",
            false,
            14,
            &[0x40],
            Some(Passed::Malformed),
        ),
        ("a traffic class", false, 14, &[0x6f], taken),
        (
            "an IPv4 address in IPv6",
            false,
            38,
            b"\0\0\0\0\0\0\0\0\0\0\xff\xff\xc6\x33\x64\x07",
            Some(Passed::Elsewhere),
        ),
        ("from a group", true, 6, &[1], Some(Passed::NotUnicast)),
        ("ARP", true, 12, &[8, 6], Some(Passed::NotIp)),
        ("a VLAN tag", true, 12, &[0x81, 0], Some(Passed::NotIp)),
        (
            "a service tag",
            false,
            12,
            &[0x88, 0xa8],
            Some(Passed::NotIp),
        ),
        ("options", true, 14, &[0x46], Some(Passed::Options)),
        ("a short header", true, 14, &[0x44], Some(Passed::Options)),
        ("another version", true, 14, &[0x65], Some(Passed::Options)),
        (
            "more fragments",
            true,
            20,
            &[0x20, 0],
            Some(Passed::Fragment),
        ),
        (
            "a later fragment",
            true,
            20,
            &[0, 1],
            Some(Passed::Fragment),
        ),
        ("not to be taken apart", true, 20, &[0x40, 0], taken),
        ("a reserved bit", true, 20, &[0x80, 0], taken),
        ("TCP", true, 23, &[6], Some(Passed::NotUdp)),
        ("ping", true, 23, &[1], Some(Passed::NotUdp)),
        (
            "IP says one more",
            true,
            16,
            &[0, 59],
            Some(Passed::Malformed),
        ),
        (
            "IP says one less",
            true,
            16,
            &[0, 57],
            Some(Passed::Malformed),
        ),
        (
            "UDP says one more",
            true,
            38,
            &[0, 39],
            Some(Passed::Malformed),
        ),
        (
            "UDP says one less",
            true,
            38,
            &[0, 37],
            Some(Passed::Malformed),
        ),
        ("0.0.0.0", true, 26, &[0; 4], Some(Passed::Source)),
        (
            "0.255.255.255",
            true,
            26,
            &[0, 255, 255, 255],
            Some(Passed::Source),
        ),
        ("1.0.0.0", true, 26, &[1, 0, 0, 0], taken),
        ("126.255.255.255", true, 26, &[126, 255, 255, 255], taken),
        ("127.0.0.1", true, 26, &[127, 0, 0, 1], Some(Passed::Source)),
        ("223.255.255.255", true, 26, &[223, 255, 255, 255], taken),
        ("224.0.0.0", true, 26, &[224, 0, 0, 0], Some(Passed::Source)),
        ("255.255.255.255", true, 26, &[255; 4], Some(Passed::Source)),
        ("another address", true, 33, &[8], Some(Passed::Elsewhere)),
        ("another port", true, 36, &[0, 54], Some(Passed::Elsewhere)),
        (
            "that port's other half",
            true,
            36,
            &[53, 0],
            Some(Passed::Elsewhere),
        ),
        ("no checksum of UDP", true, 40, &[0, 0], taken),
        ("TCP", false, 20, &[6], Some(Passed::NotUdp)),
        ("ping", false, 20, &[58], Some(Passed::NotUdp)),
        ("hop-by-hop options", false, 20, &[0], Some(Passed::NotUdp)),
        ("a fragment", false, 20, &[44], Some(Passed::Fragment)),
        (
            "IP says one more",
            false,
            18,
            &[0, 39],
            Some(Passed::Malformed),
        ),
        (
            "UDP says one less",
            false,
            58,
            &[0, 37],
            Some(Passed::Malformed),
        ),
        ("no checksum", false, 60, &[0, 0], Some(Passed::Malformed)),
        (
            "a group's address",
            false,
            22,
            &[0xff],
            Some(Passed::Source),
        ),
        ("::", false, 22, &[0; 16], Some(Passed::Source)),
        (
            "::ffff:0:1",
            false,
            22,
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 1],
            Some(Passed::Source),
        ),
        ("64:ff9b::1", false, 22, &[0, 0x64, 0xff, 0x9b], taken),
        (
            "another address",
            false,
            53,
            &[0x54],
            Some(Passed::Elsewhere),
        ),
        ("another port", false, 56, &[0, 52], Some(Passed::Elsewhere)),
    ];
    for &(name, ipv4, at, octets, expected) in cases {
        let version = if ipv4 { 4 } else { 6 };
        let found = bench.run(&changed(ipv4, at, octets));
        assert_eq!(found, expected, "IPv{version}, {name}");
    }
}

#[test]
fn checksums_and_lengths() {
    let Some(bench) = Bench::new() else { return };
    // Each bit of the IPv4 header counts.
    for bit in 0..20 * 8 {
        let mut frame = frame(true, 30);
        frame[14 + bit / 8] ^= 1 << (bit % 8);
        assert_ne!(bench.run(&frame), Some(Passed::NoReader), "bit {bit}");
    }
    for ipv4 in [true, false] {
        let headers = if ipv4 { 28 } else { 48 };
        let longest = usize::from(LONGEST) - headers;
        assert_eq!(bench.run(&frame(ipv4, longest)), Some(Passed::NoReader));
        assert_eq!(bench.run(&frame(ipv4, longest + 1)), Some(Passed::TooLong));
        // Short frames are filled up; what is missing is missed.
        let whole = frame(ipv4, 30);
        let filled = [&whole[..], &[0; 7]].concat();
        assert_eq!(bench.run(&filled), Some(Passed::NoReader));
        // With more than that, the frame has no room for it.
        let filled = |length| [&whole[..], &vec![0; length - whole.len()]].concat();
        let most = 14 + usize::from(LONGEST);
        assert_eq!(bench.run(&filled(most)), Some(Passed::NoReader));
        assert_eq!(bench.run(&filled(most + 1)), Some(Passed::TooLong));
        for length in 14..whole.len() {
            assert_ne!(
                bench.run(&whole[..length]),
                Some(Passed::NoReader),
                "{length}"
            );
        }
    }
    // The frame ends with its headers.
    assert_eq!(bench.run(&frame(true, 0)), Some(Passed::NoReader));
    assert_eq!(bench.run(&frame(false, 0)), Some(Passed::NoReader));
}

#[test]
fn a_queue_with_a_reader_has_its_datagrams_taken() {
    let Some(bench) = Bench::new() else { return };
    let frames = Frames::new(2048, 64).unwrap();
    // Loopback is number 1 in every namespace.
    let mut socket = queue::prepare(&frames).unwrap();
    // Another run of this test may have it.
    let until = Instant::now() + Duration::from_secs(20);
    socket.bind(&frames, (1, 0), true, until).unwrap();
    let (queue, rings) = socket.bound(0).unwrap();
    bench.0.enter(0, &queue).unwrap();
    for ipv4 in [true, false] {
        assert_eq!(bench.run(&frame(ipv4, 30)), None);
        assert_eq!(bench.run(&changed(ipv4, 12, &[8, 6])), Some(Passed::NotIp));
    }
    // And goes without them while the interface is too narrow.
    for (is_closed, passed) in [(true, Some(Passed::SmallMtu)), (false, None)] {
        bench.0.close(is_closed);
        assert_eq!(bench.run(&frame(true, 30)), passed);
    }
    drop((queue, rings));
    // The kernel takes a closed socket out of the map by itself.
    assert_eq!(bench.run(&frame(true, 30)), Some(Passed::NoReader));
}
