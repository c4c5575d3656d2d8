//! Where texts come from: files, or what came with the program.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::super::memory;
use super::content::Content;
use crate::sys::poll;

/// Octets of one text: places in it have 32 bits.
const MAX_TEXT: u64 = u32::MAX as u64;
/// Octets of a pipe that are taken at once.
const CHUNK: u64 = 1 << 20;
const TOO_LONG: &str = "it has 4 GiB or more; split it and use $INCLUDE";

/// How long nobody need have opened a named pipe for writing.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where texts come from.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    /// The file system: regular files.
    Disk,
    /// The file system, where a person named the first text: it may be a pipe or a
    /// terminal, which is read once, to its end.
    Named,
    /// Texts that came with the program: (path, content).
    Embedded(&'static [(&'static str, &'static str)]),
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode: another file of the same name has others.
    file: (u64, u64),
    octets: u64,
    /// Seconds and nanoseconds of the last change of content, and of the inode.
    times: [(i64, i64); 2],
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            file: (metadata.dev(), metadata.ino()),
            octets: metadata.len(),
            times: [
                (metadata.mtime(), metadata.mtime_nsec()),
                (metadata.ctime(), metadata.ctime_nsec()),
            ],
        }
    }

    /// How long ago the file was changed in any way, by the kernel's clock. The
    /// clock may have been set back since; then it is not long ago.
    pub fn age(&self) -> Duration {
        let [_, (seconds, nanoseconds)] = self.times;
        let changed = Duration::new(
            seconds.max(0) as u64,
            nanoseconds.clamp(0, 999_999_999) as u32,
        );
        SystemTime::now()
            .duration_since(UNIX_EPOCH + changed)
            .unwrap_or_default()
    }

    /// The stamp of the file that the path leads to now; `None` where there is
    /// none.
    pub fn at(path: &Path) -> Option<Stamp> {
        std::fs::metadata(path)
            .ok()
            .map(|metadata| Stamp::of(&metadata))
    }
}

/// A text, and the state of its file before it was read.
pub(super) struct Taken {
    pub content: Content,
    /// `None` for a text that cannot change, or cannot be read again.
    pub stamp: Option<Stamp>,
}

impl Library {
    /// Takes the text that a zone begins with. Files of more than `few` octets are not
    /// read yet.
    pub(super) fn take_first(self, path: &Path, few: usize) -> Result<Taken, String> {
        match self {
            Library::Named if is_stream(path) => read_stream(path),
            _ => self.take(path, few),
        }
    }

    /// Takes a text.
    pub(super) fn take(self, path: &Path, few: usize) -> Result<Taken, String> {
        match self {
            Library::Disk | Library::Named => take_file(path, few),
            Library::Embedded(texts) => {
                let found = texts.iter().find(|(name, _)| Path::new(name) == path);
                let (_, text) = found.ok_or("no such text in the program")?;
                Ok(Taken {
                    content: Content::held(text.as_bytes().to_vec()),
                    stamp: None,
                })
            }
        }
    }

    /// A form of the path by which a file is known again.
    pub(super) fn identity(self, path: &Path) -> PathBuf {
        match self {
            Library::Disk | Library::Named => path.canonicalize().unwrap_or_else(|_| path.into()),
            Library::Embedded(_) => path.into(),
        }
    }
}

/// A pipe or a terminal. Of other devices there is no end.
fn is_stream(path: &Path) -> bool {
    let Ok(kind) = std::fs::metadata(path).map(|metadata| metadata.file_type()) else {
        return false;
    };
    let is_terminal = || File::open(path).is_ok_and(|file| file.is_terminal());
    kind.is_fifo() || kind.is_char_device() && is_terminal()
}

/// Reads a pipe or a terminal to its end. A pipe of the shell has a writer, or has
/// had one; one with a name may have none yet.
fn read_stream(path: &Path) -> Result<Taken, String> {
    let failed = |error: std::io::Error| error.to_string();
    // Opening a named pipe would otherwise wait for a writer, for ever.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(poll::NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    // What the shell joins programs by has no name, and whoever writes is there.
    let is_pipe = file.metadata().map_err(failed)?.file_type().is_fifo();
    let is_named_pipe = is_pipe && path.canonicalize().is_ok();
    let mut limit = is_named_pipe.then_some(PATIENCE);
    let mut octets = Vec::new();
    loop {
        if !poll::readable(file.as_fd(), limit).map_err(failed)? {
            return Err(format!(
                "nobody has written to this pipe for {} s",
                PATIENCE.as_secs()
            ));
        }
        limit = None;
        match (&file).take(CHUNK).read_to_end(&mut octets) {
            Ok(length) if (length as u64) < CHUNK => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(error.to_string());
            }
            _ if octets.len() as u64 > MAX_TEXT => return Err(TOO_LONG.into()),
            _ => {}
        }
    }
    Ok(Taken {
        content: Content::held(octets),
        stamp: None,
    })
}

/// The octets of a file that was taken and not held; none where it is another now.
pub(super) fn read_again(path: &Path, stamp: Stamp) -> Option<Vec<u8>> {
    let taken = take_file(path, usize::MAX).ok()?;
    taken
        .content
        .into_held()
        .filter(|_| taken.stamp == Some(stamp))
}

/// Takes a file. Devices have no end and pipes may have no writer, so that
/// whoever waits for these waits for ever; they are not even opened.
fn take_file(path: &Path, few: usize) -> Result<Taken, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if metadata.is_dir() {
        return Err("it is a folder".into());
    }
    if !metadata.is_file() {
        return Err("it is no regular file; copy what it gives into one".into());
    }
    if metadata.len() > MAX_TEXT {
        return Err(TOO_LONG.into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let stamp = Some(Stamp::of(&metadata));
    let length = metadata.len() as usize;
    if length > few && metadata.len() <= MAX_TEXT {
        let content = Content::of(file, length);
        return Ok(Taken { content, stamp });
    }
    let mut octets = Vec::new();
    memory::reserve(&mut octets, length);
    // It may have grown by now.
    let read = file.take(MAX_TEXT + 1).read_to_end(&mut octets);
    read.map_err(|error| error.to_string())?;
    if octets.len() as u64 > MAX_TEXT {
        return Err(TOO_LONG.into());
    }
    let content = Content::held(octets);
    Ok(Taken { content, stamp })
}
