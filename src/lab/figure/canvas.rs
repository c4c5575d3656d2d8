//! What panels are drawn with: text, marks, scales and colours.

use std::fmt::Display;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Axis;
use crate::lab::statistics::Sample;

/// Where a panel is drawn; places on it are in pixels.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How wide a panel is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// For half a desk.
    Wide,
    /// For a phone.
    Narrow,
}

const FONT: &str = "sans-serif";
/// What plotters shall take for the colour of text, which the page replaces.
pub const INK: RGBColor = RGBColor(0, 0, 0);
/// Six of the eight colours that colour-blind people tell apart (M. Okabe,
/// K. Ito, "Color Universal Design", 2008); yellow and black vanish on one
/// ground or the other.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
/// A letter's mean width as a share of its size, in most fonts without serifs.
const LETTER: f64 = 0.58;
/// plotters writes sizes of letters divided by this (plotters-svg, `draw_text`).
const SHRUNK: f64 = 1.24;
/// Half of a whisker's cap.
const CAP: i32 = 3;

impl Size {
    /// In CSS pixels; a phone's 360 less the margins of the page.
    pub fn width(self) -> u32 {
        match self {
            Size::Wide => 600,
            Size::Narrow => 328,
        }
    }

    /// Size of the letters as plotters counts it: 13 CSS pixels, the faint ones 12;
    /// a card makes these 11.
    pub fn letters(self) -> i32 {
        16
    }
}

/// The colour of the series at this place.
pub fn colour(series: usize) -> RGBColor {
    COLOURS[series % COLOURS.len()]
}

/// About how wide a letter is, in pixels.
pub fn letter(size: Size) -> f64 {
    LETTER * f64::from(size.letters()) / SHRUNK
}

/// What plotters says.
pub fn failed(error: impl Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

/// A number for people: thousands separated, no decimals from 100 on, three
/// figures below.
pub fn number(figure: f64) -> String {
    if figure.abs() >= 99.95 {
        let digits = format!("{:.0}", figure.abs());
        let sign = if figure < 0.0 { "−" } else { "" };
        return format!("{sign}{}", grouped(&digits));
    }
    let decimals = match figure.abs() {
        size if size >= 9.995 => 1,
        size if size >= 0.9995 => 2,
        _ => 3,
    };
    let digits = format!("{:.decimals$}", figure.abs());
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    match figure < 0.0 && digits != "0" {
        true => format!("−{digits}"),
        false => digits.into(),
    }
}

/// Digits in groups of three, with commas between.
pub fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Places along an axis.
pub struct Scale {
    from: f64,
    to: f64,
    logarithmic: bool,
    pixels: (i32, i32),
}

impl Scale {
    /// From the smallest to the largest figure; from 0 where steps are equal.
    pub fn new(axis: &Axis, figures: impl Iterator<Item = f64>, pixels: (i32, i32)) -> Scale {
        let (low, high) = figures.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
            (low.min(x), high.max(x))
        });
        let (from, to) = match (axis.logarithmic, low.is_finite()) {
            (_, false) => (0.1, 1.0),
            (true, true) if high <= 0.0 => (0.1, 1.0),
            // A figure of 0 has no place; it is drawn at the lower end.
            (true, true) => {
                let low = if low > 0.0 { low } else { high / 1000.0 };
                (low / 1.15, high * 1.15)
            }
            (false, true) => {
                let from = low.min(0.0);
                let to = if high > from { high } else { from + 1.0 };
                (from, from + (to - from) * 1.04)
            }
        };
        Scale {
            from,
            to,
            logarithmic: axis.logarithmic,
            pixels,
        }
    }

    /// The pixel of a figure.
    pub fn at(&self, figure: f64) -> i32 {
        let (start, end) = self.pixels;
        let share = if self.logarithmic {
            (figure.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (figure - self.from) / (self.to - self.from)
        };
        start + (share.clamp(0.0, 1.0) * f64::from(end - start)).round() as i32
    }

    /// Round figures along the axis, at most so many.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        if !self.logarithmic {
            let range: RangedCoordf64 = (self.from..self.to).into();
            return range.key_points(most);
        }
        let within = |tick: &f64| (self.from..=self.to).contains(tick);
        let decades = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let of = |parts: &[f64]| -> Vec<f64> {
            let ticks = decades
                .clone()
                .flat_map(|decade| parts.iter().map(move |part| part * 10f64.powi(decade)));
            ticks.filter(within).collect()
        };
        let candidates = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].map(of);
        let [.., tens] = &candidates;
        let fitting = candidates.iter().find(|ticks| ticks.len() <= most);
        fitting.unwrap_or(tens).clone()
    }
}

/// Where a text's place is on it.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// It begins there.
    Left,
    /// It is centred there.
    Middle,
    /// It ends there.
    Right,
}

/// An area with what is drawn on it.
pub struct Canvas<'a, 'b> {
    area: &'a Area<'b>,
    /// How wide it is drawn.
    pub size: Size,
}

impl<'a, 'b> Canvas<'a, 'b> {
    /// A canvas over an area.
    pub fn new(area: &'a Area<'b>, size: Size) -> Canvas<'a, 'b> {
        Canvas { area, size }
    }

    /// Width and height in pixels.
    pub fn dimensions(&self) -> (i32, i32) {
        let (width, height) = self.area.dim_in_pixel();
        (width as i32, height as i32)
    }

    /// About how wide a text is, in pixels.
    pub fn width_of(&self, text: &str) -> i32 {
        (text.chars().count() as f64 * letter(self.size)).ceil() as i32
    }

    /// A text, vertically centred at its place.
    pub fn text(&self, text: &str, place: (i32, i32), anchor: Anchor) -> anyhow::Result<()> {
        self.styled(text, place, anchor, self.size.letters(), INK.mix(1.0))
    }

    /// A text that is less important.
    pub fn faint(&self, text: &str, place: (i32, i32), anchor: Anchor) -> anyhow::Result<()> {
        self.styled(text, place, anchor, self.size.letters() - 1, INK.mix(0.75))
    }

    /// What the drawing shows, where no page says it.
    pub fn heading(&self, text: &str) -> anyhow::Result<()> {
        self.styled(text, (10, 18), Anchor::Left, 20, INK.mix(1.0))
    }

    /// How the drawing is to be read, where no page says it.
    pub fn caption(&self, text: &str) -> anyhow::Result<()> {
        self.styled(text, (10, 10), Anchor::Left, 14, INK.mix(0.75))
    }

    fn styled(
        &self,
        text: &str,
        place: (i32, i32),
        anchor: Anchor,
        letters: i32,
        ink: RGBAColor,
    ) -> anyhow::Result<()> {
        let side = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::Right => HPos::Right,
        };
        let style = (FONT, letters)
            .into_font()
            .color(&ink)
            .pos(Pos::new(side, VPos::Center));
        self.draw(&Text::new(text.to_owned(), place, style))
    }

    /// A filled rectangle.
    pub fn rectangle(&self, corners: [(i32, i32); 2], fill: RGBAColor) -> anyhow::Result<()> {
        self.draw(&Rectangle::new(corners, fill.filled()))
    }

    /// A line through several places.
    pub fn line(&self, places: Vec<(i32, i32)>, ink: RGBAColor, width: u32) -> anyhow::Result<()> {
        self.draw(&PathElement::new(places, ink.stroke_width(width)))
    }

    /// A filled shape.
    pub fn polygon(&self, corners: Vec<(i32, i32)>, fill: RGBAColor) -> anyhow::Result<()> {
        self.draw(&Polygon::new(corners, fill.filled()))
    }

    /// The mark of the series at this place: each has a shape of its own.
    pub fn mark(&self, (x, y): (i32, i32), series: usize) -> anyhow::Result<()> {
        let fill = colour(series).mix(1.0);
        match series % COLOURS.len() {
            0 => self.draw(&Circle::new((x, y), 4, fill.filled())),
            1 => self.rectangle([(x - 4, y - 4), (x + 4, y + 4)], fill),
            2 => self.polygon(vec![(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)], fill),
            3 => self.polygon(vec![(x, y - 5), (x + 5, y), (x, y + 5), (x - 5, y)], fill),
            4 => self.polygon(vec![(x - 5, y - 4), (x + 5, y - 4), (x, y + 5)], fill),
            _ => {
                self.line(vec![(x - 4, y - 4), (x + 4, y + 4)], fill, 2)?;
                self.line(vec![(x - 4, y + 4), (x + 4, y - 4)], fill, 2)
            }
        }
    }

    /// The rounds of a sample as faint dots, and a whisker from the smallest to
    /// the largest; nothing of a single round. `place` says where a figure is.
    pub fn spread(
        &self,
        sample: &Sample,
        upright: bool,
        place: impl Fn(f64) -> (i32, i32),
    ) -> anyhow::Result<()> {
        if sample.each().len() < 2 {
            return Ok(());
        }
        for &figure in sample.each() {
            self.draw(&Circle::new(place(figure), 2, INK.mix(0.3).filled()))?;
        }
        let ink = INK.mix(0.75);
        let ends = [place(sample.low()), place(sample.high())];
        self.line(ends.to_vec(), ink, 1)?;
        for (x, y) in ends {
            let cap = if upright {
                vec![(x - CAP, y), (x + CAP, y)]
            } else {
                vec![(x, y - CAP), (x, y + CAP)]
            };
            self.line(cap, ink, 1)?;
        }
        Ok(())
    }

    fn draw<E>(&self, element: &E) -> anyhow::Result<()>
    where
        for<'e> &'e E: plotters::element::PointCollection<'e, (i32, i32)>,
        E: plotters::element::Drawable<SVGBackend<'b>>,
    {
        self.area.draw(element).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_grouped() {
        for (figure, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.0004, "0"),
            (9.99, "9.99"),
            (9.996, "10"),
            (99.94, "99.9"),
            (99.96, "100"),
            (4096.0, "4,096"),
            (25_000.4, "25,000"),
            (1.5e6, "1,500,000"),
            (-1234.0, "−1,234"),
            (-0.25, "−0.25"),
            (-0.0004, "0"),
        ] {
            assert_eq!(number(figure), text);
        }
    }

    #[test]
    fn equal_steps_begin_at_0_and_equal_factors_do_not() {
        let scale = Scale::new(&Axis::linear(""), [5.0, 10.0].into_iter(), (0, 104));
        assert_eq!((scale.at(0.0), scale.at(10.0)), (0, 100));
        let scale = Scale::new(&Axis::logarithmic(""), [1.0, 100.0].into_iter(), (0, 100));
        assert_eq!(scale.at(10.0), 50);
        assert_eq!(scale.at(0.0), 0, "what has no place is at the end");
        assert_eq!(scale.ticks(4), [1.0, 10.0, 100.0]);
        assert_eq!(scale.ticks(9), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }
}
