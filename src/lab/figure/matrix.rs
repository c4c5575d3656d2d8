//! A table of words, coloured.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, INK, Size, colour, letter};
use super::{Matrix, Shade};

/// Pixels of a line of words, and around the lines of a cell.
const LINE: i32 = 15;
const PADDING: i32 = 5;
/// Room for the names of the columns and what they are.
const ABOVE: i32 = 58;
/// The part of the width that the rows' names take.
const NAMES: f64 = 0.2;

impl Matrix {
    /// In pixels.
    pub fn height(&self, size: Size) -> u32 {
        (ABOVE + self.rows.len() as i32 * self.row_height(size) + PADDING) as u32
    }

    fn names(size: Size) -> i32 {
        (f64::from(size.width()) * NAMES) as i32
    }

    fn cell_width(&self, size: Size) -> i32 {
        (size.width() as i32 - Self::names(size)) / self.columns.len().max(1) as i32
    }

    /// A cell's lines. A word that is too long, as names of errors and options are,
    /// is broken in its middle.
    fn lines(&self, words: &str, size: Size) -> Vec<String> {
        let room = f64::from(self.cell_width(size) - 6) / letter(size);
        let room = room.max(4.0) as usize;
        let halves = |word: &str| match word.chars().count() {
            length if length > room && word.is_ascii() => {
                let (first, second) = word.split_at(length.div_ceil(2));
                format!("{first} {second}")
            }
            _ => word.to_owned(),
        };
        let words: Vec<String> = words.split(' ').map(halves).collect();
        let words = words.join(" ");
        let lines = textwrap::wrap(&words, room).into_iter();
        lines.map(Into::into).collect()
    }

    fn row_height(&self, size: Size) -> i32 {
        let cells = self.cells.iter().flatten();
        let lines = cells.map(|(words, _)| self.lines(words, size).len());
        lines.max().unwrap_or(1) as i32 * LINE + 2 * PADDING
    }

    /// Draws it.
    pub fn draw(&self, canvas: &Canvas<'_, '_>) -> anyhow::Result<()> {
        let size = canvas.size;
        let (width, height) = (self.cell_width(size), self.row_height(size));
        let names = Self::names(size);
        canvas.faint(&format!("↓ {}", self.down), (4, ABOVE - 10), Anchor::Left)?;
        canvas.faint(&format!("{} →", self.across), (names, 10), Anchor::Left)?;
        for (column, name) in self.columns.iter().enumerate() {
            let middle = names + column as i32 * width + width / 2;
            let lines = self.lines(name, size);
            let first = ABOVE - 10 - (lines.len() as i32 - 1) * LINE;
            for (number, line) in lines.iter().enumerate() {
                let place = (middle, first + number as i32 * LINE);
                canvas.faint(line, place, Anchor::Middle)?;
            }
        }
        for (row, (name, cells)) in self.rows.iter().zip(&self.cells).enumerate() {
            let top = ABOVE + row as i32 * height;
            let lines = match size {
                Size::Wide => vec![name.clone()],
                Size::Narrow => self.lines(name, size),
            };
            let first = top + height / 2 - (lines.len() as i32 - 1) * LINE / 2;
            for (number, line) in lines.iter().enumerate() {
                let place = (names - 6, first + number as i32 * LINE);
                canvas.faint(line, place, Anchor::Right)?;
            }
            for (column, (words, shade)) in cells.iter().enumerate() {
                let left = names + column as i32 * width;
                let corners = [(left + 1, top + 1), (left + width - 1, top + height - 1)];
                canvas.rectangle(corners, shade.colour())?;
                let lines = self.lines(words, size);
                let first = top + height / 2 - (lines.len() as i32 - 1) * LINE / 2;
                for (number, line) in lines.iter().enumerate() {
                    let place = (left + width / 2, first + number as i32 * LINE);
                    canvas.faint(line, place, Anchor::Middle)?;
                }
            }
        }
        Ok(())
    }
}

impl Shade {
    fn colour(self) -> RGBAColor {
        match self {
            Shade::Good => colour(2).mix(0.35),
            Shade::Bad => INK.mix(0.08),
            Shade::Warned => colour(5).mix(0.55),
            Shade::Marked => colour(1).mix(0.45),
            Shade::Unmarked => TRANSPARENT,
        }
    }
}
