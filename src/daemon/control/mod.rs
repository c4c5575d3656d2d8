//! The control socket: a UNIX stream socket of mode 0600, on which whoever asks
//! writes one line of JSON and reads one. A takeover says more, and hands over
//! descriptors between two lines (`daemon/takeover.rs`).

mod client;
mod listener;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::queries::LiveQuery;
use super::reload::Said;
use super::status::Status;
use super::takeover::Offer;
use crate::answer::Secrets;
use crate::server::counters::Totals;
use crate::server::inherited::Taken;
use crate::server::queues::InterfaceTotals;
use crate::sys::poll;

pub use client::{ClientError, ask, connect, watch};
pub use listener::{Control, OpenError, serve};

/// Octets of a line from a client.
const MAX_REQUEST: u64 = 1 << 16;
/// Octets of a reply: the status of some 100,000 zones.
const MAX_REPLY: u64 = 1 << 26;
/// How long the other end may take to write or to read a line.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "command")]
pub enum Command {
    /// The state of the server.
    Status,
    /// To look at all zones again, or at one.
    Reload {
        /// Its name.
        #[serde(default)]
        zone: Option<String>,
    },
    /// To answer what is queued, and end.
    Stop,
    /// All sockets.
    Takeover,
    /// To see queries as they come, until the client goes.
    Queries {
        /// One of how many.
        every: u32,
    },
    /// Takeover: what was offered is wanted.
    Go,
    /// Takeover: the secrets of DNS cookies are wanted, too.
    CookieSecrets,
    /// Takeover: all is there to read interfaces past the sockets that the server
    /// reads, but for their queues.
    LeaveQueues,
    /// Takeover: so much has been taken, and is being answered.
    Ready {
        /// How much.
        taken: Taken,
        /// By this process.
        process: u32,
    },
}

/// What the server replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The state of the server.
    Status(Box<Status>),
    /// What came of looking at the zones again.
    Reloaded(Said),
    /// A query, of those that were asked for.
    Query(Box<LiveQuery>),
    /// The server is about to end.
    Stopping,
    /// Takeover: what there is to be had.
    Offer(Offer),
    /// Takeover: the secrets of DNS cookies.
    CookieSecrets(Secrets),
    /// Takeover: nothing is read past the sockets any more.
    QueuesLeft,
    /// Takeover: the server that had the sockets reads them no more; what has been
    /// counted until then.
    LetGo(Counted),
    /// Takeover: its last connection has ended; what was counted since.
    Finished(Counted),
    /// Takeover: it took too long, and the server that has the sockets goes on.
    Withdrawn,
    /// It was not to be, for this reason.
    Error(String),
}

/// What was counted, as it travels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// By worker.
    pub workers: Vec<Totals>,
    /// By the thread that serves TCP.
    pub tcp: Box<Totals>,
    /// Of interfaces that were read past the sockets.
    #[serde(default)]
    pub interfaces: Vec<InterfaceTotals>,
}

/// A connection on which lines go to and fro.
pub struct Lines {
    reader: BufReader<UnixStream>,
    limit: u64,
}

impl Lines {
    fn new(stream: UnixStream, limit: u64) -> io::Result<Lines> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Lines {
            reader: BufReader::new(stream),
            limit,
        })
    }

    /// The connection, for what is no line. All that was read has been returned,
    /// where the other end waits for a line before it sends anything else.
    pub fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Whether the other end says or ends something within this time.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn has_more(&self, limit: Duration) -> io::Result<bool> {
        let is_here = !self.reader.buffer().is_empty();
        Ok(is_here || poll::readable(self.stream().as_fd(), Some(limit))?)
    }

    /// True where the other end has gone, and had nothing more to say.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        Ok(self.has_more(Duration::ZERO)? && self.reader.fill_buf()?.is_empty())
    }

    /// How long a line may take to come; for ever where it is not said.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream().set_read_timeout(patience)
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream().write_all(&line)
    }

    /// Reads a line; `None` at the end.
    ///
    /// # Errors
    ///
    /// What the kernel says, or a line that is none of ours.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        let length = (&mut self.reader)
            .take(self.limit)
            .read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}
