//! The program as people start it: exit codes, sentences, signals.

mod support;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use support::query;
use support::running::{NOBODY, PROGRAM, Running, is_root, run, skip};

/// Runs what must fail; returns its one sentence.
fn fails(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    text
}

#[test]
fn usage() {
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Usage: shardns")
    );
    assert!(run(&["--version"]).status.success());
    for wrong in [
        &["--bogus"][..],
        &["serve", "--batch", "0"],
        &["serve", "--batch", "129"],
        &["serve", "--workers", "0"],
        &["serve", "--listen", "localhost:53"],
        &["serve", "--listen", "127.0.0.1:65536"],
        &["serve", "--cpus", "2-1"],
        &["serve", "--edns-size", "511"],
        &["serve", "--sockets", "shared", "--steer", "cpu"],
        &[
            "serve",
            "--listen",
            "127.0.0.1",
            "--listen",
            "127.0.0.1:5300",
        ],
        &["queries", "--nxdomain", "101"],
        &["check", "--bogus"],
    ] {
        fails(2, wrong);
    }
}

#[test]
fn zones_that_cannot_be_had() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    assert!(fails(1, &["serve", &path("none")]).contains("cannot read"));
    assert!(fails(1, &["serve", &path("")]).contains("has no file of a name like *.zone"));
    std::fs::write(
        path("a.zone"),
        "a.test. 60 SOA a. b. 1 2 3 4 5\na.test. 60 NS ns.b.test.\n",
    )
    .unwrap();
    std::fs::write(
        path("b.zone"),
        "$ORIGIN a.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns.b.test.\n",
    )
    .unwrap();
    let sentence = fails(1, &["serve", "--strict", &path("")]);
    assert!(
        sentence.contains("a.zone and") && sentence.contains("both hold the zone a.test."),
        "{sentence}"
    );
    std::fs::write(
        path("b.zone"),
        "$ORIGIN b.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 A 1.2.3\n",
    )
    .unwrap();
    let sentence = fails(1, &["serve", &path("b.zone")]);
    assert!(
        sentence.contains("b.zone:3:8: error:") && sentence.contains("       ^"),
        "{sentence}"
    );
    assert!(sentence.contains("nothing is served until"), "{sentence}");
}

#[test]
fn a_cookie_secret_that_is_none_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret").display().to_string();
    let error = fails(1, &["--cookie-secret", &path]);
    assert!(
        error.contains("cannot read") && error.contains(&path),
        "{error}"
    );
    std::fs::write(&path, "# ours\n0011\n").unwrap();
    let error = fails(1, &["--cookie-secret", &path]);
    assert!(error.contains(&format!("{path}:2: ")), "{error}");
    assert!(error.contains("openssl rand -hex 16"), "{error}");
}

#[test]
fn check_tells_everything_and_exits_accordingly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.zone").display().to_string();
    std::fs::write(
        &path,
        "$ORIGIN x.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.1\n",
    )
    .unwrap();
    let good = run(&["check", &path]);
    let text = String::from_utf8(good.stdout).unwrap();
    assert!(good.status.success(), "{text}");
    assert!(
        text.contains("x.test.: 2 names, 3 record sets, 3 records"),
        "{text}"
    );
    std::fs::write(
        &path,
        "$ORIGIN x.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns\nn/s 60 A 192.0.2.1.1\nq B\n",
    )
    .unwrap();
    let bad = run(&["check", &path, &repository_zone()]);
    let text = String::from_utf8(bad.stdout).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        text.contains("x.zone:4:10: error:") && text.contains("x.zone:5:3: error:"),
        "{text}"
    );
    assert!(
        text.contains("192.0.2.zone: 2.0.192.in-addr.arpa.:"),
        "the other zone is told of too: {text}"
    );
    let missing = run(&["check", "/nonexistent", &repository_zone()]);
    assert_eq!(missing.status.code(), Some(1));
}

fn repository_zone() -> String {
    support::repository("zones/192.0.2.zone")
        .display()
        .to_string()
}

#[test]
fn queries_are_reproducible_and_really_in_the_zones() {
    let write = |seed: &str| {
        let output = run(&[
            "queries",
            "-n",
            "500",
            "--nxdomain",
            "20",
            "--seed",
            seed,
            &repository_zone(),
        ]);
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(write("7"), write("7"));
    assert_ne!(write("7"), write("8"));
    let zones = shardns::zone::Zones::new(vec![support::load(Path::new(&repository_zone()), None)]);
    let (mut missing, mut found) = (0, 0);
    for line in write("7").lines() {
        let (name, rtype) = line.split_once(' ').unwrap();
        let rtype = shardns::wire::RrType::from_text(rtype.as_bytes()).unwrap();
        let reply = support::ask(&zones, support::UDP, &query(name, rtype.0)).unwrap();
        match reply[3] & 15 {
            3 => missing += 1,
            0 => {
                assert!(reply[7] > 0 || reply[9] > 0, "no data for {line}");
                found += 1;
            }
            rcode => panic!("rcode {rcode} for {line}"),
        }
    }
    assert_eq!(missing + found, 500);
    // 100 are expected, with a standard deviation of 9.
    assert!((50..150).contains(&missing), "{missing}");
}

#[test]
fn queries_stop_quietly_when_nobody_reads_on() {
    let mut child = Command::new(PROGRAM)
        .args(["queries", "-n", "1000000", &repository_zone()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
}

#[test]
fn without_a_zone_it_serves_the_demo_or_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = Command::new(PROGRAM);
        Running::spawn(
            command
                .args(["--listen", "127.0.0.1:0"])
                .current_dir(folder.path()),
        )
    };
    let demo = start();
    assert!(demo.log.contains("zone example.com.:"), "{}", demo.log);
    assert!(
        demo.log.contains("zone child.example.com.:"),
        "{}",
        demo.log
    );
    std::fs::create_dir(folder.path().join("zones")).unwrap();
    let own = "$ORIGIN own.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns.test.\n";
    std::fs::write(folder.path().join("zones/own.zone"), own).unwrap();
    let folder_served = start();
    assert!(
        folder_served.log.contains("zone own.test.:"),
        "{}",
        folder_served.log
    );
    assert!(
        !folder_served.log.contains("example.com"),
        "{}",
        folder_served.log
    );
}

#[test]
fn taken_addresses_get_a_sentence_each() {
    let held = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let sentence = fails(1, &["serve", "--no-tcp", "--listen", &address]);
    assert!(
        sentence.contains(&format!("UDP {address} is taken")),
        "{sentence}"
    );
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let sentence = fails(1, &["serve", "--listen", &address]);
    assert!(
        sentence.contains(&format!("TCP {address} is taken")),
        "{sentence}"
    );
    // Of the same user's servers the second does not slip into the group.
    let running = Running::start(&[]);
    let sentence = fails(1, &["serve", "--listen", &running.address.to_string()]);
    assert!(sentence.contains("is taken"), "{sentence}");
    // 192.0.2.1 is in no machine (RFC 5737).
    let sentence = fails(1, &["serve", "--listen", "192.0.2.1:0"]);
    assert!(
        sentence.contains("192.0.2.1:0 is not an address of this machine"),
        "{sentence}"
    );
    let sentence = fails(1, &["serve", "--listen", "127.0.0.1:0", "--cpus", "9999"]);
    assert!(
        sentence.contains("CPU 9999 is not among those"),
        "{sentence}"
    );
}

#[test]
fn a_group_that_is_joined_on_purpose_is_told_of() {
    let first = Running::start(&["--no-tcp", "--workers", "2"]);
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--no-tcp", "--listen", &first.address.to_string()]);
    let second = Running::spawn(&mut command);
    assert!(
        second.log.contains("has 2 UDP sockets already"),
        "{}",
        second.log
    );
}

/// A copy of the program where every user can start it.
fn program_for_everyone(folder: &Path) -> std::path::PathBuf {
    let copy = folder.join("shardns");
    // By another process: a descriptor that writes to the copy, inherited by what
    // another test starts meanwhile, would keep the copy from being run.
    let copied = Command::new("cp").arg(PROGRAM).arg(&copy).status();
    assert!(copied.unwrap().success());
    for path in [folder, &copy] {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    copy
}

#[test]
fn another_users_group_gets_its_own_sentence() {
    if !is_root() {
        return skip("another user's group: needs root to be another user");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program_for_everyone(folder.path()));
    command
        .args(["--listen", "127.0.0.1:0", "--no-tcp"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir(folder.path());
    let theirs = Running::spawn(&mut command);
    let sentence = fails(
        1,
        &["serve", "--no-tcp", "--listen", &theirs.address.to_string()],
    );
    assert!(
        sentence.contains("held by a process of another user (uid 65534)"),
        "{sentence}"
    );
    assert!(sentence.contains("SO_REUSEPORT"), "{sentence}");
}

#[test]
fn a_low_port_without_permission_gets_its_own_sentence() {
    let lowest = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
        .unwrap_or_default();
    if lowest.trim() == "0" {
        return skip("low ports: every port is open to everyone here");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program_for_everyone(folder.path()));
    // A port that nobody is likely to listen on.
    command
        .args(["--listen", "127.0.0.1:7"])
        .current_dir(folder.path());
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(sentence.contains("no permission for port 7"), "{sentence}");
}

#[test]
fn the_affinity_mask_decides_about_the_workers() {
    let allowed = shardns::server::placement::allowed_cpus();
    let cpu = *allowed.last().unwrap();
    let mut command = Command::new("taskset");
    command.args(["-c", &cpu.to_string(), PROGRAM, "--listen", "127.0.0.1:0"]);
    if Command::new("taskset").arg("--version").output().is_err() {
        return skip("affinity: taskset is not installed");
    }
    let running = Running::spawn(&mut command);
    assert!(
        running
            .log
            .contains(&format!("1 worker pinned to CPU {cpu}\n")),
        "{}",
        running.log
    );
    let running = Running::start(&["--workers", "3", "--cpus", &cpu.to_string()]);
    assert!(
        running.log.contains("3 workers pinned to CPU"),
        "{}",
        running.log
    );
    let running = Running::start(&["--no-pin"]);
    assert!(running.log.contains("not pinned"), "{}", running.log);
}

#[test]
fn usr1_prints_the_table_and_term_ends_with_it() {
    let mut running = Running::start(&["--workers", "2"]);
    let client = running.client();
    for _ in 0..10 {
        client.send(&query("www.example.com", 1)).unwrap();
        client.recv(&mut [0; 512]).unwrap();
    }
    running.signal("USR1");
    let mut table = String::new();
    while !table.contains("all") {
        assert!(running.stderr.read_line(&mut table).unwrap() > 0);
    }
    assert!(
        table.contains("worker") && table.contains("received") && table.contains("kernel drops"),
        "{table}"
    );
    client
        .send(&query("no.example.com.example.com", 1))
        .unwrap();
    client.recv(&mut [0; 512]).unwrap();
    running.signal("TERM");
    let (code, rest) = running.end();
    assert_eq!(code, Some(0), "{rest}");
    assert!(
        rest.contains("NXDOMAIN") && rest.contains("batches by size"),
        "{rest}"
    );
    let all = rest
        .lines()
        .rfind(|line| line.trim_start().starts_with("all"))
        .unwrap();
    assert!(all.contains("11"), "{rest}");
}

#[test]
fn a_stop_answers_what_had_arrived() {
    for signal in ["TERM", "INT"] {
        let running = Running::start(&["--workers", "2"]);
        let clients: Vec<UdpSocket> = (0..8).map(|_| running.client()).collect();
        running.signal("STOP");
        for _ in 0..50 {
            for client in &clients {
                client.send(&query("www.example.com", 1)).unwrap();
            }
        }
        running.signal(signal);
        running.signal("CONT");
        for client in &clients {
            for _ in 0..50 {
                client
                    .recv(&mut [0; 512])
                    .expect("an answer to what had arrived before the stop");
            }
        }
        let (code, rest) = running.end();
        assert_eq!(code, Some(0), "{rest}");
        assert!(rest.contains("400"), "{rest}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let running = Running::start(&[]);
    // Both are pending when it goes on, so that the second finds it stopping.
    running.signal("STOP");
    running.signal("INT");
    running.signal("TERM");
    running.signal("CONT");
    let (code, rest) = running.end();
    assert_eq!(code, Some(1), "{rest}");
    assert!(rest.contains("second signal"), "{rest}");
}

#[test]
fn a_log_that_nobody_reads_costs_nothing_but_the_log() {
    let mut running = Running::start(&["--workers", "1"]);
    let client = running.client();
    // The reader of the log goes away.
    running.stderr = BufReader::new(
        Command::new("true")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .stderr
            .take()
            .unwrap(),
    );
    for _ in 0..3 {
        running.signal("USR1");
        client.send(&query("www.example.com", 1)).unwrap();
        client
            .recv(&mut [0; 512])
            .expect("it goes on without a log");
    }
    running.signal("TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_stop_while_zones_are_read_needs_no_patience() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.zone").display().to_string();
    // Long enough to read that the signal comes in between.
    std::fs::write(&path, "$ORIGIN x.test.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns.test.\n$GENERATE 0-16777215 h$ A 192.0.2.1\n").unwrap();
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", &path])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    // Signals are caught first of all: 10 is SIGUSR1, 15 is SIGTERM.
    let caught = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let mask = status.split("SigCgt:\t").nth(1).unwrap();
        let mask = u64::from_str_radix(mask.split_whitespace().next().unwrap(), 16).unwrap();
        [10, 15].iter().all(|signal| mask >> (signal - 1) & 1 == 1)
    };
    while !caught() {
        assert!(child.try_wait().unwrap().is_none());
    }
    for signal in ["-USR1", "-TERM"] {
        assert!(
            Command::new("kill")
                .args([signal, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
