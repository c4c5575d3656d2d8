//! A large text read in chunks, on as many threads as there are CPUs. A chunk
//! is read before it is known what stands in those before it, on the guess
//! that it is *independent*: records without faults, which need no more than the
//! origin and the `$TTL` that hold now. Where it is not, it is read again in
//! its turn, in the way of small texts. So whatever leans on the order of lines
//! (directives, faults, parentheses that stay open) is met in one place.

use std::io;
use std::ops::Range;

use super::super::ahead::{self, cpus};
use super::super::records::Record;
use super::content::Content;
use super::fault::TextPlace;
use super::scanner::Scanner;
use super::{Library, Reader, Scope, is_directive};
use crate::wire::{Name, RrType};

/// Octets of a chunk, about. What is made of one stays in the cache of its CPU
/// until it is joined to the rest.
pub const CHUNK: usize = 64 << 10;

/// Octets behind a chunk in which the next must begin.
const REACH: usize = 4 << 10;

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

/// A chunk to read: from where to where its first line and that of the next are looked
/// for, the guess, and a reader that has read a chunk before, whose memory is taken again.
type Job = (Range<usize>, Guess, Reader);

/// An independent chunk that was read.
struct Chunk {
    place: Range<usize>,
    /// Where the octets begin that places in it are counted from.
    from: usize,
    reader: Reader,
}

/// Reads all of a text.
///
/// # Errors
///
/// A file that cannot be read to its end; what stands before it was read.
pub(super) fn read(reader: &mut Reader, scope: &mut Scope, text: &Content) -> io::Result<()> {
    make_room(reader, text)?;
    let mut in_order = InOrder {
        text,
        at: 0,
        scanner: None,
    };
    let octets = reader.chunk;
    let mut chunks = (0..text.len())
        .step_by(octets)
        .map(|at| at..text.len().min(at + octets));
    // The first mostly has the directives that hold for all.
    match chunks.next() {
        Some(first) => in_order.first(reader, scope, first)?,
        None => return Ok(()),
    }
    let mut chunks = chunks.peekable();
    if chunks.peek().is_none() {
        return Ok(());
    }
    let most = text.len().div_ceil(octets);
    ahead::with_threads(
        cpus().min(most),
        || read_alone(text),
        |mut ahead| {
            let mut spare = Vec::new();
            loop {
                while ahead.has_room()
                    && let Some(about) = chunks.next()
                {
                    let guess = reader.guess(scope);
                    let new = || Reader::new(guess.library, octets);
                    let alone = spare.pop().unwrap_or_else(new);
                    ahead.give((about.clone(), guess), (about, guess, alone));
                }
                let Some(((about, guess), read)) = ahead.take() else {
                    return Ok(());
                };
                match read.flatten() {
                    Some(chunk)
                        if guess.holds(&reader.guess(scope))
                            && in_order.at == chunk.place.start =>
                    {
                        reader.join(scope, &chunk);
                        in_order.at = chunk.place.end;
                        spare.push(chunk.reader);
                    }
                    // Where there is no thread, too.
                    _ => in_order.read(reader, scope, about.end)?,
                }
            }
        },
    )
}

/// Makes room for all of a text, going by its beginning, its middle and its end.
fn make_room(reader: &mut Reader, text: &Content) -> io::Result<()> {
    if text.is_held() {
        reader.make_room(text.len(), &[text.all()?]);
        return Ok(());
    }
    let octets = reader.chunk.min(text.len());
    let last = text.len() - octets;
    let mut rooms = [Vec::new(), Vec::new(), Vec::new()];
    for (start, room) in [0, last / 2, last].into_iter().zip(&mut rooms) {
        text.part(start..start + octets, room)?;
    }
    reader.make_room(text.len(), &rooms.each_ref().map(|room| &room[..]));
    Ok(())
}

/// How far a text is read, and how it is read where it must be in order.
struct InOrder<'t> {
    text: &'t Content,
    at: usize,
    /// Of all octets, once they are in memory.
    scanner: Option<Scanner<'t>>,
}

impl<'t> InOrder<'t> {
    /// Reads the first chunk, if it can be without all the others.
    fn first(
        &mut self,
        reader: &mut Reader,
        scope: &mut Scope,
        about: Range<usize>,
    ) -> io::Result<()> {
        let end = about.end;
        let mut room = Vec::new();
        if !self.text.is_held() {
            let reach = self.text.len().min(end + REACH);
            let octets = self.text.part(0..reach, &mut room)?;
            let at_end = (reach == self.text.len()).then_some(octets.len());
            if let Some(end) = find_owner(octets, end).or(at_end) {
                let mut scanner = Scanner::of_file(&octets[..end]);
                self.at = reader.in_order(scope, &mut scanner, end, at_end == Some(end));
                if self.at == end {
                    return Ok(());
                }
            }
        }
        self.read(reader, scope, end)
    }

    /// Reads up to the first line behind `about` that may begin with an owner.
    fn read(&mut self, reader: &mut Reader, scope: &mut Scope, about: usize) -> io::Result<()> {
        let octets = self.text.all()?;
        let end = find_owner(octets, about).unwrap_or(octets.len());
        let scanner = self.scanner.get_or_insert_with(|| Scanner::of_file(octets));
        // A mark at its beginning is passed over.
        scanner.skip_to(self.at.max(scanner.at()));
        self.at = reader.in_order(scope, scanner, end, true);
        Ok(())
    }
}

/// Where the first line behind `at` begins that may begin with an owner.
fn find_owner(text: &[u8], at: usize) -> Option<usize> {
    let rest = text.get(at..).unwrap_or_default();
    let found = rest.windows(2).position(begins_with_owner);
    found.map(|newline| at + newline + 1)
}

/// How many lines there are. Counted in octets, a chunk of them at a time, which
/// compilers do for many together.
pub(super) fn lines(text: &[u8]) -> usize {
    let count = |octets: &[u8]| {
        let newlines = octets.iter().map(|&octet| u8::from(octet == b'\n'));
        usize::from(newlines.sum::<u8>())
    };
    1 + text.chunks(255).map(count).sum::<usize>()
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

/// Reads chunks, each without those before it.
fn read_alone(text: &Content) -> impl FnMut(Job) -> Option<Chunk> {
    let mut room = Vec::new();
    move |(about, guess, reader)| read_chunk(text, about, &guess, reader, &mut room)
}

/// Reads the chunk that begins with an owner behind the one end of a range, and ends
/// with the next behind the other: none needs the owner before it. `None` where that is
/// far away, or the chunk is not independent.
fn read_chunk(
    text: &Content,
    about: Range<usize>,
    guess: &Guess,
    mut reader: Reader,
    room: &mut Vec<u8>,
) -> Option<Chunk> {
    let reach = text.len().min(about.end + REACH);
    let octets = text.part(about.start..reach, room).ok()?;
    let at_end = (reach == text.len()).then_some(octets.len());
    let start = find_owner(octets, 0).or(at_end)?;
    let end = find_owner(octets, about.len()).or(at_end)?;
    reader.begin_alone(guess);
    reader.is_independent(guess, &octets[start..end])?;
    Some(Chunk {
        place: about.start + start..about.start + end,
        from: about.start + start,
        reader,
    })
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

    /// Forgets what it has read, and keeps the memory.
    fn begin_alone(&mut self, guess: &Guess) {
        let records = &mut self.records;
        records.names.clear();
        records.list.clear();
        records.rdata.clear();
        (self.default_ttl, self.last_ttl) = (guess.default_ttl, None);
    }

    /// Reads the octets of a chunk, or `None` where it is not independent. Parentheses
    /// that are open at its end are a fault here, and a chunk that begins within some is
    /// not taken, since reading in order is then elsewhere.
    fn is_independent(&mut self, guess: &Guess, octets: &[u8]) -> Option<()> {
        let mut scope = Scope {
            text: guess.text,
            path: Default::default(),
            origin: guess.origin,
            owner: None,
        };
        let mut scanner = Scanner::new(octets);
        let mut tokens = Vec::new();
        while let Some(entry) = scanner.next(&mut tokens).ok()? {
            if is_directive(entry, &tokens) || scanner.lookalike().is_some() {
                return None;
            }
            self.record(&mut scope, entry.blank, &tokens).ok()?;
        }
        // A SOA makes up a TTL, but only where none was written before.
        let is_soa = |record: &Record| record.rtype == RrType::SOA;
        let leans = self.default_ttl.is_none() && self.records.list.iter().any(is_soa);
        (!leans).then_some(())
    }

    /// Goes on behind an independent chunk.
    fn join(&mut self, scope: &mut Scope, chunk: &Chunk) {
        let records = &mut self.records;
        let read = &chunk.reader.records;
        let owners = records.names.add_all(&read.names);
        let rdata = records.rdata.len();
        let joined = read.list.iter().map(|record| Record {
            owner: owners[record.owner.index()],
            at: rdata + record.at,
            from: TextPlace::from(record.from).behind(chunk.from).into(),
            ..*record
        });
        records.list.extend(joined);
        records.rdata.extend_from_slice(&read.rdata);
        if let Some(last) = read.list.last() {
            scope.owner = Some(owners[last.owner.index()]);
        }
        self.last_ttl = chunk.reader.last_ttl.or(self.last_ttl);
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
        let taken = Library::Disk.take(&path, reader.few()).unwrap();
        reader.text(&path, taken, Some(origin), None).unwrap();
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

    /// Each case is a file, which takes seconds under Miri.
    fn config() -> ProptestConfig {
        let config = ProptestConfig::default();
        let cases = if cfg!(miri) { 3 } else { config.cases };
        ProptestConfig { cases, ..config }
    }

    proptest! {
        #![proptest_config(config())]

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
            let mut reader = Reader::new(Library::Disk, text.len());
            reader.begin_alone(&guess);
            reader.is_independent(&guess, text.as_bytes()).is_some()
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
        let found: Vec<_> = (0..text.len()).map(|at| find_owner(text, at)).collect();
        let (c, d) = (Some(8), Some(10));
        assert_eq!(found, [c, c, c, c, c, c, c, c, d, d, None, None]);
        assert_eq!((lines(text), owners(text)), (7, 3));
        assert_eq!(lines(&[b'\n'; 1000]), 1001);
    }
}
