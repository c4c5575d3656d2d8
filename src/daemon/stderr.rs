//! The log's way out. Whoever reads stderr may stop doing so, as a pager or a
//! terminal that is held does; then a write waits for ever. Once `start` was called
//! a thread of its own writes, and what does not fit into its queue is lost: the
//! server never waits for its reader.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};

/// Pieces of text that may wait.
const WAITING: usize = 1024;
/// How long the end of the program waits for what is left to be written.
const PATIENCE: Duration = Duration::from_secs(1);

enum Piece {
    Text(Vec<u8>),
    /// Somebody waits until all before it is written.
    Flush(Sender<()>),
}

static QUEUE: OnceLock<Sender<Piece>> = OnceLock::new();

/// Has a thread write from now on.
///
/// # Errors
///
/// What the kernel says to one more thread.
pub fn start() -> io::Result<()> {
    let (queue, pieces) = bounded(WAITING);
    let write = move || {
        for piece in pieces {
            match piece {
                // Where it cannot be written, as on a full disk, it is lost.
                Piece::Text(text) => drop(io::stderr().write_all(&text)),
                Piece::Flush(done) => drop(done.send(())),
            }
        }
    };
    thread::Builder::new()
        .name("shardns-log".into())
        .spawn(write)?;
    // A second one would have nothing to do.
    let _ = QUEUE.set(queue);
    Ok(())
}

/// Writes text, or has it written.
pub fn print(text: &str) {
    let _ = Stderr.write_all(text.as_bytes());
}

/// Waits for a moment until all is written.
pub fn flush() {
    let (done, wait) = bounded(1);
    if let Some(queue) = QUEUE.get()
        && queue.send_timeout(Piece::Flush(done), PATIENCE).is_ok()
    {
        let _ = wait.recv_timeout(PATIENCE);
    }
}

/// What the log writes to.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match QUEUE.get() {
            Some(queue) => drop(queue.try_send(Piece::Text(text.to_vec()))),
            None => drop(io::stderr().write_all(text)),
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
