//! Contestants measured one after the other in the same rounds, so that what
//! disturbs one for a while disturbs all: who is ahead, and by more than chance.

use super::statistics::{Ratio, Verdict, median};

/// One figure: by contestant, by round.
pub struct Rounds(Vec<Vec<f64>>);

/// Which end of the scale is ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
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

    /// Who is ahead by the median.
    pub fn best(&self, order: Order) -> usize {
        let ahead = |a: &usize, b: &usize| {
            let upwards = self.median(*a).total_cmp(&self.median(*b));
            match order {
                Order::Highest => upwards,
                Order::Lowest => upwards.reverse(),
            }
        };
        (0..self.0.len()).max_by(ahead).unwrap_or(0)
    }

    /// Whether the two differ.
    pub fn verdict(&self, contestant: usize, other: usize) -> Verdict {
        Verdict::of(self.ratio(contestant, other))
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
        let rounds = rounds(&[&[10.0, 20.0, 30.0], &[11.0, 18.0, 33.0], &[5.0, 10.1, 14.9]]);
        assert_eq!(
            (rounds.best(Order::Highest), rounds.best(Order::Lowest)),
            (0, 2)
        );
        assert_eq!(rounds.verdict(0, 1), Verdict::WithinNoise);
        assert_eq!(rounds.verdict(2, 0), Verdict::Different);
        assert_eq!(rounds.median(1), 18.0);
    }

    #[test]
    fn one_round_tells_nothing_and_what_is_missing_is_told() {
        let rounds_of_one = rounds(&[&[1.0], &[2.0]]);
        assert_eq!(rounds_of_one.verdict(0, 1), Verdict::Nothing);
        assert!(Rounds::new([vec![Some(1.0)], vec![None]].into_iter()).is_none());
        assert!(Rounds::new(std::iter::empty()).is_none());
    }
}
