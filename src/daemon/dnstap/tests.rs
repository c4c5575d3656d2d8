//! The writer against readers that come late, go away, or take nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::*;
use crate::server::counters::Counters;
use crate::server::tap::Probe;

const PATIENCE: Duration = Duration::from_secs(20);

fn config(target: Target) -> Config {
    Config {
        target,
        every: 1,
        identity: b"me".into(),
        version: b"1".into(),
    }
}

fn answer(probe: &mut Probe, request: &[u8]) {
    let ends = (
        "192.0.2.1:5353".parse().unwrap(),
        "192.0.2.53:53".parse().unwrap(),
    );
    if let Some(every) = probe.sampling() {
        let octets = (request, &b"reply"[..]);
        probe.message(every, ends, octets, Duration::ZERO, &Counters::default());
    }
}

fn await_that(done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it does not happen");
        thread::yield_now();
    }
}

/// The frames of a stream up to its end, its control frames as their numbers.
fn frames(mut from: impl Read) -> (Vec<u32>, Vec<Vec<u8>>) {
    let (mut controls, mut data) = (Vec::new(), Vec::new());
    while let Some(length) = number(&mut from) {
        let length = if length == 0 {
            number(&mut from).unwrap()
        } else {
            data.push(read(&mut from, length));
            continue;
        };
        let body = read(&mut from, length);
        controls.push(u32::from_be_bytes(body[..4].try_into().unwrap()));
        if controls.last() == Some(&3) {
            break;
        }
    }
    (controls, data)
}

fn number(from: &mut impl Read) -> Option<u32> {
    let mut octets = [0; 4];
    from.read_exact(&mut octets).ok()?;
    Some(u32::from_be_bytes(octets))
}

fn read(from: &mut impl Read, length: u32) -> Vec<u8> {
    let mut octets = vec![0; length as usize];
    from.read_exact(&mut octets).unwrap();
    octets
}

fn holds(frame: &[u8], octets: &[u8]) -> bool {
    frame.windows(octets.len()).any(|window| window == octets)
}

/// A reader that has agreed on what is to come.
fn accept(listener: &UnixListener) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(number(&mut stream), Some(0));
    let length = number(&mut stream).unwrap();
    let ready = read(&mut stream, length);
    assert_eq!(ready[..4], [0, 0, 0, 4]);
    assert!(ready.ends_with(stream::CONTENT_TYPE));
    stream
        .write_all(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1])
        .unwrap();
    stream
}

#[test]
fn a_file_holds_what_was_sampled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.tap");
    let tap = Tap::default();
    let mut probe = tap.probe(Some(0));
    let log = Dnstap::start(&tap, config(Target::File(path.clone()))).unwrap();
    for number in 0..100u8 {
        answer(&mut probe, &[number; 20]);
    }
    let counts = log.stop();
    assert_eq!((counts.written, counts.lost), (200, 0));
    assert!(!tap.is_on());
    let (controls, data) = frames(&fs::read(path).unwrap()[..]);
    assert_eq!((controls, data.len()), (vec![2, 3], 200));
    for number in 0..100u8 {
        assert!(holds(&data[2 * usize::from(number)], &[number; 20]));
        assert!(holds(&data[2 * usize::from(number) + 1], b"reply"));
    }
}

#[test]
fn a_file_that_was_moved_away_is_followed_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("q.tap"), folder.path().join("q.old"));
    let tap = Tap::default();
    let mut probe = tap.probe(Some(0));
    let log = Dnstap::start(&tap, config(Target::File(path.clone()))).unwrap();
    answer(&mut probe, b"before");
    await_that(|| log.counts().written == 2);
    fs::rename(&path, &moved).unwrap();
    log.reopen();
    await_that(|| path.exists());
    answer(&mut probe, b"after");
    log.stop();
    for (path, request) in [(moved, &b"before"[..]), (path, b"after")] {
        let (controls, data) = frames(&fs::read(path).unwrap()[..]);
        assert_eq!((controls, data.len()), (vec![2, 3], 2));
        assert!(holds(&data[0], request));
    }
}

#[test]
fn a_file_that_cannot_be_had_is_said_at_once() {
    let target = Target::File(Path::new("/nowhere/q.tap").into());
    let tap = Tap::default();
    assert!(Dnstap::start(&tap, config(target)).is_err());
    assert!(!tap.is_on());
}

#[test]
fn a_reader_may_come_late_go_and_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let tap = Tap::default();
    let mut probe = tap.probe(Some(0));
    let log = Dnstap::start(&tap, config(Target::Unix(path.clone()))).unwrap();
    answer(&mut probe, b"early");

    let listener = UnixListener::bind(&path).unwrap();
    let mut reader = accept(&listener);
    answer(&mut probe, b"late");
    await_that(|| log.counts().written == 4);
    let mut taken = vec![0; 64];
    assert!(reader.read(&mut taken).unwrap() > 0);
    drop(reader);

    // Nobody learns that a reader has gone but by writing to it.
    await_that(|| {
        answer(&mut probe_again(&tap), b"gone");
        !log.counts().connected
    });
    let reader = accept(&listener);
    answer(&mut probe, b"again");
    let reading = thread::spawn(move || {
        let found = frames(&reader);
        (&reader)
            .write_all(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 5])
            .unwrap();
        found
    });
    await_that(|| log.counts().connected);
    let counts = log.stop();
    let (controls, data) = reading.join().unwrap();
    assert_eq!(controls, [2, 3]);
    assert!(data.iter().any(|frame| holds(frame, b"again")));
    assert!(counts.lost > 0);
}

/// One more thread that answers.
fn probe_again(tap: &Tap) -> Probe {
    tap.probe(Some(1))
}

#[test]
fn a_reader_that_takes_nothing_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let tap = Tap::default();
    let mut probe = tap.probe(Some(0));
    let log = Dnstap::start(&tap, config(Target::Unix(path))).unwrap();
    let reader = accept(&listener);
    let request = [0; 60_000];
    // More than the socket, the channel, and the ring can hold.
    for _ in 0..1000 {
        answer(&mut probe, &request);
    }
    let before = Instant::now();
    let counts = log.stop();
    assert!(before.elapsed() < STOP + Duration::from_secs(2));
    assert!(counts.lost > 0, "{counts:?}");
    drop(reader);
}
