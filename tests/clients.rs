//! Real clients ask a real server. What is not installed is skipped, and says
//! so.

mod support;

use std::io::{Write, stderr};
use std::process::Command;
use std::sync::Arc;

use shardns::server::{Config, Listen, Server};

fn server(workers: usize) -> Server {
    let listen = ["127.0.0.1:0", "[::1]:0"].map(|address| Listen {
        address: address.parse().unwrap(),
        required: true,
    });
    let config = Config {
        listen: listen.into(),
        workers: Some(workers),
        settings: support::settings(),
        ..Config::default()
    };
    Server::start(&config, Arc::new(support::demo())).unwrap()
}

/// What the client prints, or `None` where there is no such client.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                output.status.success(),
                "{program} {arguments:?}: {text}{errors}"
            );
            Some(text)
        }
        Err(_) => {
            let _ = writeln!(stderr(), "SKIPPED: {program} is not installed");
            None
        }
    }
}

#[test]
fn dig_and_kdig_and_drill() {
    let server = server(2);
    for address in server.addresses() {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let at = format!("@{host}");
        for client in ["dig", "kdig"] {
            for transport in ["+notcp", "+tcp"] {
                let ask = |question: &[&str]| {
                    run(
                        client,
                        &[&[&at, "-p", &port, transport, "+norec"], question].concat(),
                    )
                };
                let Some(text) = ask(&["www.example.com", "A", "+short"]) else {
                    continue;
                };
                assert!(text.starts_with("192.0.2.80\n"), "{text}");
                let text = ask(&["nowhere.example.com", "A"]).unwrap();
                assert!(text.contains("NXDOMAIN") && text.contains("SOA"), "{text}");
                assert!(!text.to_lowercase().contains("warning"), "{text}");
                let text = ask(&["worker.server", "TXT", "CH", "+short"]).unwrap();
                let over_tcp = transport == "+tcp";
                assert!(
                    text.contains(if over_tcp { "tcp" } else { "worker=" }),
                    "{text}"
                );
                let text = ask(&["id.server", "TXT", "CH", "+short"]).unwrap();
                assert!(text.contains(support::IDENTITY), "{text}");
                let text = ask(&["www.example.com", "A", "+nsid"]).unwrap();
                assert!(
                    text.contains(support::IDENTITY) || text.contains("test-server"),
                    "{text}"
                );
                let text = ask(&["example.net", "A", "+edns"]).unwrap();
                assert!(
                    text.contains("REFUSED") && text.contains("Not Authoritative"),
                    "{text}"
                );
            }
        }
        if let Some(text) = run("drill", &["-p", &port, "www.example.com", &at, "A"]) {
            assert!(
                text.contains("NOERROR") && text.contains("192.0.2.80"),
                "{text}"
            );
        }
    }
}

#[test]
fn dig_and_kdig_find_the_cookie_good() {
    let server = server(2);
    for address in server.addresses() {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let at = format!("@{host}");
        let cookie = |client: &str, options: &[&str]| {
            let ask = ["www.example.com", "A", "+norec"];
            let text = run(client, &[&[&at, "-p", &port], &ask[..], options].concat())?;
            assert!(text.contains("192.0.2.80"), "{text}");
            let lower = text.to_lowercase();
            assert!(
                !lower.contains("warning") && !lower.contains("badcookie"),
                "{text}"
            );
            let line = text.lines().find(|line| line.contains("COOKIE"));
            Some(
                line.unwrap_or_else(|| panic!("no cookie: {text}"))
                    .to_owned(),
            )
        };
        for transport in ["+notcp", "+tcp"] {
            if let Some(line) = cookie("dig", &["+cookie", transport]) {
                assert!(line.ends_with("(good)"), "{line}");
                let sent = line.split_whitespace().nth(2).unwrap();
                let again = cookie("dig", &[&format!("+cookie={sent}"), transport]).unwrap();
                assert!(again.ends_with("(good)"), "{again}");
            }
            cookie("kdig", &["+cookie", transport]);
        }
    }
    let counted = server.totals();
    let valid: u64 = counted.iter().map(|totals| totals.cookies[1]).sum();
    let asked: u64 = counted.iter().map(|totals| totals.received).sum();
    assert!(asked == 0 || valid > 0, "{counted:?}");
}

#[test]
fn a_truncated_reply_is_asked_for_again_over_tcp() {
    let server = server(1);
    let port = server.addresses()[0].port().to_string();
    let Some(text) = run(
        "dig",
        &["@127.0.0.1", "-p", &port, "huge.example.com", "TXT"],
    ) else {
        return;
    };
    assert!(text.contains("retrying in TCP mode"), "{text}");
    assert!(text.contains("NOERROR") && text.contains("(TCP)"), "{text}");
}

#[test]
fn dnsperf_loses_nothing_over_64_sockets() {
    let server = server(2);
    let address = server.addresses()[0];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries").display().to_string();
    let queries = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["queries", "-n", "2000", "--nxdomain", "0"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    std::fs::write(&file, queries.stdout).unwrap();
    let port = address.port().to_string();
    // In flight at once: few enough for the default buffers of any client.
    let arguments = [
        "-s",
        "127.0.0.1",
        "-p",
        &port,
        "-d",
        &file,
        "-n",
        "10",
        "-c",
        "64",
        "-q",
        "64",
    ];
    let Some(text) = run("dnsperf", &arguments) else {
        return;
    };
    assert!(text.contains("Queries sent:         20000"), "{text}");
    assert!(text.contains("Queries lost:         0 (0.00%)"), "{text}");
    assert!(
        text.contains("NOERROR 20000 (100.00%)"),
        "every name is in the zones: {text}"
    );
    let totals = server.totals();
    // dnsperf asks once before it begins.
    assert!(
        totals[..2]
            .iter()
            .map(|totals| totals.received)
            .sum::<u64>()
            >= 20_000
    );
    assert!(
        totals[..2].iter().all(|totals| totals.received > 1000),
        "{totals:?}"
    );
}
