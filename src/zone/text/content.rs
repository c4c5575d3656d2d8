//! The octets of a text. Few are held in memory; those of a large file are read where
//! they lie, part by part, since they would take more memory than all that is made of
//! them. Whatever needs them all at once, as a parenthesis that stays open, has them
//! read and held after all.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use super::super::memory;

/// Octets that are asked of the kernel at once.
const STEP: usize = 1 << 20;

/// A text, which is read but not changed while this is.
pub(super) struct Content {
    held: OnceLock<Vec<u8>>,
    /// Where those are that are not held.
    file: Option<File>,
    octets: usize,
}

impl Content {
    /// A text in memory.
    pub fn held(octets: Vec<u8>) -> Content {
        Content {
            octets: octets.len(),
            held: octets.into(),
            file: None,
        }
    }

    /// The first so many octets of a file.
    pub fn of(file: File, octets: usize) -> Content {
        Content {
            held: OnceLock::new(),
            file: Some(file),
            octets,
        }
    }

    /// How many octets there are.
    pub fn len(&self) -> usize {
        self.octets
    }

    /// True where all of them are in memory.
    pub fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// All of them, in memory from then on.
    pub fn all(&self) -> io::Result<&[u8]> {
        if let Some(octets) = self.held.get() {
            return Ok(octets);
        }
        let mut octets = Vec::new();
        memory::reserve(&mut octets, self.octets);
        self.read(0..self.octets, &mut octets)?;
        Ok(self.held.get_or_init(|| octets))
    }

    /// Some of them, read into `room` unless they are held. There are fewer where the
    /// file has become shorter since.
    pub fn part<'r>(&'r self, range: Range<usize>, room: &'r mut Vec<u8>) -> io::Result<&'r [u8]> {
        if let Some(octets) = self.held.get() {
            let end = range.end.min(octets.len());
            return Ok(&octets[range.start.min(end)..end]);
        }
        room.clear();
        self.read(range, room)?;
        Ok(room)
    }

    fn read(&self, range: Range<usize>, room: &mut Vec<u8>) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut at = range.start;
        while at < range.end {
            let before = room.len();
            room.resize(before + STEP.min(range.end - at), 0);
            let read = file.read_at(&mut room[before..], at as u64);
            let octets = match read {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Ok(0) => {
                    room.truncate(before);
                    return Ok(());
                }
                read => read?,
            };
            room.truncate(before + octets);
            at += octets;
        }
        Ok(())
    }

    /// The octets, where they are held.
    pub fn into_held(self) -> Option<Vec<u8>> {
        self.held.into_inner()
    }
}
