//! The command line: one file a command, arguments -> a typed configuration ->
//! one call. Wrong usage exits with 2, by clap; what fails exits with 1.

mod alerts;
mod check;
mod completions;
mod config;
mod ctl;
mod dashboard;
mod lab;
mod man;
mod queries;
mod serve;
mod sources;
pub mod top;
mod unit;

use std::io::Write;

use clap::{Parser, Subcommand};

/// The version, with the commit that the program was built from, and for what.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("SHARDNS_COMMIT"),
    ", ",
    env!("SHARDNS_TARGET"),
    ", ",
    env!("SHARDNS_PROFILE"),
    ")"
);

/// Serves DNS zones, one pinned thread and one SO_REUSEPORT socket for each
/// CPU.
///
/// `shardns` alone is `shardns serve`: it serves the folder zones/ if there is
/// one, else a demo that comes with the program.
#[derive(Debug, Parser)]
#[command(
    name = "shardns",
    version = VERSION,
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
    Serve(Box<serve::Serve>),
    /// Read zones, print every fault and a summary; exit 1 if there is an error
    Check(check::Check),
    /// Write queries for dnsperf, made from the zones
    Queries(queries::Queries),
    /// Run experiments on what the kernel does with SO_REUSEPORT
    Lab(lab::Arguments),
    /// Speak to a running server over its control socket
    Ctl(ctl::Ctl),
    /// Show a running server in the terminal, a bar for each worker
    Top(TopArguments),
    /// Print a dashboard for Grafana
    Dashboard(dashboard::Dashboard),
    /// Print alert rules for Prometheus
    Alerts(alerts::Alerts),
    /// Print what a shell needs to complete this command line
    Completions(completions::Completions),
    /// Print the manual page of a command
    Man(man::Man),
    /// Print units for systemd
    Unit(unit::Unit),
}

/// The arguments of `shardns top`.
#[derive(Debug, clap::Args)]
struct TopArguments {
    #[command(flatten)]
    socket: ctl::ControlSocket,
    #[command(flatten)]
    top: top::Top,
}

impl TopArguments {
    fn run(self) -> anyhow::Result<()> {
        let path = self.socket.path;
        self.top.run(move || ctl::status(&path))
    }
}

impl Cli {
    /// The arguments of `shardns serve`, whether it was named or not.
    fn into_serve(self) -> serve::Serve {
        match self.command {
            Some(Command::Serve(serve)) => *serve,
            _ => self.serve,
        }
    }
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
    let cli = config::parse()?;
    match cli.command.unwrap_or(Command::Serve(Box::new(cli.serve))) {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        Command::Queries(queries) => queries.run(),
        Command::Lab(lab) => lab.run(),
        Command::Ctl(ctl) => ctl.run(),
        Command::Top(top) => top.run(),
        Command::Dashboard(dashboard) => dashboard.run(),
        Command::Alerts(alerts) => alerts.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Unit(unit) => unit.run(),
    }
}

/// How many options a configuration file has that holds this text.
///
/// # Errors
///
/// What is wrong with it, a line each.
#[doc(hidden)]
pub fn read_config(path: &std::path::Path, text: &str) -> Result<usize, String> {
    config::count(path, text).map_err(|error| error.to_string())
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
