//! The threads of a server: how each is started, and that a panic outside of
//! answering, which is reported, ends none of them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::Sender;

use super::answerer::Responder;
use super::event::Event;
use super::order::Orders;
use super::placement::{self, Seat};
use super::rate_limit::{self, Balance};
use super::worker::Worker;
use super::{now, panics, tcp};

/// The name of the TCP thread.
pub const TCP_THREAD: &str = "shardns-tcp";
/// The name of the thread that balances rate limits.
pub const LIMITS_THREAD: &str = "shardns-limits";
/// Starts a worker's thread. One that panics outside of answering is reported
/// and run again on the same sockets.
pub fn spawn_worker<R: Responder>(
    mut worker: Worker<R>,
    name: &str,
    seat: Seat,
    events: &Sender<Event>,
) -> io::Result<JoinHandle<()>> {
    let (name, events) = (name.to_owned(), events.clone());
    thread::Builder::new().name(name.clone()).spawn(move || {
        if !placement::take(seat) {
            let _ = events.try_send(Event::NotPinned {
                thread: name.clone(),
                cpu: seat.cpu,
            });
        }
        run_again(&name, &events, || worker.run());
        worker.close();
    })
}

/// Starts the TCP thread; as a worker, it is run again after a panic.
pub fn spawn_tcp(mut server: tcp::TcpServer, events: Sender<Event>) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(TCP_THREAD.into());
    thread.spawn(move || run_again(TCP_THREAD, &events, || server.run()))
}

/// Starts the thread that balances rate limits.
pub fn spawn_limits(mut balance: Balance, orders: Arc<Orders>) -> io::Result<JoinHandle<()>> {
    let thread = thread::Builder::new().name(LIMITS_THREAD.into());
    thread.spawn(move || {
        while orders.current().is_to_serve() {
            balance.run(now().as_secs());
            thread::park_timeout(rate_limit::TICK);
        }
    })
}

fn run_again(name: &str, events: &Sender<Event>, mut run: impl FnMut()) {
    while let Err((message, backtrace)) = panics::catch(&mut run) {
        // Nobody may be listening, or too much may wait already.
        let _ = events.try_send(Event::Panicked {
            thread: name.into(),
            message,
            backtrace,
        });
    }
}
