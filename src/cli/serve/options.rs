//! The options of `shardns serve` -> a server's configuration. Each heading of
//! `--help` is a group here.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{ValueEnum, value_parser};

use super::limit_options::LimitOptions;
use super::privilege::PrivilegeOptions;
use super::tap::TapOptions;
use super::xdp_options::XdpOptions;
use crate::answer::{DEFAULT_EDNS_SIZE, Settings};
use crate::daemon::dnstap;
use crate::server::{self, Config, Listen, Sharing, idle, placement, tcp};
use crate::sys::port::MAX_WIDTH;
use crate::sys::steer::Steer;

/// The port of `--listen` where none is written: not 53, so that everyone may.
const DEFAULT_PORT: u16 = 5300;
/// Replies of more than this are fragmented almost everywhere.
const MAX_EDNS_SIZE: i64 = 4096;
/// More polls take longer than any pause that is worth them.
const MAX_BUSY_POLLS: i64 = 10_000;

/// All options.
#[derive(Debug, clap::Args)]
pub struct ServeOptions {
    #[command(flatten)]
    sockets: SocketOptions,
    #[command(flatten)]
    xdp: XdpOptions,
    #[command(flatten)]
    workers: WorkerOptions,
    #[command(flatten)]
    answers: AnswerOptions,
    #[command(flatten)]
    tcp: TcpOptions,
    #[command(flatten)]
    pub privileges: PrivilegeOptions,
    #[command(flatten)]
    pub tap: TapOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sockets")]
struct SocketOptions {
    /// Address to listen on, port 5300 if none is written; repeatable. 0.0.0.0
    /// stands for all addresses of IPv4 and [::] for all of IPv6, and of these
    /// alone; for both, give both
    /// [default: 127.0.0.1:5300 and [::1]:5300]
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    /// A SO_REUSEPORT socket for each worker, or one that all of them read
    #[arg(long, value_enum, default_value_t = Sockets::Reuseport)]
    sockets: Sockets,
    /// Which worker's socket takes a datagram: the kernel's hash of addresses
    /// and ports, the message ID, the CPU it came in on, or chance
    #[arg(long, value_enum, default_value_t = Steering::Hash)]
    steer: Steering,
    /// Datagrams that a worker takes from the kernel at once, 1 to 128
    #[arg(
        long,
        value_name = "N",
        default_value_t = server::BATCH as u16,
        value_parser = value_parser!(u16).range(1..=MAX_WIDTH as i64)
    )]
    batch: u16,
    /// Times that a worker polls for more before it sleeps, after it has
    /// answered something; 0 to sleep at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = idle::BUSY_POLLS,
        value_parser = value_parser!(u32).range(0..=MAX_BUSY_POLLS)
    )]
    busy_poll: u32,
    /// Bytes that may wait on each socket; net.core.rmem_max limits them for
    /// ordinary users
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = server::RECEIVE_BUFFER as u32,
        value_parser = value_parser!(u32).range(2048..=1 << 30)
    )]
    receive_buffer: u32,
    /// Share addresses with other processes of the same user that join, too: both
    /// answer, and either may go
    #[arg(long)]
    join: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Workers")]
struct WorkerOptions {
    /// Number of workers [default: one for each CPU that the process may use]
    #[arg(
        long,
        value_name = "N",
        value_parser = value_parser!(u16).range(1..=placement::MAX_WORKERS as i64)
    )]
    workers: Option<u16>,
    /// CPUs to use, as 0,2-5 [default: those of the affinity mask]
    #[arg(long, value_name = "LIST", value_parser = parse_cpus)]
    cpus: Option<Cpus>,
    /// Let the kernel move workers between CPUs
    #[arg(long)]
    no_pin: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Answers")]
struct AnswerOptions {
    /// The longest reply over UDP, 512 to 4096 octets
    #[arg(
        long,
        value_name = "OCTETS",
        default_value_t = DEFAULT_EDNS_SIZE,
        value_parser = value_parser!(u16).range(512..=MAX_EDNS_SIZE)
    )]
    edns_size: u16,
    /// The server's name for NSID and id.server, "" for none
    /// [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = parse_identity)]
    identity: Option<String>,
    /// What version.server and version.bind say
    #[arg(long, value_name = "TEXT", value_parser = parse_identity, conflicts_with = "hide_version")]
    version_text: Option<String>,
    /// Refuse to say which program this is
    #[arg(long)]
    hide_version: bool,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "TCP")]
struct TcpOptions {
    /// Serve UDP only
    #[arg(long)]
    no_tcp: bool,
    /// TCP connections in all
    #[arg(
        long,
        value_name = "N",
        default_value_t = tcp::Limits::default().connections,
        value_parser = parse_limit
    )]
    tcp_connections: usize,
    /// TCP connections from one IPv4 address or IPv6 /64
    #[arg(
        long,
        value_name = "N",
        default_value_t = tcp::Limits::default().per_client,
        value_parser = parse_limit
    )]
    tcp_per_client: usize,
    /// Seconds after which a TCP connection that gets nowhere is closed
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = tcp::Limits::default().idle.as_secs(),
        value_parser = value_parser!(u64).range(1..=3600)
    )]
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

impl ServeOptions {
    /// How requests are answered.
    pub fn settings(&self) -> Settings {
        self.answers.settings()
    }

    /// The server's configuration; options that exclude each other end the program.
    pub fn config(&self) -> Config {
        let ServeOptions {
            sockets,
            xdp,
            workers,
            answers,
            tcp,
            limits,
            ..
        } = self;
        if sockets.sockets == Sockets::Shared && sockets.steer != Steering::Hash {
            let message =
                "--steer chooses among the sockets of a group; --sockets shared has only one";
            usage_error(message);
        }
        Config {
            listen: sockets.listen(),
            workers: workers.workers.map(usize::from),
            cpus: workers.cpus.clone().map(|Cpus(cpus)| cpus),
            pin: !workers.no_pin,
            sharing: match sockets.sockets {
                Sockets::Reuseport => Sharing::Reuseport,
                Sockets::Shared => Sharing::Shared,
            },
            steer: match sockets.steer {
                Steering::Hash => None,
                Steering::QueryId => Some(Steer::QueryId),
                Steering::Cpu => Some(Steer::Cpu),
                Steering::Random => Some(Steer::Random),
            },
            batch: sockets.batch.into(),
            busy_polls: sockets.busy_poll,
            receive_buffer: sockets.receive_buffer as usize,
            join: sockets.join,
            xdp: xdp.xdp(),
            settings: answers.settings(),
            tcp: (!tcp.no_tcp).then(|| tcp.limits()),
            rate_limit: limits.rate_limit(),
        }
    }
}

impl ServeOptions {
    /// The file or the socket of the query log.
    pub fn dnstap_path(&self) -> Option<PathBuf> {
        self.tap.path()
    }

    /// The query log that is wanted.
    pub fn dnstap(&self, config: &Config) -> Option<dnstap::Config> {
        self.tap.dnstap(&config.settings)
    }
}

impl AnswerOptions {
    fn settings(&self) -> Settings {
        let default = Settings::default();
        let version = match (&self.version_text, self.hide_version) {
            (Some(text), _) => text.clone().into_bytes(),
            (None, true) => Vec::new(),
            (None, false) => default.version,
        };
        Settings {
            edns_size: self.edns_size,
            identity: self.identity.clone().unwrap_or_else(host_name).into_bytes(),
            version,
            cookies: default.cookies,
            tcp_idle: default.tcp_idle,
        }
    }
}

impl TcpOptions {
    fn limits(&self) -> tcp::Limits {
        tcp::Limits {
            connections: self.tcp_connections,
            per_client: self.tcp_per_client,
            idle: Duration::from_secs(self.tcp_idle),
        }
    }
}

impl SocketOptions {
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

fn usage_error(message: &str) -> ! {
    use clap::CommandFactory;
    crate::cli::Cli::command()
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
