//! How cost grows with names: time to load, memory, and time to answer, from
//! a thousand names to ten million. Run as `cargo bench --bench growth`; it
//! takes some minutes and 4 GB, prints a table, and writes raw rows, table and
//! plot to `benches/results`. With `-- --quick` or `-- --test` it takes seconds,
//! measures small zones once, and writes nothing.
//!
//! Each size is measured in a process of its own, so that none finds the memory
//! that another has left behind. Names are asked for in random order.

mod support;

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, ensure};
use clap::Parser;
use plotters::coord::Shift;
use plotters::prelude::*;
use serde_json::{Value, json};
use shardns::wire::LookupName;
use shardns::zone::text::Library;
use shardns::zone::{self, Zones};
use support::report::{Spread, facts, save};
use support::{BATCH, Kind, one_by_one, requests, together, zone_file};

const SIZES: [usize; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const SMALL: [usize; 2] = [1_000, 10_000];
/// Times that everything but memory is measured.
const ROUNDS: usize = 5;
/// Queries of a round: many more names than the caches hold.
const QUERIES: usize = 200_000;

/// Measures how cost grows with names.
#[derive(Debug, Parser)]
#[command(name = "growth", bin_name = "cargo bench --bench growth --")]
struct Options {
    /// Measure this size and print the rows; what each process is told
    #[arg(long, value_name = "NAMES", hide = true)]
    measure: Option<usize>,
    /// Times to measure
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: usize,
    /// What cargo passes to every benchmark that it runs
    #[arg(long, hide = true)]
    bench: bool,
    /// Small zones, once, and write nothing
    #[arg(long)]
    quick: bool,
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.measure {
        Some(names) => measure(names, options.rounds),
        None if options.quick || options.test || !options.bench => compare(&SMALL, 1).map(drop),
        None => compare(&SIZES, options.rounds).and_then(|report| report.save()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("growth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints a row with the memory, then one for each round.
fn measure(names: usize, rounds: usize) -> anyhow::Result<()> {
    let path = zone_file(names);
    // Before anything else asks for memory.
    let mut zones = load(&path)?;
    let pss_mib = pss_mib()?;
    println!("{}", json!({"names": names, "pss_mib": pss_mib}));
    let requests = requests(names, Kind::Hit, QUERIES);
    let (mut lookups, mut out) = (vec![LookupName::new(); BATCH], vec![0; 1232]);
    for round in 0..rounds {
        drop(zones);
        let start = Instant::now();
        zones = load(&path)?;
        let load_s = start.elapsed().as_secs_f64();
        let start = Instant::now();
        one_by_one(&zones, &requests, &mut lookups[0], &mut out);
        let one_by_one_ns = start.elapsed().as_secs_f64() * 1e9 / QUERIES as f64;
        let start = Instant::now();
        together(&zones, &requests, &mut lookups, &mut out);
        let together_ns = start.elapsed().as_secs_f64() * 1e9 / QUERIES as f64;
        println!(
            "{}",
            json!({
                "names": names, "round": round, "load_s": load_s,
                "one_by_one_ns": one_by_one_ns, "together_ns": together_ns,
            })
        );
    }
    fs::remove_file(path)?;
    Ok(())
}

/// From a file to what workers answer from, as the server does it.
fn load(path: &Path) -> anyhow::Result<Zones> {
    let loaded = zone::load(Library::Disk, path, None)?;
    Ok(Zones::new(vec![
        loaded.zone.context("the zone has faults")?,
    ]))
}

/// Memory of this process; pages that are shared with others are divided among
/// them.
fn pss_mib() -> anyhow::Result<f64> {
    let told = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = told.lines().find(|line| line.starts_with("Pss:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: f64 = kib.context("no Pss in smaps_rollup")?.parse()?;
    Ok(kib / 1024.0)
}

/// What a row of the table and a place on the plot's horizontal axis is.
struct Size {
    names: usize,
    load_s: Spread,
    pss_mib: Spread,
    one_by_one_ns: Spread,
    together_ns: Spread,
}

struct Report {
    rows: Vec<Value>,
    table: String,
    plot: String,
}

/// Measures all sizes, each in its own process, and prints the table.
fn compare(sizes: &[usize], rounds: usize) -> anyhow::Result<Report> {
    let mut rows = vec![facts("growth", rounds)];
    let mut measured = Vec::new();
    for &names in sizes {
        let own = run(names, rounds)?;
        measured.push(summary(names, &own)?);
        rows.extend(own);
    }
    let table = table(&measured)?;
    print!("{table}");
    let plot = plot(&measured)?;
    Ok(Report { rows, table, plot })
}

fn run(names: usize, rounds: usize) -> anyhow::Result<Vec<Value>> {
    let (names, rounds) = (names.to_string(), rounds.to_string());
    let output = Command::new(env::current_exe()?)
        .args(["--measure", &names, "--rounds", &rounds])
        .output()?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{names} names: {told}");
    let lines = std::str::from_utf8(&output.stdout)?.lines();
    let rows: Result<_, _> = lines.map(serde_json::from_str).collect();
    rows.context("rows that are no JSON")
}

fn summary(names: usize, rows: &[Value]) -> anyhow::Result<Size> {
    let spread = |key: &str| Spread::of(rows.iter(), key);
    Ok(Size {
        names,
        load_s: spread("load_s")?,
        pss_mib: spread("pss_mib")?,
        one_by_one_ns: spread("one_by_one_ns")?,
        together_ns: spread("together_ns")?,
    })
}

fn table(sizes: &[Size]) -> anyhow::Result<String> {
    let mut table = String::from(
        "| names | load s | PSS MiB | ns a query, one by one | ns a query, in batches of 32 |\n\
         | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for size in sizes {
        writeln!(
            table,
            "| {} | {} | {:.1} | {} | {} |",
            size.names,
            size.load_s.show(4),
            size.pss_mib.median,
            size.one_by_one_ns.show(0),
            size.together_ns.show(0),
        )?;
    }
    Ok(table)
}

impl Report {
    /// Rows, table and plot beside each other.
    fn save(&self) -> anyhow::Result<()> {
        let table = format!("Median (lowest–highest) of all rounds.\n\n{}", self.table);
        save("growth", &self.rows, &table, &[("svg", &self.plot)])
    }
}

/// One line of a panel: its colour, what it is, and where it finds its values.
type Line = (RGBColor, &'static str, fn(&Size) -> Spread);

const BLUE: RGBColor = RGBColor(31, 111, 180);
const ORANGE: RGBColor = RGBColor(214, 96, 20);

/// Three panels over the number of names, all axes logarithmic.
fn plot(sizes: &[Size]) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        // A background of its own: it is read on light and on dark pages.
        let area = SVGBackend::with_string(&mut svg, (1020, 340)).into_drawing_area();
        area.fill(&WHITE)?;
        let panels = area.split_evenly((1, 3));
        panel(
            &panels[0],
            sizes,
            "load, s",
            &[(BLUE, "", |size| size.load_s)],
        )?;
        panel(
            &panels[1],
            sizes,
            "memory, MiB",
            &[(BLUE, "", |size| size.pss_mib)],
        )?;
        let queries: [Line; 2] = [
            (ORANGE, "one by one", |size| size.one_by_one_ns),
            (BLUE, "in batches", |size| size.together_ns),
        ];
        panel(&panels[2], sizes, "a query, ns", &queries)?;
        area.present()?;
    }
    Ok(svg)
}

/// Medians joined by a line, with a bar from the lowest to the highest.
fn panel(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    sizes: &[Size],
    title: &str,
    lines: &[Line],
) -> anyhow::Result<()> {
    let all = || lines.iter().flat_map(|line| sizes.iter().map(line.2));
    let low = all().map(|spread| spread.low).fold(f64::MAX, f64::min);
    let high = all().map(|spread| spread.high).fold(0.0, f64::max);
    let first = sizes.first().map_or(1, |size| size.names) as f64;
    let last = sizes.last().map_or(10, |size| size.names) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(54)
        .build_cartesian_2d(
            (first / 1.5..last * 1.5).log_scale(),
            (low / 1.5..high * 1.5).log_scale(),
        )?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc("names")
        .x_label_formatter(&|names| short(*names))
        .y_label_formatter(&|value| short(*value))
        .label_style(("sans-serif", 13))
        .draw()?;
    for &(colour, name, values) in lines {
        let medians = sizes
            .iter()
            .map(|size| (size.names as f64, values(size).median));
        let drawn = chart.draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2)))?;
        if !name.is_empty() {
            let sample =
                move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2));
            drawn.label(name).legend(sample);
        }
        chart.draw_series(medians.map(|place| Circle::new(place, 3, colour.filled())))?;
        chart.draw_series(sizes.iter().map(|size| {
            let (names, Spread { low, high, .. }) = (size.names as f64, values(size));
            PathElement::new([(names, low), (names, high)], colour.stroke_width(1))
        }))?;
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 13))
            .position(SeriesLabelPosition::UpperLeft)
            .draw()?;
    }
    Ok(())
}

/// `1M` for a million, `10k` for ten thousand, `0.001` for a thousandth.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{:.0}M", value / 1e6),
        1e4.. => format!("{:.0}k", value / 1e3),
        _ => format!("{}", (value * 1e6).round() / 1e6),
    }
}
