//! Bars from left to right, each beside its name and with its figure.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, INK, Scale, Size, colour, number};
use super::{BarSeries, Bars};
use crate::lab::statistics::Sample;

/// Pixels from one bar to the next, of the bar itself, and before a group.
const ROW: i32 = 22;
const THICK: i32 = 14;
const GAP: i32 = 8;
/// Room for the axis.
const BELOW: i32 = 44;
/// The part of the width that names may take.
const NAMES: f64 = 0.4;

/// A line of the drawing.
enum Row<'a> {
    /// A group's name over its bars.
    Heading(&'a str),
    /// A bar, its name, and the place of its series.
    Bar(&'a str, &'a Sample, usize),
}

impl Bars {
    /// In pixels.
    pub fn height(&self) -> u32 {
        let rows: i32 = self.rows().iter().map(Row::height).sum();
        (rows + BELOW + GAP) as u32
    }

    /// A group's name over its bars, or beside the only one.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::new();
        for (place, group) in self.groups.iter().enumerate() {
            let of_group = |series: &'_ BarSeries| !series.samples[place].is_empty();
            match self.series.as_slice() {
                [only] => rows.push(Row::Bar(group, &only.samples[place], 0)),
                series => {
                    rows.push(Row::Heading(group));
                    let bars = series
                        .iter()
                        .enumerate()
                        .filter(|(_, series)| of_group(series));
                    rows.extend(bars.map(|(index, series)| {
                        Row::Bar(&series.name, &series.samples[place], index)
                    }));
                }
            }
        }
        rows
    }

    /// Draws them.
    pub fn draw(&self, canvas: &Canvas<'_, '_>) -> anyhow::Result<()> {
        let (width, height) = canvas.dimensions();
        let rows = self.rows();
        let bars = || rows.iter().filter_map(Row::bar);
        let names = bars().map(|(name, ..)| canvas.width_of(name)).max();
        let most = (f64::from(width) * NAMES) as i32;
        let left = names.unwrap_or(0).min(most) + 10;
        let figures = bars().map(|(_, sample, _)| canvas.width_of(&number(sample.middle())));
        let right = width - figures.max().unwrap_or(0) - 14;
        let band = self.band.iter().flat_map(|&(_, low, high)| [low, high]);
        let ends = bars().flat_map(|(_, sample, _)| [sample.low(), sample.high()]);
        let x = Scale::new(&self.x, ends.chain(band), (left, right));
        let foot = height - BELOW;
        self.axis(canvas, &x, (left, right, foot))?;
        self.grid(canvas, &x, &rows)?;
        if let Some((_, low, high)) = &self.band {
            let corners = [(x.at(*low), GAP), (x.at(*high), foot)];
            canvas.rectangle(corners, RGBColor(128, 128, 128).mix(0.3))?;
        }
        let mut top = GAP;
        for row in &rows {
            let middle = top + row.height() - ROW / 2;
            match row {
                Row::Heading(name) => canvas.text(name, (4, middle), Anchor::Left)?,
                Row::Bar(name, sample, series) => {
                    canvas.faint(
                        &shortened(canvas, name, left),
                        (left - 6, middle),
                        Anchor::Right,
                    )?;
                    self.bar(canvas, &x, sample, (middle, *series))?;
                }
            }
            top += row.height();
        }
        Ok(())
    }

    fn axis(
        &self,
        canvas: &Canvas<'_, '_>,
        x: &Scale,
        (left, right, foot): (i32, i32, i32),
    ) -> anyhow::Result<()> {
        for tick in self.ticks(canvas, x) {
            canvas.faint(&number(tick), (x.at(tick), foot + 11), Anchor::Middle)?;
        }
        let place = (i32::midpoint(left, right), foot + 30);
        canvas.faint(&self.x.label, place, Anchor::Middle)
    }

    fn ticks(&self, canvas: &Canvas<'_, '_>, x: &Scale) -> Vec<f64> {
        x.ticks(if canvas.size == Size::Wide { 6 } else { 4 })
    }

    /// Lines behind the bars, which leave out the headings of groups.
    fn grid(&self, canvas: &Canvas<'_, '_>, x: &Scale, rows: &[Row<'_>]) -> anyhow::Result<()> {
        let mut top = GAP;
        for row in rows {
            let bottom = top + row.height();
            if row.bar().is_some() {
                for tick in self.ticks(canvas, x) {
                    let at = x.at(tick);
                    canvas.line(vec![(at, top), (at, bottom)], INK.mix(0.15), 1)?;
                }
                if self.x.begins_at_0() {
                    let zero = x.at(0.0);
                    canvas.line(vec![(zero, top), (zero, bottom)], INK.mix(0.6), 1)?;
                }
            }
            top = bottom;
        }
        Ok(())
    }

    /// A bar with its spread, and its figure where all figures are.
    fn bar(
        &self,
        canvas: &Canvas<'_, '_>,
        x: &Scale,
        sample: &Sample,
        (middle, series): (i32, usize),
    ) -> anyhow::Result<()> {
        if sample.is_empty() {
            return canvas.faint("not measured", (x.at(0.0) + 6, middle), Anchor::Left);
        }
        let at = x.at(sample.middle());
        if self.x.begins_at_0() {
            let corners = [(x.at(0.0), middle - THICK / 2), (at, middle + THICK / 2)];
            canvas.rectangle(corners, colour(series).mix(0.85))?;
            canvas.spread(sample, false, |figure| (x.at(figure), middle))?;
        } else {
            canvas.spread(sample, false, |figure| (x.at(figure), middle))?;
            canvas.mark((at, middle), series)?;
        }
        let place = (canvas.dimensions().0 - 4, middle);
        canvas.text(&number(sample.middle()), place, Anchor::Right)
    }
}

impl Row<'_> {
    fn height(&self) -> i32 {
        match self {
            Row::Heading(_) => ROW + GAP,
            Row::Bar(..) => ROW,
        }
    }

    fn bar(&self) -> Option<(&str, &Sample, usize)> {
        match *self {
            Row::Heading(_) => None,
            Row::Bar(name, sample, series) => Some((name, sample, series)),
        }
    }
}

/// A name that ends where its room does.
fn shortened(canvas: &Canvas<'_, '_>, name: &str, room: i32) -> String {
    let mut text = name.to_owned();
    while canvas.width_of(&text) > room && text.pop().is_some() {}
    match text.len() < name.len() {
        true => format!("{}…", text.trim_end()),
        false => text,
    }
}
