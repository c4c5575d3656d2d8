//! How unevenly chance alone deals flows out: the band in which the hottest worker's
//! multiple of the mean lies 95 times of 100, where the kernel's hash is a fair one
//! and all flows ask alike. Beyond it, some flows ask much more than others, or the
//! hash is no fair one.
//!
//! The chance that no worker has more than so many is B. Levin's ("A Representation
//! for Multinomial Cumulative Distribution Functions", Annals of Statistics 9,
//! 1981): workers get flows by independent Poisson distributions, cut off at the
//! limit, on the condition that their sum is right, which the normal distribution
//! tells well enough: the ends are off by a flow, or by 1 % of the mean.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Continuous, Discrete, DiscreteCDF, Normal, Poisson};

/// The band's ends: so often it is below.
const ENDS: [f64; 2] = [0.025, 0.975];

/// Multiples of the mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Band {
    /// 2.5 of 100 lie below.
    pub low: f64,
    /// 2.5 of 100 lie above.
    pub high: f64,
}

impl Band {
    /// The band for so many flows and workers; `None` without either.
    pub fn of(flows: u64, workers: u64) -> Option<Band> {
        if flows == 0 || workers == 0 {
            return None;
        }
        let mean = flows as f64 / workers as f64;
        let [low, high] = ENDS.map(|often| hottest(often, flows, workers) as f64 / mean);
        Some(Band { low, high })
    }
}

/// The least that the hottest worker has so often, or less.
fn hottest(often: f64, flows: u64, workers: u64) -> u64 {
    let (mut low, mut high) = (flows.div_ceil(workers), flows);
    while low < high {
        let middle = low + (high - low) / 2;
        if none_has_more(middle, flows, workers) >= often {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// How often no worker has more than `limit`.
fn none_has_more(limit: u64, flows: u64, workers: u64) -> f64 {
    if limit >= flows {
        return 1.0;
    }
    let (all, count, mean) = (flows as f64, workers as f64, flows as f64 / workers as f64);
    let (Ok(one), Ok(sum)) = (Poisson::new(mean), Poisson::new(all)) else {
        return 1.0;
    };
    let below = one.cdf(limit);
    let cut_mean = mean * (1.0 - one.pmf(limit) / below);
    let cut_variance = cut_mean - (limit as f64 - cut_mean) * (mean - cut_mean);
    let Ok(cut_sum) = Normal::new(count * cut_mean, (count * cut_variance).sqrt()) else {
        return 0.0;
    };
    (count * below.ln() + cut_sum.ln_pdf(all) - sum.ln_pmf(flows)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// The ends as they come out of trials.
    fn tried(flows: u64, workers: usize) -> [u64; 2] {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let trial = |_| {
            let mut shares = vec![0; workers];
            (0..flows).for_each(|_| shares[random.random_range(0..workers)] += 1);
            shares.into_iter().max().unwrap()
        };
        let mut hottest: Vec<u64> = (0..2000).map(trial).collect();
        hottest.sort_unstable();
        [hottest[50], hottest[1950]]
    }

    #[test]
    fn the_band_is_the_one_of_trials() {
        for workers in [2, 3, 4, 16, 64] {
            for flows in [2, 5, 30, 100, 500] {
                let tried = tried(flows, workers);
                let told = ENDS.map(|often| hottest(often, flows, workers as u64));
                let most = 1 + flows.div_ceil(100 * workers as u64);
                let is_near = |end: usize| told[end].abs_diff(tried[end]) <= most;
                assert!(
                    is_near(0) && is_near(1),
                    "{flows} flows, {workers} workers: {told:?}, tried {tried:?}"
                );
            }
        }
    }

    #[test]
    fn the_band_narrows_and_has_ends_at_any_size() {
        let mut before = f64::INFINITY;
        for flows in [10, 1000, 100_000, 10_000_000, 1_000_000_000] {
            let band = Band::of(flows, 8).unwrap();
            assert!(1.0 <= band.low && band.low <= band.high && band.high < before);
            before = band.high;
        }
        assert!(before < 1.001);
        assert_eq!(Band::of(0, 8), None);
        let one = Band::of(7, 1).unwrap();
        assert_eq!((one.low, one.high), (1.0, 1.0));
        let one = Band::of(1, 4).unwrap();
        assert_eq!((one.low, one.high), (4.0, 4.0));
    }
}
