//! The control socket and `shardns ctl`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::support::running::{NOBODY, PROGRAM, is_root, run, skip};
use super::*;

/// A server with a control socket.
fn controlled(folder: &Folder, more: &[&str]) -> Running {
    let control = folder.path("control");
    let control = ["--control", control.to_str().unwrap()];
    serve(folder.0.path(), &[&control, more].concat())
}

/// Runs `shardns ctl`; returns the exit code and what it printed.
pub fn ctl(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String) {
    let control = folder.path("control");
    let control = ["ctl", "--control", control.to_str().unwrap()];
    let output = run(&[&control, arguments].concat());
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

#[test]
fn status_tells_what_there_is() {
    let folder = Folder::new();
    folder.zone("a.test.", 7, 1);
    fs::write(folder.path("b.zone"), "x").unwrap();
    let running = controlled(&folder, &["--workers", "2"]);
    let client = running.client();
    for _ in 0..5 {
        ask(&client, "a.test.").unwrap();
    }
    let mode = fs::metadata(folder.path("control"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, said) = ctl(&folder, &["status", "--json"]);
    assert_eq!(code, Some(0), "{said}");
    let status: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(status["pid"], running.child.id());
    assert_eq!(status["addresses"][0], running.address.to_string());
    let received = |worker: &serde_json::Value| worker["received"].as_u64().unwrap();
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.iter().map(received).sum::<u64>(), 5);
    let zones = status["zones"].as_array().unwrap();
    assert_eq!(
        (&zones[0]["name"], &zones[0]["serial"]),
        (&"a.test.".into(), &7.into())
    );
    assert!(zones[1]["serial"].is_null() && !zones[1]["error"].is_null());
    for (what, words) in [
        ("status", "1 served, 1 with an error"),
        ("status", "5 received, 5 answered"),
        ("workers", "kernel drops"),
        ("zones", "a.test."),
    ] {
        let (code, said) = ctl(&folder, &[what]);
        assert_eq!(code, Some(0));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn reload_says_what_came_of_it_and_exits_accordingly() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    folder.zone("b.test.", 1, 1);
    let running = controlled(&folder, &[]);
    let client = running.client();
    folder.zone("a.test.", 2, 2);
    folder.zone("b.test.", 2, 2);
    let (code, said) = ctl(&folder, &["reload", "a.test"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("1 loaded"), "{said}");
    assert_eq!(ask(&client, "a.test."), Ok(2));
    assert_eq!(ask(&client, "b.test."), Ok(1));
    let (code, said) = ctl(&folder, &["reload"]);
    assert_eq!((code, ask(&client, "b.test.")), (Some(0), Ok(2)), "{said}");
    fs::write(
        folder.path("a.test.zone"),
        zone("a.test.", 3, 3) + "x A 1.2.3\n",
    )
    .unwrap();
    let (code, said) = ctl(&folder, &["reload"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a.test.zone:7:5: error:"), "{said}");
    assert_eq!(ask(&client, "a.test."), Ok(2));
    for wrong in ["nowhere.test", "..", "a..test"] {
        let (code, said) = ctl(&folder, &["reload", wrong]);
        assert_eq!(code, Some(1), "{said}");
    }
}

#[test]
fn stop_ends_it_and_takes_the_socket_away() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, &[]);
    // Another one does not take the path of one that runs.
    let control = folder.path("control");
    let control = control.to_str().unwrap();
    let second = run(&["serve", "--listen", "127.0.0.1:0", "--control", control]);
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("a server has its control socket at"),
        "{said}"
    );
    assert_eq!(ctl(&folder, &["stop"]).0, Some(0));
    assert_eq!(running.end().0, Some(0));
    assert!(!folder.path("control").exists());
    let (code, said) = ctl(&folder, &["status"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("no server has its control socket at"),
        "{said}"
    );
    // What a killed one left behind is taken; what is no socket is not.
    let mut killed = controlled(&folder, &[]);
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(folder.path("control").exists());
    let next = controlled(&folder, &[]);
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
    drop(next);
    fs::remove_file(folder.path("control")).unwrap();
    fs::write(folder.path("control"), "dear to somebody").unwrap();
    let output = run(&["serve", "--listen", "127.0.0.1:0", "--control", control]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        fs::read(folder.path("control")).unwrap(),
        b"dear to somebody"
    );
}

#[test]
fn nonsense_gets_an_error_and_silence_stops_nobody() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let _running = controlled(&folder, &[]);
    let connect = || UnixStream::connect(folder.path("control")).unwrap();
    let silent: Vec<UnixStream> = (0..8).map(|_| connect()).collect();
    for nonsense in [
        "nonsense\n",
        "{\"command\":\"fly\"}\n",
        "{\"command\":\"go\"}\n",
    ] {
        let mut stream = connect();
        stream.write_all(nonsense.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with("{\"error\":"), "{nonsense}: {reply}");
    }
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
    drop(silent);
}

#[test]
fn another_user_is_not_let_in() {
    if !is_root() {
        return skip("another user at the control socket: needs root to be another user");
    }
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let _running = controlled(&folder, &[]);
    let everyone = PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.0.path(), everyone).unwrap();
    // Even where the file's mode would let them.
    for mode in [0o600, 0o666] {
        let everyone = PermissionsExt::from_mode(mode);
        fs::set_permissions(folder.path("control"), everyone).unwrap();
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\ns.sendall(b'{\"command\":\"takeover\"}\\n')\nprint(s.recv(100))";
        let output = Command::new("python3")
            .args(["-c", script])
            .arg(folder.path("control"))
            .uid(NOBODY)
            .gid(NOBODY)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains("offer"), "{mode:o}: {said}");
    }
}

#[test]
fn queries_are_shown_as_they_come() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let running = controlled(&folder, &[]);
    let client = running.client();
    let mut watching = Command::new(PROGRAM)
        .args(["ctl", "queries", "--json", "--control"])
        .arg(folder.path("control"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    // Nobody says when it has begun: there are questions until there is a line.
    let over = Arc::<AtomicBool>::default();
    let asking = {
        let over = over.clone();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                ask(&client, "a.test.").unwrap();
            }
        })
    };
    let query: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    over.store(true, Ordering::Relaxed);
    asking.join().unwrap();
    assert_eq!(
        (&query["rcode"], &query["transport"]),
        (&"NOERROR".into(), &"udp".into())
    );
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
}

#[test]
fn metrics_are_had_over_http() {
    let folder = Folder::new();
    folder.zone("a.test.", 5, 1);
    let running = controlled(&folder, &["--metrics", "127.0.0.1:0"]);
    ask(&running.client(), "a.test.").unwrap();
    let address = running.log.split("metrics at http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains("a.test."), "{text}");
}

/// As a terminal that is held, or a program that has stopped reading.
#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    fs::write(folder.path("b.zone"), "x A 1.2.3\n".repeat(30)).unwrap();
    let mut running = controlled(&folder, &[]);
    let client = running.client();
    // 20 faults of some 100 octets each; a pipe holds 64 KiB.
    for _ in 0..40 {
        let (code, said) = ctl(&folder, &["reload"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("1 failed"), "{said}");
    }
    assert_eq!(ask(&client, "a.test."), Ok(1));
    assert_eq!(ctl(&folder, &["status"]).0, Some(0));
    running.signal("TERM");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}
