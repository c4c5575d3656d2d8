//! Where texts come from: files, or what came with the program.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::memory;

/// Octets of one text: places in it have 32 bits.
const MAX_TEXT: u64 = u32::MAX as u64;
const TOO_LONG: &str = "it has 4 GiB or more; split it and use $INCLUDE";

/// Where texts come from.
#[derive(Clone, Copy, Debug)]
pub enum Library {
    /// The file system.
    Disk,
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
    pub octets: Vec<u8>,
    pub stamp: Option<Stamp>,
}

impl Library {
    /// Reads a text.
    pub(super) fn read(self, path: &Path) -> Result<Taken, String> {
        match self {
            Library::Disk => read_file(path),
            Library::Embedded(texts) => {
                let found = texts.iter().find(|(name, _)| Path::new(name) == path);
                let (_, text) = found.ok_or("no such text in the program")?;
                Ok(Taken {
                    octets: text.as_bytes().to_vec(),
                    stamp: None,
                })
            }
        }
    }

    /// A form of the path by which a file is known again.
    pub(super) fn identity(self, path: &Path) -> PathBuf {
        match self {
            Library::Disk => path.canonicalize().unwrap_or_else(|_| path.into()),
            Library::Embedded(_) => path.into(),
        }
    }
}

/// Reads a file. Devices have no end and pipes may have no writer, so that
/// whoever waits for these waits for ever; they are not even opened.
fn read_file(path: &Path) -> Result<Taken, String> {
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
    let mut octets = Vec::new();
    memory::reserve(&mut octets, metadata.len() as usize);
    // It may have grown by now.
    let read = file.take(MAX_TEXT + 1).read_to_end(&mut octets);
    read.map_err(|error| error.to_string())?;
    if octets.len() as u64 > MAX_TEXT {
        return Err(TOO_LONG.into());
    }
    Ok(Taken {
        octets,
        stamp: Some(Stamp::of(&metadata)),
    })
}
