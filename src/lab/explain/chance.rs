//! What chance would make of the flows that were seen: each goes to a socket that
//! is drawn, with all of its datagrams.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::lab::statistics::Range;

/// Draws of one flow; many flows are drawn less often, and need it less.
const DRAWS: usize = 4_000_000;
/// Times that all flows are drawn.
const TRIALS: std::ops::RangeInclusive<usize> = 100..=2000;

/// What chance makes of flows over sockets.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// The part of all datagrams that the busiest socket has.
    pub busiest: Range,
    /// Flows that a socket has.
    pub flows: Range,
}

impl Chance {
    /// Draws sockets for flows of so many datagrams each; `None` where there is
    /// nothing to draw.
    pub fn of(weights: &[u64], sockets: usize, seed: u64) -> Option<Chance> {
        let total: u64 = weights.iter().sum();
        if total == 0 || sockets == 0 {
            return None;
        }
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let trials = (DRAWS / weights.len()).clamp(*TRIALS.start(), *TRIALS.end());
        let (mut busiest, mut flows) = (Vec::new(), Vec::new());
        for _ in 0..trials {
            let (mut shares, mut counts) = (vec![0u64; sockets], vec![0u64; sockets]);
            for weight in weights {
                let socket = random.random_range(0..sockets);
                shares[socket] += weight;
                counts[socket] += 1;
            }
            let most = shares.into_iter().max().unwrap_or(0);
            busiest.push(most as f64 / total as f64);
            flows.push(counts[0] as f64);
        }
        Some(Chance {
            busiest: Range::of(busiest),
            flows: Range::of(flows),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flow_leaves_chance_nothing_to_do() {
        let chance = Chance::of(&[1000], 4, 1).unwrap();
        assert_eq!((chance.busiest.low, chance.busiest.high), (1.0, 1.0));
        assert!(Chance::of(&[], 4, 1).is_none() && Chance::of(&[0], 4, 1).is_none());
    }

    #[test]
    fn many_flows_come_out_evenly_unless_one_is_heavy() {
        let even = Chance::of(&[10; 4000], 4, 1).unwrap();
        assert!(
            even.busiest.high < 0.28 && even.busiest.low > 0.25,
            "{even:?}"
        );
        assert!(
            even.flows.holds(1000.0) && even.flows.high < 1100.0,
            "{even:?}"
        );
        let mut weights = [10; 4000];
        weights[0] = 120_000;
        let heavy = Chance::of(&weights, 4, 1).unwrap();
        assert!(
            heavy.busiest.low > 0.79 && heavy.busiest.high < 0.84,
            "{heavy:?}"
        );
    }
}
