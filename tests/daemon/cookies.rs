//! A client's cookie is good at the server that takes over, too.

use std::fs;
use std::net::UdpSocket;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shardns::answer::Secrets;

use super::control::ctl;
use super::takeover::{controlled, successor};
use super::*;

const CLIENT_COOKIE: [u8; 8] = *b"a client";
const CURRENT: [u8; 16] = [0x11; 16];
const PREVIOUS: [u8; 16] = [0x22; 16];

/// Asks with a cookie, and returns the one in the reply.
fn ask_with(client: &UdpSocket, cookie: &[u8]) -> [u8; 24] {
    let request = support::with_cookie(query("www.a.test.", 1), cookie);
    client.send(&request).unwrap();
    let reply = support::receive(client);
    let opt = support::decode::decode(&reply).unwrap().opt.unwrap();
    opt.options[0].1[..].try_into().unwrap()
}

/// A cookie as a server makes it that has this secret.
fn made_with(current: [u8; 16]) -> [u8; 24] {
    let secrets = Secrets {
        current,
        previous: None,
    };
    let now: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    secrets.make(&CLIENT_COOKIE, "127.0.0.1".parse().unwrap(), now)
}

/// Replies by the cookie of their request: new, valid, invalid.
fn counted(folder: &Folder) -> [u64; 3] {
    let (_, said) = ctl(folder, &["status", "--json"]);
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    let workers = status["workers"].as_array().unwrap();
    let sum = |index: usize| {
        let count = |worker: &serde_json::Value| worker["cookies"][index][1].as_u64().unwrap();
        workers.iter().map(count).sum()
    };
    [sum(0), sum(1), sum(2)]
}

fn secret_file(folder: &Folder, secrets: &[[u8; 16]]) -> String {
    let line = |secret: &[u8; 16]| format!("{}\n", hexadecimal(secret));
    let path = folder.path("secret");
    fs::write(&path, secrets.iter().map(line).collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn a_cookie_from_before_a_takeover_is_good_after_it() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let first = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let client = first.client();
    let cookie = ask_with(&client, &CLIENT_COOKIE);
    assert_eq!(counted(&folder), [1, 0, 0]);
    // And after the next one, which has it of one that had it.
    let second = successor(&folder, &first, &["--workers", "1"]);
    assert_eq!(first.end().0, Some(0));
    ask_with(&client, &cookie);
    assert_eq!(counted(&folder), [1, 1, 0]);
    let third = successor(&folder, &second, &["--workers", "1"]);
    assert_eq!(second.end().0, Some(0));
    let newer = ask_with(&client, &cookie);
    ask_with(&client, &newer);
    assert_eq!(counted(&folder), [1, 3, 0]);
    // A reload is no reason for another secret.
    assert_eq!(ctl(&folder, &["reload"]).0, Some(0));
    ask_with(&client, &cookie);
    assert_eq!(counted(&folder), [1, 4, 0]);
    drop(third);
}

#[test]
fn the_secret_before_it_is_handed_over_too_and_neither_is_told() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let file = secret_file(&folder, &[CURRENT, PREVIOUS]);
    let options = ["--workers", "1", "--cookie-secret", &file];
    let first = controlled(&folder, "127.0.0.1:0", &options);
    let mut told = first.log.clone();
    let client = first.client();
    let second = successor(&folder, &first, &["--workers", "1"]);
    fs::remove_file(&file).unwrap();
    let (code, rest) = first.end();
    assert_eq!(code, Some(0));
    for secret in [CURRENT, PREVIOUS] {
        ask_with(&client, &made_with(secret));
    }
    assert_eq!(counted(&folder), [0, 2, 0]);
    told += &rest;
    told += &second.log;
    for secret in [CURRENT, PREVIOUS] {
        let hidden = [
            hexadecimal(&secret),
            format!("{}, {}", secret[0], secret[1]),
        ];
        assert!(!hidden.iter().any(|words| told.contains(words)), "{told}");
    }
}

#[test]
fn a_secret_that_is_named_holds() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let first = controlled(&folder, "127.0.0.1:0", &["--workers", "1"]);
    let client = first.client();
    let cookie = ask_with(&client, &CLIENT_COOKIE);
    let file = secret_file(&folder, &[CURRENT]);
    let options = ["--workers", "1", "--cookie-secret", &file];
    let second = successor(&folder, &first, &options);
    assert_eq!(first.end().0, Some(0));
    ask_with(&client, &cookie);
    ask_with(&client, &made_with(CURRENT));
    assert_eq!(counted(&folder), [1, 1, 1]);
    // One that takes no notice of cookies has none to hand over.
    let third = successor(&folder, &second, &["--workers", "1", "--no-cookies"]);
    assert_eq!(second.end().0, Some(0));
    assert_eq!(ask(&client, "a.test."), Ok(1));
    let fourth = successor(&folder, &third, &["--workers", "1"]);
    assert_eq!(third.end().0, Some(0));
    ask_with(&client, &made_with(CURRENT));
    assert_eq!(counted(&folder), [1, 1, 2]);
    drop(fourth);
}
