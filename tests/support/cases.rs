//! Text cases: zones, a question, and what the reply must be. The files in
//! `tests/cases` explain themselves; this is how they are read.
//!
//! ```text
//! zone ORIGIN            the zone's text follows, indented by four spaces
//! zones FILE…            or these master files, from the case file's folder
//!
//! case TITLE
//! ask NAME TYPE [CLASS] [+edns[=SIZE]] [+do] [+nsid] [+rd] [+tcp]
//!                       [+version=N] [+option=CODE:HEX] [+cookie=HEX] [+keepalive]
//! send HEX               instead of ask: a raw message
//! send-tcp HEX           the same over TCP
//! is RCODE [aa] [tc] [rd] [opt] [cookie] [ede=N] [nsid=TEXT] [keepalive=N]
//! silence                instead of is
//! answer | authority | additional
//!     RECORD             in presentation form; the order does not matter
//! ```
//!
//! A section that is not listed must be empty, a flag that is not listed must
//! be clear. That there is an OPT record where one was asked for and only there
//! (where the reply is a header alone, `opt` says whether there is one), that a
//! cookie in it (`cookie`) repeats the client's and is good for it, that DO, the id and the question come back as asked, and that no
//! reply is longer than the client takes is checked for every case.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shardns::answer::Cookie;
use shardns::wire::{Name, Rcode, RrType};
use shardns::zone::Zones;
use shardns::zone::text::rdata;
use shardns::zone::text::scanner::{Scanner, Token};

use super::decode::{Message, Opt, Record, decode};
use super::{IDENTITY, oracle};

/// One file.
pub struct CaseFile {
    pub path: PathBuf,
    pub zones: Zones,
    /// The origins and texts of those zones that the file has in it.
    pub texts: Vec<(String, String)>,
    pub cases: Vec<Case>,
}

/// One question and its reply.
pub struct Case {
    pub title: String,
    pub line: usize,
    pub request: Vec<u8>,
    pub tcp: bool,
    expected: Option<Expected>,
}

#[derive(Default)]
struct Expected {
    rcode: String,
    flags: Vec<String>,
    opt: bool,
    cookie: bool,
    ede: Option<u16>,
    nsid: Option<String>,
    keepalive: Option<u16>,
    sections: [Vec<String>; 3],
}

const FLAGS: [(&str, u16); 7] = [
    ("aa", 0x400),
    ("tc", 0x200),
    ("rd", 0x100),
    ("ra", 0x80),
    ("z", 0x40),
    ("ad", 0x20),
    ("cd", 0x10),
];

/// All case files, in the order of their names.
pub fn all() -> Vec<CaseFile> {
    let folder = super::repository("tests/cases");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths.into_iter().map(|path| read(&path)).collect()
}

fn read(path: &Path) -> CaseFile {
    let text = fs::read_to_string(path).unwrap();
    let mut zones: Vec<(String, String)> = Vec::new();
    let mut loaded = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    let mut section = None;
    for (number, line) in text.lines().enumerate() {
        let at = format!("{}:{}", path.display(), number + 1);
        if let Some(indented) = line.strip_prefix("    ") {
            match (cases.last_mut(), section) {
                (None, _) => {
                    let (_, text) = zones.last_mut().unwrap_or_else(|| panic!("{at}: no zone"));
                    text.push_str(&format!("{indented}\n"));
                }
                (Some(case), Some(section)) => {
                    let expected = case
                        .expected
                        .as_mut()
                        .unwrap_or_else(|| panic!("{at}: silence holds no record"));
                    expected.sections[section as usize].push(record(indented, &at).line());
                }
                (Some(_), None) => panic!("{at}: a record outside of a section"),
            }
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let case = cases.last_mut();
        match (word, case) {
            ("" | "#", _) => {}
            ("zone", None) => zones.push((rest.into(), String::new())),
            ("zones", None) => {
                let folder = path.parent().unwrap();
                loaded.extend(
                    rest.split_whitespace()
                        .map(|file| super::load(&folder.join(file), None)),
                );
            }
            ("case", _) => {
                section = None;
                cases.push(Case {
                    title: rest.into(),
                    line: number + 1,
                    request: Vec::new(),
                    tcp: false,
                    expected: None,
                });
            }
            ("ask", Some(case)) => (case.request, case.tcp) = ask(rest, &at),
            ("send", Some(case)) => case.request = hex(rest),
            ("send-tcp", Some(case)) => (case.request, case.tcp) = (hex(rest), true),
            ("is", Some(case)) => case.expected = Some(expected(rest, &at)),
            ("silence", Some(_)) => {}
            ("answer", Some(_)) => section = Some(0u8),
            ("authority", Some(_)) => section = Some(1),
            ("additional", Some(_)) => section = Some(2),
            _ => panic!("{at}: cannot read `{line}`"),
        }
    }
    loaded.extend(zones.iter().map(|(origin, text)| super::zone(origin, text)));
    CaseFile {
        path: path.into(),
        zones: Zones::new(loaded),
        texts: zones,
        cases,
    }
}

/// A request, and whether it goes over TCP.
fn ask(text: &str, at: &str) -> (Vec<u8>, bool) {
    let (options, words): (Vec<&str>, Vec<&str>) = text
        .split_whitespace()
        .partition(|word| word.starts_with('+'));
    let class = match words.get(2) {
        None | Some(&"IN") => 1u16,
        Some(&"CH") => 3,
        Some(&"ANY") => 255,
        Some(&"HS") => 4,
        Some(&"NONE") => 254,
        Some(other) => other
            .strip_prefix("CLASS")
            .and_then(|n| n.parse().ok())
            .unwrap_or_else(|| panic!("{at}: class {other}")),
    };
    let rtype =
        RrType::from_text(words[1].as_bytes()).unwrap_or_else(|| panic!("{at}: type {}", words[1]));
    let name =
        Name::from_text(words[0].as_bytes(), None).unwrap_or_else(|error| panic!("{at}: {error}"));
    let mut edns: Option<(u16, u8, u8, Vec<u8>)> = None;
    let (mut rd, mut tcp) = (0, false);
    for option in options {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        let opt = edns.get_or_insert((1232, 0, 0, Vec::new()));
        match key {
            "+edns" if value.is_empty() => {}
            "+edns" => opt.0 = value.parse().unwrap(),
            "+version" => opt.1 = value.parse().unwrap(),
            "+do" => opt.2 = 0x80,
            "+nsid" => opt.3.extend([0, 3, 0, 0]),
            "+keepalive" => opt.3.extend([0, 11, 0, 0]),
            "+option" | "+cookie" => {
                let (code, data) = match key {
                    "+cookie" => ("10", value),
                    _ => value.split_once(':').unwrap_or((value, "")),
                };
                let data = hex(data);
                opt.3.extend(code.parse::<u16>().unwrap().to_be_bytes());
                opt.3.extend((data.len() as u16).to_be_bytes());
                opt.3.extend(data);
            }
            "+rd" | "+tcp" => {
                // These two need no EDNS.
                if opt == &(1232, 0, 0, Vec::new()) && !text.contains("+edns") {
                    edns = None;
                }
                if key == "+rd" { rd = 1 } else { tcp = true }
            }
            _ => panic!("{at}: option {option}"),
        }
    }
    let mut request = vec![
        0x12,
        0x34,
        rd,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(edns.is_some()),
    ];
    request.extend(name.as_wire());
    request.extend(rtype.0.to_be_bytes());
    request.extend(class.to_be_bytes());
    if let Some((size, version, flags, options)) = edns {
        request.extend([0, 0, 41]);
        request.extend(size.to_be_bytes());
        request.extend([0, version, flags, 0]);
        request.extend((options.len() as u16).to_be_bytes());
        request.extend(options);
    }
    (request, tcp)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER_PERMISSIVE
        .decode(digits.as_bytes())
        .unwrap()
}

fn expected(text: &str, at: &str) -> Expected {
    let mut words = text.split_whitespace();
    let mut expected = Expected {
        rcode: words.next().unwrap().into(),
        ..Expected::default()
    };
    for word in words {
        match word.split_once('=') {
            Some(("ede", code)) => expected.ede = Some(code.parse().unwrap()),
            Some(("nsid", name)) => expected.nsid = Some(name.into()),
            Some(("keepalive", units)) => expected.keepalive = Some(units.parse().unwrap()),
            None if word == "opt" => expected.opt = true,
            None if word == "cookie" => expected.cookie = true,
            None if FLAGS.iter().any(|(name, _)| *name == word) => expected.flags.push(word.into()),
            _ => panic!("{at}: expectation {word}"),
        }
    }
    expected
}

/// A record as `OWNER TTL CLASS TYPE RDATA…`.
fn record(text: &str, at: &str) -> Record {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let entry = Scanner::new(text.as_bytes()).next(&mut tokens);
    entry.unwrap_or_else(|error| panic!("{at}: {error:?}"));
    let word = |index: usize| std::str::from_utf8(tokens[index].text).unwrap();
    let rtype =
        RrType::from_text(tokens[3].text).unwrap_or_else(|| panic!("{at}: type {}", word(3)));
    let mut rdata = Vec::new();
    let read = rdata::read(rtype, &tokens[4..], None, &mut rdata);
    read.unwrap_or_else(|fault| panic!("{at}: {}", fault.sentence));
    Record {
        owner: Name::from_text(tokens[0].text, None)
            .unwrap_or_else(|error| panic!("{at}: {error}")),
        rtype,
        class: if word(2) == "CH" { 3 } else { 1 },
        ttl: word(1)
            .parse()
            .unwrap_or_else(|_| panic!("{at}: TTL {}", word(1))),
        rdata,
    }
}

/// That the cookie of a reply, if there is to be one, repeats the client's and
/// is good for a client on loopback when it was made.
fn check_cookie(wanted: bool, asked: Option<&Opt>, found: Option<Vec<u8>>) -> Result<(), String> {
    let options = asked.iter().flat_map(|opt| &opt.options);
    let own = options
        .filter(|(code, _)| *code == 10)
        .map(|(_, data)| data);
    let (Some(found), true) = (&found, wanted) else {
        let fits = found.is_some() == wanted;
        return fits
            .then_some(())
            .ok_or_else(|| format!("the cookie is {found:02x?}"));
    };
    let own = own.map(|own| &own[..8]).next();
    let stamp: [u8; 4] = found[12..16].try_into().unwrap();
    let made = Duration::from_secs(u32::from_be_bytes(stamp).into());
    let secrets = super::settings().cookies.unwrap();
    let good = ["127.0.0.1", "::1"].map(|client| {
        let client = client.parse().unwrap();
        secrets.judge(found, client, made) == Ok(Cookie::Valid)
    });
    match own == Some(&found[..8]) && found.len() == 24 && good.contains(&true) {
        true => Ok(()),
        false => Err(format!("the cookie {found:02x?} is not good")),
    }
}

impl Case {
    /// Octets that the client takes.
    pub fn limit(&self) -> usize {
        if self.tcp {
            return 65_535;
        }
        let opt = decode(&self.request).ok().and_then(|request| request.opt);
        opt.map_or(512, |opt| usize::from(opt.size).clamp(512, 1232))
    }

    /// True where no reply may come.
    pub fn is_silence(&self) -> bool {
        self.expected.is_none()
    }

    /// Says what is wrong with the reply.
    pub fn check(&self, reply: Option<&[u8]>) -> Result<(), String> {
        let (expected, reply) = match (&self.expected, reply) {
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err("a reply where there should be silence".into()),
            (Some(_), None) => return Err("silence where there should be a reply".into()),
            (Some(expected), Some(reply)) => (expected, reply),
        };
        if reply.len() > self.limit() {
            return Err(format!(
                "{} octets, and the client takes {}",
                reply.len(),
                self.limit()
            ));
        }
        let message = decode(reply)?;
        oracle::compare(reply, &message)?;
        self.check_header(expected, &message)?;
        self.check_edns(expected, &message)?;
        for (name, (expected, found)) in ["answer", "authority", "additional"]
            .iter()
            .zip(expected.sections.iter().zip(&message.sections))
        {
            let mut expected = expected.clone();
            let mut found: Vec<String> = found.iter().map(Record::line).collect();
            expected.sort();
            found.sort();
            if expected != found {
                return Err(format!("{name}: expected {expected:#?}, found {found:#?}"));
            }
        }
        Ok(())
    }

    fn check_header(&self, expected: &Expected, message: &Message) -> Result<(), String> {
        let names = Rcode::ALL.iter().map(|rcode| (rcode.name(), *rcode as u16));
        let rcode = names
            .clone()
            .find(|(_, code)| *code == message.rcode())
            .map_or("?", |(name, _)| name);
        if rcode != expected.rcode {
            return Err(format!("expected {}, found {rcode}", expected.rcode));
        }
        let on = FLAGS.iter().filter(|(_, bit)| message.flags & bit != 0);
        let mut on: Vec<&str> = on.map(|(name, _)| *name).collect();
        let mut flags = expected.flags.clone();
        on.sort();
        flags.sort();
        if message.flags & 0x8000 == 0 || on != flags {
            return Err(format!("expected the flags {flags:?}, found {on:?}"));
        }
        if message.id.to_be_bytes() != self.request[..2] {
            return Err(format!("the id is {:#x}", message.id));
        }
        if let (Some(_), Ok(request)) = (message.question, decode(&self.request))
            && format!("{:?}", message.question) != format!("{:?}", request.question)
        {
            return Err(format!("the question has become {:?}", message.question));
        }
        Ok(())
    }

    fn check_edns(&self, expected: &Expected, message: &Message) -> Result<(), String> {
        let asked = decode(&self.request).ok().and_then(|request| request.opt);
        // What the request of a bare header holds, the case has to say.
        let bare = message.question.is_none();
        let wanted = if bare { expected.opt } else { asked.is_some() };
        if message.opt.is_some() != wanted {
            let should = if wanted { "should be" } else { "should not be" };
            return Err(format!("there {should} an OPT record"));
        }
        let option = |code: u16| {
            let options = message.opt.iter().flat_map(|opt| &opt.options);
            options
                .filter(|(known, _)| *known == code)
                .map(|(_, data)| data.clone())
                .next()
        };
        if let (Some(asked), Some(found)) = (&asked, &message.opt)
            && (asked.flags & 0x8000, 0, 1232) != (found.flags, found.version, found.size)
        {
            return Err(format!("the OPT record is {found:?}"));
        }
        let ede = option(15).map(|data| u16::from_be_bytes([data[0], data[1]]));
        if ede != expected.ede && (expected.ede.is_some() || message.rcode() == 0) {
            return Err(format!(
                "expected the extended error {:?}, found {ede:?}",
                expected.ede
            ));
        }
        check_cookie(expected.cookie, asked.as_ref(), option(10))?;
        let keepalive = option(11).map(|data| u16::from_be_bytes([data[0], data[1]]));
        if keepalive != expected.keepalive {
            return Err(format!(
                "expected the timeout {:?}, found {keepalive:?}",
                expected.keepalive
            ));
        }
        let nsid = option(3).map(|data| String::from_utf8_lossy(&data).into_owned());
        if nsid != expected.nsid {
            return Err(format!(
                "expected the NSID {:?}, found {nsid:?}; ours is {IDENTITY}",
                expected.nsid
            ));
        }
        Ok(())
    }
}
