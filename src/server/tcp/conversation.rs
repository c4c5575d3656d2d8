//! A client and its connection taking turns on one thread, for tests that care where
//! what is sent is cut.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;

use super::connection::{Connection, Ends, Next, OUTPUT_LIMIT, PREFIX, READ_CHUNK, READS, Scratch};
use crate::answer::MAX_MESSAGE;
use crate::server::answerer::Answerer;
use crate::server::counters::Counters;
use crate::server::snapshot::{self, Snapshot};

/// The longest message with what says how long it is.
const MESSAGE: usize = PREFIX + MAX_MESSAGE;

/// What answers the client.
pub struct Conversation {
    answerer: Answerer,
    scratch: Scratch,
    ends: Ends,
}

impl Conversation {
    /// One that is answered from this snapshot, between these ends.
    pub fn new(snapshot: Snapshot, ends: Ends) -> Conversation {
        let (events, _) = crossbeam_channel::bounded(0);
        let view = snapshot::fixed(snapshot);
        Conversation {
            answerer: Answerer::new(view, Arc::<Counters>::default(), (0, None), events),
            scratch: Scratch::new(),
            ends,
        }
    }

    /// Sends the parts, each before a turn of the connection, and then the end;
    /// returns all that comes back. Who is not `eager` reads nothing until all is
    /// sent.
    ///
    /// # Errors
    ///
    /// What breaks the connection.
    pub fn hold(&mut self, parts: &[&[u8]], eager: bool) -> io::Result<Vec<u8>> {
        let (mut client, server) = UnixStream::pair()?;
        client.set_nonblocking(true)?;
        server.set_nonblocking(true)?;
        let stream = TcpStream::from_std(OwnedFd::from(server).into());
        let (ends, now) = (self.ends, Instant::now());
        let mut connection = Connection::new(stream, ends, ends.peer.ip(), 0, now);
        let mut replies = Vec::new();
        for part in parts {
            let mut rest = *part;
            while !rest.is_empty() {
                match client.write(rest) {
                    Ok(length) => rest = &rest[length..],
                    // Neither end gets on while nobody reads.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        take(&mut client, &mut replies)?;
                    }
                    Err(error) => return Err(error),
                }
                self.turn(&mut connection)?;
            }
            if eager {
                take(&mut client, &mut replies)?;
            }
        }
        client.shutdown(Shutdown::Write)?;
        while !matches!(self.turn(&mut connection)?, Next::Close) {
            take(&mut client, &mut replies)?;
        }
        drop(connection);
        take(&mut client, &mut replies)?;
        Ok(replies)
    }

    fn turn(&mut self, connection: &mut Connection) -> io::Result<Next> {
        connection.note_all();
        let turn = connection.turn(&mut self.answerer, &mut self.scratch)?;
        assert!(connection.input.len() < MESSAGE + READS * READ_CHUNK);
        assert!(connection.output.len() < OUTPUT_LIMIT + MESSAGE);
        Ok(turn.next)
    }
}

/// Reads what has come.
fn take(client: &mut UnixStream, replies: &mut Vec<u8>) -> io::Result<()> {
    match client.read_to_end(replies) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}
