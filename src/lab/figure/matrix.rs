//! A table of words, coloured.

use plotters::prelude::*;

use super::canvas::{Anchor, Canvas, INK, Size, colour};
use super::{Matrix, Shade};

/// Pixels of a line of words, and around the lines of a cell.
const LINE: i32 = 15;
const PADDING: i32 = 5;
/// Room for the names of the columns and what they are.
const ABOVE: i32 = 44;
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

    /// Letters that a line of a cell has room for.
    fn letters(&self, size: Size) -> usize {
        let letter = 0.52 * f64::from(size.letters() - 1);
        (f64::from(self.cell_width(size) - 6) / letter).max(4.0) as usize
    }

    fn row_height(&self, size: Size) -> i32 {
        let letters = self.letters(size);
        let cells = self.cells.iter().flatten();
        let lines = cells.map(|(words, _)| textwrap::wrap(words, letters).len());
        lines.max().unwrap_or(1) as i32 * LINE + 2 * PADDING
    }

    /// Draws it.
    pub fn draw(&self, canvas: &Canvas<'_, '_>) -> anyhow::Result<()> {
        let size = canvas.size;
        let (width, height) = (self.cell_width(size), self.row_height(size));
        let names = Self::names(size);
        canvas.faint(&format!("↓ {}", self.down), (4, ABOVE - 14), Anchor::Left)?;
        canvas.faint(&format!("{} →", self.across), (names, 10), Anchor::Left)?;
        for (column, name) in self.columns.iter().enumerate() {
            let middle = names + column as i32 * width + width / 2;
            canvas.faint(name, (middle, ABOVE - 12), Anchor::Middle)?;
        }
        for (row, (name, cells)) in self.rows.iter().zip(&self.cells).enumerate() {
            let top = ABOVE + row as i32 * height;
            canvas.faint(name, (names - 6, top + height / 2), Anchor::Right)?;
            for (column, (words, shade)) in cells.iter().enumerate() {
                let left = names + column as i32 * width;
                let corners = [(left + 1, top + 1), (left + width - 1, top + height - 1)];
                canvas.rectangle(corners, shade.colour())?;
                let lines = textwrap::wrap(words, self.letters(size));
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
            Shade::Marked => colour(1).mix(0.45),
            Shade::Unmarked => TRANSPARENT,
        }
    }
}
