//! The log: what is written, and how.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;

use crate::daemon::stderr::Stderr;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub struct LogOptions {
    /// Lines for people, or a JSON object a line
    #[arg(long, value_enum, default_value_t = Form::Human)]
    log: Form,
    /// The least important lines that are written
    #[arg(long, value_enum, default_value_t = Level::Info)]
    log_level: Level,
    /// Write errors only, and no counters at the end
    #[arg(short, long, conflicts_with = "log_level")]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Level {
    Error,
    Warn,
    Info,
    Debug,
}

impl LogOptions {
    /// Starts the log, on stderr. Lines that cannot be written are lost; the server
    /// is not.
    pub fn start(&self) {
        let log = tracing_subscriber::fmt()
            .with_writer(|| Stderr)
            .with_target(false)
            .with_max_level(self.level())
            .log_internal_errors(false);
        match self.log {
            Form::Human => log.with_ansi(std::io::stderr().is_terminal()).init(),
            Form::Json => log.json().flatten_event(true).init(),
        }
    }

    /// True where programs read the log.
    pub fn is_json(&self) -> bool {
        self.log == Form::Json
    }

    fn level(&self) -> LevelFilter {
        match self.log_level {
            _ if self.quiet => LevelFilter::ERROR,
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        }
    }
}
