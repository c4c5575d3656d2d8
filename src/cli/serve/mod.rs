//! `shardns serve`: load, start, wait for signals, stop.

mod options;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use crossbeam_channel::{Receiver, select};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use super::sources::{self, plural};
use super::tell;
use crate::server::{Config, Event, Server, placement};
use crate::sys::limits;
use crate::zone::Zones;
use options::ServeOptions;

/// The arguments of `shardns serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[arg(value_name = "ZONE", help = sources::HELP)]
    zones: Vec<String>,
    #[command(flatten)]
    options: ServeOptions,
}

impl Serve {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub fn run(self) -> anyhow::Result<()> {
        start_log();
        let config = self.options.config();
        // Before anything that takes time or sockets, so that no signal finds
        // the program unprepared.
        let serving = Arc::new(AtomicBool::new(false));
        let signals = watch_signals(serving.clone())?;
        let zones = Arc::new(sources::load(&self.zones)?);
        serving.store(true, Ordering::SeqCst);
        limits::raise_open_files();
        let mut server = Server::start(&config, zones.clone())?;
        announce(&server, &config, &zones);
        serve_until_stopped(&server, &signals);
        server.stop();
        tell(format_args!("{}", server.table()));
        Ok(())
    }
}

fn start_log() {
    // A log that cannot be written is lost; the server is not.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    log.with_ansi(std::io::stderr().is_terminal()).init();
}

fn announce(server: &Server, config: &Config, zones: &Zones) {
    for note in server.notes() {
        warn!("{note}");
    }
    for zone in zones.iter() {
        let summary = zone.summary();
        info!(
            "zone {}: {} names, {} records",
            zone.apex(),
            summary.names,
            summary.records
        );
    }
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
    info!("ready");
}

/// Passes SIGUSR1 and the first SIGTERM or SIGINT on; a second one of those
/// ends the process on the spot. Before `serving` is set there is nothing to
/// print and nothing to lose: then the first one ends it.
fn watch_signals(serving: Arc<AtomicBool>) -> anyhow::Result<Receiver<i32>> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGUSR1]).context("cannot watch for signals")?;
    let (send, receive) = crossbeam_channel::unbounded();
    let watch = move || {
        let mut stopping = false;
        for signal in signals.forever() {
            // SeqCst: once at the start of the program, cost is no matter.
            if !serving.load(Ordering::SeqCst) {
                match signal {
                    SIGUSR1 => continue,
                    _ => std::process::exit(0),
                }
            }
            if stopping && signal != SIGUSR1 {
                tell(format_args!(
                    "shardns: stopped at once by a second signal; what was queued is lost\n"
                ));
                std::process::exit(1);
            }
            stopping |= signal != SIGUSR1;
            if send.send(signal).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("shardns-signals".into());
    thread.spawn(watch).context("cannot start a thread")?;
    Ok(receive)
}

fn serve_until_stopped(server: &Server, signals: &Receiver<i32>) {
    loop {
        select! {
            recv(signals) -> signal => match signal {
                Ok(SIGUSR1) => tell(format_args!("{}", server.table())),
                _ => return,
            },
            recv(server.events()) -> event => match event {
                Ok(event) => log(&event),
                // No thread is left that could report.
                Err(_) => return,
            },
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Panicked {
            thread,
            message,
            backtrace,
        } => {
            error!("{thread} broke on a request, dropped it and goes on: {message}\n{backtrace}");
        }
        Event::NotPinned { thread, cpu } => {
            warn!("{thread} could not be pinned to CPU {cpu} and runs where the kernel puts it");
        }
    }
}
