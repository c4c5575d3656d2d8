//! The other end of the control socket: a command goes out, a reply comes in.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::queries::LiveQuery;
use super::{Command, Lines, MAX_REPLY, Reply};
use crate::sys::{unix, user};

/// Reading a million names takes some seconds, and many zones more.
const RELOADING: Duration = Duration::from_secs(600);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no server has its control socket at {}; start one with `--control PATH`, or give the path of a running one",
        .0.display()
    )]
    Nobody(PathBuf),
    /// The path is another user's.
    #[error("{} belongs to another user; ask as that user or as root", .0.display())]
    NotAllowed(PathBuf),
    /// It says nothing.
    #[error("the server at {} does not answer; it may be busy, or be stopped", .0.display())]
    Silent(PathBuf),
    /// It has closed the connection.
    #[error(
        "the server at {} closed the connection: it is about to end, or too many are in use",
        .0.display()
    )]
    Closed(PathBuf),
    /// Something else.
    #[error("cannot speak to the server at {}: {error}", path.display())]
    Failed {
        /// The control socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The server says why.
    #[error("{0}")]
    Refused(String),
}

impl ClientError {
    pub(in crate::daemon) fn new(path: &Path, error: io::Error) -> ClientError {
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::Nobody(path.into())
            }
            io::ErrorKind::PermissionDenied => ClientError::NotAllowed(path.into()),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Silent(path.into()),
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::UnexpectedEof => ClientError::Closed(path.into()),
            _ => ClientError::Failed {
                path: path.into(),
                error,
            },
        }
    }
}

/// Connects to the server whose control socket this is, which must be root's or of
/// this process's user.
///
/// # Errors
///
/// Nobody there, or somebody else.
pub fn connect(path: &Path) -> Result<Lines, ClientError> {
    let failed = |error| ClientError::new(path, error);
    let stream = UnixStream::connect(path).map_err(failed)?;
    let (server, own) = (unix::peer_user(&stream).map_err(failed)?, user::effective());
    if server != 0 && server != own && own != 0 {
        return Err(ClientError::NotAllowed(path.into()));
    }
    Lines::new(stream, MAX_REPLY).map_err(failed)
}

/// Sends one command and waits for its reply.
///
/// # Errors
///
/// Nobody there, no reply, or one that says why not.
pub fn ask(path: &Path, command: &Command) -> Result<Reply, ClientError> {
    let failed = |error| ClientError::new(path, error);
    let mut lines = connect(path)?;
    if let Command::Reload { .. } = command {
        lines.set_patience(Some(RELOADING)).map_err(failed)?;
    }
    lines.send(command).map_err(failed)?;
    match lines.receive().map_err(failed)? {
        Some(Reply::Error(reason)) => Err(ClientError::Refused(reason)),
        Some(reply) => Ok(reply),
        None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// Has the server send one of `every` queries as they come, and hands each to
/// `line`, until the server ends or `line` fails.
///
/// # Errors
///
/// Nobody there, a server that refuses, or what `line` says.
pub fn watch<E: From<ClientError>>(
    path: &Path,
    every: u32,
    mut line: impl FnMut(&LiveQuery) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |error| ClientError::new(path, error);
    let mut lines = connect(path)?;
    lines.send(&Command::Queries { every }).map_err(failed)?;
    lines.set_patience(None).map_err(failed)?;
    loop {
        match lines.receive().map_err(failed)? {
            Some(Reply::Query(query)) => line(&query)?,
            Some(Reply::Error(reason)) => return Err(ClientError::Refused(reason).into()),
            _ => return Ok(()),
        }
    }
}
