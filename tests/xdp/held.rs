//! A server that answers a batch when it is allowed to.

use std::net::UdpSocket;

use crossbeam_channel::{Receiver, Sender};
use shardns::server::answerer::Responder;
use shardns::server::{Config, Server};
use shardns::sys::port::Port;

use super::wire::Wire;
use super::{PATIENCE, client, demo};

/// The server, and a client of it.
pub struct Held {
    pub server: Server,
    pub client: UdpSocket,
    /// Tells that there is a batch.
    pub begins: Receiver<()>,
    /// Allows one; dropped, all.
    pub allow: Sender<()>,
}

impl Held {
    pub fn start(wire: &Wire, config: &Config) -> Held {
        let (begun, begins) = crossbeam_channel::unbounded();
        let (allow, leave) = crossbeam_channel::unbounded();
        let hold = |inner| Waiting {
            inner,
            begun: begun.clone(),
            leave: leave.clone(),
        };
        let server = wire.at_server(|| Server::start_with(config, demo(), hold));
        let server = server.unwrap();
        let client = wire.at_client(|| client(server.addresses()[0]));
        Held {
            server,
            client,
            begins,
            allow,
        }
    }
}

/// Around what answers: tells that there is a batch, and waits for leave to answer it.
struct Waiting<R> {
    inner: R,
    begun: Sender<()>,
    leave: Receiver<()>,
}

impl<R: Responder> Responder for Waiting<R> {
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        self.begun.send(()).unwrap();
        let _ = self.leave.recv_timeout(PATIENCE);
        self.inner.answer(port, received);
    }

    fn idle(&mut self) {
        self.inner.idle();
    }
}
