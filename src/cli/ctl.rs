//! `shardns ctl`: one command to a running server, and what comes back.

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Subcommand;
use comfy_table::{CellAlignment, Table, presets};

use super::Silent;
use crate::daemon::control::{self, Command, Reply};
use crate::daemon::status::{Status, ThreadStatus};
use crate::server::table::past_sockets;

/// Where a server has its control socket that a service manager has started.
pub const DEFAULT_PATH: &str = "/run/shardns/control";

/// The arguments of `shardns ctl`.
#[derive(Debug, clap::Args)]
pub struct Ctl {
    #[command(flatten)]
    socket: ControlSocket,
    #[command(subcommand)]
    what: What,
}

/// Which server.
#[derive(Debug, clap::Args)]
pub struct ControlSocket {
    /// The control socket of the server
    #[arg(
        long = "control",
        value_name = "PATH",
        env = "SHARDNS_CONTROL",
        default_value = DEFAULT_PATH,
        global = true
    )]
    pub path: PathBuf,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say how the server is; exit 1 where there is none
    Status {
        /// As JSON, with all numbers
        #[arg(long)]
        json: bool,
    },
    /// Show what each worker has counted
    Workers,
    /// List the zones, with serials and ages
    Zones,
    /// Read zones anew; exit 1 if one cannot be served
    Reload {
        /// The zone; all where none is named
        zone: Option<String>,
    },
    /// Show queries as they come, until Ctrl-C
    Queries {
        /// One of N queries, chosen by chance
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        sample: u32,
        /// As JSON, one object a line
        #[arg(long)]
        json: bool,
    },
    /// Have the server answer what is queued, and end
    Stop,
}

impl Ctl {
    /// Asks, and prints what comes back.
    ///
    /// # Errors
    ///
    /// No server, or one that says why not.
    pub fn run(self) -> anyhow::Result<()> {
        if let What::Queries { sample, json } = self.what {
            return control::watch(&self.socket.path, sample, |query| match json {
                true => println(&serde_json::to_string(query)?),
                false => println(&query.to_string()),
            });
        }
        let command = match &self.what {
            What::Status { .. } | What::Workers | What::Zones | What::Queries { .. } => {
                Command::Status
            }
            What::Reload { zone } => Command::Reload { zone: zone.clone() },
            What::Stop => Command::Stop,
        };
        match (self.what, control::ask(&self.socket.path, &command)?) {
            (What::Status { json: true }, Reply::Status(status)) => {
                println(&serde_json::to_string_pretty(&status)?)
            }
            (What::Workers, Reply::Status(status)) => println(&workers(&status).to_string()),
            (What::Zones, Reply::Status(status)) => println(&zones(&status).to_string()),
            (_, Reply::Status(status)) => println(&summary(&status)),
            (_, Reply::Reloaded(said)) => {
                for line in said.faults.iter().chain(&said.problems).chain(&said.events) {
                    println(line)?;
                }
                println(&said.to_string())?;
                if said.failed > 0 {
                    return Err(Silent.into());
                }
                Ok(())
            }
            (_, Reply::Stopping) => println("stopping"),
            _ => bail!(
                "the server says something that makes no sense here; is it of another version?"
            ),
        }
    }
}

/// The state of the server whose control socket that is.
///
/// # Errors
///
/// No server, or one that says something else.
pub fn status(path: &Path) -> anyhow::Result<Status> {
    match control::ask(path, &Command::Status)? {
        Reply::Status(status) => Ok(*status),
        _ => bail!("the server says something that makes no sense here; is it of another version?"),
    }
}

fn println(words: &str) -> anyhow::Result<()> {
    use std::io::Write;
    Ok(writeln!(std::io::stdout().lock(), "{words}")?)
}

fn summary(status: &Status) -> String {
    let all = || status.workers.iter().chain(&status.tcp);
    let sum = |of: fn(&ThreadStatus) -> u64| all().map(of).sum::<u64>();
    let bad = status
        .zones
        .iter()
        .filter(|zone| zone.error.is_some())
        .count();
    let lines = [
        format!("version    {} ({})", status.version, status.commit),
        format!(
            "process    {}, up {}{}",
            status.pid,
            duration(status.uptime_seconds),
            status
                .taking_over_from
                .map_or(String::new(), |process| format!(
                    "; process {process}, which it takes over from, has not let go yet"
                ))
        ),
        format!("addresses  {}", status.addresses.join(" ")),
        format!("workers    {}", status.workers.len()),
        format!(
            "zones      {} served, {bad} with an error",
            status
                .zones
                .iter()
                .filter(|zone| zone.serial.is_some())
                .count()
        ),
        format!(
            "requests   {} received, {} answered, {} dropped by the kernel, since {}",
            sum(|thread| thread.received),
            sum(ThreadStatus::answered),
            sum(|thread| thread.kernel_drops),
            duration(status.counting_seconds)
        ),
    ];
    let past_sockets = past_sockets(&status.interfaces);
    format!("{}\n{past_sockets}", lines.join("\n"))
        .trim_end()
        .into()
}

fn duration(seconds: f64) -> String {
    let whole = std::time::Duration::from_secs(seconds as u64);
    humantime::format_duration(whole).to_string()
}

fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(headings);
    table
}

fn workers(status: &Status) -> Table {
    let mut shown = table(&[
        "worker",
        "cpu",
        "received",
        "answered",
        "truncated",
        "kernel drops",
        "batch",
        "flows",
    ]);
    for thread in status.workers.iter().chain(&status.tcp) {
        let batches: u64 = thread.batches.iter().map(|(_, count)| count).sum();
        let batch = match batches {
            0 => String::new(),
            _ => format!("{:.2}", thread.received as f64 / batches as f64),
        };
        shown.add_row([
            thread.name.clone(),
            thread.cpu.map(|cpu| cpu.to_string()).unwrap_or_default(),
            thread.received.to_string(),
            thread.answered().to_string(),
            thread.truncated.to_string(),
            thread.kernel_drops.to_string(),
            batch,
            thread.flows.to_string(),
        ]);
    }
    right_align(&mut shown);
    shown
}

fn zones(status: &Status) -> Table {
    let mut shown = table(&["zone", "serial", "records", "read", "file", "error"]);
    for zone in &status.zones {
        let serial = zone.serial.map(|serial| serial.to_string());
        let age = match zone.serial {
            Some(_) => format!("{} ago", duration(zone.age_seconds)),
            None => String::new(),
        };
        shown.add_row([
            zone.name.clone(),
            serial.unwrap_or_else(|| "not served".into()),
            zone.records.to_string(),
            age,
            zone.path.clone(),
            zone.error.clone().unwrap_or_default(),
        ]);
    }
    shown
}

fn right_align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::queues::{InterfaceTotals, QueueCounts};
    use crate::sys::xdp::QueueTotals;

    #[test]
    fn queues_are_told_of_where_there_are_any() {
        let mut status = Status::default();
        assert_eq!(summary(&status).lines().count(), 6);
        status.interfaces = vec![InterfaceTotals {
            interface: "eth0".into(),
            native: true,
            queues: vec![QueueCounts {
                queue: 1,
                worker: 2,
                zero_copy: false,
                totals: QueueTotals {
                    received: 70,
                    sent: 60,
                    no_frame: 5,
                    ring_empty: 4,
                    ring_full: 3,
                    invalid: 0,
                    busy: 2,
                    unread: 1,
                },
            }],
            passed: vec![("not_udp".into(), 12), ("elsewhere".into(), 1)],
            gone: 0,
        }];
        let said = summary(&status);
        let said: Vec<&str> = said.lines().skip(6).map(str::trim_end).collect();
        assert_eq!(
            said,
            [
                "",
                "eth0, past the sockets",
                " queue  worker  received  sent  no frame  ring empty  ring full  invalid  busy  unread",
                " 1           2        70    60         5           4          3        0     2       1",
                "passed on to the kernel: 12 not udp, 1 elsewhere",
            ]
        );
    }
}
