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

/// The shortest wait that the kernel knows of; 0 would be for ever.
const AT_ONCE: Duration = Duration::from_micros(1);

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
            if let Some(line) = self.line(&mut seen)? {
                return Ok(Some(line));
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.read_once(left) {
                Ok(0) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => drop(read?),
            }
        }
    }

    /// Reads once, where something is there to be read; `None` where there is no whole
    /// line yet.
    ///
    /// # Errors
    ///
    /// `UnexpectedEof` at the end.
    pub(super) fn receive_some<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        match self.read_once(AT_ONCE) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if is_passing(error.kind()) => {}
            read => drop(read?),
        }
        self.line(&mut 0)
    }

    /// A line that has been read, from its start on; up to `seen` there is no end.
    fn line<T: DeserializeOwned>(&mut self, seen: &mut usize) -> io::Result<Option<T>> {
        if let Some(length) = self.read[*seen..].iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.read.drain(..=*seen + length).collect();
            return Ok(Some(serde_json::from_slice(&line)?));
        }
        *seen = self.read.len();
        if *seen >= self.limit {
            let kind = io::ErrorKind::InvalidData;
            return Err(io::Error::new(kind, "too long a line"));
        }
        Ok(None)
    }

    /// The octets that came; 0 at the end.
    fn read_once(&mut self, patience: Duration) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(patience))?;
        let mut chunk = [0; CHUNK];
        match self.stream.read(&mut chunk) {
            Ok(length) => {
                self.read.extend_from_slice(&chunk[..length]);
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(error) => Err(error),
        }
    }
}

fn is_passing(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::Interrupted | io::ErrorKind::TimedOut)
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
    fn a_part_of_a_line_is_kept() {
        let (mut lines, mut other) = pair(10);
        assert_eq!(lines.receive_some::<u8>().unwrap(), None);
        other.write_all(b"1").unwrap();
        assert_eq!(lines.receive_some::<u8>().unwrap(), None);
        other.write_all(b"2\n").unwrap();
        assert_eq!(lines.receive_some::<u8>().unwrap(), Some(12));
        drop(other);
        let end = lines.receive_some::<u8>().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
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
