//! Two reports side by side: which figures differ by more than their rounds do.

use super::figure::{Named, number};
use super::record::Record;
use super::result::{Table, listed};
use super::statistics::{Ratio, Sample, Verdict};

/// One experiment here beside the same one elsewhere.
pub struct Comparison {
    /// The record from elsewhere.
    pub there: Record,
    /// What was not the same on the command line; nothing differs beyond noise
    /// then, for nothing can be told of it.
    pub unlike: Vec<&'static str>,
    /// The figures that both have.
    pub pairs: Vec<Pair>,
    /// The words that both have: a name, and what stands here and there.
    pub words: Vec<[String; 3]>,
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

    fn differs(&self) -> bool {
        self.verdict() == Verdict::Different
    }
}

impl Comparison {
    /// Compares what was just found with a record.
    pub fn new(here: &Record, there: Record) -> Comparison {
        let unlike = unlike(here, &there);
        let partner = |named: &Named| {
            let is_its = |other: &&Named| other.name == named.name && other.unit == named.unit;
            Some(there.samples.iter().find(is_its)?.sample.clone())
        };
        let both = here.samples.iter().filter_map(|named| {
            let there = partner(named)?;
            Some((named.clone(), there))
        });
        let both: Vec<(Named, Sample)> = both.collect();
        let comparisons = both.len();
        let ratio = |here: &Sample, there: &Sample| match unlike.is_empty() {
            true => Ratio::unpaired_as_one_of(comparisons, here.each(), there.each()),
            false => None,
        };
        let pair = |(named, there): (Named, Sample)| Pair {
            ratio: ratio(&named.sample, &there),
            name: named.name,
            unit: named.unit,
            here: named.sample,
            there,
        };
        let words = here.words.iter().filter_map(|own| {
            let other = there.words.iter().find(|other| other.name == own.name)?;
            Some([own.name.clone(), own.words.clone(), other.words.clone()])
        });
        Comparison {
            pairs: both.into_iter().map(pair).collect(),
            words: words.collect(),
            unlike,
            there,
        }
    }

    /// Where the other one was measured.
    pub fn place(&self) -> String {
        let place = &self.there.place;
        format!(
            "Linux {}, {}, {} CPUs, commit {}, {}",
            place.kernel, place.cpu, place.cpus, place.commit, place.date
        )
    }

    /// What came of it, in one sentence.
    pub fn sentence(&self) -> String {
        if !self.unlike.is_empty() {
            return format!(
                "Not compared, for the two differ in {}.",
                listed(&self.unlike)
            );
        }
        let all = self.pairs.len() + self.words.len();
        let with = |verdict| {
            let pairs = self.pairs.iter();
            pairs.filter(|pair| pair.verdict() == verdict).count()
        };
        let words = self.words.iter().filter(|words| differ(words)).count();
        let noun = if self.words.is_empty() {
            "figures"
        } else {
            "cells and figures"
        };
        match (
            all,
            with(Verdict::Different) + words,
            with(Verdict::Nothing),
        ) {
            (0, ..) => "The two have no figure in common.".into(),
            (_, 0, untold) if untold == all => "One round tells nothing of a difference.".into(),
            (_, 0, _) => format!("None of {all} {noun} differs beyond noise."),
            (_, different, _) => format!("{different} of {all} {noun} differ beyond noise."),
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
        let mark = |differs: bool| if differs { "*" } else { "" }.to_owned();
        let mut words: Vec<&[String; 3]> = self.words.iter().collect();
        words.sort_by_key(|words| !differ(words));
        for words in words {
            let [name, here, there] = words.clone();
            let differs = differ(words) && self.unlike.is_empty();
            table.row([
                mark(differs),
                name,
                String::new(),
                here,
                there,
                String::new(),
            ]);
        }
        let mut pairs: Vec<&Pair> = self.pairs.iter().collect();
        pairs.sort_by_key(|pair| !pair.differs());
        for pair in pairs {
            let ratio = pair
                .ratio
                .map_or("not told".into(), |ratio| ratio.to_string());
            table.row([
                mark(pair.differs()),
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

fn differ([_, here, there]: &[String; 3]) -> bool {
    here != there
}

/// What was asked of the two that makes them measure different things.
fn unlike(here: &Record, there: &Record) -> Vec<&'static str> {
    let (own, other) = (&here.conditions, &there.conditions);
    let all = [
        ("--quick", own.quick != other.quick),
        ("--sockets", own.sockets != other.sockets),
        ("--tcp", own.tcp != other.tcp),
        ("--to", here.far.is_some() != there.far.is_some()),
    ];
    let unlike = all.into_iter().filter(|(_, differs)| *differs);
    unlike.map(|(option, _)| option).collect()
}
