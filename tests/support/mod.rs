//! What the tests share: text cases and how they are read, a decoder of
//! replies that trusts nothing, and a second opinion from hickory-proto.

#![allow(dead_code)]

pub mod cases;
pub mod decode;
pub mod oracle;
pub mod running;
pub mod zones;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shardns::answer::{self, Outcome, Request, Secrets, Settings, Via, Worker};
use shardns::lab::group::port_for_later;
use shardns::wire::LookupName;
use shardns::zone::text::Library;
use shardns::zone::{self, Zone, Zones};

/// The name that servers under test have for themselves.
pub const IDENTITY: &str = "test-server";

/// How long their connections may be idle: as long as unless said otherwise.
pub const TCP_IDLE: Duration = Duration::from_secs(10);

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // The package of the fuzz targets is inside of it.
    let mut folders = package.ancestors();
    let root = folders.find(|folder| folder.join("tests/support").is_dir());
    root.expect("the repository is there").join(path)
}

/// The settings that the text cases are written for.
pub fn settings() -> Settings {
    Settings {
        identity: IDENTITY.into(),
        cookies: Some(Secrets {
            current: *b"a secret of 16 o",
            previous: Some(*b"the one before i"),
        }),
        tcp_idle: Some(TCP_IDLE),
        ..Settings::default()
    }
}

/// A worker with nothing special about it.
pub const UDP: Via = Via::Udp(Worker {
    index: 0,
    cpu: None,
    batch: 1,
});

/// A request from a client on loopback, at no time in particular.
pub fn request(via: Via, octets: &[u8]) -> Request<'_> {
    Request {
        octets,
        peer: (Ipv4Addr::LOCALHOST, 5353).into(),
        local: Ipv4Addr::LOCALHOST.into(),
        via,
        now: Duration::from_secs(1_700_000_000),
    }
}

/// Reads a zone that must be good enough to be served.
pub fn load(path: &Path, origin: Option<&str>) -> Arc<Zone> {
    let origin = origin.map(|name| name.parse().unwrap());
    let loaded = zone::load(Library::Disk, path, origin).unwrap();
    loaded
        .zone
        .unwrap_or_else(|| panic!("{}: {:#?}", path.display(), loaded.faults))
}

/// The zone in a text.
pub fn zone(origin: &str, text: &str) -> Arc<Zone> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    std::fs::write(&path, text).unwrap();
    load(&path, Some(origin))
}

/// The four zones that come with the program.
pub fn demo() -> Zones {
    let files = ["example.com", "child.example.com", "192.0.2", "2001-db8"];
    let zones = files.map(|file| load(&repository(&format!("zones/{file}.zone")), None));
    Zones::new(zones.into())
}

/// Answers a request as the server would; `None` for silence.
pub fn ask(zones: &Zones, via: Via, octets: &[u8]) -> Option<Vec<u8>> {
    let settings = settings();
    let room = match via {
        Via::Udp(_) => settings.edns_size.into(),
        Via::Tcp => answer::MAX_MESSAGE,
    };
    let mut reply = vec![0; room];
    match answer::respond(
        zones,
        &settings,
        &request(via, octets),
        &mut LookupName::new(),
        &mut reply,
    ) {
        Outcome::Ignored => None,
        Outcome::Replied { length, .. } => {
            reply.truncate(length);
            Some(reply)
        }
    }
}

/// The reply without what is of its moment and its client: the server cookie.
pub fn without_server_cookie(mut reply: Vec<u8>) -> Vec<u8> {
    let option = [0, 10, 0, 24];
    let found = reply.windows(4).position(|octets| octets == option);
    if let Some(at) = found {
        reply[at + 4 + 8..at + 4 + 24].fill(0);
    }
    reply
}

/// The next datagram on a socket, which has to come before its patience ends.
pub fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).expect("a reply");
    reply.truncate(length);
    reply
}

/// A query for one name and type, without EDNS.
pub fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut request = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let name: shardns::wire::Name = name.parse().unwrap();
    request.extend(name.as_wire());
    request.extend(rtype.to_be_bytes());
    request.extend([0, 1]);
    request
}

/// With an OPT record that holds a cookie.
pub fn with_cookie(mut request: Vec<u8>, cookie: &[u8]) -> Vec<u8> {
    request[11] = 1;
    request.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    request.extend((cookie.len() as u16 + 4).to_be_bytes());
    request.extend([0, 10]);
    request.extend((cookie.len() as u16).to_be_bytes());
    request.extend(cookie);
    request
}

/// Makes keys with `ldns-keygen` until `ldns-signzone` can tell them apart: it takes a
/// key for one of the zone's that has the same tag or one less (`find_key_in_zone` in its
/// source). `make` makes them all, and returns the names of their files, which end in
/// `+` and the tag. Tags 0 and 1 are not given out, so that a test can name them.
pub fn ldns_keys(make: impl Fn() -> Option<Vec<String>>) -> Option<Vec<String>> {
    let tag = |key: &String| key.rsplit('+').next().unwrap().parse::<u16>().unwrap();
    loop {
        let keys = make()?;
        let mut tags: Vec<u16> = keys.iter().map(tag).collect();
        tags.sort();
        if tags[0] > 1 && tags.windows(2).all(|two| two[1] - two[0] > 1) {
            return Some(keys);
        }
    }
}

/// A port of 127.0.0.1 that nobody has, neither for UDP nor for TCP: half of one that the
/// kernel chose, as it chooses from high ones, and might give a socket of the tests any
/// of those before the server has it.
pub fn free_port() -> u16 {
    /// Those that somebody was given, and may not have bound yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let address = port_for_later().unwrap();
        if TcpListener::bind(address).is_ok() && GIVEN.lock().unwrap().insert(address.port()) {
            return address.port();
        }
    }
}

/// Says so when it is dropped, also where an assertion has failed: else who waits for
/// that would go on for ever.
pub struct Over<'o>(pub &'o AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
