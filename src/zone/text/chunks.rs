//! A large text read in chunks, on as many threads as there are CPUs. A chunk
//! is read before it is known what stands in those before it, on the guess
//! that it is *independent*: records without faults, which need no more than the
//! origin and the `$TTL` that hold now. Where it is not, it is read again in
//! its turn, in the way of small texts. So whatever leans on the order of lines
//! (directives, faults, parentheses that stay open) is met in one place.

use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::Range;
use std::thread;

use crossbeam_channel::{Sender, bounded, unbounded};

use super::super::records::Record;
use super::scanner::Scanner;
use super::{Library, Reader, Scope, is_directive};
use crate::wire::{Name, RrType};

/// Octets of a chunk, about. What is made of one stays in the cache of its CPU
/// until it is joined to the rest.
pub const CHUNK: usize = 64 << 10;

/// Chunks of each thread that are read ahead: one that it reads, one that it
/// reads next, and two that wait to be joined. Where a directive changes what
/// holds, they were read in vain.
const AHEAD: usize = 4;

/// What a chunk is read on.
#[derive(Clone, Copy)]
struct Guess {
    library: Library,
    text: u16,
    origin: Option<Name>,
    default_ttl: Option<u32>,
}

impl Guess {
    /// True where it came out right. The case of names counts: RDATA keep it.
    fn holds(&self, now: &Guess) -> bool {
        let origin = |guess: &Guess| guess.origin.map(|name| name.as_wire().to_vec());
        self.default_ttl == now.default_ttl && origin(self) == origin(now)
    }
}

/// A chunk for whichever thread is free.
struct Job {
    chunk: Range<usize>,
    guess: Guess,
    reply: Sender<Option<Reader>>,
}

/// Reads all of a text.
pub(super) fn read(reader: &mut Reader, scope: &mut Scope, text: &[u8]) {
    let mut scanner = Scanner::of_file(text);
    let mut chunks = chunks(text, reader.chunk);
    // The first mostly has the directives that hold for all.
    if let Some(first) = chunks.next() {
        reader.in_order(scope, &mut scanner, first.end);
    }
    let mut chunks = chunks.peekable();
    if chunks.peek().is_none() {
        return;
    }
    let most = text.len().div_ceil(reader.chunk);
    let threads = thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(most);
    thread::scope(|running| {
        let (jobs, taken) = unbounded::<Job>();
        for _ in 0..threads {
            let taken = taken.clone();
            let read = move || {
                for Job {
                    chunk,
                    guess,
                    reply,
                } in taken
                {
                    // Nobody listens any more where reading broke off.
                    let _ = reply.send(read_alone(text, chunk, guess));
                }
            };
            // Where there is no thread to be had, all is read in order.
            if thread::Builder::new().spawn_scoped(running, read).is_err() {
                break;
            }
        }
        drop(taken);
        let mut ahead = VecDeque::new();
        loop {
            while ahead.len() < threads * AHEAD
                && let Some(chunk) = chunks.next()
            {
                let (reply, read) = bounded(1);
                let guess = reader.guess(scope);
                ahead.push_back((chunk.clone(), guess, read));
                let _ = jobs.send(Job {
                    chunk,
                    guess,
                    reply,
                });
            }
            let Some((chunk, guess, read)) = ahead.pop_front() else {
                return;
            };
            match read.recv().ok().flatten() {
                Some(read) if guess.holds(&reader.guess(scope)) && scanner.at() == chunk.start => {
                    reader.join(scope, read);
                    scanner.skip_to(chunk.end);
                }
                _ => reader.in_order(scope, &mut scanner, chunk.end),
            }
        }
    });
}

/// The text in chunks that each begin with an owner in the first column, so
/// that none needs the owner before it.
fn chunks(text: &[u8], octets: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let chunk = start..next_owner(text, start + octets);
        start = chunk.end;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Where the first line behind `at` begins that may begin with an owner, or
/// the end of the text.
fn next_owner(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let found = rest.windows(2).position(begins_with_owner);
    found.map_or(text.len(), |newline| at + newline + 1)
}

/// How many lines may begin with an owner.
pub(super) fn owners(text: &[u8]) -> usize {
    1 + text
        .windows(2)
        .filter(|pair| begins_with_owner(pair))
        .count()
}

/// Whether the second of two octets may begin an owner. Every octet is asked,
/// so all comparisons are made at once, for many octets together.
#[inline]
fn begins_with_owner(pair: &[u8]) -> bool {
    let is = |octet: u8| pair[1] == octet;
    (pair[0] == b'\n') & !(is(b' ') | is(b'\t') | is(b'\r') | is(b'\n') | is(b';'))
}

/// Reads a chunk, or `None` where it is not independent. Parentheses that are open
/// at its end are a fault here, and a chunk that begins within some is not
/// taken, since reading in order is then elsewhere.
fn read_alone(text: &[u8], chunk: Range<usize>, guess: Guess) -> Option<Reader> {
    let mut reader = Reader::new(guess.library, chunk.len());
    reader.default_ttl = guess.default_ttl;
    reader.make_room(&text[chunk.clone()]);
    let mut scope = Scope {
        text: guess.text,
        path: Default::default(),
        origin: guess.origin,
        owner: None,
    };
    let mut scanner = Scanner::new(&text[..chunk.end]);
    scanner.skip_to(chunk.start);
    let mut tokens = Vec::new();
    while let Some(entry) = scanner.next(&mut tokens).ok()? {
        if is_directive(entry, &tokens) || scanner.lookalike().is_some() {
            return None;
        }
        reader.record(&mut scope, entry.blank, &tokens).ok()?;
    }
    // A SOA makes up a TTL, but only where none was written before.
    let is_soa = |record: &Record| record.rtype == RrType::SOA;
    let leans = reader.default_ttl.is_none() && reader.records.list.iter().any(is_soa);
    (!leans).then_some(reader)
}

impl Reader {
    fn guess(&self, scope: &Scope) -> Guess {
        Guess {
            library: self.library,
            text: scope.text,
            origin: scope.origin,
            default_ttl: self.default_ttl,
        }
    }

    /// Goes on behind an independent chunk.
    fn join(&mut self, scope: &mut Scope, chunk: Reader) {
        let records = &mut self.records;
        let owners = records.names.add_all(&chunk.records.names);
        let rdata = records.rdata.len();
        let joined = chunk.records.list.iter().map(|record| Record {
            owner: owners[record.owner.index()],
            at: rdata + record.at,
            ..*record
        });
        records.list.extend(joined);
        records.rdata.extend_from_slice(&chunk.records.rdata);
        if let Some(last) = chunk.records.list.last() {
            scope.owner = Some(owners[last.owner.index()]);
        }
        self.last_ttl = chunk.last_ttl.or(self.last_ttl);
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::fs;

    use proptest::prelude::*;

    use super::super::fault;
    use super::*;

    /// All that was read from the file `zone` in the folder, as text.
    fn read_by(octets: usize, folder: &std::path::Path) -> String {
        let path = folder.join("zone");
        let mut reader = Reader::new(Library::Disk, octets);
        let origin = "example.".parse().unwrap();
        let taken = Library::Disk.read(&path).unwrap();
        reader.text(&path, taken, Some(origin), None);
        let Reader { records, texts, .. } = reader;
        let mut all = format!("{:?} {:?}\n", records.likely_apex, records.unread);
        for record in &records.list {
            let line = super::super::line(&records, record);
            writeln!(all, "{:?} {:?}: {line}", record.owner, record.from).unwrap();
        }
        for id in records.names.ids() {
            writeln!(all, "{}", records.names.name(id)).unwrap();
        }
        for fault in fault::show(records.faults, &texts) {
            writeln!(all, "{fault}").unwrap();
        }
        all
    }

    fn line() -> impl Strategy<Value = &'static str> {
        prop_oneof![
            4 => prop::sample::select(vec![
                "a A 192.0.2.1",
                "B IN A 192.0.2.1",
                "c 5 A 192.0.2.2",
                "d.c 6 MX 1 a",
                "\\101 A 192.0.2.3",
                "\"q\" TXT \"( ; )\" x",
                " A 192.0.2.3",
                "\t7 TXT x",
            ]),
            1 => prop::sample::select(vec![
                "",
                " \t",
                "; ( \" $TTL",
                "$TTL 60",
                "$TTL x",
                "$ORIGIN Other.",
                "$ORIGIN sub",
                "$INCLUDE part",
                "$INCLUDE part\n()\n;\n()\n A 192.0.2.9",
                "$INCLUDE part in.example.",
                "$INCLUDE zone",
                "$GENERATE 1-3 g$ A 10.0.0.$",
                "j TXT a\u{a0}b",
                "k TXT a\rl A 192.0.2.1",
                "; \rl A 192.0.2.1",
                "@ SOA ns h 1 2 3 4 5",
                "@ SOA ns h ( 1 2\n3 4 ; )\n 5 )",
                "e TXT (",
                "e TXT ( x ; )",
                "f A 192.0.2.4 )",
                "()",
                ") A (",
                "\tTXT \"x",
                "g FOO",
                ".. A 192.0.2.5",
                "h A",
                "i TXT x\\",
            ]),
        ]
    }

    proptest! {
        #[test]
        fn chunks_of_any_size_come_to_the_same(
            lines in prop::collection::vec((line(), "\r?\n"), 0..40),
            mark in any::<bool>(),
            ended in any::<bool>(),
            octets in 1..200usize,
        ) {
            let mut text = String::from(if mark { "\u{feff}" } else { "" });
            text.extend(lines.iter().flat_map(|(line, end)| [*line, end]));
            if !ended {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("zone"), &text).unwrap();
            fs::write(folder.path().join("part"), "k A 192.0.2.6\n TXT x\nl 8 A 192.0.2.7\n$TTL 9\nm A 192.0.2.8").unwrap();
            let whole = read_by(u32::MAX as usize, folder.path());
            prop_assert_eq!(read_by(octets, folder.path()), whole, "{}", text);
        }
    }

    #[test]
    fn what_leans_on_lines_before_is_not_independent() {
        let is_independent = |text: &str, default_ttl| {
            let guess = Guess {
                library: Library::Disk,
                text: 0,
                origin: Some("example.".parse().unwrap()),
                default_ttl,
            };
            read_alone(text.as_bytes(), 0..text.len(), guess).is_some()
        };
        for (text, without_ttl, with_ttl) in [
            (
                "a A 192.0.2.1\n A 192.0.2.2 ; (\r\n\nb TXT (x\ny)",
                false,
                true,
            ),
            ("a 5 A 192.0.2.1\n A 192.0.2.2", true, true),
            ("a SOA ns h 1 2 3 4 5\na 5 A 192.0.2.1", false, true),
            ("a 5 A 192.0.2.1\n$TTL 5\n", false, false),
            (" 5 A 192.0.2.1\n", false, false),
            ("a 5 A 192.0.2\n", false, false),
            ("a 5 TXT (\n", false, false),
        ] {
            assert_eq!(is_independent(text, None), without_ttl, "{text}");
            assert_eq!(is_independent(text, Some(60)), with_ttl, "{text}");
        }
    }

    #[test]
    fn chunks_begin_with_owners() {
        let text = b"a\n b\n\n;\nc\nd\n";
        let found: Vec<_> = chunks(text, 1).collect();
        assert_eq!(found, [0..8, 8..10, 10..12]);
        assert_eq!(chunks(text, 100).count(), 1);
        assert_eq!(chunks(b"", 1).count(), 0);
    }
}
