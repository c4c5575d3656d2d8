//! Frames without end: a source that a server on the other end of a veth pair cannot
//! keep up with, since neither what is sent nor what comes back leaves the kernel. It
//! asks one question over and over, each time from another port.
//!
//! ```sh
//! cargo bench --bench frames -- 10.97.0.2:5400 --device load0 --name ns1.example.com
//! ```
//!
//! The server has to read past the sockets. Needs root; `benches/peers` makes the pair.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use shardns::sys::xdp::source::{self, Source};
use shardns::wire::Name;

/// Copies that one call sends.
const COPIES: u32 = 1 << 20;

/// Sends frames with one question.
#[derive(Debug, Parser)]
#[command(name = "frames", bin_name = "cargo bench --bench frames --")]
struct Options {
    /// Who is asked
    #[arg(value_name = "ADDRESS:PORT")]
    server: Option<SocketAddrV4>,
    /// The interface that leads there, an end of a veth pair
    #[arg(long, value_name = "IFACE", default_value = "load0")]
    device: String,
    /// The name that is asked for
    #[arg(long, value_name = "NAME", default_value = "ns1.example.com")]
    name: Name,
    /// For how long, at least
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// What cargo and criterion's users pass to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
    #[arg(long, hide = true)]
    quick: bool,
    #[arg(long, hide = true)]
    test: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frames: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let Some(server) = options.server else {
        println!("frames: without a server there is nothing to ask");
        return Ok(());
    };
    let (own, station) = neighbour(server)?;
    let source = Source::new(&options.device)
        .with_context(|| format!("cannot send frames on {}", options.device))?;
    let question = [
        &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        options.name.as_wire(),
        &[0, 1, 0, 1],
    ]
    .concat();
    let to = (station, *server.ip(), server.port());
    let frame = source::frame((source.station(), own), to, &question);
    let (begin, length) = (Instant::now(), Duration::from_secs(options.seconds.into()));
    let mut sent = 0u64;
    while begin.elapsed() < length {
        source.send(&frame, COPIES).context("cannot send frames")?;
        sent += u64::from(COPIES);
    }
    let answers = source.came_back();
    let rate = answers as f64 / begin.elapsed().as_secs_f64();
    println!("{{\"sent\":{sent},\"answers_per_s\":{rate:.0},\"NOERROR\":{answers}}}");
    Ok(())
}

/// The address that speaks with the server, and the server's station, which the kernel
/// asks for when something is sent there.
fn neighbour(server: SocketAddrV4) -> anyhow::Result<(Ipv4Addr, [u8; 6])> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(server)?;
    let SocketAddr::V4(own) = socket.local_addr()? else {
        bail!("{server} is asked from an address of IPv6");
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let _ = socket.send(&[0]);
        let table = fs::read_to_string("/proc/thread-self/net/arp")?;
        if let Some(station) = table.lines().find_map(|line| station(line, *server.ip())) {
            return Ok((*own.ip(), station));
        }
    }
    bail!("nobody says that he is {}", server.ip())
}

/// The station in a line of the kernel's table, if it is of that address: IP address, HW
/// type, flags, HW address, mask, device (proc(5)).
fn station(line: &str, address: Ipv4Addr) -> Option<[u8; 6]> {
    let mut fields = line.split_whitespace();
    if fields.next()?.parse::<Ipv4Addr>().ok()? != address || fields.nth(1)? == "0x0" {
        return None;
    }
    let octets = fields.next()?.split(':');
    let octets: Result<Vec<u8>, _> = octets.map(|octet| u8::from_str_radix(octet, 16)).collect();
    octets.ok()?.try_into().ok()
}
