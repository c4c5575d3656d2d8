//! Lines of JSON over TCP, none longer than is said, and none waited for longer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How long the other end may take to take a line in.
const WRITING: Duration = Duration::from_secs(5);
/// Octets that are read at a time.
const CHUNK: usize = 4096;

/// A connection.
pub(super) struct Lines {
    stream: TcpStream,
    limit: usize,
    /// Read, and no line yet.
    read: Vec<u8>,
}

impl Lines {
    /// Lines of up to `limit` octets.
    pub(super) fn new(stream: TcpStream, limit: usize) -> io::Result<Lines> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITING))?;
        Ok(Lines {
            stream,
            limit,
            read: Vec::new(),
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes a line.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.write_all(&line)
    }

    /// Reads a line, which may take so long altogether; `None` at the end.
    pub(super) fn receive<T: DeserializeOwned>(
        &mut self,
        patience: Duration,
    ) -> io::Result<Option<T>> {
        let (end, mut seen) = (Instant::now() + patience, 0);
        loop {
            if let Some(length) = self.read[seen..].iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.read.drain(..=seen + length).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            seen = self.read.len();
            if seen >= self.limit {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "too long a line",
                ));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; CHUNK];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(length) => self.read.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn pair(limit: usize) -> (Lines, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (
            Lines::new(listener.accept().unwrap().0, limit).unwrap(),
            other,
        )
    }

    #[test]
    fn lines_come_one_by_one_and_then_the_end() {
        let (mut lines, mut other) = pair(100);
        let soon = Duration::from_secs(10);
        other.write_all(b"1\n22\n").unwrap();
        assert_eq!(lines.receive::<u8>(soon).unwrap(), Some(1));
        assert_eq!(lines.receive::<u8>(soon).unwrap(), Some(22));
        other.write_all(b"no number\n").unwrap();
        assert!(lines.receive::<u8>(soon).is_err());
        drop(other);
        assert_eq!(lines.receive::<u8>(soon).unwrap(), None);
    }

    #[test]
    fn no_line_is_waited_for_or_kept_for_ever() {
        let (mut lines, mut other) = pair(10);
        other.write_all(b"123").unwrap();
        let outcome = lines.receive::<u64>(Duration::from_millis(1));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
        other.write_all(b"45678901").unwrap();
        let outcome = lines.receive::<u64>(Duration::from_secs(10));
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
