//! Faults of master files, each at its place, and how they are shown: one line
//! `file:line:column: sentence`, the line itself and a caret under the place.
//! Nothing stops at the first: a reader collects them all.

use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use super::super::records::{Faults, Provenance, Severity};
use super::scanner::{BYTE_ORDER_MARK, Scanner};
use super::{Stamp, is_ttl_or_class, library};

/// Characters of a long line that are shown around the fault.
const EXCERPT: usize = 100;

/// A place in one of the texts that make up a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextPlace {
    /// Index of the text in the order of reading.
    pub text: u16,
    /// Octets from its start.
    pub at: u32,
}

impl TextPlace {
    /// The place so many octets further on.
    pub(super) fn behind(self, octets: usize) -> TextPlace {
        let at = self.at + octets as u32;
        TextPlace { at, ..self }
    }
}

impl From<TextPlace> for Provenance {
    fn from(place: TextPlace) -> Provenance {
        Provenance(u64::from(place.text) << 32 | u64::from(place.at))
    }
}

impl From<Provenance> for TextPlace {
    fn from(Provenance(number): Provenance) -> TextPlace {
        TextPlace {
            text: (number >> 32) as u16,
            at: number as u32,
        }
    }
}

/// One master file, or a text that came with the program.
#[derive(Debug)]
pub struct Text {
    /// The path, as it was asked for.
    pub path: PathBuf,
    /// The content, where it is held.
    pub held: OnceLock<Vec<u8>>,
    /// The state of the file when it was opened.
    pub stamp: Option<Stamp>,
}

impl Text {
    /// The content. What is not held is read again; a file that has changed since has
    /// nothing to show.
    fn octets(&self) -> &[u8] {
        let read = |stamp| library::read_again(&self.path, stamp);
        self.held
            .get_or_init(|| self.stamp.and_then(read).unwrap_or_default())
    }
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

/// All faults in the order of their places, errors first. Lines are counted in
/// one pass over each text, however many faults there are.
pub fn show(faults: Faults, texts: &[Arc<Text>]) -> Vec<Fault> {
    let mut lines = LineCounter::default();
    let mut shown = Vec::new();
    let found = faults.into_list().into_iter();
    let placed = found.map(|(severity, from, sentence)| (place(from, texts), severity, sentence));
    let mut placed: Vec<(TextPlace, Severity, String)> = placed.collect();
    placed.sort_by_key(|&(place, ..)| place);
    for (place, severity, sentence) in placed {
        let text = &texts[place.text as usize];
        let octets = text.octets();
        lines.advance(place, octets);
        let (excerpt, caret) = excerpt(&octets[lines.start..], lines.at - lines.start);
        shown.push(Fault {
            severity,
            path: text.path.display().to_string(),
            line: lines.line,
            column: lines.column,
            sentence: printable(&sentence),
            excerpt,
            caret,
        });
    }
    shown.sort_by_key(|fault| fault.severity);
    shown
}

/// Where a fault is shown: at the field of a record that it means, if that can be
/// told from the text.
fn place(from: Provenance, texts: &[Arc<Text>]) -> TextPlace {
    let (record, field) = from.split();
    let place = TextPlace::from(record);
    let octets = || texts[place.text as usize].octets();
    let at = field.and_then(|field| place_of_field(octets(), place.at, field));
    TextPlace {
        at: at.unwrap_or(place.at),
        ..place
    }
}

/// Where a field of the data stands in the entry that begins with the word at
/// `at`. Entries of `$GENERATE` have none of their own.
fn place_of_field(octets: &[u8], at: u32, field: usize) -> Option<u32> {
    let mut scanner = Scanner::new(octets);
    scanner.skip_to(at as usize);
    let mut tokens = Vec::new();
    scanner.next(&mut tokens).ok()?;
    let is_directive = tokens.first()?.text.starts_with(b"$");
    let owner = usize::from(!begins_blank(&octets[..at as usize]));
    let behind = tokens.get(owner..).filter(|_| !is_directive)?;
    let before_type = behind.iter().take_while(|token| is_ttl_or_class(token));
    let data = owner + before_type.count() + 1;
    tokens.get(data + field).map(|token| token.at)
}

/// True where the line that ends here begins with blank space.
fn begins_blank(before: &[u8]) -> bool {
    let start = before.iter().rposition(|&octet| octet == b'\n');
    let line = &before[start.map_or(0, |newline| newline + 1)..];
    line.first().is_some_and(|octet| b" \t".contains(octet))
}

/// Where the walk over the texts stands.
#[derive(Default)]
struct LineCounter {
    text: Option<u16>,
    at: usize,
    /// Where the line starts, a byte-order mark not counted.
    start: usize,
    line: usize,
    column: usize,
}

impl LineCounter {
    /// Walks on to `place`.
    fn advance(&mut self, place: TextPlace, octets: &[u8]) {
        if self.text != Some(place.text) {
            let start = match octets.starts_with(BYTE_ORDER_MARK) {
                true => BYTE_ORDER_MARK.len(),
                false => 0,
            };
            *self = LineCounter {
                text: Some(place.text),
                at: start,
                start,
                line: 1,
                column: 1,
            };
        }
        let end = (place.at as usize).clamp(self.at, octets.len());
        let passed = &octets[self.at..end];
        if let Some(last) = passed.iter().rposition(|&octet| octet == b'\n') {
            self.line += passed.iter().filter(|&&octet| octet == b'\n').count();
            self.column = 1;
            self.start = self.at + last + 1;
        }
        self.column += characters(&octets[self.at.max(self.start)..end]);
        self.at = end;
    }
}

/// Characters, as they are counted where broken ones are shown as one each.
fn characters(octets: &[u8]) -> usize {
    let chunks = octets.utf8_chunks();
    chunks
        .map(|chunk| chunk.valid().chars().count() + usize::from(!chunk.invalid().is_empty()))
        .sum()
}

/// The line that `rest` begins with, and what stands before the caret under
/// its octet `at`.
fn excerpt(rest: &[u8], at: usize) -> (String, String) {
    // Only the neighbourhood is looked at: a line may be a gigabyte long.
    let mut from = at.saturating_sub(EXCERPT / 2);
    while from > 0 && from < at && rest[from] & 0xc0 == 0x80 {
        from += 1;
    }
    let near = &rest[from..rest.len().min(from + EXCERPT)];
    let end = near.iter().position(|&octet| octet == b'\n');
    let line = String::from_utf8_lossy(&near[..end.unwrap_or(near.len())]);
    let before = String::from_utf8_lossy(&rest[from..at]);
    let caret = before
        .chars()
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    (printable(line.trim_end()), caret)
}

/// Text in which no control character is left that could play tricks with a
/// terminal; tabs stay.
fn printable(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' => c,
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(shown).collect()
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
            held: octets.to_vec().into(),
            stamp: None,
        })
    }

    #[test]
    fn errors_come_first_each_with_line_and_caret() {
        let texts = [
            text("a.zone", b"one\n\ttwo \xc3\xa9 x\n"),
            text("b.zone", b"three"),
        ];
        let mut faults = Faults::default();
        faults.warning(TextPlace { text: 0, at: 1 }, "w");
        faults.error(TextPlace { text: 1, at: 5 }, "late");
        faults.error(TextPlace { text: 0, at: 12 }, "early");
        assert_eq!(faults.errors(), 2);
        let shown: Vec<String> = show(faults, &texts).iter().map(Fault::to_string).collect();
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
            TextPlace {
                text: 0,
                at: 50_000,
            },
            "here",
        );
        let fault = show(faults, &texts).remove(0);
        assert_eq!(fault.column, 50_001);
        assert_eq!(fault.excerpt.len(), EXCERPT);
        assert_eq!(fault.caret.len(), EXCERPT / 2);
    }

    #[test]
    fn columns_count_characters_and_no_byte_order_mark() {
        let line = [BYTE_ORDER_MARK, "é".repeat(60).as_bytes(), b" \xff x"].concat();
        let texts = [text("a", &line)];
        let mut faults = Faults::default();
        for at in [0, 3, 123, 126] {
            faults.error(TextPlace { text: 0, at }, "here");
        }
        let shown = show(faults, &texts);
        let columns: Vec<usize> = shown.iter().map(|fault| fault.column).collect();
        assert_eq!(columns, [1, 1, 61, 64]);
        assert_eq!(shown[0].excerpt, "é".repeat(50));
        assert!(shown[2].excerpt.ends_with("é \u{fffd} x"));
        assert_eq!(shown[2].caret.len(), 25);
    }

    #[test]
    fn control_characters_are_not_passed_on() {
        let texts = [text("a", b"\x1b[2J\tx\r\n")];
        let mut faults = Faults::default();
        faults.error(TextPlace { text: 0, at: 5 }, "not \x1b[2J\nthat");
        let shown = show(faults, &texts).remove(0).to_string();
        assert_eq!(
            shown,
            "a:1:6: error: not \u{fffd}[2J\u{fffd}that\n  1 | \u{fffd}[2J\tx\n    |     \t^"
        );
    }
}
