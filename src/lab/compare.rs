//! Two reports side by side: which figures differ by more than their rounds do.

use super::figure::{Named, number};
use super::record::Record;
use super::result::{ExperimentResult, Table};
use super::statistics::{Ratio, Sample, Verdict};

/// One experiment here beside the same one elsewhere.
pub struct Comparison {
    /// The record from elsewhere.
    pub there: Record,
    /// What both have.
    pub pairs: Vec<Pair>,
}

/// A figure here and there.
pub struct Pair {
    /// Its name.
    pub name: String,
    /// What it counts.
    pub unit: String,
    /// Here.
    pub here: Sample,
    /// There.
    pub there: Sample,
    /// How many times as much it is here, with 95 % confidence for all figures
    /// of the experiment together; `None` where that cannot be told.
    pub ratio: Option<Ratio>,
}

impl Pair {
    /// Whether the two differ.
    pub fn verdict(&self) -> Verdict {
        match self.here == self.there {
            // Counts that chance has no part in.
            true if self.here.each().len() > 1 => Verdict::WithinNoise,
            _ => Verdict::of(self.ratio),
        }
    }
}

impl Comparison {
    /// Compares what was just found with a record.
    pub fn new(outcome: &ExperimentResult, there: Record) -> Comparison {
        let here = outcome.figure.samples();
        let partner = |named: &Named| {
            let is_its = |other: &&Named| other.name == named.name && other.unit == named.unit;
            Some(there.samples.iter().find(is_its)?.sample.clone())
        };
        let both = here.into_iter().filter_map(|named| {
            let there = partner(&named)?;
            Some((named, there))
        });
        let both: Vec<(Named, Sample)> = both.collect();
        let comparisons = both.len();
        let pair = |(named, there): (Named, Sample)| Pair {
            ratio: Ratio::unpaired_as_one_of(comparisons, named.sample.each(), there.each()),
            name: named.name,
            unit: named.unit,
            here: named.sample,
            there,
        };
        let pairs = both.into_iter().map(pair).collect();
        Comparison { there, pairs }
    }

    /// Where the other one was measured, and what stands in the way of
    /// comparing.
    pub fn place(&self) -> String {
        let place = &self.there.place;
        let quick = if self.there.conditions.quick {
            ", quickly"
        } else {
            ""
        };
        format!(
            "Linux {}, {}, {} CPUs, commit {}, {}{quick}",
            place.kernel, place.cpu, place.cpus, place.commit, place.date
        )
    }

    /// What came of it, in one sentence.
    pub fn sentence(&self) -> String {
        let with = |verdict| {
            self.pairs
                .iter()
                .filter(|pair| pair.verdict() == verdict)
                .count()
        };
        let all = self.pairs.len();
        match (all, with(Verdict::Different), with(Verdict::Nothing)) {
            (0, ..) => "The two have no figure in common.".into(),
            (_, 0, untold) if untold == all => "One round tells nothing of a difference.".into(),
            (_, 0, _) => format!("None of {all} figures differs beyond noise."),
            (_, different, _) => format!("{different} of {all} figures differ beyond noise."),
        }
    }

    /// All figures of both, those that differ first and marked.
    pub fn table(&self) -> Table {
        let title = "Here and there: medians of the rounds, ratio with 95 % confidence for all \
            together; * differs beyond noise";
        let mut table = Table::new(
            title,
            &["", "figure", "unit", "here", "there", "here/there"],
        );
        let mut pairs: Vec<&Pair> = self.pairs.iter().collect();
        pairs.sort_by_key(|pair| pair.verdict() != Verdict::Different);
        for pair in pairs {
            let mark = if pair.verdict() == Verdict::Different {
                "*"
            } else {
                ""
            };
            let ratio = pair
                .ratio
                .map_or("not told".into(), |ratio| ratio.to_string());
            table.row([
                mark.into(),
                pair.name.clone(),
                pair.unit.clone(),
                number(pair.here.middle()),
                number(pair.there.middle()),
                ratio,
            ]);
        }
        table
    }
}
