//! Frames of whatever content do no harm.

use std::time::Instant;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use shardns::server::Server;
use shardns::server::tap::Behind;
use shardns::sys::lab::frames::FrameSender;
use shardns::sys::xdp::Mode;

use super::wire::{ENDS, Wire};
use super::{PATIENCE, client, config, demo, queues, receive, taken, wire};
use crate::support::{cases, query};

/// Frames that are sent here; `XDP_FRAMES` has another number sent.
const FRAMES: usize = 100_000;
/// Frames of a batch.
const BATCH: usize = 64;

/// The address of an interface, as `ip` tells it.
fn station(namespace: &str, interface: &str) -> [u8; 6] {
    let said = super::wire::ip(&format!("-n {namespace} -o link show {interface}"));
    let mut words = said.split_whitespace();
    words.find(|word| *word == "link/ether").unwrap();
    let octets = words.next().unwrap().split(':');
    let octets: Vec<u8> = octets
        .map(|octet| u8::from_str_radix(octet, 16).unwrap())
        .collect();
    octets.try_into().unwrap()
}

/// A frame with a request, from the client to the server.
fn frame(stations: &[[u8; 6]; 2], port: u16, ipv4: bool, request: &[u8]) -> Vec<u8> {
    let [server, client] = stations;
    let length = (8 + request.len()) as u16;
    let mut frame = [*server, *client].concat();
    if ipv4 {
        frame.extend(b"\x08\0\x45\0");
        frame.extend((20 + length).to_be_bytes());
        frame.extend(b"\x12\x34\x40\0\x40\x11\0\0\xc6\x12\0\x02\xc6\x12\0\x01");
        let checksum = header_checksum(&frame);
        frame[24..26].copy_from_slice(&checksum);
    } else {
        frame.extend(b"\x86\xdd\x60\0\0\0");
        frame.extend(length.to_be_bytes());
        frame.extend(b"\x11\x40\xfd\0\0\x18\0\0\0\0\0\0\0\0\0\0\0\x02");
        frame.extend(b"\xfd\0\0\x18\0\0\0\0\0\0\0\0\0\0\0\x01");
    }
    frame.extend(b"\x9c\x40");
    frame.extend(port.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend([0x12, 0x34]);
    frame.extend(request);
    frame
}

/// What is done to a frame: octets that are set, and where it ends.
fn changes() -> impl Strategy<Value = (Vec<(usize, u8)>, Option<usize>)> {
    // Headers are hit as often as all the rest.
    let place = prop_oneof![0..64usize, 0..400usize];
    let octets = prop::collection::vec((place, any::<u8>()), 0..4);
    (octets, prop::option::weighted(0.2, 14..400usize))
}

fn send_changed(wire: &Wire, ports: [u16; 2], count: usize) {
    let stations = [(&wire.server, ENDS[0]), (&wire.client, ENDS[1])];
    let stations = stations.map(|(namespace, end)| station(namespace, end));
    let files = cases::all();
    let requests: Vec<&[u8]> = files
        .iter()
        .flat_map(|file| &file.cases)
        .map(|case| case.request.as_slice())
        .filter(|request| request.len() < 1000)
        .collect();
    wire.at_client(|| {
        let sender = FrameSender::new(ENDS[1]).unwrap();
        let mut runner = TestRunner::deterministic();
        let mut sent = 0;
        while sent < count {
            let mut frames: Vec<Vec<u8>> = (0..BATCH)
                .map(|number| {
                    let ipv4 = number % 2 == 0;
                    let request = requests[(sent + number) % requests.len()];
                    let mut frame = frame(&stations, ports[number % 2], ipv4, request);
                    let (octets, end) = changes().new_tree(&mut runner).unwrap().current();
                    for (at, octet) in octets {
                        let length = frame.len();
                        frame[at % length] = octet;
                    }
                    frame.truncate(end.unwrap_or(frame.len()).max(14));
                    frame
                })
                .collect();
            // What the kernel does not send as a frame is left out.
            match sender.send(&mut frames) {
                Ok(done) => sent += done,
                Err(_) => sent += 1,
            }
        }
    });
}

/// Never a reply to an address that is everybody's or our own.
#[test]
fn strangers_are_not_answered() {
    let Some(wire) = wire("strangers") else {
        return;
    };
    let config = config(Mode::Native, 2);
    let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
    let stations = [(&wire.server, ENDS[0]), (&wire.client, ENDS[1])];
    let stations = stations.map(|(namespace, end)| station(namespace, end));
    let port = server.addresses()[0].port();
    let request = query("www.example.com", 1);
    let watch = server.tap().subscribe(1, 100, Behind::CutOff).unwrap();
    // Whom the reply would go to, and whether it goes.
    let sources: [([u8; 4], bool); 4] = [
        ([198, 18, 0, 2], true),
        // The broadcast address of the network, and the server's own.
        ([198, 18, 0, 255], false),
        ([198, 18, 0, 1], false),
        ([198, 18, 0, 254], true),
    ];
    wire.at_client(|| {
        let sender = FrameSender::new(ENDS[1]).unwrap();
        for (source, _) in sources {
            let mut frame = frame(&stations, port, true, &request);
            frame[26..30].copy_from_slice(&source);
            frame[24..26].fill(0);
            let checksum = header_checksum(&frame);
            frame[24..26].copy_from_slice(&checksum);
            assert_eq!(sender.send(&mut [frame]).unwrap(), 1);
        }
    });
    let begin = Instant::now();
    let sent = || queues(&server).iter().map(|queue| queue.sent).sum::<u64>();
    let ignored = || {
        server
            .totals()
            .iter()
            .map(|totals| totals.ignored)
            .sum::<u64>()
    };
    // A batch counts as received before it is answered.
    while taken(&server).0 < 4 || sent() < 2 || ignored() < 2 {
        assert!(begin.elapsed() < PATIENCE);
    }
    drop(wire.at_client(|| {
        let socket = client(server.addresses()[0]);
        socket.send(&request).unwrap();
        receive(&socket)
    }));
    let answered = sources
        .iter()
        .filter(|(_, is_answered)| *is_answered)
        .count();
    assert_eq!(sent(), answered as u64 + 1);
    assert_eq!(ignored(), 2);
    // Whoever looks at queries sees who is said to have sent them, answered or not.
    let mut seen: Vec<_> = (0..5)
        .map(|_| {
            let seen = watch.receiver().recv_timeout(PATIENCE).unwrap();
            assert_eq!(seen.request, request);
            (seen.peer.ip(), !seen.reply.is_empty())
        })
        .collect();
    let sources = sources.map(|(source, is_answered)| (source.into(), is_answered));
    // The client itself was the last one.
    let mut expected = [&sources[..], &sources[..1]].concat();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

fn header_checksum(frame: &[u8]) -> [u8; 2] {
    let words = frame[14..34].chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}

#[test]
fn changed_frames_do_no_harm() {
    let Some(wire) = wire("hostile") else { return };
    let count = std::env::var("XDP_FRAMES").ok();
    let count = count.map_or(FRAMES, |count| count.parse().unwrap());
    let mut per_mode = count / 2;
    for mode in [Mode::Native, Mode::Generic] {
        let config = config(mode, 2);
        let server = wire.at_server(|| Server::start(&config, demo())).unwrap();
        let ports = server.addresses();
        let ports = [ports[0].port(), ports[1].port()];
        let before = Instant::now();
        send_changed(&wire, ports, per_mode);
        eprintln!("{per_mode} frames, {mode:?}: {:.1?}", before.elapsed());
        per_mode = count - per_mode;
        // Whoever asks after them is answered, past the sockets.
        wire.at_client(|| {
            for address in server.addresses() {
                let socket = client(address);
                let begin = Instant::now();
                socket.set_read_timeout(Some(PATIENCE / 20)).unwrap();
                // The rings may be full of what came before.
                while begin.elapsed() < PATIENCE {
                    socket.send(&query("www.example.com", 1)).unwrap();
                    if socket.recv(&mut [0; 2000]).is_ok() {
                        break;
                    }
                }
                assert!(begin.elapsed() < PATIENCE);
            }
        });
        let (taken, _) = taken(&server);
        assert!(taken > 0);
        let totals = server.totals();
        assert!(totals.iter().all(|totals| totals.panicked == 0));
    }
}
