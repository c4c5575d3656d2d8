//! The options of the query log.

use std::path::PathBuf;

use clap::value_parser;

use crate::answer::Settings;
use crate::daemon::dnstap::{Config, Target};

/// What is logged of queries.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Query log")]
pub struct TapOptions {
    /// Write queries and replies as dnstap to a file, or to whoever listens on a
    /// UNIX socket. What cannot be written in time is left out and counted
    #[arg(long, value_name = "FILE|unix:PATH")]
    dnstap: Option<Target>,
    /// Write one of N queries, chosen by chance
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        requires = "dnstap",
        value_parser = value_parser!(u32).range(1..)
    )]
    dnstap_sample: u32,
}

impl TapOptions {
    /// The file or the socket that is written to.
    pub fn path(&self) -> Option<PathBuf> {
        match self.dnstap.as_ref()? {
            Target::File(path) | Target::Unix(path) => Some(path.clone()),
        }
    }

    /// The query log that is wanted, of a server with these settings.
    pub fn dnstap(&self, settings: &Settings) -> Option<Config> {
        Some(Config {
            target: self.dnstap.clone()?,
            every: self.dnstap_sample,
            identity: settings.identity.clone(),
            version: settings.version.clone(),
        })
    }
}
