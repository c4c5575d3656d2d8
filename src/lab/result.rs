//! What an experiment leaves: a sentence, tables for people, raw rows for
//! programs, and a figure. Text, JSON and CSV are written here.

use std::fmt;
use std::fs;
use std::io::Write;
use std::time::SystemTime;

use comfy_table::{CellAlignment, presets};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::figure::Figure;
use super::{Conditions, Experiment};

/// What was measured once: names of the figures, and the figures.
pub type Row = Map<String, Value>;

/// What an experiment found.
#[derive(Debug)]
pub struct ExperimentResult {
    /// One sentence, drawn from the figures.
    pub finding: String,
    /// The figures for people.
    pub tables: Vec<Table>,
    /// All figures, with the same names in every row.
    pub rows: Vec<Row>,
    /// The figures as a picture.
    pub figure: Figure,
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

/// Where and when something was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's model.
    pub cpu: String,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// The commit that the program was built from; `unknown` outside a clone.
    pub commit: String,
    /// When, in UTC.
    pub date: String,
}

impl Machine {
    /// Here and now.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let model = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Machine {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: model
                .map_or(std::env::consts::ARCH, |(_, model)| model)
                .into(),
            cpus: crate::server::placement::allowed_cpus().len(),
            commit: env!("SHARDNS_COMMIT").into(),
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

impl ExperimentResult {
    /// The whole result, for programs.
    pub fn json(&self, experiment: &Experiment, conditions: &Conditions, place: &Machine) -> Value {
        json!({
            "experiment": experiment.name,
            "question": experiment.question,
            "finding": self.finding,
            "place": place,
            "conditions": conditions,
            "rows": self.rows,
        })
    }

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
            finding: "So it is.".into(),
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
    fn a_place_has_everything() {
        let place = Machine::here();
        assert!(!place.kernel.is_empty() && !place.cpu.is_empty() && place.cpus > 0);
        assert!(place.date.starts_with("20") && place.date.ends_with('Z'));
    }
}
