//! What a panel shows, in words: its caption, a text in place of the drawing,
//! and names for its samples.

use super::canvas::number;
use super::{Bars, Drawing, Lines, Matrix, Named, NamedWords, Panel};
use crate::lab::statistics::Sample;

impl Panel {
    /// How the drawing is to be read.
    pub fn caption(&self) -> String {
        let samples = self.samples();
        let rounds = samples.iter().map(|named| named.sample.each().len()).max();
        let (middles, band) = match &self.drawing {
            Drawing::Matrix(matrix) => return matrix.legend.clone(),
            Drawing::Lines(lines) => ("Lines", lines.band.as_ref().map(|band| band.name.as_str())),
            Drawing::Bars(bars) => {
                let middles = if bars.x.begins_at_0() {
                    "Bars"
                } else {
                    "Marks"
                };
                (middles, bars.band.as_ref().map(|(name, ..)| name.as_str()))
            }
        };
        let band = band.map_or(String::new(), |name| format!(" Grey: {name}."));
        match rounds {
            Some(2..) => format!(
                "{middles}: medians of the rounds; whiskers: smallest and largest; dots: each \
                    round.{band}"
            ),
            _ => format!("{middles}: a single round.{band}"),
        }
    }

    /// The drawing for whoever does not see it.
    pub fn description(&self) -> String {
        let told = match &self.drawing {
            Drawing::Matrix(matrix) => matrix.description(),
            Drawing::Lines(_) | Drawing::Bars(_) => {
                let title = self.title.len() + ": ".len();
                let told =
                    |named: Named| format!("{} {}", &named.name[title..], told(&named.sample));
                self.samples()
                    .into_iter()
                    .map(told)
                    .collect::<Vec<_>>()
                    .join("; ")
            }
        };
        format!("{}. {told}.", self.title)
    }

    /// What it shows, by names that are the same from run to run.
    pub fn samples(&self) -> Vec<Named> {
        let named = match &self.drawing {
            Drawing::Lines(lines) => lines.samples(),
            Drawing::Bars(bars) => bars.samples(),
            Drawing::Matrix(_) => Vec::new(),
        };
        let in_panel = |(name, unit, sample): (String, &str, &Sample)| Named {
            name: format!("{}: {name}", self.title),
            unit: unit.into(),
            sample: sample.clone(),
        };
        named.into_iter().map(in_panel).collect()
    }
}

impl Panel {
    /// What its cells say, by names that are the same from run to run.
    pub fn words(&self) -> Vec<NamedWords> {
        let Drawing::Matrix(matrix) = &self.drawing else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (row, cells) in matrix.rows.iter().zip(&matrix.cells) {
            for (column, (words, _)) in matrix.columns.iter().zip(cells) {
                all.push(NamedWords {
                    name: format!("{}: {row}, {column}", self.title),
                    words: words.clone(),
                });
            }
        }
        all
    }
}

impl Lines {
    fn samples(&self) -> Vec<(String, &str, &Sample)> {
        let mut samples = Vec::new();
        for line in &self.series {
            for (at, sample) in &line.points {
                let name = format!("{}, {} {}", line.name, self.x.label, number(*at));
                samples.push((name, self.y.label.as_str(), sample));
            }
        }
        samples
    }
}

impl Bars {
    fn samples(&self) -> Vec<(String, &str, &Sample)> {
        let mut samples = Vec::new();
        for series in &self.series {
            for (group, sample) in self.groups.iter().zip(&series.samples) {
                let name = match self.series.len() {
                    1 => group.clone(),
                    _ => format!("{group}, {}", series.name),
                };
                if !sample.is_empty() {
                    samples.push((name, self.x.label.as_str(), sample));
                }
            }
        }
        samples
    }
}

impl Matrix {
    fn description(&self) -> String {
        let row = |(name, cells): (&String, &Vec<(String, _)>)| {
            let cells = self.columns.iter().zip(cells);
            let cells = cells.map(|(column, (words, _))| format!("{column}: {words}"));
            let cells = cells.collect::<Vec<_>>().join(", ");
            format!("{} {name}, {} {cells}", self.down, self.across)
        };
        let rows = self.rows.iter().zip(&self.cells).map(row);
        rows.collect::<Vec<_>>().join("; ")
    }
}

/// A sample's middle, and from where to where its rounds go.
fn told(sample: &Sample) -> String {
    let middle = number(sample.middle());
    match sample.each().len() {
        0 | 1 => middle,
        _ => format!(
            "{middle} ({} to {})",
            number(sample.low()),
            number(sample.high())
        ),
    }
}
