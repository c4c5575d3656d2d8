//! Who serves at the bench: a thread of this process, another process of this
//! program, or the ten lines of Python. They end when they are dropped.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::Context;

use super::message::Serial;
use super::serving::{Control, Order, serve};
use crate::lab::experiments::BESIDE;
use crate::sys::lab::process::end_with_parent;
use crate::sys::socket::UdpSocket;

/// What this program is started with to be a server of a bench.
pub const SERVE: [&str; 3] = ["lab", "play", "--serve-stdin"];

/// The program that runs, whatever has become of its file.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// A loop that serves sockets, and how it is spoken to.
pub struct Server {
    // The first to be dropped: then the loop ends.
    control: Control,
    place: Place,
}

enum Place {
    Thread(Option<JoinHandle<io::Result<()>>>),
    Process(Child),
}

impl Server {
    /// A thread of this process.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn thread() -> anyhow::Result<Server> {
        let (near, far) = UnixStream::pair()?;
        let thread = thread::Builder::new().name("play-server".into());
        let thread = thread.spawn(move || serve(far))?;
        Ok(Server {
            control: Control::new(near),
            place: Place::Thread(Some(thread)),
        })
    }

    /// Another process, which ends with the thread that starts it.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn process() -> anyhow::Result<Server> {
        let (near, far) = UnixStream::pair()?;
        let mut command = Command::new(OWN_PROGRAM);
        command.args(SERVE).stdin(Stdio::from(OwnedFd::from(far)));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = end_with_parent(&mut command).spawn();
        let child = child.context("cannot start one more process")?;
        Ok(Server {
            control: Control::new(near),
            place: Place::Process(child),
        })
    }

    /// Gives an order, and waits until it is carried out.
    ///
    /// # Errors
    ///
    /// A loop that is gone.
    pub fn give(&mut self, order: Order) -> anyhow::Result<()> {
        let given = self.control.give(order);
        given.with_context(|| self.gone())
    }

    /// Has it serve a socket.
    ///
    /// # Errors
    ///
    /// A loop that is gone.
    pub fn hand_over(&mut self, serial: Serial, socket: &UdpSocket) -> anyhow::Result<()> {
        let given = self.control.hand_over(serial, socket);
        given.with_context(|| self.gone())
    }

    fn gone(&self) -> String {
        format!("process {} has ended", self.process_id())
    }

    /// Has it bind a socket of its own, which is returned to be looked at.
    ///
    /// # Errors
    ///
    /// What the kernel says to `bind`, or a loop that is gone.
    pub fn bind(&mut self, serial: Serial, port: u16) -> io::Result<UdpSocket> {
        self.control.bind(serial, port)
    }

    /// True where it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        self.control.is_gone()
            || match &mut self.place {
                Place::Thread(thread) => thread.as_ref().is_none_or(JoinHandle::is_finished),
                Place::Process(child) => !matches!(child.try_wait(), Ok(None)),
            }
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        match &self.place {
            Place::Thread(_) => std::process::id(),
            Place::Process(child) => child.id(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match self {
            Place::Thread(thread) => drop(thread.take().map(JoinHandle::join)),
            Place::Process(child) => end(child),
        }
    }
}

/// The Python program on the port.
pub struct Python(Child);

impl Python {
    /// Starts it; `None` where there is no Python.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(address: SocketAddr) -> anyhow::Result<Option<Python>> {
        let mut python = Command::new("python3");
        python.args(["-I", "-c", BESIDE, &address.to_string()]);
        python.stdin(Stdio::null()).stdout(Stdio::null());
        match end_with_parent(python.stderr(Stdio::null())).spawn() {
            Ok(child) => Ok(Some(Python(child))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot start python3"),
        }
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        self.0.id()
    }

    /// True where it has ended by itself.
    pub fn is_over(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}
