//! Questions, and how they are put to one server: many at a time.

use std::collections::HashMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use shardns::wire::{Name, RrType};

/// What a reply over UDP may have, for all servers.
pub const EDNS_SIZE: u16 = 1232;
/// Questions that wait for their replies at once. No more than a socket's buffer holds
/// replies of.
const WINDOW: usize = 48;
/// BIND reads no more from a connection while this many wait.
const TCP_WINDOW: usize = 8;
/// How often a question is asked that gets no reply.
const TRIES: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(1);

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    pub name: Name,
    pub rtype: RrType,
    /// RD, AD and CD, as they stand in the header.
    pub flags: u16,
    pub edns: Option<Edns>,
    pub tcp: bool,
}

/// Flags of a header that a client may set, and how a text case names them.
pub const CLIENT_FLAGS: [(&str, u16); 3] = [("+rd", 0x100), ("+ad", 0x20), ("+cd", 0x10)];

/// What a client says of itself in an OPT record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edns {
    pub size: u16,
    /// DO.
    pub signed: bool,
    /// The flags that have no meaning, all set.
    pub unknown_flags: bool,
    /// An option that nobody knows.
    pub unknown_option: bool,
    pub version: u8,
}

impl Edns {
    fn record(self) -> Vec<u8> {
        let flags = u16::from(self.signed) << 15 | if self.unknown_flags { 0x7fff } else { 0 };
        let mut octets = vec![0, 0, 41];
        octets.extend(self.size.to_be_bytes());
        octets.extend([0, self.version]);
        octets.extend(flags.to_be_bytes());
        octets.extend::<&[u8]>(match self.unknown_option {
            true => &[0, 6, 0, 100, 0, 2, 1, 2],
            false => &[0, 0],
        });
        octets
    }
}

impl Question {
    pub fn plain(name: Name, rtype: u16) -> Question {
        Question {
            name,
            rtype: RrType(rtype),
            flags: 0,
            edns: None,
            tcp: false,
        }
    }

    /// Octets that a reply may have.
    pub fn limit(&self) -> usize {
        match (self.tcp, self.edns) {
            (true, _) => usize::from(u16::MAX),
            (false, None) => 512,
            (false, Some(edns)) => edns.size.clamp(512, EDNS_SIZE).into(),
        }
    }

    pub fn request(&self, id: u16) -> Vec<u8> {
        let mut octets = id.to_be_bytes().to_vec();
        octets.extend(self.flags.to_be_bytes());
        octets.extend([0, 1, 0, 0, 0, 0, 0, u8::from(self.edns.is_some())]);
        octets.extend(self.name.as_wire());
        octets.extend(self.rtype.0.to_be_bytes());
        octets.extend([0, 1]);
        octets.extend(self.edns.map(Edns::record).unwrap_or_default());
        octets
    }
}

/// As a text case asks it.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask {} {}", self.name, self.rtype)?;
        for (name, flag) in CLIENT_FLAGS {
            f.write_str(if self.flags & flag == 0 { "" } else { " " })?;
            f.write_str(if self.flags & flag == 0 { "" } else { name })?;
        }
        if let Some(edns) = self.edns {
            write!(f, " +edns={}", edns.size)?;
            f.write_str(if edns.signed { " +do" } else { "" })?;
            f.write_str(if edns.unknown_flags {
                " (and all other flags)"
            } else {
                ""
            })?;
            f.write_str(if edns.unknown_option {
                " +option=100:0102"
            } else {
                ""
            })?;
            match edns.version {
                0 => {}
                version => write!(f, " +version={version}")?,
            }
        }
        f.write_str(if self.tcp { " +tcp" } else { "" })
    }
}

/// What a server replies to each question; nothing where it does not.
pub fn ask(server: SocketAddr, questions: &[Question]) -> Vec<Option<Vec<u8>>> {
    assert!(
        questions.len() <= usize::from(u16::MAX),
        "a question is known by its id"
    );
    let mut replies = vec![None; questions.len()];
    over_udp(server, questions, &mut replies);
    for _ in 0..TRIES {
        if over_tcp(server, questions, &mut replies).is_none() {
            break;
        }
    }
    replies
}

/// Notes a reply to one of the questions; true where it is the first.
fn note(reply: &[u8], replies: &mut [Option<Vec<u8>>]) -> bool {
    let Some(&[high, low]) = reply.first_chunk() else {
        return false;
    };
    let id = usize::from(u16::from_be_bytes([high, low]));
    let Some(place @ None) = replies.get_mut(id) else {
        return false;
    };
    *place = Some(reply.into());
    true
}

fn over_udp(server: SocketAddr, questions: &[Question], replies: &mut [Option<Vec<u8>>]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let ids = (0..questions.len()).filter(|id| !questions[*id].tcp);
    let mut ids = ids.collect::<Vec<_>>().into_iter();
    let mut waiting: HashMap<usize, usize> = HashMap::new();
    let mut buffer = vec![0; 65_535];
    let mut quiet = 0;
    let send = |id: usize| {
        // A send that fails is one that gets no reply.
        let _ = socket.send(&questions[id].request(id as u16));
    };
    loop {
        while waiting.len() < WINDOW
            && let Some(id) = ids.next()
        {
            send(id);
            waiting.insert(id, 1);
        }
        if waiting.is_empty() {
            return;
        }
        if let Ok(length) = socket.recv(&mut buffer) {
            quiet = 0;
            if note(&buffer[..length], replies) {
                waiting.retain(|id, _| replies[*id].is_none());
            }
            continue;
        }
        quiet += 1;
        if quiet == TRIES {
            return;
        }
        waiting.retain(|_, tries| *tries < TRIES);
        for (id, tries) in &mut waiting {
            *tries += 1;
            send(*id);
        }
    }
}

/// Asks on one connection what is still without a reply, until that or the connection
/// ends. Nothing where the server does not do its part.
fn over_tcp(
    server: SocketAddr,
    questions: &[Question],
    replies: &mut [Option<Vec<u8>>],
) -> Option<()> {
    let is_open = |id: &usize| questions[*id].tcp && replies[*id].is_none();
    let ids: Vec<usize> = (0..questions.len()).filter(is_open).collect();
    if ids.is_empty() {
        return None;
    }
    let mut stream = TcpStream::connect(server).ok()?;
    stream.set_read_timeout(Some(TIMEOUT * 3)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut replied = None;
    for ids in ids.chunks(TCP_WINDOW) {
        let requests = ids.iter().flat_map(|id| {
            let request = questions[*id].request(*id as u16);
            [&(request.len() as u16).to_be_bytes(), &*request].concat()
        });
        let requests: Vec<u8> = requests.collect();
        if stream.write_all(&requests).is_err() {
            return replied;
        }
        for _ in ids {
            match read_message(&mut stream) {
                Some(reply) => note(&reply, replies),
                None => return replied,
            };
            replied = Some(());
        }
    }
    replied
}

fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).ok()?;
    Some(reply)
}
