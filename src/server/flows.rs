//! How many flows there are: an estimate of how many clients' addresses and ports
//! requests came from lately, in 2 KiB a worker. No flow is remembered.
//!
//! A flow's hash picks one of 1024 registers, which keeps the longest run of zeros
//! that any hash began with: HyperLogLog (P. Flajolet and others, "HyperLogLog: the
//! analysis of a near-optimal cardinality estimation algorithm", AofA 2007). The
//! standard error is 1.04/√1024, which is 3 %, and less for fewer than 1000.
//!
//! Registers fill for a minute while those of the minute before are kept, so that
//! a flow that has gone is forgotten within two minutes. As all counters, they are
//! written by one thread, and `Relaxed` is enough: who reads wants what was lately.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Registers, a power of two.
const REGISTERS: usize = 1024;
/// Bits of a hash that pick the register.
const PICK: u32 = REGISTERS.trailing_zeros();
/// How long registers fill.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The flows of one worker.
#[derive(Debug, Default)]
pub struct Flows {
    /// Those of even and of odd windows in turn.
    sketches: [Sketch; 2],
}

/// 128 octets apart from others, for the reason that `Counters` are.
#[derive(Debug)]
#[repr(align(128))]
struct Sketch {
    /// The number of its window, counted from 1970; 0 where it has had none.
    window: AtomicU64,
    registers: [AtomicU8; REGISTERS],
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch {
            window: AtomicU64::new(0),
            registers: [const { AtomicU8::new(0) }; REGISTERS],
        }
    }
}

impl Flows {
    /// The requests of a batch came from these, as `Port::flow` has it, at that
    /// time, which is counted from 1970.
    #[inline]
    pub fn see(&self, flows: impl Iterator<Item = [u64; 2]>, now: Duration) {
        let window = now.as_secs() / WINDOW.as_secs();
        let sketch = &self.sketches[window as usize % 2];
        if sketch.window.load(Relaxed) != window {
            sketch.begin(window);
        }
        for flow in flows {
            sketch.see(hash(flow));
        }
    }

    /// The flows of the last whole minute, or of this one where it has had more
    /// already.
    pub fn estimate(&self, now: Duration) -> u64 {
        let window = now.as_secs() / WINDOW.as_secs();
        let recent = self.sketches.iter().filter(|sketch| {
            let its = sketch.window.load(Relaxed);
            its == window || its + 1 == window
        });
        let most = recent.map(Sketch::estimate).fold(0.0, f64::max);
        most.round() as u64
    }
}

impl Sketch {
    #[cold]
    fn begin(&self, window: u64) {
        for register in &self.registers {
            register.store(0, Relaxed);
        }
        self.window.store(window, Relaxed);
    }

    #[inline]
    fn see(&self, hash: u64) {
        let register = &self.registers[(hash >> (64 - PICK)) as usize];
        // The bit behind the last ends a run of nothing but zeros.
        let rank = ((hash << PICK) | (1 << (PICK - 1))).leading_zeros() as u8 + 1;
        if register.load(Relaxed) < rank {
            register.store(rank, Relaxed);
        }
    }

    /// Figure 3 of the paper. Hashes of 64 bits need no correction for collisions.
    fn estimate(&self) -> f64 {
        let registers = REGISTERS as f64;
        let (mut sum, mut empty) = (0.0, 0);
        for register in &self.registers {
            let rank = register.load(Relaxed);
            sum += (-f64::from(rank)).exp2();
            empty += usize::from(rank == 0);
        }
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        if raw <= 2.5 * registers && empty > 0 {
            return registers * (registers / empty as f64).ln();
        }
        raw
    }
}

/// Any bit of a flow changes half of the hash: products of 64 bits by 64, folded
/// in the middle, twice, as wyhash does it (<https://github.com/wangyi-fudan/wyhash>,
/// whose constants these are). Who chooses ports to falsify the estimate does so.
#[inline]
fn hash([one, other]: [u64; 2]) -> u64 {
    let first = fold(one ^ 0xa076_1d64_78bd_642f, other ^ 0xe703_7ed1_a0b4_28db);
    fold(first ^ 0x8ebc_6af0_9c88_c6e3, 0x5899_65cc_7537_4cc3)
}

#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000_020);

    /// Hosts in a row, each with many ports.
    fn v4(number: u32) -> [u64; 2] {
        let (host, port) = (0x0a00_0000 + number / 50_000, 1024 + number % 50_000);
        let port = (port as u16).to_be();
        [u64::from(host.to_be()) << 16 | u64::from(port), 0]
    }

    /// Hosts in a row in one network, each with a few ports.
    fn v6(number: u32) -> [u64; 2] {
        let (network, host) = (0x2001_0db8_u64 << 32, u64::from(number / 7));
        let port = (1024 + number % 7) as u16;
        [host.to_be() ^ u64::from(port.to_be()), network.to_be()]
    }

    fn is_near(estimate: u64, flows: u32) -> bool {
        // Four standard errors; nobody chooses the hashes anew.
        estimate.abs_diff(u64::from(flows)) as f64 <= (0.13 * f64::from(flows)).max(1.0)
    }

    #[test]
    fn flows_are_estimated_however_often_they_ask() {
        for flow in [v4, v6] {
            for count in [1, 10, 100, 2_000, 3_000, 100_000, 1_000_000] {
                let flows = Flows::default();
                flows.see((0..count).map(flow), NOW);
                flows.see((0..count / 2).map(flow), NOW);
                let estimate = flows.estimate(NOW);
                assert!(is_near(estimate, count), "{estimate} of {count}");
            }
        }
    }

    #[test]
    fn flows_are_forgotten_within_two_windows() {
        let flows = Flows::default();
        assert_eq!(flows.estimate(NOW), 0);
        flows.see((0..1000).map(v4), NOW);
        let next = NOW + WINDOW;
        assert!(is_near(flows.estimate(next), 1000), "of the last window");
        assert_eq!(flows.estimate(next + WINDOW), 0, "nobody asks any more");
        flows.see((0..10).map(v4), next);
        assert!(is_near(flows.estimate(next), 1000), "the larger of two");
        flows.see((0..10).map(v4), next + WINDOW);
        assert!(is_near(flows.estimate(next + WINDOW), 10));
    }
}
