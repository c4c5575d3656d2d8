//! What the figures are judged by: how even shares are, how likely chance made
//! them so, and whether a difference is one.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF, StudentsT};
use statrs::statistics::{Data, Distribution, OrderStatistics};

/// Below this mean the statistic does not follow its distribution (W. Cochran,
/// "Some Methods for Strengthening the Common χ² Tests", Biometrics 10, 1954).
const MIN_EXPECTED: f64 = 5.0;
/// How sure a range is: 95 of 100 lie in it.
const CONFIDENCE: f64 = 0.95;
/// Between ends further apart than this there is room for too much.
const TELLING: f64 = 2.0;

/// Jain's index of fairness: 1 where all shares are equal, 1/n where one has
/// everything (R. Jain, D. Chiu, W. Hawe, "A Quantitative Measure of Fairness",
/// DEC-TR-301, 1984). 1 where there is nothing to share.
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

/// The largest share as a multiple of the mean; 1 where there is nothing.
pub fn hottest(shares: &[u64]) -> f64 {
    let (sum, largest) = (shares.iter().sum::<u64>(), shares.iter().max());
    match largest {
        Some(&largest) if sum > 0 => largest as f64 * shares.len() as f64 / sum as f64,
        _ => 1.0,
    }
}

/// Pearson's test of whether all shares come from one and the same chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChiSquare {
    /// The sum of squared deviations over what was expected.
    pub statistic: f64,
    /// How often chance deviates as much or more.
    pub p: f64,
}

/// The test; `None` for fewer than two shares, or with too little to share.
pub fn chi_square(shares: &[u64]) -> Option<ChiSquare> {
    let expected = shares.iter().sum::<u64>() as f64 / shares.len() as f64;
    fit(shares, &vec![expected; shares.len()])
}

/// Chi-square of shares that are expected to differ.
pub fn fit(shares: &[u64], expected: &[f64]) -> Option<ChiSquare> {
    debug_assert_eq!(shares.len(), expected.len());
    if shares.len() < 2 || expected.iter().any(|&expected| expected < MIN_EXPECTED) {
        return None;
    }
    let statistic = shares
        .iter()
        .zip(expected)
        .map(|(&share, expected)| (share as f64 - expected).powi(2) / expected)
        .sum();
    let distribution = ChiSquared::new(shares.len() as f64 - 1.0).ok()?;
    Some(ChiSquare {
        statistic,
        p: distribution.sf(statistic),
    })
}

/// The tests of several rounds with so many shares each as one test: sums of
/// chi-squares are chi-squares. `None` where no round could be tested.
pub fn pooled(tests: &[Option<ChiSquare>], shares: usize) -> Option<ChiSquare> {
    let statistics: Vec<f64> = tests.iter().flatten().map(|test| test.statistic).collect();
    let freedom = statistics.len() * shares.checked_sub(1)?;
    let statistic = statistics.iter().sum();
    let distribution = ChiSquared::new(freedom as f64).ok()?;
    Some(ChiSquare {
        statistic,
        p: distribution.sf(statistic),
    })
}

/// The range in which a figure lies 95 times of 100, and its middle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// 2.5 of 100 lie below.
    pub low: f64,
    /// Half lie below.
    pub median: f64,
    /// 2.5 of 100 lie above.
    pub high: f64,
}

impl Range {
    /// The range of a sample that is not empty.
    pub fn of(sample: Vec<f64>) -> Range {
        let mut sample = Data::new(sample);
        Range {
            low: sample.quantile((1.0 - CONFIDENCE) / 2.0),
            median: sample.median(),
            high: sample.quantile((1.0 + CONFIDENCE) / 2.0),
        }
    }

    /// True where the figure is in the range.
    pub fn holds(self, figure: f64) -> bool {
        (self.low..=self.high).contains(&figure)
    }
}

/// What an ideal hash makes of it: `balls` go into `bins`, each by chance, and
/// `figure` looks at how many each has. Computed in so many trials.
pub fn ideal(
    trials: usize,
    balls: usize,
    bins: usize,
    random: &mut ChaCha8Rng,
    figure: impl Fn(&[u64]) -> f64,
) -> Range {
    let mut shares = vec![0; bins];
    let sample = (0..trials).map(|_| {
        shares.fill(0);
        for _ in 0..balls {
            shares[random.random_range(0..bins)] += 1;
        }
        figure(&shares)
    });
    Range::of(sample.collect())
}

/// The middle of a sample; 0 of an empty one.
pub fn median(sample: &[f64]) -> f64 {
    if sample.is_empty() {
        return 0.0;
    }
    Data::new(sample.to_vec()).median()
}

/// One figure as several rounds gave it. What is drawn, put into tables and
/// told of it is the same: the median, and the smallest and largest round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// A sample of these rounds, in their order.
    pub fn new(each: Vec<f64>) -> Sample {
        Sample(each)
    }

    /// Each round's.
    pub fn each(&self) -> &[f64] {
        &self.0
    }

    /// True where nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The median; 0 where nothing was measured.
    pub fn middle(&self) -> f64 {
        median(&self.0)
    }

    /// The smallest round; 0 where there is none.
    pub fn low(&self) -> f64 {
        self.0.iter().copied().min_by(f64::total_cmp).unwrap_or(0.0)
    }

    /// The largest round; 0 where there is none.
    pub fn high(&self) -> f64 {
        self.0.iter().copied().max_by(f64::total_cmp).unwrap_or(0.0)
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(each: T) -> Sample {
        Sample(each.into_iter().collect())
    }
}

/// A mean, and where it is 95 times of 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean of the sample.
    pub mean: f64,
    /// The lower end of its 95 % confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Mean {
    /// The mean by Student's t; `None` of fewer than two figures.
    pub fn of(sample: &[f64]) -> Option<Mean> {
        Mean::with_confidence(sample, CONFIDENCE)
    }

    /// The mean with an interval that holds it so often.
    fn with_confidence(sample: &[f64], confidence: f64) -> Option<Mean> {
        if sample.len() < 2 {
            return None;
        }
        let (size, data) = (sample.len() as f64, Data::new(sample.to_vec()));
        let (mean, deviation) = (data.mean()?, data.std_dev()?);
        let t = StudentsT::new(0.0, 1.0, size - 1.0).ok()?;
        let reach = t.inverse_cdf((1.0 + confidence) / 2.0) * deviation / size.sqrt();
        Some(Mean {
            mean,
            low: mean - reach,
            high: mean + reach,
        })
    }
}

/// How much y grows with each step of x, by least squares; 0 where all x are
/// the same.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|point| point.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|point| point.1).sum::<f64>() / count;
    let along: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let both = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y));
    if along > 0.0 {
        both.sum::<f64>() / along
    } else {
        0.0
    }
}

/// How many times as much, measured in rounds side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// The geometric mean of the rounds' ratios.
    pub mean: f64,
    /// The lower end of its 95 % confidence interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Ratio {
    /// Compares figures of the same round with each other: Student's t on the
    /// logarithms of their ratios. `None` for fewer than two rounds, or figures
    /// that are not above 0.
    pub fn paired(figures: &[f64], others: &[f64]) -> Option<Ratio> {
        Ratio::paired_as_one_of(1, figures, others)
    }

    /// Compares as one of so many comparisons, each of which gets its part of
    /// the chance to be wrong, so that all are right 95 times of 100 (O. Dunn,
    /// "Multiple Comparisons Among Means", JASA 56, 1961).
    pub fn paired_as_one_of(comparisons: usize, figures: &[f64], others: &[f64]) -> Option<Ratio> {
        let rounds = figures.len().min(others.len());
        let both = || figures.iter().zip(others);
        if rounds < 2 || both().any(|(a, b)| *a <= 0.0 || *b <= 0.0) {
            return None;
        }
        let logarithms: Vec<f64> = both().map(|(a, b)| (a / b).ln()).collect();
        let confidence = 1.0 - (1.0 - CONFIDENCE) / comparisons.max(1) as f64;
        let Mean { mean, low, high } = Mean::with_confidence(&logarithms, confidence)?;
        Some(Ratio {
            mean: mean.exp(),
            low: low.exp(),
            high: high.exp(),
        })
    }

    /// Compares samples of different runs, whose rounds have nothing to do with
    /// each other: Welch's t on their logarithms, as one of so many comparisons
    /// (B. Welch, "The Generalization of 'Student's' Problem when Several
    /// Different Population Variances are Involved", Biometrika 34, 1947).
    /// `None` as `paired`.
    pub fn unpaired_as_one_of(
        comparisons: usize,
        figures: &[f64],
        others: &[f64],
    ) -> Option<Ratio> {
        let moments = |figures: &[f64]| {
            if figures.len() < 2 || figures.iter().any(|figure| *figure <= 0.0) {
                return None;
            }
            let logarithms: Vec<f64> = figures.iter().map(|figure| figure.ln()).collect();
            let (size, data) = (figures.len() as f64, Data::new(logarithms));
            Some((data.mean()?, data.variance()? / size, size - 1.0))
        };
        let ((a, a_error, a_freedom), (b, b_error, b_freedom)) =
            (moments(figures)?, moments(others)?);
        let error = a_error + b_error;
        // Rounds that are all the same differ by whatever their means do.
        let freedom = match error > 0.0 {
            true => error.powi(2) / (a_error.powi(2) / a_freedom + b_error.powi(2) / b_freedom),
            false => a_freedom + b_freedom,
        };
        let confidence = 1.0 - (1.0 - CONFIDENCE) / comparisons.max(1) as f64;
        let t = StudentsT::new(0.0, 1.0, freedom).ok()?;
        let reach = t.inverse_cdf((1.0 + confidence) / 2.0) * error.sqrt();
        Some(Ratio {
            mean: (a - b).exp(),
            low: (a - b - reach).exp(),
            high: (a - b + reach).exp(),
        })
    }

    /// True where nothing says that the two differ; `Verdict` says whether that
    /// makes them the same.
    pub fn is_noise(self) -> bool {
        self.low <= 1.0 && self.high >= 1.0
    }
}

/// What a comparison tells, from the most to the least. Displayed as what is to
/// be added to its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The two differ by more than chance.
    Different,
    /// If they differ, then by less than twice.
    WithinNoise,
    /// They may be the same, or differ a lot.
    TooNoisy,
    /// Nothing was compared.
    Nothing,
}

impl Verdict {
    /// Of a ratio, or of what could not be compared.
    pub fn of(ratio: Option<Ratio>) -> Verdict {
        match ratio {
            None => Verdict::Nothing,
            Some(ratio) if !ratio.is_noise() => Verdict::Different,
            Some(ratio) if ratio.high / ratio.low > TELLING => Verdict::TooNoisy,
            Some(_) => Verdict::WithinNoise,
        }
    }

    /// Nothing where the figures speak for themselves.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Different => "",
            Verdict::WithinNoise => "within noise",
            Verdict::TooNoisy => "too noisy to tell",
            Verdict::Nothing => "one round tells nothing",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.words() {
            "" => Ok(()),
            words => write!(f, ", {words}"),
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Ratio { mean, low, high } = self;
        let verdict = Verdict::of(Some(*self));
        write!(f, "{mean:.2} times ({low:.2}–{high:.2}){verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn is_near(a: f64, b: f64, by: f64) -> bool {
        (a - b).abs() <= by
    }

    /// The report's own example: of n users, k are served alike and the others
    /// not at all; the index is then k/n.
    #[test]
    fn jain_of_the_reports_example() {
        let mut shares = vec![7; 20];
        shares.resize(100, 0);
        assert!(is_near(jain(&shares), 0.2, 1e-12));
        assert_eq!(jain(&[5, 5, 5]), 1.0);
        assert_eq!(jain(&[0, 0]), 1.0);
    }

    /// Sixty throws of a die: 5, 8, 9, 8, 10, 20 give 13.4, past the 5 % limit
    /// of 11.070 for five degrees of freedom and below the 1 % limit of 15.086,
    /// with p = 0.0199.
    #[test]
    fn chi_square_of_a_loaded_die() {
        let test = chi_square(&[5, 8, 9, 8, 10, 20]).unwrap();
        assert!(is_near(test.statistic, 13.4, 1e-9));
        assert!(is_near(test.p, 0.0199, 5e-5));
    }

    /// Mendel's peas: 315, 108, 101 and 32 of 556 where 9 : 3 : 3 : 1 is
    /// expected give 0.47, with p = 0.925 for three degrees of freedom.
    #[test]
    fn fit_of_mendels_peas() {
        let expected = [9.0, 3.0, 3.0, 1.0].map(|part| part * 556.0 / 16.0);
        let test = fit(&[315, 108, 101, 32], &expected).unwrap();
        assert!(is_near(test.statistic, 0.470, 5e-4));
        assert!(is_near(test.p, 0.925, 5e-4));
    }

    #[test]
    fn a_sample_is_told_by_its_median_and_its_ends() {
        let sample = Sample::new(vec![3.0, 1.0, 2.0, 10.0]);
        assert_eq!(
            (sample.low(), sample.middle(), sample.high()),
            (1.0, 2.5, 10.0)
        );
        let nothing = Sample::default();
        assert!(nothing.is_empty() && nothing.middle() == 0.0 && nothing.high() == 0.0);
    }

    /// Welch's own kind of case: sizes and variances differ, and the degrees of
    /// freedom lie between those of the smaller sample and of both.
    #[test]
    fn runs_are_compared_without_pairing_their_rounds() {
        let (one, other) = ([100.0, 110.0, 90.0, 105.0], [205.0, 190.0, 210.0]);
        let ratio = Ratio::unpaired_as_one_of(1, &one, &other).unwrap();
        assert!(is_near(ratio.mean, 0.5, 0.01) && !ratio.is_noise());
        let many = Ratio::unpaired_as_one_of(1000, &one, &other).unwrap();
        assert!(many.low < ratio.low && many.high > ratio.high);
        let same = Ratio::unpaired_as_one_of(1, &one, &[95.0, 112.0, 99.0]).unwrap();
        assert!(same.is_noise());
        assert_eq!(Ratio::unpaired_as_one_of(1, &one, &[1.0]), None);
        assert_eq!(Ratio::unpaired_as_one_of(1, &one, &[0.0, 1.0]), None);
        let exact = Ratio::unpaired_as_one_of(1, &[2.0, 2.0], &[1.0, 1.0]).unwrap();
        assert_eq!((exact.low, exact.high), (exact.mean, exact.mean));
    }

    #[test]
    fn chi_square_needs_something_to_test() {
        assert_eq!(chi_square(&[5]), None);
        assert_eq!(chi_square(&[0, 0]), None);
        assert_eq!(chi_square(&[4, 5]), None);
        assert_eq!(chi_square(&[5, 5]).unwrap().p, 1.0);
    }

    /// Student's "Sleep" data of 1908: extra hours under two drugs, by patient.
    /// As differences they give t = -4.0621, a mean of -1.58 and a confidence
    /// interval from -2.4599 to -0.7001.
    #[test]
    fn ratio_of_students_sleep_data() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let [first, second] = [first, second].map(|hours| hours.map(f64::exp));
        let ratio = Ratio::paired(&first, &second).unwrap();
        assert!(is_near(ratio.mean.ln(), -1.58, 1e-9));
        assert!(is_near(ratio.low.ln(), -2.4599, 1e-4));
        assert!(is_near(ratio.high.ln(), -0.7001, 1e-4));
        assert!(!ratio.is_noise());
        assert!(Ratio::paired(&[1.0, 2.0], &[2.0, 1.0]).unwrap().is_noise());
        // Five comparisons share 5 %; t of 9 degrees of freedom is 3.2498 for 1 %.
        let of_five = Ratio::paired_as_one_of(5, &first, &second).unwrap();
        assert!(is_near(of_five.low.ln(), -2.8440, 1e-3));
        assert!(is_near(of_five.high.ln(), -0.3160, 1e-3));
        assert_eq!(Ratio::paired(&[1.0], &[1.0]), None);
        assert_eq!(Mean::of(&[1.0]), None);
        assert_eq!(Ratio::paired(&[1.0, 0.0], &[1.0, 1.0]), None);
    }

    #[test]
    fn noise_tells_little_and_one_round_nothing() {
        for (low, high, words) in [
            (1.01, 1.02, ""),
            (0.3, 0.99, ""),
            (0.8, 1.6, ", within noise"),
            (0.79, 1.6, ", too noisy to tell"),
            (0.05, 18.78, ", too noisy to tell"),
        ] {
            let mean = 1.0;
            let verdict = Verdict::of(Some(Ratio { mean, low, high }));
            assert_eq!(verdict.to_string(), words, "{low} to {high}");
        }
        let one_round = Verdict::of(Ratio::paired(&[1.0], &[2.0]));
        assert_eq!(one_round.to_string(), ", one round tells nothing");
        let ratio = Ratio::paired(&[1.0, 4.0], &[4.0, 1.0]).unwrap();
        assert!(ratio.to_string().ends_with("), too noisy to tell"));
    }

    /// The first and the last of four sets with the same line (F. Anscombe,
    /// "Graphs in Statistical Analysis", The American Statistician 27, 1973).
    #[test]
    fn slopes_of_anscombes_quartet() {
        let x = [10.0, 8.0, 13.0, 9.0, 11.0, 14.0, 6.0, 4.0, 12.0, 7.0, 5.0];
        let y = [
            8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68,
        ];
        let first: Vec<_> = x.into_iter().zip(y).collect();
        assert!(is_near(slope(&first), 0.5001, 5e-5));
        let x = [8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 19.0, 8.0, 8.0, 8.0];
        let y = [
            6.58, 5.76, 7.71, 8.84, 8.47, 7.04, 5.25, 12.5, 5.56, 7.91, 6.89,
        ];
        let last: Vec<_> = x.into_iter().zip(y).collect();
        assert!(is_near(slope(&last), 0.4999, 5e-5));
        assert_eq!(slope(&[(1.0, 2.0)]), 0.0);
    }

    /// Many balls in three bins make a chi-square of two degrees of freedom, of
    /// which the tables have 0.0506, 1.386 and 7.378.
    #[test]
    fn an_ideal_hash_follows_the_tables() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let statistic = |shares: &[u64]| chi_square(shares).unwrap().statistic;
        let range = ideal(2000, 600, 3, &mut random, statistic);
        assert!(is_near(range.low, 0.0506, 0.03));
        assert!(is_near(range.median, 1.386, 0.1));
        assert!(is_near(range.high, 7.378, 0.6));
        let one = ideal(10, 1, 4, &mut random, hottest);
        assert_eq!((one.low, one.high), (4.0, 4.0));
    }

    #[test]
    fn ranges_and_medians() {
        let range = Range::of((0..=1000).map(f64::from).collect());
        assert!(is_near(range.low, 25.0, 1.0) && is_near(range.high, 975.0, 1.0));
        assert!(range.holds(500.0) && !range.holds(990.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(hottest(&[3, 1]), 1.5);
        assert_eq!(hottest(&[]), 1.0);
    }
}
