//! A connection: its request is read, the response to it written, and the rest
//! thrown away until the client closes it. No step waits for the client.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::{Request, Response};

/// Octets of a request, its line and header together.
pub const REQUEST: usize = 8 << 10;
/// Fields of a header.
pub const FIELDS: usize = 64;
/// How long a client may take, however much it does meanwhile.
#[derive(Clone, Copy)]
pub struct Times {
    /// To send its request.
    pub request: Duration,
    /// To take the response, of some megabytes perhaps.
    pub response: Duration,
    /// To close a connection that is done with.
    pub close: Duration,
}

/// A connection, and how far it is.
pub struct Connection {
    stream: TcpStream,
    stage: Stage,
    /// When the stage ends whatever has been done.
    deadline: Instant,
}

enum Stage {
    /// Its request is being read.
    Request(Vec<u8>),
    /// Its response is being written, of which so much has been.
    Response(Vec<u8>, usize),
    /// It has been told everything. Closed before it has been read to its end, it
    /// would be reset, and the client lose what it has not read yet.
    Closing,
}

/// What becomes of a connection.
pub enum Next {
    /// It goes on when there is something to read, or room to write.
    Wait,
    /// It is done with.
    Close,
}

impl Connection {
    /// A connection whose request is to be here by then.
    pub fn new(stream: TcpStream, deadline: Instant) -> Connection {
        Connection {
            stream,
            stage: Stage::Request(Vec::new()),
            deadline,
        }
    }

    /// When it is closed, whatever has been done until then.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True while its response is being written.
    pub fn is_being_answered(&self) -> bool {
        matches!(self.stage, Stage::Response(..))
    }

    /// Does what can be done without waiting.
    ///
    /// # Errors
    ///
    /// What breaks the connection.
    pub fn turn(
        &mut self,
        times: Times,
        answer: &impl Fn(&Request<'_>) -> Response,
    ) -> io::Result<Next> {
        if let Stage::Request(read) = &mut self.stage {
            let is_at_end = fill(&mut self.stream, read)?;
            match respond(read, answer) {
                Some(response) => {
                    self.stage = Stage::Response(response, 0);
                    self.deadline = Instant::now() + times.response;
                }
                None if is_at_end => return Ok(Next::Close),
                None => return Ok(Next::Wait),
            }
        }
        if let Stage::Response(response, written) = &mut self.stage {
            if !write(&mut self.stream, response, written)? {
                return Ok(Next::Wait);
            }
            self.stream.shutdown(Shutdown::Write)?;
            self.stage = Stage::Closing;
            self.deadline = Instant::now() + times.close;
        }
        drain(&mut self.stream)
    }
}

/// Reads what is there, up to a request's limit; true at the end of the stream.
fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<bool> {
    let mut chunk = [0; 1024];
    while read.len() <= REQUEST {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(true),
            Ok(length) => read.extend(&chunk[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Writes what the kernel takes; true where it has taken everything.
fn write(stream: &mut TcpStream, octets: &[u8], written: &mut usize) -> io::Result<bool> {
    while *written < octets.len() {
        match stream.write(&octets[*written..]) {
            Ok(length) => *written += length,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Throws away what else the client sends, a bounded part at a time.
fn drain(stream: &mut TcpStream) -> io::Result<Next> {
    let mut chunk = [0; 1024];
    for _ in 0..REQUEST / chunk.len() {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(Next::Close),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Next::Wait),
            Err(error) => return Err(error),
        }
    }
    Ok(Next::Close)
}

/// The response to a request; `None` where it is not complete.
fn respond(read: &[u8], answer: &impl Fn(&Request<'_>) -> Response) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let fault = |status| Some(Response::fault(status).octets(true));
    match request.parse(read) {
        Ok(httparse::Status::Complete(length)) if length <= REQUEST => {}
        Ok(httparse::Status::Partial) if read.len() <= REQUEST => return None,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return fault(431),
        Err(httparse::Error::Version) => return fault(505),
        Err(_) => return fault(400),
    }
    let with_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => return fault(405),
    };
    let path = request.path.unwrap_or_default();
    let accept = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("accept"));
    let asked = Request {
        path: path.split('?').next().unwrap_or_default(),
        accept: accept.map_or("", |field| str::from_utf8(field.value).unwrap_or_default()),
    };
    Some(answer(&asked).octets(with_body))
}
