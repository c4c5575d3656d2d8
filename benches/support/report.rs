//! What the numbers were measured with, and where they are kept.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// What the numbers of a benchmark are measured with.
pub fn facts(benchmark: &str, rounds: usize) -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let changed = match said("git", &["status", "--porcelain", "-uno"]).as_str() {
        "" => "",
        _ => ", changed",
    };
    json!({
        "command": format!("cargo bench --bench {benchmark}"),
        "date": said("date", &["+%Y-%m-%d %H:%M:%S %z"]),
        "commit": said("git", &["rev-parse", "HEAD"]) + changed,
        "kernel": said("uname", &["-r"]),
        "cpu": format!("{}, {cpus} CPUs", model.unwrap_or(env::consts::ARCH)),
        "load_average_before": load_average(),
        "rounds": rounds,
    })
}

/// Of the machine, over 1, 5 and 15 minutes.
pub fn load_average() -> String {
    said("cut", &["-d", " ", "-f", "1-3", "/proc/loadavg"])
}

/// What a command prints, nothing where there is none.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let told = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    told.unwrap_or_default()
}

/// Writes rows, of which the first is the facts, and what they come to, in place
/// of an earlier run's of the same day; `more` is file endings and contents.
pub fn save(
    benchmark: &str,
    rows: &[Value],
    text: &str,
    more: &[(&str, &str)],
) -> anyhow::Result<()> {
    let facts = rows.first().and_then(Value::as_object);
    let facts = facts.context("facts are an object")?;
    let date = facts["date"].as_str().unwrap_or_default();
    let day = date.split(' ').next().unwrap_or_default();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/results");
    let mut lines = String::new();
    for row in rows {
        writeln!(lines, "{row}")?;
    }
    let mut page = String::new();
    for (key, value) in facts {
        let value = value.as_str().map_or(value.to_string(), str::to_owned);
        writeln!(page, "- {key}: {value}")?;
    }
    write!(page, "\n{text}")?;
    for (ending, content) in [("jsonl", &*lines), ("md", &page)].iter().chain(more) {
        let path = folder.join(format!("{day}-{benchmark}.{ending}"));
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Lowest, middle and highest of what was measured.
#[derive(Clone, Copy)]
pub struct Spread {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

impl Spread {
    /// Of a column of rows; those that lack it are left out.
    pub fn of<'r>(rows: impl Iterator<Item = &'r Value>, key: &str) -> anyhow::Result<Spread> {
        Spread::over(rows.filter_map(|row| row[key].as_f64()).collect())
            .with_context(|| format!("no {key}"))
    }

    /// Of values in any order.
    pub fn over(mut values: Vec<f64>) -> anyhow::Result<Spread> {
        values.sort_by(f64::total_cmp);
        let (Some(&low), Some(&high)) = (values.first(), values.last()) else {
            bail!("nothing was measured");
        };
        let median = values[values.len() / 2];
        Ok(Spread { low, median, high })
    }

    /// `median (low–high)`, or the one that they all are.
    pub fn show(&self, digits: usize) -> String {
        let Spread { low, median, high } = self;
        if low == high {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}
