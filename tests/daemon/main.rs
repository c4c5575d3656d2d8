//! What an operator does to a server that answers.

#[path = "../support/mod.rs"]
mod support;

mod by_hand;
mod control;
mod cookies;
mod reload;
mod takeover;

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use support::query;
use support::running::Running;

/// A folder with zones that change.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn argument(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    /// Writes a zone in which `www` has the address 192.0.2.`number`, as an editor
    /// does: another file takes the place of the one before.
    fn zone(&self, origin: &str, serial: u32, number: u8) {
        let text = zone(origin, serial, number);
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path(&format!("{origin}zone"))).unwrap();
    }
}

fn zone(origin: &str, serial: u32, number: u8) -> String {
    format!(
        "$ORIGIN {origin}\n$TTL 60\n@ SOA ns.test. h {serial} 2 3 4 5\n@ NS ns.test.\n@ NS ns2.test.\nwww A 192.0.2.{number}\n"
    )
}

/// The last octet of the address of `www`, or the response code.
fn ask(client: &UdpSocket, origin: &str) -> Result<u8, u8> {
    client.send(&query(&format!("www.{origin}"), 1)).unwrap();
    let mut reply = [0; 512];
    let length = client.recv(&mut reply).unwrap();
    match reply[3] & 15 {
        0 => Ok(reply[length - 1]),
        rcode => Err(rcode),
    }
}

const REFUSED: Result<u8, u8> = Err(5);

/// Sends SIGHUP and waits until it has been followed.
fn hang_up(running: &mut Running) -> String {
    running.signal("HUP");
    running.until("reload: ")
}

fn serve(folder: &Path, more: &[&str]) -> Running {
    Running::start(&[more, &[folder.to_str().unwrap()]].concat())
}
