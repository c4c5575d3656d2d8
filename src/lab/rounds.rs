//! Contestants measured one after the other in the same rounds, so that what
//! disturbs one for a while disturbs all: who is ahead, and by more than chance.

use super::statistics::{Ratio, Verdict, median};

/// One figure: by contestant, by round.
pub struct Rounds(Vec<Vec<f64>>);

/// Which end of the scale is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundOrder {
    /// More is better.
    Highest,
    /// Less is better.
    Lowest,
}

impl Rounds {
    /// `None` where a figure is missing, or there is no contestant.
    pub fn new(figures: impl Iterator<Item = Vec<Option<f64>>>) -> Option<Rounds> {
        let whole = |figures: Vec<Option<f64>>| figures.into_iter().collect();
        let figures: Vec<Vec<f64>> = figures.map(whole).collect::<Option<_>>()?;
        (!figures.is_empty()).then_some(Rounds(figures))
    }

    /// The contestant's middle figure.
    pub fn median(&self, contestant: usize) -> f64 {
        median(&self.0[contestant])
    }

    /// How many times the other's figure, round by round.
    pub fn ratio(&self, contestant: usize, other: usize) -> Option<Ratio> {
        Ratio::paired(&self.0[contestant], &self.0[other])
    }

    /// Who is ahead by the geometric mean over the rounds, on which the ratios
    /// go too.
    pub fn best(&self, order: RoundOrder) -> usize {
        let ahead = |a: &usize, b: &usize| {
            let upwards = self.logarithm(*a).total_cmp(&self.logarithm(*b));
            match order {
                RoundOrder::Highest => upwards,
                RoundOrder::Lowest => upwards.reverse(),
            }
        };
        (0..self.0.len()).max_by(ahead).unwrap_or(0)
    }

    /// Of the geometric mean.
    fn logarithm(&self, contestant: usize) -> f64 {
        let figures = &self.0[contestant];
        let sum: f64 = figures.iter().map(|figure| figure.ln()).sum();
        sum / figures.len() as f64
    }

    /// How many times another's figure is that of the best, which was picked
    /// because it is ahead: 95 % confidence holds for all the others together.
    pub fn ratio_of_best(&self, best: usize, other: usize) -> Option<Ratio> {
        Ratio::paired_as_one_of(self.0.len() - 1, &self.0[best], &self.0[other])
    }

    /// Whether another differs from the best.
    pub fn verdict(&self, best: usize, other: usize) -> Verdict {
        Verdict::of(self.ratio_of_best(best, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(figures: &[&[f64]]) -> Rounds {
        let known = |figures: &&[f64]| figures.iter().copied().map(Some).collect();
        Rounds::new(figures.iter().map(known)).unwrap()
    }

    #[test]
    fn the_best_is_told_from_those_that_are_worse() {
        let rounds = rounds(&[&[10.0, 20.0, 30.0], &[10.5, 18.0, 29.0], &[5.0, 10.1, 14.9]]);
        assert_eq!(
            (
                rounds.best(RoundOrder::Highest),
                rounds.best(RoundOrder::Lowest)
            ),
            (0, 2)
        );
        assert_eq!(rounds.verdict(0, 1), Verdict::WithinNoise);
        assert_eq!(rounds.verdict(0, 2), Verdict::Different);
        assert_eq!(rounds.median(1), 18.0);
    }

    #[test]
    fn the_best_is_ahead_in_the_rounds_and_not_by_the_median() {
        let rounds = rounds(&[&[9.0, 20.0, 31.0], &[18.0, 19.0, 62.0]]);
        assert!(rounds.median(0) > rounds.median(1));
        assert_eq!(rounds.best(RoundOrder::Highest), 1);
        assert!(rounds.ratio_of_best(1, 0).unwrap().mean > 1.0);
    }

    #[test]
    fn more_contestants_make_it_harder_to_differ() {
        let (one, other): (&[f64], &[f64]) = (&[10.0, 11.0, 10.0], &[9.0, 9.3, 9.0]);
        let two = rounds(&[one, other]);
        assert_eq!(two.verdict(0, 1), Verdict::Different);
        let eight = rounds(&[one, other, other, other, other, other, other, other]);
        assert_eq!(eight.verdict(0, 1), Verdict::WithinNoise);
        assert_eq!(eight.ratio(0, 1), two.ratio(0, 1));
    }

    #[test]
    fn one_round_tells_nothing_and_what_is_missing_is_told() {
        let rounds_of_one = rounds(&[&[1.0], &[2.0]]);
        assert_eq!(rounds_of_one.verdict(0, 1), Verdict::Nothing);
        assert!(Rounds::new([vec![Some(1.0)], vec![None]].into_iter()).is_none());
        assert!(Rounds::new(std::iter::empty()).is_none());
    }
}
