//! The options of the query log.

use std::path::PathBuf;

use anyhow::bail;
use clap::value_parser;

use crate::answer::Settings;
use crate::daemon::dnstap::{Config, Target};
use crate::daemon::privileges::Privileges;

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

    /// Sees whether who the server goes on as can write the file. It could be opened
    /// before, but a reload opens it anew. To be called before anybody is asked for
    /// anything.
    ///
    /// # Errors
    ///
    /// A sentence with the user, the path and what to do.
    pub fn check(&self, privileges: &Privileges) -> anyhow::Result<()> {
        let Some(target) = &self.dnstap else {
            return Ok(());
        };
        let user = privileges.user();
        let check = || {
            let done = target.check();
            done.map_err(|error| target.refusal(&error, &user))
        };
        match privileges.act(check) {
            Ok(Err(sentence)) => bail!(sentence),
            // Where this user cannot be had, that is told when it is to be.
            Ok(Ok(())) | Err(_) => Ok(()),
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
