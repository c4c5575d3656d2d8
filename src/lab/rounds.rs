//! Contestants measured one after the other in the same rounds, so that what
//! disturbs one for a while disturbs all: who is ahead, and by more than chance.

use super::figure::number;
use super::result::listed;
use super::statistics::{Ratio, Sample, Verdict, median};

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

    /// What the rounds gave of a contestant.
    pub fn sample(&self, contestant: usize) -> Sample {
        Sample::new(self.0[contestant].clone())
    }

    /// How many times the other's figure, round by round.
    pub fn ratio(&self, contestant: usize, other: usize) -> Option<Ratio> {
        Ratio::paired(&self.0[contestant], &self.0[other])
    }

    /// Who is ahead by the median, and of whom it cannot be told apart.
    pub fn lead(&self, order: RoundOrder) -> Lead {
        let first = self.best(order);
        let others = (0..self.0.len()).filter(|&other| other != first);
        let verdicts = others.map(|other| (other, self.verdict(first, other, order)));
        let beside: Vec<(usize, Verdict)> = verdicts
            .filter(|(_, verdict)| *verdict != Verdict::Different)
            .collect();
        Lead {
            first,
            verdict: beside.iter().map(|(_, verdict)| *verdict).max(),
            beside: beside.into_iter().map(|(other, _)| other).collect(),
            of: self.0.len(),
        }
    }

    fn best(&self, order: RoundOrder) -> usize {
        let ahead = |a: &usize, b: &usize| {
            let upwards = median(&self.0[*a]).total_cmp(&median(&self.0[*b]));
            match order {
                RoundOrder::Highest => upwards,
                RoundOrder::Lowest => upwards.reverse(),
            }
        };
        (0..self.0.len()).max_by(ahead).unwrap_or(0)
    }

    /// How many times another's figure is that of the best, which was picked
    /// because it is ahead: 95 % confidence holds for all the others together.
    pub fn ratio_of_best(&self, best: usize, other: usize) -> Option<Ratio> {
        Ratio::paired_as_one_of(self.0.len() - 1, &self.0[best], &self.0[other])
    }

    /// Whether the best is ahead of another in the rounds too.
    fn verdict(&self, best: usize, other: usize, order: RoundOrder) -> Verdict {
        let ratio = self.ratio_of_best(best, other);
        let is_ahead = |ratio: Ratio| match order {
            RoundOrder::Highest => ratio.low > 1.0,
            RoundOrder::Lowest => ratio.high < 1.0,
        };
        match Verdict::of(ratio) {
            // Median and rounds contradict each other.
            Verdict::Different if !ratio.is_some_and(is_ahead) => Verdict::TooNoisy,
            verdict => verdict,
        }
    }
}

impl Rounds {
    /// Who is ahead and with how much, in words; nobody is named alone who is
    /// not told apart.
    pub fn told(&self, order: RoundOrder, name: impl Fn(usize) -> String, unit: &str) -> String {
        let lead = self.lead(order);
        if lead.is_shared_by_all() && self.0.len() > 1 {
            return format!("{}: {}", lead.words(), self.range(unit));
        }
        let ahead = lead.ahead();
        let medians: Sample = ahead.iter().map(|&index| median(&self.0[index])).collect();
        let names: Vec<String> = ahead.into_iter().map(name).collect();
        let (low, high) = (number(medians.low()), number(medians.high()));
        match lead.beside.is_empty() {
            true => format!("{}, {low}{unit}", listed(&names)),
            false => format!("{}, {low} to {high}{unit}, not told apart", listed(&names)),
        }
    }

    /// From the smallest to the largest median.
    pub fn range(&self, unit: &str) -> String {
        let medians: Sample = self.0.iter().map(|rounds| median(rounds)).collect();
        format!(
            "{} to {}{unit}",
            number(medians.low()),
            number(medians.high())
        )
    }
}

/// Who is ahead, as far as it can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    /// Whose median is ahead.
    pub first: usize,
    /// Those that it cannot be told apart from.
    pub beside: Vec<usize>,
    /// Why not: the least telling of the comparisons with them.
    pub verdict: Option<Verdict>,
    /// How many there are.
    of: usize,
}

impl Lead {
    /// True where nobody is ahead of anybody.
    pub fn is_shared_by_all(&self) -> bool {
        self.beside.len() + 1 == self.of
    }

    /// Why nobody is ahead alone.
    pub fn words(&self) -> &'static str {
        self.verdict.unwrap_or(Verdict::Different).words()
    }

    /// Those ahead, in their order.
    pub fn ahead(&self) -> Vec<usize> {
        let mut ahead = self.beside.clone();
        ahead.push(self.first);
        ahead.sort_unstable();
        ahead
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
        let lead = rounds.lead(RoundOrder::Highest);
        assert_eq!((lead.first, lead.ahead()), (0, vec![0, 1]));
        assert_eq!(lead.verdict, Some(Verdict::WithinNoise));
        assert!(!lead.is_shared_by_all());
        let lead = rounds.lead(RoundOrder::Lowest);
        assert_eq!((lead.first, lead.beside, lead.verdict), (2, vec![], None));
        assert_eq!(rounds.sample(1).middle(), 18.0);
    }

    #[test]
    fn nobody_is_named_who_is_not_told_apart() {
        let name = |index: usize| ["one", "two", "three"][index].to_owned();
        let told = |figures: &[&[f64]]| rounds(figures).told(RoundOrder::Highest, name, "/s");
        let (fast, faster, slow): (&[f64], &[f64], &[f64]) =
            (&[10.0, 20.0, 30.0], &[10.5, 20.2, 29.0], &[5.0, 10.1, 14.9]);
        assert_eq!(told(&[fast, slow]), "one, 20/s");
        assert_eq!(
            told(&[fast, slow, faster]),
            "one and three, 20 to 20.2/s, not told apart"
        );
        assert_eq!(told(&[fast, faster]), "within noise: 20 to 20.2/s");
        assert_eq!(told(&[&[1.0], &[2.0]]), "one round tells nothing: 1 to 2/s");
    }

    /// Who is named is the tallest bar, or nobody.
    #[test]
    fn where_median_and_rounds_contradict_each_other_nothing_is_told() {
        let rounds = rounds(&[&[9.0, 20.0, 31.0], &[18.0, 19.0, 62.0]]);
        let lead = rounds.lead(RoundOrder::Highest);
        assert_eq!(lead.first, 0);
        assert!(lead.is_shared_by_all());
    }

    #[test]
    fn more_contestants_make_it_harder_to_differ() {
        let (one, other): (&[f64], &[f64]) = (&[10.0, 11.0, 10.0], &[9.0, 9.3, 9.0]);
        let two = rounds(&[one, other]);
        assert_eq!(two.lead(RoundOrder::Highest).verdict, None);
        let eight = rounds(&[one, other, other, other, other, other, other, other]);
        assert!(eight.lead(RoundOrder::Highest).is_shared_by_all());
        assert_eq!(eight.ratio(0, 1), two.ratio(0, 1));
    }

    #[test]
    fn one_round_tells_nothing_and_what_is_missing_is_told() {
        let rounds_of_one = rounds(&[&[1.0], &[2.0]]);
        let lead = rounds_of_one.lead(RoundOrder::Highest);
        assert_eq!(lead.verdict, Some(Verdict::Nothing));
        assert!(Rounds::new([vec![Some(1.0)], vec![None]].into_iter()).is_none());
        assert!(Rounds::new(std::iter::empty()).is_none());
    }
}
