//! One connection: octets in, requests answered in their order, replies out, a
//! bounded turn at a time.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;

use super::super::answerer::Answerer;
use super::roster::RosterEntry;
use crate::answer::MAX_MESSAGE;
use crate::wire::Cursor;

/// Octets that say how long the message behind them is (RFC 1035 §4.2.2).
pub(super) const PREFIX: usize = 2;
/// Octets that one read takes: some 400 pipelined queries.
pub(super) const READ_CHUNK: usize = 16 << 10;
/// Reads in a turn. The second one mostly finds that there is no more, which
/// edge-triggered readiness needs to be told.
pub(super) const READS: usize = 2;
/// Unsent octets from which on nothing more is answered, and so nothing more
/// is read. With the reply that passes it a connection holds twice this.
pub(super) const OUTPUT_LIMIT: usize = 64 << 10;

/// Room that all connections use in turn.
pub struct Scratch {
    /// For what is read.
    chunk: Box<[u8]>,
    /// For a reply.
    pub(super) reply: Box<[u8]>,
}

impl Scratch {
    /// Room for the longest reply.
    pub fn new() -> Scratch {
        Scratch {
            chunk: vec![0; READ_CHUNK].into(),
            reply: vec![0; MAX_MESSAGE].into(),
        }
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy)]
pub struct Ends {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// Our address and port.
    pub local: SocketAddr,
}

/// A connection with its buffers.
pub struct Connection {
    stream: TcpStream,
    ends: Ends,
    /// Read and not answered: less than a message and what a turn reads.
    pub(super) input: Vec<u8>,
    /// Answered and not sent: less than `OUTPUT_LIMIT` and a reply.
    pub(super) output: Vec<u8>,
    intake: Intake,
    /// What the last event or call said of the socket. An edge-triggered event
    /// does not come again, so these hold until a call would block.
    readable: bool,
    writable: bool,
    /// It is in the queue for a turn.
    pub queued: bool,
    /// Where it stands in the roster.
    pub entry: RosterEntry,
}

/// What becomes of what the client sends.
#[derive(Clone, Copy, PartialEq)]
enum Intake {
    /// Requests are answered.
    Open,
    /// It is thrown away until the client ends its side. Closing with octets
    /// unread would reset the connection, and replies on their way be lost.
    Discarded {
        /// All is sent, and our side is ended.
        told: bool,
    },
    /// There is no more: the client has ended its side.
    Ended,
}

/// What a turn has led to.
pub struct Turn {
    /// The client has sent a whole request, or has taken some of the replies.
    pub progress: bool,
    /// What is to come.
    pub next: Next,
}

/// What a connection needs after a turn.
pub enum Next {
    /// There is nothing to do before the next event.
    Wait,
    /// There is more to do.
    Again,
    /// It is done with.
    Close,
}

impl Connection {
    /// A connection that has just been accepted.
    pub fn new(
        stream: TcpStream,
        ends: Ends,
        client: IpAddr,
        number: usize,
        now: Instant,
    ) -> Connection {
        Connection {
            stream,
            ends,
            input: Vec::new(),
            output: Vec::new(),
            intake: Intake::Open,
            readable: true,
            writable: true,
            queued: false,
            entry: RosterEntry {
                number,
                client,
                since: now,
                idle: false,
            },
        }
    }

    /// Notes what the kernel says of the socket.
    pub fn note(&mut self, event: &Event) {
        // Closed or broken shows as what reading or writing returns.
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Has it find out by itself what the kernel would say.
    pub(super) fn note_all(&mut self) {
        (self.readable, self.writable) = (true, true);
    }

    /// Puts it into the queue for a turn, unless it is there.
    pub fn queue(&mut self, turns: &mut VecDeque<usize>) {
        if !self.queued {
            self.queued = true;
            turns.push_back(self.entry.number);
        }
    }

    /// Reads and answers some, then sends it: one write for all the requests
    /// that came together (RFC 7766 §6.2.1.1).
    pub fn turn(
        &mut self,
        answerer: &mut Answerer,
        Scratch { chunk, reply }: &mut Scratch,
    ) -> io::Result<Turn> {
        if self.wants_input() {
            self.read(chunk)?;
        }
        let answered = self.answer(answerer, reply);
        let sent = self.send()?;
        // Once only: every call raises another event.
        if self.intake == (Intake::Discarded { told: false })
            && self.output.is_empty()
            && !self.has_request()
        {
            self.stream.shutdown(Shutdown::Write)?;
            self.intake = Intake::Discarded { told: true };
        }
        for buffer in [&mut self.input, &mut self.output] {
            if buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
        Ok(Turn {
            progress: answered || sent,
            next: self.next(),
        })
    }

    /// True where octets can be read, will be of use, and there is room for
    /// the replies to them.
    fn wants_input(&self) -> bool {
        self.readable && self.intake != Intake::Ended && self.has_room() && !self.has_request()
    }

    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_LIMIT
    }

    fn has_request(&self) -> bool {
        first_message(&self.input).is_some()
    }

    /// True where nothing of it is under way.
    pub fn is_idle(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && !self.queued
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<()> {
        for _ in 0..READS {
            match self.stream.read(chunk) {
                Ok(0) => {
                    self.intake = Intake::Ended;
                    return Ok(());
                }
                Ok(length) if self.intake == Intake::Open => {
                    self.input.extend_from_slice(&chunk[..length])
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Answers requests in their order while there is room for the replies.
    /// True where there was one.
    fn answer(&mut self, answerer: &mut Answerer, reply: &mut [u8]) -> bool {
        let mut taken = 0;
        while self.has_room()
            && let Some(request) = first_message(&self.input[taken..])
        {
            taken += PREFIX + request.len();
            let Ends { peer, local } = self.ends;
            let Some(length) = answerer.answer_message(request, peer, local, reply) else {
                taken = self.input.len();
                self.discard();
                break;
            };
            self.output.extend((length as u16).to_be_bytes());
            self.output.extend_from_slice(&reply[..length]);
        }
        self.input.drain(..taken);
        taken > 0
    }

    /// Takes no more requests, and lets the connection end.
    pub fn discard(&mut self) {
        if self.intake == Intake::Open {
            self.intake = Intake::Discarded { told: false };
        }
    }

    /// Writes until all is sent or the kernel takes no more. True where it
    /// took something.
    fn send(&mut self) -> io::Result<bool> {
        let mut sent = false;
        while self.writable && !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.output.drain(..length);
                    sent = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn next(&self) -> Next {
        let readable = self.readable && self.intake != Intake::Ended;
        if self.has_room() && (readable || self.has_request()) {
            Next::Again
        } else if self.intake == Intake::Ended && self.output.is_empty() {
            Next::Close
        } else {
            Next::Wait
        }
    }
}

/// The first message of `input`, without its prefix, where all of it is there.
pub(super) fn first_message(input: &[u8]) -> Option<&[u8]> {
    let mut rest = Cursor::new(input);
    let length = rest.u16()?;
    rest.take(length.into())
}
