//! Faults of master files, each at its place, and how they are shown: one line
//! `file:line:column: sentence`, the line itself and a caret under the place.
//! Nothing stops at the first: a reader collects them all.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Characters of a long line that are shown around the fault.
const EXCERPT: usize = 100;

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The zone cannot be served.
    Error,
    /// The zone can be served; someone should look at it.
    Warning,
}

/// A place in one of the texts that make up a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Index of the text in the order of reading.
    pub text: u16,
    /// Octets from its start.
    pub at: u32,
}

/// One master file, or a text that came with the program.
#[derive(Debug)]
pub struct Text {
    /// The path, as it was asked for.
    pub path: String,
    /// The content.
    pub octets: Vec<u8>,
}

/// What was found, before it is shown.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<(Severity, Place, String)>,
    errors: usize,
}

/// A fault ready to be shown, independent of the text it was found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Error or warning.
    pub severity: Severity,
    /// The file, as it was asked for.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong and, where it is not plain, what to do.
    pub sentence: String,
    excerpt: String,
    caret: String,
}

impl Faults {
    /// Notes a fault that makes the zone unfit to be served.
    pub fn error(&mut self, place: Place, sentence: impl Into<String>) {
        self.errors += 1;
        self.list.push((Severity::Error, place, sentence.into()));
    }

    /// Notes a fault that the zone can be served with.
    pub fn warning(&mut self, place: Place, sentence: impl Into<String>) {
        self.list.push((Severity::Warning, place, sentence.into()));
    }

    /// Errors noted so far.
    pub fn errors(&self) -> usize {
        self.errors
    }

    /// All faults in the order of their places, errors first. Lines are
    /// counted in one pass over each text, however many faults there are.
    pub fn show(mut self, texts: &[Arc<Text>]) -> Vec<Fault> {
        self.list.sort_by_key(|(_, place, _)| *place);
        let mut lines = LineCounter::default();
        let mut faults: Vec<Fault> = Vec::with_capacity(self.list.len());
        for (severity, place, sentence) in self.list {
            let text = &texts[place.text as usize];
            let (line, start) = lines.advance(place, &text.octets);
            let (excerpt, caret, column) = excerpt(&text.octets, start, place.at as usize);
            faults.push(Fault {
                severity,
                path: text.path.clone(),
                line,
                column,
                sentence,
                excerpt,
                caret,
            });
        }
        faults.sort_by_key(|fault| fault.severity);
        faults
    }
}

/// Where the walk over the texts stands.
#[derive(Default)]
struct LineCounter {
    text: u16,
    at: usize,
    line: usize,
    start: usize,
}

impl LineCounter {
    /// The line number of `place` and where its line starts.
    fn advance(&mut self, place: Place, octets: &[u8]) -> (usize, usize) {
        if self.text != place.text {
            *self = LineCounter {
                text: place.text,
                ..LineCounter::default()
            };
        }
        let end = (place.at as usize).min(octets.len());
        for (step, octet) in octets[self.at..end].iter().enumerate() {
            if *octet == b'\n' {
                self.line += 1;
                self.start = self.at + step + 1;
            }
        }
        self.at = end;
        (self.line + 1, self.start)
    }
}

/// The line around `at`, what stands before the caret under it, and the column.
fn excerpt(octets: &[u8], start: usize, at: usize) -> (String, String, usize) {
    let at = at.min(octets.len());
    let rest = &octets[start..];
    let end = rest
        .iter()
        .position(|&octet| octet == b'\n')
        .unwrap_or(rest.len());
    // Only the neighbourhood is decoded: a line may be a gigabyte long.
    let from = start.max(at.saturating_sub(EXCERPT / 2));
    let until = (start + end).min(from + EXCERPT);
    let before = String::from_utf8_lossy(&octets[from..at.max(from)]);
    let line = String::from_utf8_lossy(&octets[from..until.max(from)]);
    let caret = before
        .chars()
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    let column = (from - start) + before.chars().count() + 1;
    (line.trim_end().to_owned(), caret, column)
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Fault {
            path,
            line,
            column,
            sentence,
            excerpt,
            caret,
            ..
        } = self;
        writeln!(f, "{path}:{line}:{column}: {kind}: {sentence}")?;
        let mut number = String::new();
        write!(number, "{line}")?;
        let margin = " ".repeat(number.len());
        writeln!(f, "  {number} | {excerpt}")?;
        write!(f, "  {margin} | {caret}^")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str, octets: &[u8]) -> Arc<Text> {
        Arc::new(Text {
            path: path.into(),
            octets: octets.into(),
        })
    }

    #[test]
    fn errors_come_first_each_with_line_and_caret() {
        let texts = [
            text("a.zone", b"one\n\ttwo \xc3\xa9 x\n"),
            text("b.zone", b"three"),
        ];
        let mut faults = Faults::default();
        faults.warning(Place { text: 0, at: 1 }, "w");
        faults.error(Place { text: 1, at: 5 }, "late");
        faults.error(Place { text: 0, at: 12 }, "early");
        assert_eq!(faults.errors(), 2);
        let shown: Vec<String> = faults.show(&texts).iter().map(Fault::to_string).collect();
        assert_eq!(
            shown,
            [
                "a.zone:2:8: error: early\n  2 | \ttwo \u{e9} x\n    | \t      ^",
                "b.zone:1:6: error: late\n  1 | three\n    |      ^",
                "a.zone:1:2: warning: w\n  1 | one\n    |  ^",
            ]
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_fault() {
        let texts = [text("a", &[b'x'; 100_000])];
        let mut faults = Faults::default();
        faults.error(
            Place {
                text: 0,
                at: 50_000,
            },
            "here",
        );
        let fault = faults.show(&texts).remove(0);
        assert_eq!(fault.column, 50_001);
        assert_eq!(fault.excerpt.len(), EXCERPT);
        assert_eq!(fault.caret.len(), EXCERPT / 2);
    }
}
