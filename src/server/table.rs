//! The counters as tables for people: a row a worker, a column a number, and
//! below it how large the batches were. Columns of nothing but zeros are left
//! out.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::counters::{BATCH_CLASSES, COOKIES, SendFailure, Totals};
use super::queues::InterfaceTotals;
use crate::sys::xdp::QueueTotals;
use crate::wire::Rcode;

/// One row: who counted, and what.
pub struct CounterRow {
    /// `0`, `1`, … or `tcp`.
    pub name: String,
    /// The CPU, where there is a fixed one.
    pub cpu: String,
    /// The numbers.
    pub totals: Totals,
}

/// The tables, ending in a newline; the last ones are of interfaces that are read
/// past the sockets.
pub fn show(rows: &[CounterRow], interfaces: &[InterfaceTotals]) -> String {
    let mut all = Totals::default();
    for row in rows {
        all = all.plus(&row.totals);
    }
    let mut text = format!("{}\n", counts(rows, &all));
    if all.batches.iter().sum::<u64>() > 0 {
        let _ = writeln!(text, "\nbatches by size\n{}", batches(rows, &all));
    }
    text + &past_sockets(interfaces)
}

/// The tables of interfaces that are read past the sockets, each behind an empty line.
pub fn past_sockets(interfaces: &[InterfaceTotals]) -> String {
    let mut text = String::new();
    for interface in interfaces {
        let _ = writeln!(
            text,
            "\n{}, past the sockets\n{}",
            interface.interface,
            queues(interface)
        );
        if interface.gone > 0 {
            let _ = writeln!(
                text,
                "times that it was removed or got another MAC address: {}",
                interface.gone
            );
        }
        if !interface.passed.is_empty() {
            let passed = interface.passed.iter();
            let passed: Vec<String> = passed
                .map(|(reason, frames)| format!("{frames} {}", reason.replace('_', " ")))
                .collect();
            let _ = writeln!(text, "passed on to the kernel: {}", passed.join(", "));
        }
    }
    text
}

fn queues(interface: &InterfaceTotals) -> Table {
    let mut table = empty();
    table.set_header(["queue", "worker"].into_iter().chain(QueueTotals::HEADINGS));
    for queue in &interface.queues {
        let place = [queue.queue.into(), queue.worker.into()];
        let numbers = place.into_iter().chain(queue.totals.numbers());
        table.add_row(numbers.map(|number| number.to_string()));
    }
    right_align(&mut table);
    table
}

fn counts(rows: &[CounterRow], all: &Totals) -> Table {
    let columns: Vec<Column> = columns()
        .into_iter()
        .filter(|column| column.always || (column.value)(all) > 0)
        .collect();
    let mut table = empty();
    let headings = columns.iter().map(|column| column.heading.clone());
    table.set_header(
        ["worker", "cpu"]
            .map(str::to_owned)
            .into_iter()
            .chain(headings),
    );
    let cells = |name: &str, cpu: &str, totals: &Totals| {
        let numbers = columns
            .iter()
            .map(|column| (column.value)(totals).to_string());
        [name.to_owned(), cpu.to_owned()]
            .into_iter()
            .chain(numbers)
            .collect::<Vec<_>>()
    };
    for row in rows {
        table.add_row(cells(&row.name, &row.cpu, &row.totals));
    }
    table.add_row(cells("all", "", all));
    right_align(&mut table);
    table
}

fn batches(rows: &[CounterRow], all: &Totals) -> Table {
    let mut table = empty();
    let mut first = 1;
    let mut headings = vec!["worker".to_owned(), "batches".into(), "mean".into()];
    for end in BATCH_CLASSES {
        headings.push(if first == end {
            end.to_string()
        } else {
            format!("{first}-{end}")
        });
        first = end + 1;
    }
    table.set_header(headings);
    let mut add = |name: &str, totals: &Totals| {
        let count: u64 = totals.batches.iter().sum();
        if count > 0 {
            let mean = totals.received as f64 / count as f64;
            let mut cells = vec![name.to_owned(), count.to_string(), format!("{mean:.2}")];
            cells.extend(totals.batches.map(|batches| batches.to_string()));
            table.add_row(cells);
        }
    };
    rows.iter().for_each(|row| add(&row.name, &row.totals));
    // Requests over connections come in no batches.
    let tcp: u64 = rows
        .iter()
        .filter(|row| row.name == "tcp")
        .map(|row| row.totals.received)
        .sum();
    let udp = Totals {
        received: all.received - tcp,
        ..*all
    };
    add("all", &udp);
    right_align(&mut table);
    table
}

struct Column {
    heading: String,
    always: bool,
    value: Box<dyn Fn(&Totals) -> u64>,
}

fn columns() -> Vec<Column> {
    let column = |heading: &str, always, value: fn(&Totals) -> u64| Column {
        heading: heading.into(),
        always,
        value: Box::new(value),
    };
    let mut columns = vec![column("received", true, |totals| totals.received)];
    columns.extend(Rcode::ALL.map(|rcode| Column {
        heading: rcode.name().into(),
        always: rcode == Rcode::NoError,
        value: Box::new(move |totals| totals.with_rcode(rcode)),
    }));
    columns.extend([
        column("truncated", false, |totals| totals.truncated),
        column("rate-limited", false, |totals| totals.rate_limited),
        column("slipped", false, |totals| totals.slipped),
        column("ignored", false, |totals| totals.ignored),
        column("panicked", false, |totals| totals.panicked),
    ]);
    columns.extend(
        COOKIES
            .into_iter()
            .enumerate()
            .map(|(index, (_, heading))| Column {
                heading: heading.into(),
                always: false,
                value: Box::new(move |totals| totals.cookies[index]),
            }),
    );
    columns.extend(
        SendFailure::ALL
            .into_iter()
            .enumerate()
            .map(|(index, (_, heading))| Column {
                heading: heading.into(),
                always: false,
                value: Box::new(move |totals| totals.send_failures[index]),
            }),
    );
    columns.extend([
        column("receive failed", false, |totals| totals.receive_failures),
        column("kernel drops", true, |totals| totals.drops),
        column("idle wake-ups", true, |totals| totals.idle_wakeups),
        column("connections", false, |totals| totals.connections),
        column("connections refused", false, |totals| {
            totals.connections_refused
        }),
        column("tapped", false, |totals| totals.tapped),
        column("tap: dropped", false, |totals| totals.tap_dropped),
    ]);
    columns
}

fn empty() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn right_align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
