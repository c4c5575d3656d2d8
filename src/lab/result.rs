//! What an experiment leaves: a finding and tables for people, raw rows for
//! programs, and a figure. Text and CSV are written here, JSON in `record`.

use std::fmt;
use std::io::Write;

use comfy_table::{CellAlignment, presets};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::figure::{Figure, number};
use super::place::Machine;

/// The most words of a finding's sentence: what is read at a glance.
pub const SENTENCE_WORDS: usize = 25;
/// The most notes that follow it.
pub const NOTES: usize = 3;

/// What was measured once: names of the figures, and the figures.
pub type Row = Map<String, Value>;

/// What an experiment found.
#[derive(Debug)]
pub struct ExperimentResult {
    /// What they say.
    pub finding: Finding,
    /// The figures for people.
    pub tables: Vec<Table>,
    /// All figures, with the same names in every row.
    pub rows: Vec<Row>,
    /// The figures as a picture.
    pub figure: Figure,
}

/// What the figures say: one sentence with the one or two numbers that carry
/// it, and at most three short ones where there is more to say. The same words
/// stand in the terminal, in the report and in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// At most `SENTENCE_WORDS` words.
    pub sentence: String,
    /// At most `NOTES` sentences.
    pub notes: Vec<String>,
}

impl Finding {
    /// A finding of one sentence.
    pub fn new(sentence: impl Into<String>) -> Finding {
        let sentence = sentence.into();
        debug_assert!(words(&sentence) <= SENTENCE_WORDS, "long: {sentence}");
        Finding {
            sentence,
            notes: Vec::new(),
        }
    }

    /// Adds a sentence.
    pub fn note(mut self, note: impl Into<String>) -> Finding {
        let note = note.into();
        debug_assert!(words(&note) <= SENTENCE_WORDS, "long: {note}");
        debug_assert!(self.notes.len() < NOTES, "one too many: {note}");
        self.notes.push(note);
        self
    }

    /// Adds a sentence, where there is one.
    pub fn note_where(self, note: Option<String>) -> Finding {
        match note {
            Some(note) => self.note(note),
            None => self,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sentence)?;
        self.notes
            .iter()
            .try_for_each(|note| write!(f, "\n- {note}"))
    }
}

/// Words of a text; a number and its unit are two, a dash is none.
pub fn words(text: &str) -> usize {
    let is_word = |word: &&str| word.chars().any(char::is_alphanumeric);
    text.split(' ').filter(is_word).count()
}

/// Names as a sentence has them: "a", "a and b", "a, b and c".
pub fn listed(names: &[impl AsRef<str>]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [] => "none".into(),
        [only] => (*only).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// A count with its noun.
pub fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", number(count as f64))
}

/// Turns what an experiment measured into rows.
pub fn rows<T: Serialize>(measured: &[T]) -> Vec<Row> {
    let row = |measured: &T| match serde_json::to_value(measured) {
        Ok(Value::Object(row)) => row,
        other => unreachable!("rows are structures, not {other:?}"),
    };
    measured.iter().map(row).collect()
}

/// A table for people: words on the left, numbers on the right.
#[derive(Clone, Debug)]
pub struct Table {
    /// What it shows, and in which unit.
    pub title: String,
    /// Headings of the columns.
    pub header: Vec<String>,
    /// Cells by row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows yet.
    pub fn new(title: impl Into<String>, header: &[&str]) -> Table {
        Table {
            title: title.into(),
            header: header.iter().map(|&heading| heading.into()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has as many cells as there are headings.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.header.len());
        self.rows.push(cells.into());
    }

    /// True where the column holds numbers, which are set flush right.
    pub fn is_numeric(&self, column: usize) -> bool {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let is_number = |cell: &String| {
            cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || "-–<".contains(c))
        };
        cells.into_iter().all(is_number)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(&self.header);
        table.add_rows(&self.rows);
        for (index, column) in table.column_iter_mut().enumerate() {
            if self.is_numeric(index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "{}", self.title)?;
        write!(f, "{}", table.trim_fmt())
    }
}

impl ExperimentResult {
    /// The rows as CSV, each with where and when it was measured.
    ///
    /// # Errors
    ///
    /// What the writer says.
    pub fn csv(&self, place: &Machine, out: impl Write) -> anyhow::Result<()> {
        let mut out = csv::Writer::from_writer(out);
        let place = rows(std::slice::from_ref(place)).remove(0);
        let cell = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        if let Some(first) = self.rows.first() {
            out.write_record(first.keys().chain(place.keys()))?;
        }
        for row in &self.rows {
            out.write_record(row.values().chain(place.values()).map(cell))?;
        }
        Ok(out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Measured {
        name: &'static str,
        share: f64,
        p: Option<f64>,
    }

    fn outcome() -> ExperimentResult {
        let measured = [
            Measured {
                name: "a,\"b\"",
                share: 0.5,
                p: None,
            },
            Measured {
                name: "c",
                share: 0.25,
                p: Some(0.125),
            },
        ];
        let mut table = Table::new("Shares", &["name", "share"]);
        table.row(["a".into(), "0.5".into()]);
        ExperimentResult {
            finding: Finding::new("So it is.").note("More or less."),
            tables: vec![table],
            rows: rows(&measured),
            figure: Figure::default(),
        }
    }

    #[test]
    fn rows_become_csv_with_their_place() {
        let place = Machine {
            kernel: "6.1".into(),
            cpu: "a CPU".into(),
            cpus: 2,
            commit: "abc".into(),
            date: "2026-01-01".into(),
        };
        let mut text = Vec::new();
        outcome().csv(&place, &mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "name,share,p,kernel,cpu,cpus,commit,date\n\
             \"a,\"\"b\"\"\",0.5,,6.1,a CPU,2,abc,2026-01-01\n\
             c,0.25,0.125,6.1,a CPU,2,abc,2026-01-01\n"
        );
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new("Shares", &["name", "share"]);
        table.row(["long name".into(), "1".into()]);
        table.row(["a".into(), "100".into()]);
        assert_eq!(
            table.to_string(),
            "Shares\n name       share\n long name      1\n a            100"
        );
    }

    #[test]
    fn a_finding_is_a_sentence_and_what_follows() {
        assert_eq!(outcome().finding.to_string(), "So it is.\n- More or less.");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(
            (listed(&["a", "b"]), listed(&["a"])),
            ("a and b".into(), "a".into())
        );
        assert_eq!(
            (counted(1, "CPU"), counted(1024, "CPU")),
            ("1 CPU".into(), "1,024 CPUs".into())
        );
        assert_eq!(words("Among 4 sockets – of 8 – 64 do not."), 8);
    }
}
