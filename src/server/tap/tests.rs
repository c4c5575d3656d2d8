//! Sampling, rates of several subscribers, and what happens to one that does
//! not keep up.

use std::net::SocketAddr;
use std::time::Instant;

use super::*;
use crate::server::counters::Counters;

const PATIENCE: Duration = Duration::from_secs(20);

fn ends() -> (SocketAddr, SocketAddr) {
    (
        "192.0.2.1:5353".parse().unwrap(),
        "[2001:db8::53]:53".parse().unwrap(),
    )
}

/// Copies `count` exchanges whose requests are numbered, if the tap is on.
fn answer(probe: &mut Probe, counters: &Counters, count: u32) {
    for number in 0..count {
        if let Some(every) = probe.sampling() {
            let request = number.to_be_bytes();
            let asked = Duration::from_secs(number.into());
            probe.message(every, ends(), (&request, b"reply"), asked, counters);
        }
    }
}

fn next(subscription: &Subscription) -> Arc<Exchange> {
    subscription.receiver().recv_timeout(PATIENCE).unwrap()
}

fn await_that(done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it does not happen");
        thread::yield_now();
    }
}

#[test]
fn while_nobody_subscribes_nothing_is_copied() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probe = tap.probe(Some(3));
    assert_eq!(probe.sampling(), None);
    let subscription = tap.subscribe(5, 10, Behind::CutOff).unwrap();
    assert_eq!((probe.sampling(), tap.is_on()), (Some(5), true));
    let curious = tap.subscribe(2, 10, Behind::CutOff).unwrap();
    assert_eq!(probe.sampling(), Some(2));
    drop(curious);
    assert_eq!(probe.sampling(), Some(5));
    drop(subscription);
    assert_eq!((probe.sampling(), tap.is_on()), (None, false));
    answer(&mut probe, &counters, 100);
    assert_eq!(counters.read(), Default::default());
}

#[test]
fn exchanges_come_out_as_they_went_in() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probes = [tap.probe(Some(7)), tap.probe(None)];
    let subscription = tap.subscribe(1, 10, Behind::CutOff).unwrap();
    for (probe, worker) in probes.iter_mut().zip([Some(7), None]) {
        answer(probe, &counters, 3);
        for number in 0..3u32 {
            let exchange = next(&subscription);
            assert_eq!(exchange.request, number.to_be_bytes());
            assert_eq!(exchange.reply, b"reply");
            assert_eq!((exchange.peer, exchange.local), ends());
            assert_eq!(exchange.asked, Duration::from_secs(number.into()));
            assert!(exchange.replied > exchange.asked);
            assert_eq!(exchange.worker, worker);
        }
    }
    assert_eq!(counters.read().tapped, 6);
}

#[test]
fn what_was_copied_for_those_before_is_not_for_those_who_come() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probe = tap.probe(Some(0));
    let first = tap.subscribe(1, 10, Behind::CutOff).unwrap();
    answer(&mut probe, &counters, 1);
    next(&first);
    drop(first);
    await_that(|| !tap.hub.state().collecting);
    // A batch that was under way when the last one left.
    let request = [0xff; 4];
    probe.message(1, ends(), (&request, b""), Duration::ZERO, &counters);
    let second = tap.subscribe(1, 10, Behind::CutOff).unwrap();
    answer(&mut probe, &counters, 1);
    assert_eq!(next(&second).request, 0u32.to_be_bytes());
}

#[test]
fn each_subscriber_gets_its_share() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probe = tap.probe(Some(0));
    let all = tap.subscribe(1, 1000, Behind::Lose).unwrap();
    let third = tap.subscribe(3, 1000, Behind::Lose).unwrap();
    answer(&mut probe, &counters, 900);
    tap.flush();
    assert_eq!((all.receiver().len(), third.receiver().len()), (900, 300));
}

#[test]
fn a_full_ring_drops_and_counts() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probe = tap.probe(Some(0));
    let subscription = tap.subscribe(1, 1 << 20, Behind::Lose).unwrap();
    // The collecting thread waits for this one.
    let state = tap.hub.state();
    let request = [0; 60_000];
    let mut copy = || probe.message(1, ends(), (&request, b"x"), Duration::ZERO, &counters);
    let fit = RING / (HEAD + request.len() + 1);
    (0..fit + 5).for_each(|_| copy());
    drop(state);
    let totals = counters.read();
    assert_eq!((totals.tapped, totals.tap_dropped), (fit as u64, 5));
    tap.flush();
    assert_eq!(subscription.receiver().len(), fit);
    copy();
    tap.flush();
    assert_eq!(subscription.receiver().len(), fit + 1);
}

#[test]
fn one_that_does_not_read_is_cut_off_or_loses() {
    let (tap, counters) = (Tap::default(), Counters::default());
    let mut probe = tap.probe(Some(0));
    let patient = tap.subscribe(1, 2, Behind::Lose).unwrap();
    let slow = tap.subscribe(1, 2, Behind::CutOff).unwrap();
    answer(&mut probe, &counters, 5);
    tap.flush();
    assert_eq!(patient.take_lost(), 3);
    assert_eq!(tap.cut_off(), 1);
    assert_eq!(
        slow.receiver().iter().count(),
        2,
        "it ends after what it had"
    );
    assert_eq!(patient.receiver().len(), 2);
    drop(patient);
    assert_eq!(probe.sampling(), None, "who was cut off holds nothing up");
}

#[test]
fn what_waits_is_bounded_in_octets() {
    let (tap, counters) = (Tap::holding(10_000), Counters::default());
    let mut probe = tap.probe(Some(0));
    let subscription = tap.subscribe(1, 1000, Behind::Lose).unwrap();
    let request = [0; 4000];
    for _ in 0..5 {
        probe.message(1, ends(), (&request, b""), Duration::ZERO, &counters);
    }
    tap.flush();
    assert_eq!(subscription.take_lost(), 3);
    assert_eq!(subscription.receiver().try_iter().count(), 2);
    probe.message(1, ends(), (&request, b""), Duration::ZERO, &counters);
    assert_eq!(next(&subscription).request.len(), 4000);
}
