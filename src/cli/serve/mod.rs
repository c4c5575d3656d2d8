//! `shardns serve`: load, start, keep running, stop.

mod control;
mod limit_options;
mod log;
mod options;
mod privilege;
mod tap;
mod xdp_options;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tracing::{error, info, warn};

use super::sources::{ConfigFile, ZoneArguments, plural};
use super::tell;
use crate::answer::Settings;
use crate::daemon::notify::Notifier;
use crate::daemon::privileges::Paths;
use crate::daemon::reload::{self, Keeper, Renewed};
use crate::daemon::signals::Caught;
use crate::daemon::takeover::Takeover;
use crate::daemon::{Daemon, End, Equipment, activation, stderr};
use crate::server::queues::{self, Readers};
use crate::server::{Bound, Config, Server, placement};
use crate::sys::limits;
use crate::zone::collection::{Collection, Report};
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
        let done = self.serve();
        stderr::flush();
        done
    }

    fn serve(self) -> anyhow::Result<()> {
        self.log.start();
        // What is in the environment is taken while there is one thread.
        let (notifier, note) = Notifier::from_environment();
        note.iter().for_each(|note| warn!("{note}"));
        let handed = activation::from_environment()?;
        let mut config = self.options.config();
        config.settings.cookies = self.options.limits.cookies(None)?;
        let privileges = self.options.privileges.resolve()?;
        self.options.tap.check(&privileges)?;
        // Before anything that takes time or sockets, so that no signal finds
        // the program unprepared.
        let signals = Caught::catch().context("cannot watch for signals")?;
        limits::raise_open_files();
        let collection = self.load()?;
        let zones = Arc::new(collection.zones());
        let (bound, takeover, equipment) = self.bind(&mut config, handed)?;
        let taken = bound.taken().clone();
        // From here on threads may be started: each has what is left to this one.
        for note in privileges.drop(&self.paths(&collection))? {
            info!("{note}");
        }
        let started = signals.pass_on().and_then(|signals| {
            stderr::start()?;
            Ok(signals)
        });
        let signals = started.context("cannot start a thread")?;
        let server = bound.start(zones)?;
        announce(&server, &config);
        let keeper = self.keeper(&config, collection);
        let equipment = Equipment {
            notifier,
            dnstap: self.options.dnstap(&config),
            ..equipment
        };
        let mut daemon = Daemon::new(server, config, keeper, equipment)?;
        if let Some(takeover) = takeover {
            let begun = daemon.take_over(takeover, &taken);
            begun.context("cannot start a thread")?;
        }
        let (server, end) = daemon.run(&signals);
        if end == End::Withdrawn {
            bail!("the server that was to be taken over from goes on, and its log says why");
        }
        if !self.log.quiet && !self.log.is_json() && end == End::Wanted {
            stderr::print(&server.table());
        }
        Ok(())
    }

    /// Binds what is not there already, from a server before this one or from the
    /// service manager. Clients know the former's cookies: they are good here, too,
    /// where nobody has named a secret.
    fn bind(
        &self,
        config: &mut Config,
        handed: Option<activation::Handed>,
    ) -> anyhow::Result<(Bound, Option<Takeover>, Equipment)> {
        // Before anybody is asked for anything; where nobody is, opening tells as much.
        if self.control.takes_over() {
            queues::check(config)?;
        }
        let (sockets, control, metrics) = match handed {
            Some(handed) => (Some(handed.sockets), handed.control, handed.metrics),
            None => Default::default(),
        };
        let Predecessor {
            inherited,
            mut takeover,
            equipment,
        } = self.control.open(control, metrics.into_iter().next())?;
        if let Some(takeover) = &mut takeover
            && self.options.limits.takes_any_cookie_secrets()
        {
            let known = takeover.cookie_secrets().with_context(|| {
                let process = takeover.offer.pid;
                format!("process {process} does not hand over the secrets of its cookies")
            })?;
            config.settings.cookies = known.or(config.settings.cookies.take());
        }
        let interfaces = takeover.as_ref().map(|one| one.offer.interfaces.clone());
        let leave = || takeover.as_mut().map_or(Ok(()), Takeover::leave_queues);
        let mut readers = Readers {
            interfaces: &interfaces.unwrap_or_default(),
            leave: Box::new(leave),
        };
        let bound = match sockets {
            Some(sockets) => Bound::complete(config, sockets, &mut readers)?,
            None => Bound::bind_beside(config, inherited, &mut readers)?,
        };
        drop(readers);
        Ok((bound, takeover, equipment))
    }

    /// What is read and written while the server runs.
    fn paths(&self, collection: &Collection) -> Paths {
        let mut read: Vec<PathBuf> = collection
            .entries()
            .flat_map(|entry| entry.files().map(Path::to_owned))
            .collect();
        let folders = self.zones.zones.iter().map(PathBuf::from);
        read.extend(folders.filter(|path| path.is_dir()));
        read.extend(self.config.config.clone());
        read.extend(self.options.limits.cookie_secret().map(Path::to_owned));
        let dnstap = self.options.dnstap_path();
        Paths {
            read,
            write: self.control.path().into_iter().chain(dnstap).collect(),
        }
    }

    /// Reads the zones; those that are good are served.
    fn load(&self) -> anyhow::Result<Collection> {
        let mut collection = Collection::new(self.zones.zone_pattern.clone());
        let mut report = collection.refresh(&self.zones.zones);
        if !report.faults.is_empty() {
            return Err(report.faults.swap_remove(0).into());
        }
        if !self.log.quiet {
            let json = self.log.is_json();
            self.zones.tell_faults_by(&report, |words| match json {
                true => warn!("{words}"),
                false => tell(format_args!("{words}\n")),
            });
        }
        let bad = tell_failures(&report);
        if bad > 0 && (self.strict || collection.served() == 0) {
            let zones = plural(bad, "zone");
            bail!("{bad} {zones} cannot be served; nothing is served until they are mended");
        }
        Ok(collection)
    }

    fn keeper(&self, config: &Config, collection: Collection) -> Keeper {
        let is_configured = self.config.config.is_some();
        let (zones, limits) = (self.zones.zones.clone(), self.options.limits.clone());
        let mut settings = config.settings.clone();
        let renew = move || {
            let (mut zones, mut limits) = (zones.clone(), limits.clone());
            if is_configured {
                let again = super::config::parse_again()?.into_serve();
                if again.zones.zones.is_empty() && !zones.is_empty() {
                    bail!("the configuration names no zone any more");
                }
                settings = Settings {
                    // Replies are no longer than there is room for.
                    edns_size: settings.edns_size,
                    cookies: settings.cookies.take(),
                    ..again.options.settings()
                };
                (zones, limits) = (again.zones.zones, again.options.limits);
            }
            let mut faults = Vec::new();
            match limits.cookies(settings.cookies.as_ref()) {
                Ok(cookies) => settings.cookies = cookies,
                Err(error) => faults.push(format!("{error}; cookies are made as before")),
            }
            Ok(Renewed {
                zones,
                settings: settings.clone(),
                faults,
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
    for (change, _) in report.failures().take(LISTED) {
        error!("{}", reload::sentence(change));
    }
    let count = report.failures().count();
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
    server
        .told_of_queues()
        .iter()
        .for_each(|told| info!("{told}"));
}
