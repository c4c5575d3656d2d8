//! Master files -> records (RFC 1035 §5, RFC 2308 §4 for `$TTL`). It reads
//! every entry, follows `$INCLUDE`, unrolls `$GENERATE`, and notes every fault
//! with its place. What the records mean together is `zone::build`'s business.

pub mod fault;
pub mod generate;
pub mod rdata;
pub mod scanner;

mod chunks;
mod content;
mod library;

use std::collections::HashSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::memory;
use super::names::NameId;
use super::records::{Record, Records, Unread};
use crate::wire::{LookupName, Name, RrType};
use fault::{Text, TextPlace};
use library::Taken;
pub use library::{Library, Stamp};
use scanner::{Broken, Entry, Scanner, Token};

/// Chunks of a text that is read as a whole.
const FEW_CHUNKS: usize = 16;

/// `$INCLUDE` inside `$INCLUDE`: more is a mistake, and each level holds a file.
pub const MAX_INCLUDE_DEPTH: usize = 16;

/// Octets of the path of an included file, which is as many as the kernel takes.
const MAX_PATH: usize = 4096;
/// Octets of files that are read more than once: a few lines for each of many names are
/// common, and files that include each other again and again stand for any number.
const MAX_READ_AGAIN: u64 = 256 << 20;
/// Octets of the lines that `$GENERATE` stands for, in all: as many as a text has.
const MAX_GENERATED_OCTETS: u64 = u32::MAX as u64;

/// What was read of a master file and all that it includes.
pub struct Read {
    /// The records, with the faults that were found on the way.
    pub records: Records,
    /// The texts, to show faults with.
    pub texts: Vec<Arc<Text>>,
}

/// One record as a line of a master file.
pub fn line(records: &Records, record: &Record) -> String {
    let (owner, ttl) = (records.names.name(record.owner), record.ttl);
    let mut line = format!("{owner}\t{ttl}\tIN\t{}\t", record.rtype);
    rdata::print(record.rtype, records.rdata(record), &mut line);
    line
}

/// What stands on a line that could not be read, as far as it goes.
fn note_unread(unread: &mut Unread, tokens: &[Token<'_>], owner: Option<NameId>) {
    let directive = tokens.first().map(|first| first.text.to_ascii_uppercase());
    if matches!(directive.as_deref(), Some(b"$INCLUDE" | b"$ORIGIN")) {
        return unread.note_anything();
    }
    let rtype = |token: &Token<'_>| RrType::from_text(token.text);
    // An owner may be spelled like a type; the line's own comes later.
    let behind = tokens.iter().skip(1).find_map(rtype);
    unread.note(behind.or_else(|| tokens.first().and_then(rtype)), owner);
}

/// Reads the master file at `path` and all that it includes. `origin` is what
/// relative names are completed with until a `$ORIGIN`. Fails only where the
/// first file cannot be read.
pub fn read(library: Library, path: &Path, origin: Option<Name>) -> Result<Read, String> {
    let mut reader = Reader::new(library, chunks::CHUNK);
    let taken = library.take_first(path, reader.few())?;
    reader.text(path, taken, origin, None)?;
    let Reader { records, texts, .. } = reader;
    Ok(Read { records, texts })
}

/// A fault with its place in the text.
struct Wrong {
    at: u32,
    sentence: String,
}

fn wrong<T>(token: &Token<'_>, sentence: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        at: token.at,
        sentence: sentence.into(),
    })
}

/// What one text's entries share.
struct Scope {
    text: u16,
    path: PathBuf,
    origin: Option<Name>,
    owner: Option<NameId>,
}

struct Reader {
    library: Library,
    /// Octets of a chunk of a large text.
    chunk: usize,
    records: Records,
    texts: Vec<Arc<Text>>,
    name: LookupName,
    /// `$TTL`, for all that follows, included files too.
    default_ttl: Option<u32>,
    /// The last TTL that was written out (RFC 1035 §5.1).
    last_ttl: Option<u32>,
    /// The files that are being read, outermost first.
    including: Vec<PathBuf>,
    /// All files that have been read.
    known: HashSet<PathBuf>,
    /// Octets of those that were known already.
    read_again: u64,
    /// Octets that `$GENERATE` has made.
    generated: u64,
    /// While `$GENERATE` is unrolled: where it stands. Positions in the text
    /// it made mean nothing to anyone.
    generated_at: Option<u32>,
}

impl Reader {
    fn new(library: Library, chunk: usize) -> Reader {
        Reader {
            library,
            chunk,
            records: Records::default(),
            texts: Vec::new(),
            name: LookupName::new(),
            default_ttl: None,
            last_ttl: None,
            including: Vec::new(),
            known: HashSet::new(),
            read_again: 0,
            generated: 0,
            generated_at: None,
        }
    }

    /// Octets of texts that are read as a whole.
    fn few(&self) -> usize {
        self.chunk * FEW_CHUNKS
    }

    /// Reads a text. Fails where its file does, after a part of it was read.
    fn text(
        &mut self,
        path: &Path,
        taken: Taken,
        origin: Option<Name>,
        owner: Option<NameId>,
    ) -> Result<(), String> {
        let Taken { content, stamp } = taken;
        let text = Arc::new(Text {
            path: path.into(),
            held: OnceLock::new(),
            stamp,
        });
        let mut scope = Scope {
            text: self.texts.len() as u16,
            path: path.into(),
            origin,
            owner,
        };
        if let Some(origin) = origin {
            self.records.add_origin(origin);
        }
        self.texts.push(text.clone());
        let identity = self.library.identity(path);
        self.known.insert(identity.clone());
        self.including.push(identity);
        let read = chunks::read(self, &mut scope, &content);
        self.including.pop();
        if let Some(octets) = content.into_held() {
            let _ = text.held.set(octets);
        }
        read.map_err(|error| error.to_string())
    }

    /// Makes room for what a text of so many octets holds, going by parts of it. Growing
    /// copies. Room for data and records that is not filled costs nothing; room for names
    /// is written to, and half of those lines that may begin with an owner have one of
    /// their own where a zone is signed.
    fn make_room(&mut self, octets: usize, samples: &[&[u8]]) {
        let estimate = |count: usize, sample: &[u8]| {
            (count as u64 * octets as u64).div_ceil(sample.len().max(1) as u64) as usize
        };
        let lines = samples
            .iter()
            .map(|sample| estimate(chunks::lines(sample), sample));
        let owners = samples
            .iter()
            .map(|sample| estimate(chunks::owners(sample), sample));
        let lines = lines.sum::<usize>() / samples.len().max(1);
        memory::reserve(&mut self.records.list, lines);
        memory::reserve(&mut self.records.rdata, octets / 4 * 3);
        self.records.names.reserve(owners.min().unwrap_or(0) / 2);
    }

    /// Reads the entries that begin before `end`, one after the other, and returns where
    /// it is then. A text of which only a part is there may end within an entry, which
    /// is then not read.
    fn in_order(
        &mut self,
        scope: &mut Scope,
        scanner: &mut Scanner<'_>,
        end: usize,
        is_whole: bool,
    ) -> usize {
        let mut tokens = Vec::new();
        loop {
            let text = scope.text;
            let start = scanner.at();
            let (read, owner) = match scanner.next_before(end, &mut tokens) {
                Ok(None) => return scanner.at(),
                Ok(Some(entry)) => {
                    let read = self.entry(scope, entry, &tokens);
                    (read, scope.owner)
                }
                Err(_) if !is_whole && scanner.is_within_entry() => return start,
                Err((at, broken)) => {
                    if matches!(broken, Broken::Return | Broken::Deep) {
                        self.records.unread.note_anything();
                    }
                    let sentence = broken.to_string();
                    (Err(Wrong { at, sentence }), None)
                }
            };
            if let Some((at, lookalike)) = scanner.lookalike() {
                let place = TextPlace { text, at };
                self.records.faults.warning(place, lookalike.to_string());
            }
            if let Err(Wrong { at, sentence }) = read {
                note_unread(&mut self.records.unread, &tokens, owner);
                self.records.faults.error(TextPlace { text, at }, sentence);
            }
        }
    }

    fn entry(
        &mut self,
        scope: &mut Scope,
        entry: Entry,
        tokens: &[Token<'_>],
    ) -> Result<(), Wrong> {
        if is_directive(entry, tokens) {
            let first = &tokens[0];
            return match first.text.to_ascii_uppercase().as_slice() {
                b"$ORIGIN" => self.set_origin(scope, tokens),
                b"$TTL" => self.set_ttl(tokens),
                b"$INCLUDE" => self.include(scope, tokens),
                b"$GENERATE" => self.generate(scope, tokens),
                _ => wrong(
                    first,
                    format!(
                        "unknown directive `{}`; there are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
                        show(first)
                    ),
                ),
            };
        }
        self.record(scope, entry.blank, tokens)
    }

    fn set_origin(&mut self, scope: &mut Scope, tokens: &[Token<'_>]) -> Result<(), Wrong> {
        let [_, origin] = tokens else {
            return wrong(&tokens[0], "$ORIGIN takes one name");
        };
        let origin = name(origin, scope)?;
        self.records.likely_apex.get_or_insert(origin);
        scope.origin = Some(origin);
        self.records.add_origin(origin);
        Ok(())
    }

    fn set_ttl(&mut self, tokens: &[Token<'_>]) -> Result<(), Wrong> {
        let [_, token] = tokens else {
            return wrong(&tokens[0], "$TTL takes one number of seconds");
        };
        match ttl(token)? {
            Some(ttl) => self.default_ttl = Some(ttl),
            None => {
                return wrong(
                    token,
                    format!(
                        "`{}` is not a TTL; write seconds or units, as 3600 or 1h30m",
                        show(token)
                    ),
                );
            }
        }
        Ok(())
    }

    /// `$INCLUDE file [origin]`. The included text begins with the owner before
    /// it, as in BIND and NSD; the including text's origin and owner hold again
    /// behind it (RFC 1035 §5.1).
    fn include(&mut self, scope: &mut Scope, tokens: &[Token<'_>]) -> Result<(), Wrong> {
        let (file, origin) = match tokens {
            [_, file] => (file, scope.origin),
            [_, file, origin] => (file, Some(name(origin, scope)?)),
            _ => return wrong(&tokens[0], "$INCLUDE takes a file and perhaps an origin"),
        };
        let Some(octets) = rdata::unescape_all(file.text) else {
            return wrong(
                file,
                format!("file `{}`: {}", show(file), rdata::BAD_ESCAPE),
            );
        };
        if octets.len() > MAX_PATH {
            let sentence = format!(
                "file `{}`: a path of more than {MAX_PATH} octets",
                show(file)
            );
            return wrong(file, sentence);
        }
        let path = PathBuf::from(OsString::from_vec(octets));
        let path = scope.path.parent().unwrap_or(Path::new("")).join(path);
        let identity = self.library.identity(&path);
        if self.including.contains(&identity) {
            let chain = self.including.iter().chain([&identity]);
            let chain: Vec<String> = chain.map(|path| path.display().to_string()).collect();
            return wrong(
                file,
                format!("$INCLUDE goes round in a circle: {}", chain.join(" -> ")),
            );
        }
        if self.including.len() > MAX_INCLUDE_DEPTH {
            return wrong(
                file,
                format!("$INCLUDE nested more than {MAX_INCLUDE_DEPTH} deep"),
            );
        }
        // Places name a text by 16 bits.
        if self.texts.len() > usize::from(u16::MAX) {
            return wrong(file, "more than 65,536 files in one zone");
        }
        let unreadable = |error| Wrong {
            at: file.at,
            sentence: format!("cannot read {}: {error}", path.display()),
        };
        let taken = self.library.take(&path, self.few());
        let taken = taken.map_err(unreadable)?;
        if self.known.contains(&identity) {
            self.read_again += taken.content.len() as u64;
        }
        if self.read_again > MAX_READ_AGAIN {
            return wrong(
                file,
                format!(
                    "more than {} MiB of files that were read before",
                    MAX_READ_AGAIN >> 20
                ),
            );
        }
        let read = self.text(&path, taken, origin, scope.owner);
        read.map_err(unreadable)
    }

    /// `[owner] [ttl] [class] type rdata…`, TTL and class in either order.
    fn record(
        &mut self,
        scope: &mut Scope,
        blank: bool,
        tokens: &[Token<'_>],
    ) -> Result<(), Wrong> {
        let first = &tokens[0];
        let mut rest = tokens;
        if !blank {
            rest = &tokens[1..];
            // Where the owner is broken, the lines that lean on it have none.
            scope.owner = None;
            let name = name(first, scope)?;
            let set = self.name.set(name.as_wire());
            debug_assert!(set.is_some(), "a Name is valid");
            scope.owner = Some(self.records.names.add(&self.name, 0));
        }
        let Some(owner) = scope.owner else {
            return wrong(
                first,
                "no owner on this line, and none that could be read before it",
            );
        };
        let mut written_ttl = None;
        let mut class = None;
        let rtype = loop {
            let Some((token, after)) = rest.split_first() else {
                let last = tokens.last().unwrap_or(first);
                return wrong(last, "the line ends before a type");
            };
            rest = after;
            if written_ttl.is_none()
                && let Some(ttl) = ttl(token)?
            {
                written_ttl = Some(ttl);
            } else if class.is_none() && is_class(token)? {
                class = Some(());
            } else {
                break rtype(token)?;
            }
        };
        let at = self.records.rdata.len();
        self.rdata(scope, rtype, rest, tokens)?;
        let length = self.records.rdata.len() - at;
        let Ok(length) = u16::try_from(length) else {
            self.records.rdata.truncate(at);
            return wrong(
                first,
                format!("RDATA of {length} octets; the limit is 65535"),
            );
        };
        let ttl = self.ttl(first, rtype, written_ttl, at)?;
        self.records.list.push(Record {
            owner,
            rtype,
            ttl,
            length,
            at,
            from: TextPlace {
                text: scope.text,
                at: self.generated_at.unwrap_or(first.at),
            }
            .into(),
        });
        Ok(())
    }

    fn rdata(
        &mut self,
        scope: &Scope,
        rtype: RrType,
        fields: &[Token<'_>],
        line: &[Token<'_>],
    ) -> Result<(), Wrong> {
        let at = self.records.rdata.len();
        let read = rdata::read(
            rtype,
            fields,
            scope.origin.as_ref(),
            &mut self.records.rdata,
        );
        read.map_err(|fault| {
            self.records.rdata.truncate(at);
            let place = match fields.get(fault.token) {
                Some(token) => token.at,
                // Missing at the end: right behind the last token.
                None => line.last().map_or(0, Token::end),
            };
            Wrong {
                at: place,
                sentence: format!("{rtype}: {}", fault.sentence),
            }
        })
    }

    /// A TTL that is not written is `$TTL`, else the last one that was
    /// (RFC 2308 §4, RFC 1035 §5.1); a first SOA without either takes its own
    /// MINIMUM, as BIND has it.
    fn ttl(
        &mut self,
        first: &Token<'_>,
        rtype: RrType,
        written: Option<u32>,
        at: usize,
    ) -> Result<u32, Wrong> {
        if let Some(ttl) = written {
            self.last_ttl = written;
            return Ok(ttl);
        }
        if let Some(ttl) = self.default_ttl.or(self.last_ttl) {
            return Ok(ttl);
        }
        if rtype == RrType::SOA
            && let Some(minimum) = self.records.rdata[at..].last_chunk()
        {
            let ttl = u32::from_be_bytes(*minimum).min(rdata::time::MAX_TTL);
            self.last_ttl = Some(ttl);
            return Ok(ttl);
        }
        self.records.rdata.truncate(at);
        wrong(
            first,
            "no TTL: neither here nor in a line before; begin the file with $TTL",
        )
    }
}

/// True for `$…` in the first column.
fn is_directive(entry: Entry, tokens: &[Token<'_>]) -> bool {
    !entry.blank && !tokens[0].quoted && tokens[0].text.starts_with(b"$")
}

fn show(token: &Token<'_>) -> String {
    rdata::excerpt(token.text)
}

fn name(token: &Token<'_>, scope: &Scope) -> Result<Name, Wrong> {
    Name::from_text(rdata::name_text(token), scope.origin.as_ref())
        .or_else(|error| wrong(token, format!("name `{}`: {error}", show(token))))
}

/// The token as a TTL, `None` where it is something else.
fn ttl(token: &Token<'_>) -> Result<Option<u32>, Wrong> {
    if token.quoted {
        return Ok(None);
    }
    let read = rdata::time::parse_ttl(token.text).transpose();
    read.or_else(|error| wrong(token, format!("TTL `{}`: {error}", show(token))))
}

/// True for the class that is served; other classes are faults.
fn is_class(token: &Token<'_>) -> Result<bool, Wrong> {
    if token.quoted {
        return Ok(false);
    }
    let text = token.text;
    if text.eq_ignore_ascii_case(b"IN") {
        return Ok(true);
    }
    let number = text
        .split_at_checked(5)
        .filter(|(word, _)| word.eq_ignore_ascii_case(b"CLASS"))
        .and_then(|(_, digits)| std::str::from_utf8(digits).ok()?.parse::<u16>().ok());
    let other = [&b"CH"[..], b"HS", b"CS", b"ANY", b"NONE"];
    if number == Some(1) {
        return Ok(true);
    }
    if number.is_some() || other.iter().any(|class| text.eq_ignore_ascii_case(class)) {
        return wrong(token, format!("class `{}`: only IN is served", show(token)));
    }
    Ok(false)
}

/// True for what may stand between owner and type.
fn is_ttl_or_class(token: &Token<'_>) -> bool {
    matches!(ttl(token), Ok(Some(_))) || matches!(is_class(token), Ok(true))
}

fn rtype(token: &Token<'_>) -> Result<RrType, Wrong> {
    let known = if token.quoted {
        None
    } else {
        RrType::from_text(token.text)
    };
    match known {
        None if matches!(token.text, [b'0'..=b'9' | b'-' | b'+', ..]) => wrong(
            token,
            format!(
                "`{}` is neither a TTL, as 3600 or 1h30m, nor a type",
                show(token)
            ),
        ),
        None => wrong(
            token,
            format!(
                "unknown type `{}`; any type can be written as TYPEnnn \\# length hex",
                show(token)
            ),
        ),
        Some(rtype) if rtype.is_meta() => {
            wrong(token, format!("{rtype} is for questions, no record has it"))
        }
        Some(rtype) => Ok(rtype),
    }
}
