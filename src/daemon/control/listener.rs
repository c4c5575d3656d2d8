//! The server's end of the control socket: a thread that accepts, and one for each
//! connection, of which there are few. They ask the control thread and wait for it;
//! the workers know nothing of them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender};

use super::super::reload::What;
use super::super::takeover;
use super::super::{Ask, Asks};
use super::{Command, Lines, MAX_REQUEST, Reply};
use crate::sys::{limits, poll, unix, user};

/// Connections at a time; one more is closed at once.
const MAX_CONNECTIONS: usize = 16;
/// How often the thread looks whether it shall end.
const LOOK: Duration = Duration::from_millis(100);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A server has it.
    #[error(
        "a server has its control socket at {} already; `--takeover` takes its place, or choose \
            another path with --control",
        .0.display()
    )]
    Taken(PathBuf),
    /// Something that is no socket has the name.
    #[error("{} is there and is no socket; choose another path with --control", .0.display())]
    NoSocket(PathBuf),
    /// Something else.
    #[error("cannot make the control socket {}: {error}; its folder must be there and be writable", path.display())]
    Failed {
        /// The path.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The control socket, bound, with its threads once they are started.
pub struct Control {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the socket's name.
    file: Option<(u64, u64)>,
    users: [u32; 2],
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Binds the socket. A name that a server has left behind is taken.
    ///
    /// # Errors
    ///
    /// A name that is taken, or that cannot be had.
    pub fn open(path: &Path) -> Result<Control, OpenError> {
        let failed = |error| OpenError::Failed {
            path: path.into(),
            error,
        };
        match unix::listen(path) {
            Ok(listener) => return Ok(Control::on(path, listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(failed(error)),
        }
        match UnixStream::connect(path).map_err(|error| error.kind()) {
            Ok(_) => return Err(OpenError::Taken(path.into())),
            Err(io::ErrorKind::ConnectionRefused) if is_socket(path) => {}
            Err(io::ErrorKind::PermissionDenied) => {
                return Err(failed(io::ErrorKind::PermissionDenied.into()));
            }
            Err(_) => return Err(OpenError::NoSocket(path.into())),
        }
        fs::remove_file(path).map_err(failed)?;
        unix::listen(path)
            .map(|listener| Control::on(path, listener))
            .map_err(failed)
    }

    /// Takes a socket that is bound to a path.
    ///
    /// # Errors
    ///
    /// What the kernel says, as where it is none.
    pub fn adopt(path: &Path, descriptor: OwnedFd) -> io::Result<Control> {
        let listener = UnixListener::from(descriptor);
        listener.set_nonblocking(true)?;
        Ok(Control::on(path, listener))
    }

    fn on(path: &Path, listener: UnixListener) -> Control {
        Control {
            path: path.into(),
            listener,
            file: file(path),
            // Before any privilege is given up.
            users: [0, user::effective()],
            ended: Arc::default(),
            thread: None,
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One more descriptor of the socket, for another process.
    ///
    /// # Errors
    ///
    /// What the kernel says to `fcntl`.
    pub fn copy_descriptor(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Starts to answer; whoever answers gets what is asked by `asks`.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread.
    pub fn start(&mut self, asks: Sender<Ask>) -> io::Result<()> {
        self.ended = Arc::default();
        let (ended, users) = (self.ended.clone(), self.users);
        let listener = self.listener.try_clone()?;
        let busy = Arc::new(AtomicUsize::new(0));
        let accept = move || {
            // Relaxed: nothing is read on the strength of it.
            while !ended.load(Ordering::Relaxed) {
                let ready = poll::readable(listener.as_fd(), Some(LOOK));
                match ready.and_then(|_| listener.accept()) {
                    Ok((stream, _)) => admit(stream, users, &asks, &busy),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // As without descriptors.
                    Err(_) => thread::sleep(LOOK),
                }
            }
        };
        let work = move || {
            // So do the threads that it starts.
            let _ = limits::take_short_turns();
            accept();
        };
        let thread = thread::Builder::new().name("shardns-control".into());
        self.thread = Some(thread.spawn(work)?);
        Ok(())
    }

    /// Accepts nobody any more. Whoever is connected is served.
    pub fn end(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }

    /// Takes the name away, unless it is somebody else's by now.
    pub fn remove(&mut self) {
        self.end();
        if self.file.is_some() && file(&self.path) == self.file {
            // What is left behind is taken at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn file(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
}

/// Serves a connection on a thread of its own.
fn admit(stream: UnixStream, users: [u32; 2], asks: &Sender<Ask>, busy: &Arc<AtomicUsize>) {
    let is_allowed = unix::peer_user(&stream).is_ok_and(|user| users.contains(&user));
    // Relaxed: only this thread adds.
    if !is_allowed || busy.load(Ordering::Relaxed) >= MAX_CONNECTIONS {
        return;
    }
    busy.fetch_add(1, Ordering::Relaxed);
    let (asks, own_busy) = (asks.clone(), busy.clone());
    let serve = move || {
        // A client that goes away has nobody to be told.
        let _ = serve(stream, asks);
        own_busy.fetch_sub(1, Ordering::Relaxed);
    };
    let thread = thread::Builder::new().name("shardns-ctl".into());
    if thread.spawn(serve).is_err() {
        busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads a command, and replies to it.
///
/// # Errors
///
/// What breaks the connection.
#[doc(hidden)]
pub fn serve(stream: UnixStream, asks: Sender<Ask>) -> io::Result<()> {
    let asks = &Asks::new(asks);
    stream.set_nonblocking(false)?;
    let mut lines = Lines::new(stream, MAX_REQUEST)?;
    let command = match lines.receive() {
        Ok(Some(command)) => command,
        Ok(None) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return lines.send(&Reply::Error(format!("no such command: {error}")));
        }
        Err(error) => return Err(error),
    };
    let reply = match command {
        Command::Status => asks.status().map(|status| Reply::Status(Box::new(status))),
        Command::Reload { zone } => match zone.as_deref().map(str::parse).transpose() {
            Ok(None) => asks.reload(What::All).map(Reply::Reloaded),
            Ok(Some(name)) => asks.reload(What::Zone(Box::new(name))).map(Reply::Reloaded),
            Err(error) => Some(Reply::Error(format!(
                "`{}` is no zone name: {error}",
                zone.unwrap_or_default()
            ))),
        },
        Command::Stop => asks.stop().map(|()| Reply::Stopping),
        Command::Takeover => return takeover::give(&mut lines, asks),
        Command::Queries { every } => return show_queries(&mut lines, every, asks),
        Command::Go | Command::CookieSecrets | Command::LeaveQueues | Command::Ready { .. } => {
            Some(Reply::Error("there is no takeover under way".into()))
        }
    };
    let reply = reply.unwrap_or_else(|| Reply::Error("the server is about to end".into()));
    lines.send(&reply)
}

/// Sends queries as they come, until the client goes or does not keep up.
fn show_queries(lines: &mut Lines, every: u32, asks: &Asks) -> io::Result<()> {
    let subscription = match asks.watch(every.max(1)) {
        Some(Ok(subscription)) => subscription,
        Some(Err(error)) => return lines.send(&Reply::Error(error.to_string())),
        None => return lines.send(&Reply::Error("the server is about to end".into())),
    };
    loop {
        match subscription.receiver().recv_timeout(LOOK) {
            Ok(exchange) => lines.send(&Reply::Query(Box::new((&*exchange).into())))?,
            // A client that has gone can be read to its end.
            Err(RecvTimeoutError::Timeout) => {
                if poll::readable(lines.stream().as_fd(), Some(Duration::ZERO))? {
                    return Ok(());
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                let words = "too many queries for this client; ask for fewer with --sample";
                return lines.send(&Reply::Error(words.into()));
            }
        }
    }
}
