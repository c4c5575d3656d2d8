//! Lines over a common axis, named at their ends.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, INK, Scale, Size, colour, number};
use super::{Line, Lines};

/// In pixels.
const HEIGHT: u32 = 300;
const NARROW_HEIGHT: u32 = 220;
/// Room for the axis below and the unit above.
const BELOW: i32 = 44;
const ABOVE: i32 = 26;
/// Room between names of lines that end at one place.
const LINE: i32 = 15;
/// From a line's end to its name.
const TO_NAME: i32 = 20;

impl Lines {
    /// In pixels.
    pub fn height(size: Size) -> u32 {
        match size {
            Size::Wide => HEIGHT,
            Size::Narrow => NARROW_HEIGHT,
        }
    }

    /// Draws them.
    pub fn draw(&self, canvas: &Canvas<'_, '_>) -> anyhow::Result<()> {
        let (width, height) = canvas.dimensions();
        let y = Scale::new(&self.y, self.heights(), (height - BELOW, ABOVE));
        let y_ticks: Vec<(f64, String)> = y.ticks(6).into_iter().map(told).collect();
        let widest = |texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| canvas.width_of(text)).max().unwrap_or(0)
        };
        let left = widest(&mut y_ticks.iter().map(|(_, text)| text.as_str())) + 12;
        let names = widest(&mut self.series.iter().map(|line| line.name.as_str()));
        let right = width - names - TO_NAME - 8;
        let x = Scale::new(&self.x, self.places(), (left + 6, right));
        self.axes(canvas, (&x, &y), &y_ticks, left)?;
        if let Some(band) = &self.band {
            let upper = band.ends.iter().map(|&(at, _, high)| (at, high));
            let lower = band.ends.iter().rev().map(|&(at, low, _)| (at, low));
            let outline = upper.chain(lower).map(|(at, end)| (x.at(at), y.at(end)));
            canvas.polygon(outline.collect(), RGBColor(128, 128, 128).mix(0.3))?;
        }
        for (index, line) in self.series.iter().enumerate() {
            line.draw(canvas, index, (&x, &y))?;
        }
        self.names(canvas, (&x, &y))
    }

    fn heights(&self) -> impl Iterator<Item = f64> {
        let band = self.band.iter().flat_map(|band| &band.ends);
        let samples = self.series.iter().flat_map(|line| &line.points);
        samples
            .flat_map(|(_, sample)| [sample.low(), sample.high()])
            .chain(band.flat_map(|&(_, low, high)| [low, high]))
    }

    fn places(&self) -> impl Iterator<Item = f64> {
        let points = self.series.iter().flat_map(|line| &line.points);
        points.map(|point| point.0)
    }

    fn axes(
        &self,
        canvas: &Canvas<'_, '_>,
        (x, y): (&Scale, &Scale),
        y_ticks: &[(f64, String)],
        left: i32,
    ) -> anyhow::Result<()> {
        let (width, height) = canvas.dimensions();
        canvas.faint(&self.y.label, (4, 10), Anchor::Left)?;
        let right = self.places().map(|at| x.at(at)).max().unwrap_or(width);
        for (tick, text) in y_ticks {
            let at = y.at(*tick);
            canvas.line(vec![(left, at), (right, at)], INK.mix(0.15), 1)?;
            canvas.faint(text, (left - 4, at), Anchor::Right)?;
        }
        let foot = height - BELOW;
        canvas.line(vec![(left, foot), (right, foot)], INK.mix(0.6), 1)?;
        // What was measured is named, where there is room beside the last.
        let measured = self.measured_at();
        let reach = |(tick, text): &(f64, String)| {
            let half = canvas.width_of(text) / 2 + 3;
            (x.at(*tick) - half, x.at(*tick) + half)
        };
        let last = measured.last().map(reach);
        let (mut free_from, mut free_to) = (i32::MIN, last.map_or(i32::MAX, |(from, _)| from));
        for (index, told) in measured.iter().enumerate() {
            let (from, to) = reach(told);
            if index + 1 == measured.len() {
                free_to = to;
            }
            if from >= free_from && to <= free_to {
                let at = x.at(told.0);
                canvas.line(vec![(at, foot), (at, foot + 4)], INK.mix(0.6), 1)?;
                canvas.faint(&told.1, (at, foot + 13), Anchor::Middle)?;
                free_from = to;
            }
        }
        canvas.faint(
            &self.x.label,
            (i32::midpoint(left, right), height - 10),
            Anchor::Middle,
        )
    }

    fn measured_at(&self) -> Vec<(f64, String)> {
        let mut all: Vec<f64> = self.places().collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all.into_iter().map(told).collect()
    }

    /// Names at the lines' ends, pushed apart where these are close.
    fn names(&self, canvas: &Canvas<'_, '_>, (x, y): (&Scale, &Scale)) -> anyhow::Result<()> {
        let ends = self.series.iter().enumerate().filter_map(|(index, line)| {
            let (at, sample) = line.points.last()?;
            Some((x.at(*at), y.at(sample.middle()), index))
        });
        let mut ends: Vec<(i32, i32, usize)> = ends.collect();
        ends.sort_by_key(|&(_, height, _)| height);
        let mut places: Vec<i32> = ends.iter().map(|&(_, height, _)| height).collect();
        for next in 1..places.len() {
            places[next] = places[next].max(places[next - 1] + LINE);
        }
        // The lowest stays above the axis, and those over it make room.
        let mut lowest = canvas.dimensions().1 - BELOW;
        for place in places.iter_mut().rev() {
            *place = (*place).min(lowest);
            lowest = *place - LINE;
        }
        for (&(from, height, index), place) in ends.iter().zip(places) {
            let ink = colour(index).mix(0.8);
            canvas.line(
                vec![(from + 6, height), (from + TO_NAME - 4, place)],
                ink,
                1,
            )?;
            canvas.text(
                &self.series[index].name,
                (from + TO_NAME, place),
                Anchor::Left,
            )?;
        }
        Ok(())
    }
}

impl Line {
    fn draw(
        &self,
        canvas: &Canvas<'_, '_>,
        index: usize,
        (x, y): (&Scale, &Scale),
    ) -> anyhow::Result<()> {
        let place = |at: f64, figure: f64| (x.at(at), y.at(figure));
        let middles = self
            .points
            .iter()
            .map(|(at, sample)| place(*at, sample.middle()));
        let middles: Vec<(i32, i32)> = middles.collect();
        canvas.line(middles.clone(), colour(index).mix(1.0), 2)?;
        for (at, sample) in &self.points {
            canvas.spread(sample, true, |figure| place(*at, figure))?;
        }
        middles
            .into_iter()
            .try_for_each(|middle| canvas.mark(middle, index))
    }
}

fn told(figure: f64) -> (f64, String) {
    (figure, number(figure))
}
