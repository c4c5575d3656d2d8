//! The null echo, the ceiling of the socket path: receives a batch, flips one
//! bit, adds as many octets as an A answer has, or fills up with zeros to a size
//! that is asked for, sends the batch. Whatever a server answers with the same
//! calls and as many octets, it cannot answer faster.
//!
//! ```sh
//! cargo bench --bench echo -- 127.0.0.1:5300 --seconds 60
//! ```
//!
//! Without an address it asks itself a few questions and ends.

use std::net::{SocketAddr, UdpSocket as Client};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Parser;
use shardns::answer::DEFAULT_EDNS_SIZE;
use shardns::lab::load_generator::is_near;
use shardns::server::idle::IDLE_WAIT;
use shardns::server::{BATCH, RECEIVE_BUFFER};
use shardns::sys::epoll::Epoll;
use shardns::sys::port::{Port, SocketPort, Wait};
use shardns::sys::socket::{UdpOptions, UdpSocket};
use shardns::sys::xdp::{Interface, Mode, Options as QueueOptions};
use shardns::wire::header::HEADER;

/// A record at the name that was asked for: C00C, A, IN, one hour, 192.0.2.1.
const ANSWER: [u8; 16] = *b"\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01";

/// Copied as a server would copy signatures.
static FILLING: [u8; DEFAULT_EDNS_SIZE as usize] = [0; DEFAULT_EDNS_SIZE as usize];

/// Answers every query with the same A record.
#[derive(Debug, Parser)]
#[command(name = "echo", bin_name = "cargo bench --bench echo --")]
struct Options {
    /// Where to listen; loopback or private. Without it, a short check of its own
    #[arg(value_name = "ADDRESS:PORT")]
    address: Option<SocketAddr>,
    /// For how long
    #[arg(long, value_name = "S", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How long replies are at least
    #[arg(long, value_name = "OCTETS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=i64::from(DEFAULT_EDNS_SIZE)))]
    octets: u16,
    /// Take datagrams off the first queue of this interface, past the socket
    #[arg(long, value_name = "IFACE")]
    xdp: Option<String>,
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
            eprintln!("echo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let Some(address) = options.address else {
        return ask_itself();
    };
    if !is_near(address.ip()) {
        bail!(
            "{address}: an echo for strangers serves their attacks; take a loopback or private address"
        );
    }
    let socket = bind(address)?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopper = stop.clone();
    let duration = Duration::from_secs(options.seconds.into());
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        stopper.store(true, Ordering::Relaxed);
    });
    match &options.xdp {
        None => echo(&socket, options.octets.into(), &stop),
        Some(interface) => echo_past(interface, address, options.octets.into(), &stop),
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<Arc<UdpSocket>> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: RECEIVE_BUFFER,
        timeout: IDLE_WAIT,
    };
    UdpSocket::bind(address, &options, &mut Vec::new())
        .map(Arc::new)
        .with_context(|| format!("cannot listen on {address}"))
}

/// The server's loop without the server: the same calls, the same buffers.
fn echo(socket: &Arc<UdpSocket>, least: usize, stop: &AtomicBool) -> anyhow::Result<()> {
    let size = usize::from(DEFAULT_EDNS_SIZE);
    let mut port = SocketPort::new(socket.clone(), BATCH, size, size);
    // Relaxed: the flag is all that is passed on.
    while !stop.load(Ordering::Relaxed) {
        exchange(&mut port, least)?;
    }
    Ok(())
}

/// The same on the first queue of an interface.
fn echo_past(
    interface: &str,
    address: SocketAddr,
    least: usize,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let options = QueueOptions {
        mode: Mode::Auto,
        readers: 1,
        width: BATCH,
        reply: DEFAULT_EDNS_SIZE.into(),
    };
    let prepared = Interface::prepare(interface, &[address], &options)?;
    let (interface, mut ports) = prepared.open(Duration::from_secs(2))?;
    interface.enter(&ports)?;
    let port = ports.first_mut().context("the interface has no queue")?;
    let mut epoll = Epoll::new()?;
    epoll.add(port, 0)?;
    while !stop.load(Ordering::Relaxed) {
        if !port.has_waiting() {
            epoll.wait(IDLE_WAIT)?.for_each(drop);
        }
        exchange(port, least)?;
    }
    Ok(())
}

/// One batch in and out.
fn exchange<P: Port>(port: &mut P, least: usize) -> anyhow::Result<()> {
    let received = port.receive(Wait::ForOne)?;
    for slot in 0..received {
        let (request, reply) = port.exchange(slot);
        let length = answer(request, least, reply);
        port.set_reply(slot, length);
    }
    // A reply that does not go out is one answer less in the count.
    port.send(drop);
    Ok(())
}

/// Returns the reply's length; 0, for none, to what is a reply itself.
fn answer(request: &[u8], least: usize, reply: &mut [u8]) -> usize {
    let (length, end) = (request.len(), request.len() + ANSWER.len());
    if length < HEADER || end > reply.len() || request[2] & 0x80 != 0 {
        return 0;
    }
    reply[..length].copy_from_slice(request);
    reply[2] |= 0x80;
    reply[7] = 1;
    reply[length..end].copy_from_slice(&ANSWER);
    if least > end {
        reply[end..least].copy_from_slice(&FILLING[end..least]);
    }
    end.max(least)
}

/// Some questions on loopback, so that a plain `cargo bench` shows that it works.
fn ask_itself() -> anyhow::Result<()> {
    const QUESTIONS: u8 = 100;
    let socket = bind("127.0.0.1:0".parse()?)?;
    let client = Client::bind("127.0.0.1:0")?;
    client.connect(socket.local())?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let echoing = scope.spawn(|| echo(&socket, 0, &stop));
        let asked = (0..QUESTIONS).try_for_each(|number| ask(&client, number));
        stop.store(true, Ordering::Relaxed);
        asked.and(echoing.join().expect("the echo does not panic"))
    })?;
    println!("echo: {QUESTIONS} questions asked, {QUESTIONS} answered");
    Ok(())
}

fn ask(client: &Client, number: u8) -> anyhow::Result<()> {
    let request = [
        &[0, number, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        &b"\x01a\0\0\x01\0\x01"[..],
    ]
    .concat();
    client.send(&request)?;
    let mut reply = [0; 64];
    let length = client.recv(&mut reply)?;
    let header = [0, number, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
    let expected = [&header, &request[HEADER..], &ANSWER].concat();
    ensure!(
        reply[..length] == expected,
        "{:?} is no answer",
        &reply[..length]
    );
    Ok(())
}
