//! `shardns serve`: load, start, wait for signals, stop.

use std::io::IsTerminal;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use clap::error::ErrorKind;
use crossbeam_channel::{Receiver, select};
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use super::sources::{self, plural};
use super::tell;
use crate::answer::{DEFAULT_EDNS_SIZE, Settings};
use crate::server::{self, Config, Event, Listen, Server, Sharing, idle, placement, tcp};
use crate::sys::limits;
use crate::sys::port::MAX_WIDTH;
use crate::sys::steer::Steer;
use crate::zone::Zones;

/// The port of `--listen` where none is written: not 53, so that everyone may.
const DEFAULT_PORT: u16 = 5300;
/// Replies of more than this are fragmented almost everywhere.
const MAX_EDNS_SIZE: i64 = 4096;
/// More polls take longer than any pause that is worth them.
const MAX_BUSY_POLLS: i64 = 10_000;

/// The arguments of `shardns serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    #[arg(value_name = "ZONE", help = sources::HELP)]
    zones: Vec<String>,

    /// Address to listen on, port 5300 if none is written; repeatable
    /// [default: 127.0.0.1:5300 and [::1]:5300]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_listen, help_heading = "Sockets")]
    listen: Vec<SocketAddr>,
    /// A SO_REUSEPORT socket for each worker, or one that all of them read
    #[arg(long, value_enum, default_value_t = Sockets::Reuseport, help_heading = "Sockets")]
    sockets: Sockets,
    /// Which worker's socket takes a datagram: the kernel's hash of addresses
    /// and ports, the message ID, the CPU it came in on, or chance
    #[arg(long, value_enum, default_value_t = Steering::Hash, help_heading = "Sockets")]
    steer: Steering,
    /// Datagrams that a worker takes from the kernel at once, 1 to 128
    #[arg(long, value_name = "N", default_value_t = server::BATCH as u16, value_parser = clap::value_parser!(u16).range(1..=MAX_WIDTH as i64), help_heading = "Sockets")]
    batch: u16,
    /// Times that a worker polls for more before it sleeps, after it has
    /// answered something; 0 to sleep at once
    #[arg(long, value_name = "N", default_value_t = idle::BUSY_POLLS, value_parser = clap::value_parser!(u32).range(0..=MAX_BUSY_POLLS), help_heading = "Sockets")]
    busy_poll: u32,
    /// Bytes that may wait on each socket; net.core.rmem_max limits them for
    /// ordinary users
    #[arg(long, value_name = "BYTES", default_value_t = server::RECEIVE_BUFFER as u32, value_parser = clap::value_parser!(u32).range(2048..=1 << 30), help_heading = "Sockets")]
    receive_buffer: u32,

    /// Number of workers [default: one for each CPU that the process may use]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=placement::MAX_WORKERS as i64), help_heading = "Workers")]
    workers: Option<u16>,
    /// CPUs to use, as 0,2-5 [default: those of the affinity mask]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus, help_heading = "Workers")]
    cpus: Option<Cpus>,
    /// Let the kernel move workers between CPUs
    #[arg(long, help_heading = "Workers")]
    no_pin: bool,

    /// The longest reply over UDP, 512 to 4096 octets
    #[arg(long, value_name = "OCTETS", default_value_t = DEFAULT_EDNS_SIZE, value_parser = clap::value_parser!(u16).range(512..=MAX_EDNS_SIZE), help_heading = "Answers")]
    edns_size: u16,
    /// The server's name for NSID and id.server, "" for none
    /// [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = parse_identity, help_heading = "Answers")]
    identity: Option<String>,

    /// Serve UDP only
    #[arg(long, help_heading = "TCP")]
    no_tcp: bool,
    /// TCP connections in all
    #[arg(long, value_name = "N", default_value_t = tcp::Limits::default().connections, value_parser = parse_limit, help_heading = "TCP")]
    tcp_connections: usize,
    /// TCP connections from one IPv4 address or IPv6 /64
    #[arg(long, value_name = "N", default_value_t = tcp::Limits::default().per_client, value_parser = parse_limit, help_heading = "TCP")]
    tcp_per_client: usize,
    /// Seconds after which a TCP connection that gets nowhere is closed
    #[arg(long, value_name = "SECONDS", default_value_t = tcp::Limits::default().idle.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600), help_heading = "TCP")]
    tcp_idle: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Sockets {
    Reuseport,
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Steering {
    Hash,
    QueryId,
    Cpu,
    Random,
}

/// A parsed `--cpus`; a type of its own so that clap does not take it for a
/// repeatable option.
#[derive(Clone, Debug)]
struct Cpus(Vec<usize>);

impl Serve {
    /// Serves until a signal ends it.
    ///
    /// # Errors
    ///
    /// What keeps it from starting.
    pub fn run(self) -> anyhow::Result<()> {
        start_log();
        let config = self.config();
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

    fn config(&self) -> Config {
        if self.sockets == Sockets::Shared && self.steer != Steering::Hash {
            let message =
                "--steer chooses among the sockets of a group; --sockets shared has only one";
            usage_error(message);
        }
        Config {
            listen: self.listen(),
            workers: self.workers.map(usize::from),
            cpus: self.cpus.clone().map(|Cpus(cpus)| cpus),
            pin: !self.no_pin,
            sharing: match self.sockets {
                Sockets::Reuseport => Sharing::Reuseport,
                Sockets::Shared => Sharing::Shared,
            },
            steer: match self.steer {
                Steering::Hash => None,
                Steering::QueryId => Some(Steer::QueryId),
                Steering::Cpu => Some(Steer::Cpu),
                Steering::Random => Some(Steer::Random),
            },
            batch: self.batch.into(),
            busy_polls: self.busy_poll,
            receive_buffer: self.receive_buffer as usize,
            settings: Settings {
                edns_size: self.edns_size,
                identity: self.identity.clone().unwrap_or_else(host_name).into_bytes(),
                ..Settings::default()
            },
            tcp: (!self.no_tcp).then(|| tcp::Limits {
                connections: self.tcp_connections,
                per_client: self.tcp_per_client,
                idle: Duration::from_secs(self.tcp_idle),
            }),
        }
    }

    /// Both loopback addresses by default; a machine may lack IPv6.
    fn listen(&self) -> Vec<Listen> {
        if self.listen.is_empty() {
            let address = |text: &str| text.parse::<IpAddr>().expect("a literal address");
            return vec![
                Listen {
                    address: SocketAddr::new(address("127.0.0.1"), DEFAULT_PORT),
                    required: true,
                },
                Listen {
                    address: SocketAddr::new(address("::1"), DEFAULT_PORT),
                    required: holds_ipv6_loopback(),
                },
            ];
        }
        for (at, address) in self.listen.iter().enumerate() {
            if let Some(before) = self.listen[..at]
                .iter()
                .find(|before| overlap(**before, *address))
            {
                usage_error(&format!(
                    "--listen {before} and --listen {address} get in each other's way; name one"
                ));
            }
        }
        let required = |&address: &SocketAddr| Listen {
            address,
            required: true,
        };
        self.listen.iter().map(required).collect()
    }
}

/// Where `::1` exists, not getting its port is a fault as for any address.
fn holds_ipv6_loopback() -> bool {
    std::net::UdpSocket::bind("[::1]:0").is_ok()
}

/// True where both cannot be had: the same address, or one of a family's and
/// all of them.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = a.ip().is_unspecified() || b.ip().is_unspecified();
    let same = a.ip() == b.ip() || (all && a.is_ipv4() == b.is_ipv4());
    same && a.port() == b.port() && a.port() != 0
}

fn start_log() {
    // A log that cannot be written is lost; the server is not.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    log.with_ansi(std::io::stderr().is_terminal()).init();
}

fn usage_error(message: &str) -> ! {
    use clap::CommandFactory;
    super::Cli::command()
        .error(ErrorKind::ArgumentConflict, message)
        .exit()
}

fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, DEFAULT_PORT),
        Err(_) => text.parse().map_err(|_| {
            "write an address and perhaps a port, as 192.0.2.1, 192.0.2.1:53, ::1, [::1]:53 or [fe80::1%2]:53".to_owned()
        })?,
    };
    match address.ip() {
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => {
            Err("write an IPv4 address as such, as 192.0.2.1".into())
        }
        _ => Ok(address),
    }
}

fn parse_cpus(text: &str) -> Result<Cpus, String> {
    placement::parse_list(text).map(Cpus)
}

fn parse_identity(text: &str) -> Result<String, String> {
    if text.len() > 255 {
        return Err("longer than the 255 octets of a character-string".into());
    }
    Ok(text.into())
}

fn parse_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit @ 1..=1_000_000) => Ok(limit),
        _ => Err("write a number from 1 to 1000000".into()),
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().chars().take(255).collect()
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
