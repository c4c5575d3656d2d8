//! The command line: one file a command, arguments -> a typed configuration ->
//! one call. Wrong usage exits with 2, by clap; what fails exits with 1.

mod alerts;
mod check;
mod ctl;
mod dashboard;
mod lab;
mod queries;
mod serve;
mod sources;

use std::io::Write;

use clap::{Parser, Subcommand};

/// Serves DNS zones, one pinned thread and one SO_REUSEPORT socket for each
/// CPU.
///
/// `shardns` alone is `shardns serve`: it serves the folder zones/ if there is
/// one, else a demo that comes with the program.
#[derive(Debug, Parser)]
#[command(
    name = "shardns",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve zones until it is told to stop
    Serve(serve::Serve),
    /// Read zones, print every fault and a summary; exit 1 if there is an error
    Check(check::Check),
    /// Write queries for dnsperf, made from the zones
    Queries(queries::Queries),
    /// Run experiments on what the kernel does with SO_REUSEPORT
    Lab(lab::Arguments),
    /// Speak to a running server over its control socket
    Ctl(ctl::Ctl),
    /// Print a dashboard for Grafana
    Dashboard(dashboard::Dashboard),
    /// Print alert rules for Prometheus
    Alerts(alerts::Alerts),
}

/// What failed without a word, because no words were wanted.
#[derive(Debug, thiserror::Error)]
#[error("nothing was to be said")]
pub struct Silent;

/// Writes to stderr. Where nobody can read it, as on a full disk or a closed
/// pipe, the words are lost and the program goes on.
pub fn tell(words: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_fmt(words);
}

/// Runs the command that the process was started with.
///
/// # Errors
///
/// A sentence for people: what, where, and what to do.
pub fn run() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Queries(queries) => queries.run(),
        Command::Lab(lab) => lab.run(),
        Command::Ctl(ctl) => ctl.run(),
        Command::Dashboard(dashboard) => dashboard.run(),
        Command::Alerts(alerts) => alerts.run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        let cli = Cli::parse_from(["shardns", "--batch", "7", "a.zone"]);
        assert!(cli.command.is_none());
        let cli = Cli::parse_from(["shardns", "check", "a.zone"]);
        assert!(matches!(cli.command, Some(Command::Check(_))));
    }
}
