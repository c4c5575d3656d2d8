//! What the page draws: some thirty times a second where each flow is, which were
//! answered since the last time, which wait, and the counters of each socket.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use serde::Serialize;

use super::bench::{Kind, Said, Shown, band};
use super::ledger::{Flow, NOBODY, Totals};
use super::locked;
use super::message::Serial;
use crate::lab::statistics::chi_square;

/// Where a flow is that nobody has answered; there are fewer sockets.
const NOWHERE: u8 = 255;

/// Frames for one who looks.
pub struct Frames {
    shown: Arc<Mutex<Shown>>,
    /// Answers of each flow when it was last looked.
    answers: Vec<u32>,
    said: u64,
    /// Flows and sockets, and what chance makes of them.
    band: ((usize, usize), [u64; 2]),
}

/// The counters of a socket.
#[derive(Serialize)]
struct LaneShown {
    socket: Serial,
    kind: Kind,
    process: u32,
    /// Client ports whose last answer is from it.
    flows: u64,
    answers: u64,
    queued: u64,
    dropped: u64,
}

/// All counters, and what was said last.
#[derive(Serialize)]
struct Counters<'s> {
    /// Microseconds since it was set up.
    time_us: u64,
    setup: String,
    doing: Option<&'static str>,
    lanes: Vec<LaneShown>,
    totals: Totals,
    /// Dropped because a queue was full, on closed sockets too.
    dropped: u64,
    /// Flows of a socket by chance, 95 times of 100.
    band: [u64; 2],
    /// How often chance is as uneven, or more.
    p: Option<f64>,
    said: Option<&'s Said>,
}

/// What changes from frame to frame.
#[derive(Serialize)]
struct Frame<'s> {
    #[serde(flatten)]
    counters: Counters<'s>,
    /// The place of each flow's socket in the list; an octet each.
    at: String,
    /// A bit for each flow that was answered since the last frame.
    lit: String,
    /// A bit for each flow that waits; empty where none does.
    waits: String,
    /// A bit for each flow that moved, where something new was said.
    moved: Option<String>,
}

impl Frames {
    /// Frames of a bench.
    pub fn of(shown: Arc<Mutex<Shown>>) -> Frames {
        Frames {
            shown,
            answers: Vec::new(),
            said: 0,
            band: ((0, 0), [0; 2]),
        }
    }

    /// The next frame, in JSON.
    pub fn frame(&mut self) -> String {
        let shown = self.shown.clone();
        let shown = locked(&shown);
        let (flows, totals) = self.flows(&shown);
        let at = places(&shown, &flows);
        let is_new = shown.said.number != self.said;
        self.said = shown.said.number;
        let lit = |(flow, before): (&Flow, &u32)| flow.answers != *before;
        let frame = Frame {
            lit: bits(flows.iter().zip(&self.answers).map(lit)),
            waits: match totals.waiting {
                0 => String::new(),
                _ => bits(flows.iter().map(Flow::waits)),
            },
            moved: is_new.then(|| bits(shown.said.moved.iter().copied())),
            counters: self.counters(&shown, &at, totals, is_new),
            at: BASE64.encode(&at),
        };
        let json = serde_json::to_string(&frame).unwrap_or_default();
        self.answers.clear();
        self.answers.extend(flows.iter().map(|flow| flow.answers));
        json
    }

    /// The counters alone, in JSON.
    pub fn counted(&mut self) -> String {
        let shown = self.shown.clone();
        let shown = locked(&shown);
        let (flows, totals) = self.flows(&shown);
        let at = places(&shown, &flows);
        let counters = self.counters(&shown, &at, totals, true);
        serde_json::to_string(&counters).unwrap_or_default()
    }

    /// A copy, so that whoever asks and answers is kept no longer than that.
    fn flows(&mut self, shown: &Shown) -> (Vec<Flow>, Totals) {
        let ledger = locked(&shown.ledger);
        let flows = ledger.flows().to_vec();
        self.answers.resize(flows.len(), 0);
        (flows, ledger.totals())
    }

    fn counters<'s>(
        &mut self,
        shown: &'s Shown,
        at: &[u8],
        totals: Totals,
        is_new: bool,
    ) -> Counters<'s> {
        let mut flows = vec![0; shown.lanes.len()];
        for &place in at.iter().filter(|&&place| place != NOWHERE) {
            flows[usize::from(place)] += 1;
        }
        let size = (at.len(), flows.len());
        if self.band.0 != size {
            self.band = (size, band(size.0, size.1));
        }
        let time_us = locked(&shown.ledger).age();
        let mut dropped = shown.dropped;
        let lanes = shown.lanes.iter().zip(&flows).map(|(lane, &flows)| {
            let load = shown.load(lane);
            dropped += load.1;
            LaneShown {
                socket: lane.serial,
                kind: lane.kind,
                process: lane.process,
                flows,
                answers: locked(&shown.ledger).answers_by(lane.serial),
                queued: load.0,
                dropped: load.1,
            }
        });
        Counters {
            time_us,
            setup: shown.setup().to_string(),
            doing: shown.doing,
            lanes: lanes.collect(),
            totals,
            dropped,
            band: self.band.1,
            p: chi_square(&flows).map(|test| test.p),
            said: is_new.then_some(&shown.said),
        }
    }
}

fn places(shown: &Shown, flows: &[Flow]) -> Vec<u8> {
    let place = |flow: &Flow| {
        let mut lanes = shown.lanes.iter();
        let place = match flow.at {
            NOBODY => None,
            at => lanes.position(|lane| lane.serial == at),
        };
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(NOWHERE)
    };
    flows.iter().map(place).collect()
}

/// A bit each, the first the lowest of the first octet.
fn bits(flags: impl Iterator<Item = bool>) -> String {
    let mut octets = Vec::new();
    for (index, flag) in flags.enumerate() {
        if index % 8 == 0 {
            octets.push(0);
        }
        if flag && let Some(last) = octets.last_mut() {
            *last |= 1 << (index % 8);
        }
    }
    BASE64.encode(&octets)
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::super::setup::Setup;
    use super::*;
    use serde_json::Value;

    #[test]
    fn bits_are_from_the_lowest_up() {
        assert_eq!(bits([].into_iter()), "");
        let flags = (0..9).map(|index| index == 0 || index == 8);
        assert_eq!(bits(flags), BASE64.encode(&[1, 1]));
    }

    #[test]
    fn a_frame_says_where_each_flow_is_and_tells_news_once() {
        let setup: Setup = "sockets=3&flows=20&rate=0".parse().unwrap();
        let bench = Bench::start(setup).unwrap();
        // A slow answer to the roll call would be news later.
        let totals = || locked(bench.clients.ledger()).totals();
        while totals().answered + totals().lost < totals().sent {
            std::thread::yield_now();
        }
        let mut frames = Frames::of(bench.shown());
        let mut next = || -> Value { serde_json::from_str(&frames.frame()).unwrap() };
        let first = next();
        let octets = |value: &Value| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
        let at = octets(&first["at"]);
        assert_eq!(at.len(), 20);
        for (index, lane) in first["lanes"].as_array().unwrap().iter().enumerate() {
            let flows = at.iter().filter(|at| usize::from(**at) == index).count();
            assert_eq!(lane["flows"], flows, "{lane}");
        }
        // All have been answered since nobody looked, and none since.
        assert_eq!(octets(&first["lit"]), [255, 255, 15]);
        assert_eq!(
            (&first["waits"], &first["said"]["number"]),
            (&"".into(), &1.into())
        );
        let second = next();
        assert_eq!(octets(&second["lit"]), [0; 3]);
        assert!(second["said"].is_null() && second["moved"].is_null());
    }
}
