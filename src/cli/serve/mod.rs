//! `shardns serve`: load, start, keep running, stop.

mod control;
mod log;
mod options;
mod privilege;

use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{error, info, warn};

use super::sources::{ConfigFile, ZoneArguments, plural};
use super::tell;
use crate::answer::Settings;
use crate::daemon::Daemon;
use crate::daemon::reload::{self, Keeper, Renewed};
use crate::daemon::signals::Wishes;
use crate::server::{Bound, Config, Server, placement};
use crate::sys::limits;
use crate::zone::collection::{ChangeKind, Collection, Report};
use control::{ControlOptions, Predecessor};
use log::LogOptions;
use options::ServeOptions;

/// Files that cannot be served of which each has a line at the start.
const LISTED: usize = 100;

/// The arguments of `shardns serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[command(flatten)]
    zones: ZoneArguments,
    #[command(flatten)]
    config: ConfigFile,
    /// Do not start unless every zone can be served
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    options: ServeOptions,
    #[command(flatten)]
    control: ControlOptions,
    #[command(flatten)]
    log: LogOptions,
}

impl Serve {
    /// Serves until somebody ends it.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub fn run(self) -> anyhow::Result<()> {
        self.log.start();
        let config = self.options.config();
        // Before anything that takes time or sockets, so that no signal finds
        // the program unprepared.
        let wishes = Wishes::watch().context("cannot watch for signals")?;
        limits::raise_open_files();
        let collection = self.load()?;
        let zones = Arc::new(collection.zones());
        let Predecessor {
            inherited,
            takeover,
            equipment,
        } = self.control.open()?;
        let bound = Bound::bind_beside(&config, inherited)?;
        let taken = bound.taken().clone();
        let serving = wishes.serve();
        let server = bound.start(zones)?;
        announce(&server, &config);
        let keeper = self.keeper(&config, collection);
        let mut daemon = Daemon::new(server, config, keeper, equipment)?;
        if let Some(takeover) = takeover
            && !daemon.take_over(takeover, &taken)
        {
            bail!("the server that was to be taken over goes on: this one took too long to start");
        }
        info!("ready");
        let (server, was_taken_over) = daemon.run(serving);
        if !self.log.quiet && !was_taken_over {
            tell(format_args!("{}", server.table()));
        }
        Ok(())
    }

    /// Reads the zones; those that are good are served.
    fn load(&self) -> anyhow::Result<Collection> {
        let mut collection = Collection::new(self.zones.zone_pattern.clone());
        let mut report = collection.refresh(&self.zones.zones);
        if !report.faults.is_empty() {
            return Err(report.faults.swap_remove(0).into());
        }
        if !self.log.quiet {
            self.zones.tell_faults(&report);
        }
        let bad = tell_failures(&report);
        if bad > 0 && (self.strict || collection.zones().is_empty()) {
            let zones = plural(bad, "zone");
            bail!("{bad} {zones} cannot be served; nothing is served until they are mended");
        }
        Ok(collection)
    }

    fn keeper(&self, config: &Config, collection: Collection) -> Keeper {
        let is_configured = self.config.config.is_some();
        let (zones, settings) = (self.zones.zones.clone(), config.settings.clone());
        let renew = move || {
            if !is_configured {
                return Ok(Renewed {
                    zones: zones.clone(),
                    settings: settings.clone(),
                });
            }
            let again = super::config::parse_again()?.into_serve();
            Ok(Renewed {
                zones: again.zones.zones,
                // Replies are no longer than there is room for.
                settings: Settings {
                    edns_size: settings.edns_size,
                    ..again.options.settings()
                },
            })
        };
        Keeper {
            collection,
            renew: Box::new(renew),
            all: self.zones.all,
        }
    }
}

/// A line for each file that cannot be served; returns how many there are.
fn tell_failures(report: &Report) -> usize {
    let is_failure = |kind: &ChangeKind| matches!(kind, ChangeKind::Failed { .. });
    let failed = report
        .changes
        .iter()
        .filter(|change| is_failure(&change.kind));
    for change in failed.clone().take(LISTED) {
        error!("{}", reload::sentence(change));
    }
    let count = failed.count();
    if count > LISTED {
        error!("and {} more that are not served", count - LISTED);
    }
    count
}

fn announce(server: &Server, config: &Config) {
    for note in server.notes() {
        warn!("{note}");
    }
    reload::announce(&server.snapshot().zones);
    let workers = server.seats().len();
    let mut cpus: Vec<usize> = server.seats().iter().map(|seat| seat.cpu).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let place = if config.pin {
        format!("pinned to CPU {}", placement::show_list(&cpus))
    } else {
        "not pinned".into()
    };
    info!("{workers} {} {place}", plural(workers, "worker"));
    for address in server.addresses() {
        let tcp = if config.tcp.is_some() { " and TCP" } else { "" };
        info!("listening on {address}, UDP{tcp}");
    }
}
