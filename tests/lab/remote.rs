//! `--to` and `answer`: the sockets on another host, which is this one again, or two
//! network namespaces of it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use siphasher::sip128::SipHasher24;

use super::{lab, measure, rows};

const PROGRAM: &str = env!("CARGO_BIN_EXE_shardns");
const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";
const OTHER_TOKEN: &str = "ff0102030405060708090a0b0c0d0e0f";
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// `shardns lab answer`, which runs until it is dropped.
struct Answering {
    program: Child,
    said: BufReader<ChildStdout>,
    address: String,
}

impl Answering {
    fn start() -> Answering {
        Answering::start_by(&mut Command::new(PROGRAM), "127.0.0.1")
    }

    fn start_by(command: &mut Command, address: &str) -> Answering {
        let mut program = command
            .args(["lab", "answer", "--for", "5m", "--listen", address])
            .env("SHARDNS_LAB_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(program.stdout.take().unwrap());
        let mut answering = Answering {
            program,
            said,
            address: String::new(),
        };
        let line = answering.hears("listening on ");
        assert!(line.contains("trusted network only"), "{line}");
        let address = line.split_whitespace().nth(2).unwrap();
        answering.address = address.trim_end_matches(',').to_owned();
        answering
    }

    /// Reads on to a line that has these words.
    fn hears(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "never {words}");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Runs an experiment on it.
    fn measure(&self, name: &str, arguments: &[&str]) -> Value {
        let to = ["--to", &self.address, "--token", TOKEN];
        let result = measure(name, &[&to, arguments].concat());
        let far = &result["far"];
        assert_eq!(far["address"], self.address.as_str());
        assert_eq!(far["place"]["kernel"], result["place"]["kernel"]);
        result
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// A source that speaks by hand.
struct Source {
    lines: BufReader<TcpStream>,
}

impl Source {
    fn connect(address: &str) -> Source {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Source {
            lines: BufReader::new(stream),
        }
    }

    /// Knocks with a token; what comes of it.
    fn enter(address: &str, token: &str) -> (Source, Value) {
        let mut source = Source::connect(address);
        let greeting = source.hear().unwrap();
        assert_eq!(greeting["shardns-lab"], 1);
        let octets = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
        let key = octets(token).try_into().unwrap();
        let nonce = octets(greeting["nonce"].as_str().unwrap());
        let proof = SipHasher24::new_with_key(&key).hash(&nonce).as_bytes();
        source.say(&json!({ "proof": HEXLOWER.encode(&proof) }));
        let admission = source.hear().unwrap();
        (source, admission)
    }

    fn admitted(address: &str) -> Source {
        let (source, admission) = Source::enter(address, TOKEN);
        assert!(!admission["welcome"].is_null(), "{admission}");
        source
    }

    fn say(&mut self, what: &Value) {
        writeln!(self.lines.get_mut(), "{what}").unwrap();
    }

    /// `None` once the other end has hung up.
    fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(1..) => Some(serde_json::from_str(&line).unwrap()),
            Ok(0) => None,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn ask(&mut self, what: Value) -> Value {
        self.say(&what);
        self.hear().unwrap()
    }

    /// The port of what is opened.
    fn open(&mut self, what: Value) -> u16 {
        let opened = self.ask(what);
        let port = opened["opened"]["port"].as_u64();
        port.unwrap_or_else(|| panic!("{opened}")) as u16
    }
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap()
}

fn sum(row: &Value, name: &str) -> u64 {
    let numbers = row[name].as_array().unwrap().iter();
    numbers.map(|number| number.as_u64().unwrap()).sum()
}

/// What was sent is counted at the other end, all of it.
fn adds_up(spread: &Value) {
    for row in rows(spread) {
        match row["policy"].as_str().unwrap() {
            "hash" => {
                assert_eq!(row["sockets_of_a_flow"], 1, "{row}");
                assert_eq!(sum(row, "shares"), number(row, "flows"));
            }
            "hash, TCP" => assert_eq!(sum(row, "shares"), number(row, "flows")),
            _ => assert_eq!(sum(row, "shares"), number(row, "datagrams")),
        }
        if row["policy"] == "query-id" && row["flows"] == 1 {
            assert_eq!(row["sockets_of_a_flow"], row["sockets"]);
        }
    }
}

#[test]
fn what_is_sent_is_counted_there() {
    let answering = Answering::start();
    let spread = answering.measure("spread", &["--sockets", "5"]);
    adds_up(&spread);
    assert_eq!(spread["far"]["card"]["interface"], "lo");
    assert_eq!(spread["card"]["interface"], "lo");
    adds_up(&answering.measure("spread", &["--tcp", "--sockets", "3"]));
}

#[test]
fn servers_are_visited_there() {
    let answering = Answering::start();
    let here = measure("rivals", &["--sockets", "2"]);
    let rivals = answering.measure("rivals", &["--sockets", "2"]);
    let batch = answering.measure("batch", &[]);
    let names = |result: &Value| -> Vec<String> {
        rows(result)[0]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(names(&rivals), names(&here));
    assert_eq!(rows(&rivals).len(), rows(&here).len());
    for row in rows(&rivals).iter().chain(rows(&batch)) {
        assert_eq!(
            number(row, "sent"),
            number(row, "answered") + number(row, "lost")
        );
        if row["load"] == "most" {
            assert!(number(row, "answered") > 0, "{row}");
        }
    }
    for row in rows(&rivals) {
        assert!(
            sum(row, "received_by_worker") >= number(row, "answered"),
            "{row}"
        );
        // Its threads are seen from there alone.
        assert_eq!(
            row["cpu_us_per_query"].is_null(),
            rows(&here)[0]["cpu_us_per_query"].is_null()
        );
    }
    for row in rows(&batch)
        .iter()
        .filter(|row| row["batch"] == 1 && row["load"] == "most")
    {
        assert_eq!(row["receives_and_sends_per_query"], 2.0, "{row}");
    }
}

#[test]
fn workers_tell_their_cpus_there() {
    let answering = Answering::start();
    let result = answering.measure("locality", &[]);
    let mut checked = 0;
    for row in rows(&result) {
        assert_eq!(row["network"], "other host");
        // It is this machine again, and loopback.
        assert_eq!(
            number(row, "on_client_cpu"),
            number(row, "datagrams"),
            "{row}"
        );
        if row["policy"] == "cpu" && row["pinned"] == true {
            assert_eq!(number(row, "local"), number(row, "datagrams"), "{row}");
            checked += 1;
        }
    }
    assert!(checked > 0);
}

#[test]
fn the_rows_say_where_both_ends_were() {
    let answering = Answering::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.csv");
    let output = lab(&[
        "spread",
        "--quick",
        "--to",
        &answering.address,
        "--token",
        TOKEN,
        "--csv",
        file.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    // A setting that every kernel has, of each end's card.
    assert_eq!(
        said.matches("sysctl -w net.core.busy_poll=50").count(),
        2,
        "{said}"
    );
    let rows = fs::read_to_string(file).unwrap();
    let heading = rows.lines().next().unwrap();
    assert!(
        heading.contains(",far_kernel,") && heading.contains(",kernel,"),
        "{heading}"
    );
}

#[test]
fn what_is_about_one_machine_cannot_be_sent_elsewhere() {
    for (arguments, said) in [
        (
            &["bind", "--to", "127.0.0.1:1"][..],
            "--to is for spread, rivals, batch, locality",
        ),
        (
            &["all", "--out", "there", "--to", "127.0.0.1:1"],
            "--to is for one experiment of spread",
        ),
        (&["spread", "--to", "127.0.0.1:1"], "needs the token"),
    ] {
        let output = Command::new(PROGRAM)
            .arg("lab")
            .args(arguments)
            .env_remove("SHARDNS_LAB_TOKEN")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn a_token_is_read_where_one_is_needed() {
    let run = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("lab").args(arguments);
        let output = command.env("SHARDNS_LAB_TOKEN", "none").output().unwrap();
        (output.status, String::from_utf8(output.stderr).unwrap())
    };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    for local in [&[][..], &["explain", &address, "--for", "10ms"]] {
        let (status, told) = run(local);
        assert!(status.success(), "{told}");
    }
    for (with_token, code) in [
        (&["spread", "--to", "127.0.0.1:1"][..], 1),
        (&["answer", "--listen", "127.0.0.1"], 2),
    ] {
        let (status, told) = run(with_token);
        assert_eq!(status.code(), Some(code), "{told}");
        assert!(told.contains("a token is 32 hexadecimal digits"), "{told}");
    }
}

#[test]
fn who_says_nothing_keeps_nobody_out() {
    let answering = Answering::start();
    let silent = || TcpStream::connect(&answering.address).unwrap();
    let _silent: Vec<TcpStream> = (0..60).map(|_| silent()).collect();
    // One after the other, they would have two seconds each, and a source waits ten.
    adds_up(&answering.measure("spread", &["--sockets", "2"]));
}

#[test]
fn only_the_token_opens() {
    let mut answering = Answering::start();
    let output = lab(&["spread", "--to", &answering.address, "--token", OTHER_TOKEN]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("refuses: that is not the token"), "{told}");
    let (mut source, admission) = Source::enter(&answering.address, OTHER_TOKEN);
    assert!(admission["welcome"].is_null(), "{admission}");
    assert!(source.hear().is_none());
    // Nothing that is said is repeated.
    for garbage in [
        "\u{1b}[2J",
        "{\"proof\":\"\u{1b}[2J\"}",
        "{\"proof\":7}",
        "null",
        "[]",
    ] {
        let mut source = Source::connect(&answering.address);
        source.hear().unwrap();
        writeln!(source.lines.get_mut(), "{garbage}").unwrap();
        while source.hear().is_some() {}
        assert!(!answering.hears("is sent away").contains('\u{1b}'));
    }
    // A line that never ends.
    let mut source = Source::connect(&answering.address);
    source.hear().unwrap();
    let _ = source.lines.get_mut().write_all(&[b'x'; 1 << 16]);
    assert!(source.hear().is_none());
    adds_up(&answering.measure("spread", &["--sockets", "2"]));
}

#[test]
fn a_session_that_makes_no_sense_ends() {
    let answering = Answering::start();
    for (request, goes_on) in [
        (json!({ "group": { "sockets": 0 } }), true),
        (json!({ "group": { "sockets": 4097 } }), true),
        (json!({ "collect": { "subject": 7, "sent": 1 } }), true),
        (
            json!({ "contender": { "rival": { "model": "hand-off", "workers": 65 } } }),
            true,
        ),
        (
            json!({ "cpu-workers": { "cpus": [1 << 20], "pinned": true, "steer": null } }),
            true,
        ),
        (json!({ "group": { "sockets": "\u{1b}" } }), false),
        (json!({ "exec": "sh" }), false),
    ] {
        let mut source = Source::admitted(&answering.address);
        let reply = source.ask(request.clone());
        assert!(reply["failed"].is_string(), "{request}: {reply}");
        match goes_on {
            true => {
                source.open(json!({ "group": { "sockets": 1 } }));
                assert_eq!(source.ask(json!("leave")), "done");
            }
            false => while source.hear().is_some() {},
        }
    }
}

#[test]
fn one_source_at_a_time() {
    let answering = Answering::start();
    let mut first = Source::admitted(&answering.address);
    first.open(json!({ "group": { "sockets": 2 } }));
    let (_, admission) = Source::enter(&answering.address, TOKEN);
    assert_eq!(admission["refused"], "another source is in session");
    let output = lab(&["batch", "--to", &answering.address, "--token", TOKEN]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("another source is in session"), "{told}");
    assert_eq!(first.ask(json!("leave")), "done");
    Source::admitted(&answering.address);
}

/// True once nobody has the port any more.
fn is_free(port: u16) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn nothing_outlives_its_source() {
    let answering = Answering::start();
    let mut source = Source::admitted(&answering.address);
    let group = source.open(json!({ "group": { "sockets": 3 } }));
    let server = json!({ "contender": { "rival": { "model": "processes", "workers": 2 } } });
    let server = source.open(server);
    for port in [group, server] {
        assert!(UdpSocket::bind(("127.0.0.1", port)).is_err());
    }
    // As if it had been killed.
    drop(source);
    assert!(is_free(group) && is_free(server));
}

#[test]
fn the_end_of_answering_ends_the_session() {
    let mut answering = Answering::start();
    let mut source = Source::admitted(&answering.address);
    let port = source.open(json!({ "group": { "sockets": 3 } }));
    let process = answering.program.id().to_string();
    let interrupted = Command::new("kill").args(["-INT", &process]).status();
    assert!(interrupted.unwrap().success());
    assert!(source.hear().is_none_or(|word| word == "done"));
    assert!(answering.program.wait().unwrap().success());
    assert!(is_free(port));
}

#[test]
fn others_get_no_answer() {
    let answering = Answering::start();
    let mut source = Source::admitted(&answering.address);
    // The header, and host7.example.com A IN.
    let query = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x05host7\x07example\x03com\0\0\x01\0\x01";
    for kind in [
        json!({ "batch": 1 }),
        json!({ "rival": { "model": "reuseport", "workers": 1 } }),
        json!({ "rival": { "model": "shared-socket", "workers": 1 } }),
        json!({ "rival": { "model": "shared-epoll", "workers": 1 } }),
        json!({ "rival": { "model": "hand-off", "workers": 1 } }),
        json!({ "rival": { "model": "processes", "workers": 1 } }),
    ] {
        let port = source.open(json!({ "contender": kind }));
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        let (other, own) = ("127.0.0.2:0", "127.0.0.1:0");
        let [other, own] = [other, own].map(|from| UdpSocket::bind(from).unwrap());
        own.set_read_timeout(Some(PATIENCE)).unwrap();
        other.set_nonblocking(true).unwrap();
        let mut reply = [0; 512];
        // One worker answers in order: the first would be answered by then.
        other.send_to(query, server).unwrap();
        own.send_to(query, server).unwrap();
        assert!(own.recv(&mut reply).unwrap() > query.len(), "{kind}");
        let nothing = other.recv(&mut reply).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "{kind}");
    }
    // Nor are they counted.
    let port = source.open(json!({ "group": { "sockets": 1 } }));
    let group = SocketAddr::from(([127, 0, 0, 1], port));
    for (from, mark) in [("127.0.0.2:0", 1), ("127.0.0.1:0", 2)] {
        let client = UdpSocket::bind(from).unwrap();
        client.send_to(&[0, 0, 0, 0, 0, mark], group).unwrap();
    }
    let collect = json!({ "collect": { "subject": 7, "sent": 1 } });
    assert_eq!(source.ask(collect), json!({ "collected": [[0, 2]] }));
}

/// Two network namespaces with a wire between, until it is dropped.
struct Hosts([String; 2]);

impl Hosts {
    /// `None` where this user may make none.
    fn new(name: &str) -> Option<Hosts> {
        let process = std::process::id();
        let hosts = Hosts(["a", "b"].map(|end| format!("shardns-test-{process}-{name}-{end}")));
        let [a, b] = &hosts.0;
        if !ip(&format!("netns add {a}")) {
            let words = "SKIPPED: only root makes network namespaces, by `ip`";
            let _ = writeln!(std::io::stderr(), "{words}");
            return None;
        }
        assert!(ip(&format!("netns add {b}")));
        assert!(ip(&format!(
            "link add wire0 netns {a} type veth peer name wire0 netns {b}"
        )));
        for (end, address) in [(a, "198.18.0.5"), (b, "198.18.0.6")] {
            assert!(ip(&format!("-n {end} addr add {address}/30 dev wire0")));
            assert!(ip(&format!("-n {end} link set wire0 up")));
        }
        Some(hosts)
    }

    fn within(&self, end: usize) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0[end], PROGRAM]);
        command
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for end in &self.0 {
            ip(&format!("netns del {end}"));
        }
    }
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    let output = command.args(arguments.split(' ')).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn two_network_namespaces_are_two_hosts() {
    let Some(hosts) = Hosts::new("two") else {
        return;
    };
    let answering = Answering::start_by(&mut hosts.within(0), "198.18.0.5:5399");
    let folder = tempfile::tempdir().unwrap();
    for name in ["spread", "locality", "batch", "rivals"] {
        let file = folder.path().join(name);
        let output = hosts
            .within(1)
            .args(["lab", name, "--quick", "--to", &answering.address, "--json"])
            .arg(&file)
            .env("SHARDNS_LAB_TOKEN", TOKEN)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let result: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        for card in [&result["card"], &result["far"]["card"]] {
            assert_eq!(card["interface"], "wire0");
            assert_eq!(card["driver"], json!({ "is": "veth" }));
            let steering = card["settings"].as_array().unwrap().iter();
            let mut steering = steering.filter(|setting| setting["name"] == "RPS");
            assert_eq!(steering.next().unwrap()["is"], "off", "{card}");
        }
        match name {
            "spread" => adds_up(&result),
            "locality" => assert!(rows(&result).iter().all(|row| number(row, "datagrams") > 0)),
            _ => assert!(rows(&result).iter().any(|row| number(row, "answered") > 0)),
        }
    }
}

#[test]
fn a_way_that_is_barred_to_datagrams_is_told() {
    let Some(hosts) = Hosts::new("way") else {
        return;
    };
    // Before the rule that takes in what is for this host, which goes behind it.
    let end = &hosts.0[0];
    let rule = |words: &str| ip(&format!("-n {end} rule {words}"));
    let is_barred = rule("add pref 10 lookup local")
        && rule("add pref 5 ipproto udp blackhole")
        && rule("del pref 0");
    if !is_barred {
        let words = "SKIPPED: this kernel has no rules for routes";
        let _ = writeln!(std::io::stderr(), "{words}");
        return;
    }
    let answering = Answering::start_by(&mut hosts.within(0), "198.18.0.5");
    for (name, said) in [
        ("spread", "are datagrams from here let in?"),
        ("batch", "is UDP let through, there and back?"),
        ("locality", "a worker does not answer"),
    ] {
        let mut command = hosts.within(1);
        command.args(["lab", name, "--quick", "--to", &answering.address]);
        let output = command.env("SHARDNS_LAB_TOKEN", TOKEN).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{name}");
        assert!(told.contains(said), "{told}");
    }
}
