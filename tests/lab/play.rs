//! `lab play`: who may drive the bench, and that what it says is what it counted.

use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for any machine; what takes as long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(10);

/// A bench in a process of its own, until it is dropped.
pub struct Bench {
    child: Child,
    pub url: String,
    pub token: String,
    pub address: SocketAddr,
}

impl Bench {
    pub fn start(setup: &str) -> Bench {
        Bench::start_of(Path::new(env!("CARGO_BIN_EXE_shardns")), setup)
    }

    fn start_of(program: &Path, setup: &str) -> Bench {
        let mut child = Command::new(program)
            .args(["lab", "play", "--for", "5m", "--setup", setup])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        let (place, rest) = url.split_once("/#token=").unwrap();
        let (token, own_setup) = rest.split_once('&').unwrap();
        assert_eq!(own_setup, setup);
        Bench {
            child,
            token: token.to_owned(),
            address: place.strip_prefix("http://").unwrap().parse().unwrap(),
            url,
        }
    }

    /// Sends a request as it is, and returns the status and what came.
    fn exchange(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    fn ask(&self, method: &str, target: &str) -> (u16, String) {
        let (address, token) = (self.address, &self.token);
        self.exchange(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\nX-Shardns-Token: {token}\r\n\r\n"
        ))
    }

    pub fn counters(&self) -> Value {
        let (status, body) = self.ask("GET", "/counters");
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn act(&self, action: &str) -> Value {
        let (status, body) = self.ask("POST", &format!("/act/{action}"));
        assert_eq!(status, 200, "{action}: {body}");
        let said: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(self.counters()["said"], said);
        assert!(said["figures"]["failed"].is_null(), "{said}");
        assert_eq!(
            said["figures"]["unheard"].as_u64().unwrap_or(0),
            0,
            "{said}"
        );
        said
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lanes(counters: &Value) -> &[Value] {
    counters["lanes"].as_array().unwrap()
}

fn processes(counters: &Value) -> Vec<u64> {
    let process = |lane: &Value| lane["process"].as_u64().unwrap();
    lanes(counters).iter().map(process).collect()
}

fn figure(said: &Value, name: &str) -> u64 {
    let figure = said["figures"][name].as_u64();
    figure.unwrap_or_else(|| panic!("{name} in {said}"))
}

/// Looks until it is so.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not yet: {what}");
        thread::sleep(TICK);
    }
}

pub fn skip(what: &str) {
    let _ = writeln!(stderr(), "SKIPPED: {what}");
}

pub fn has_python() -> bool {
    let version = Command::new("python3").arg("-V").output();
    version.is_ok_and(|output| output.status.success())
}

#[test]
fn nobody_else_drives_it() {
    let bench = Bench::start("sockets=2&flows=4&rate=0&steer=hash");
    let (own, token) = (bench.address.to_string(), bench.token.as_str());
    assert_eq!(
        (bench.address.ip().to_string(), token.len()),
        ("127.0.0.1".into(), 32)
    );
    let port = bench.address.port();
    let other = format!("{}0", &token[..31]);
    let other = if other == token {
        "1".repeat(32)
    } else {
        other
    };
    let page = format!("Origin: http://{own}\r\n");
    for (request, host, token, fields, status) in [
        ("POST /act/add", own.as_str(), token, "", 200),
        (
            "POST /act/add",
            &format!("localhost:{port}"),
            token,
            "",
            200,
        ),
        ("POST /act/add", &own, token, &page, 200),
        (
            "POST /act/add",
            &own,
            token,
            "Origin: http://example.com\r\n",
            403,
        ),
        ("POST /act/add", &own, token, "Origin: null\r\n", 403),
        ("POST /act/add", "example.com", token, "", 421),
        (
            "POST /act/add",
            &format!("127.0.0.1:{}", port ^ 1),
            token,
            "",
            421,
        ),
        ("POST /act/add", "", token, "", 421),
        ("POST /act/add", &own, &other, "", 403),
        ("POST /act/add", &own, "", "", 403),
        ("POST /act/add", &own, &token[..31], "", 403),
        ("GET /counters", &own, "", "", 403),
        ("GET /frames", &own, "", "", 403),
        ("GET /act/add", &own, token, "", 404),
        ("POST /act/shutdown", &own, token, "", 400),
        ("POST /act/set?sockets=65", &own, token, "", 400),
        ("GET /", "example.com", "", "", 421),
        ("POST /", &own, token, "", 405),
        ("GET /", &own, "", "", 200),
        ("GET /page.js", &own, "", "", 200),
    ] {
        let (came, body) = bench.exchange(&format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nX-Shardns-Token: {token}\r\n{fields}\r\n"
        ));
        assert_eq!(came, status, "{request} {host} {fields}: {body}");
        assert!(!body.contains(&bench.token), "nothing tells the token");
    }
    assert_eq!(lanes(&bench.counters()).len(), 5, "three were allowed");
    let (status, _) = bench.exchange(&format!(
        "GET / HTTP/1.1\r\na: {}\r\n\r\n",
        "x".repeat(9000)
    ));
    assert_eq!(status, 400);
}

#[test]
fn idle_connections_lock_nobody_out() {
    let bench = Bench::start("sockets=1&flows=1&rate=0&steer=hash");
    let connect = |_| TcpStream::connect(bench.address).unwrap();
    let idle: Vec<TcpStream> = (0..40).map(connect).collect();
    assert_eq!(lanes(&bench.counters()).len(), 1);
    drop(idle);
}

#[test]
fn the_page_takes_nothing_from_elsewhere() {
    let bench = Bench::start("sockets=1&flows=1&rate=0&steer=hash");
    for page in ["/", "/page.css", "/page.js"] {
        let (_, body) = bench.ask("GET", page);
        assert!(body.len() > 1000 && !body.contains("//cdn") && !body.contains("https:"));
    }
}

#[test]
fn sockets_come_and_go_as_is_said() {
    let bench = Bench::start("sockets=4&flows=64&rate=500&steer=hash");
    let added = bench.act("add");
    let counters = bench.counters();
    assert_eq!(
        (lanes(&counters).len(), &lanes(&counters)[4]["socket"]),
        (5, &5.into())
    );
    assert_eq!(lanes(&counters)[4]["flows"], added["figures"]["to_it"]);
    assert_eq!(counters["setup"], "sockets=5&flows=64&rate=500&steer=hash");
    assert_eq!(figure(&added, "lost"), 0, "{added}");

    let own = lanes(&counters)[1]["flows"].clone();
    let closed = bench.act("close=2");
    assert_eq!(closed["figures"]["own"], own, "{closed}");
    let all = figure(&closed, "own") + figure(&closed, "others_moved");
    assert_eq!(figure(&closed, "moved"), all, "{closed}");
    // The kernel's last is in the gap now.
    let counters = bench.counters();
    let column = |name: &str| -> Vec<u64> {
        let number = |lane: &Value| lane[name].as_u64().unwrap();
        lanes(&counters).iter().map(number).collect()
    };
    assert_eq!(column("socket"), [1, 5, 3, 4]);
    assert_eq!(column("flows").iter().sum::<u64>(), 64);

    let stalled = bench.act("stall=5");
    assert!(
        figure(&stalled, "waited") >= figure(&stalled, "own"),
        "{stalled}"
    );
    // Of a second; who asks may have no CPU when it begins.
    assert!(figure(&stalled, "slowest_ms") >= 300, "{stalled}");
    assert!(
        figure(&stalled, "queued") >= figure(&stalled, "own"),
        "{stalled}"
    );
    assert_eq!(figure(&stalled, "moved"), 0, "{stalled}");

    let steered = bench.act("set?sockets=4&flows=64&rate=500&steer=query-id");
    assert!(figure(&steered, "moved") > 0, "{steered}");
    let anew = bench.act("set?sockets=3&flows=9&rate=0&steer=hash");
    assert!(
        anew["text"]
            .as_str()
            .unwrap()
            .starts_with("3 sockets and 9 client ports")
    );
}

#[test]
fn restarts_lose_what_they_say() {
    let bench = Bench::start("sockets=4&flows=64&rate=2000&steer=hash");
    let before = processes(&bench.counters());
    let taken = bench.act("takeover");
    assert_eq!(
        (figure(&taken, "lost"), figure(&taken, "moved")),
        (0, 0),
        "{taken}"
    );
    let during = processes(&bench.counters());
    assert!(
        during.iter().all(|process| !before.contains(process)),
        "{during:?}"
    );
    wait_until("the clients are served", || {
        bench.counters()["totals"]["waiting"] == 0
    });
    // However short nobody has the port, somebody asks.
    bench.act("set?sockets=4&flows=64&rate=20000&steer=hash");
    let lost_before = bench.counters()["totals"]["lost"].as_u64().unwrap();
    // Who asks may have no CPU just then; not each time.
    let mut lost_reopening = 0;
    for _ in 0..20 {
        let reopened = bench.act("reopen");
        let lost = figure(&reopened, "lost");
        assert!(lost <= figure(&reopened, "sent"), "{reopened}");
        lost_reopening += lost;
        if lost > 0 {
            break;
        }
    }
    assert!(lost_reopening > 0, "nobody was ever without the port");
    bench.act("set?sockets=4&flows=64&rate=2000&steer=hash");
    wait_until("what is lost is given up", || {
        let totals = &bench.counters()["totals"];
        totals["waiting"] == 0 && totals["lost"].as_u64().unwrap() >= lost_before + lost_reopening
    });
    // So many a second may have been more than a busy machine had CPUs for.
    let lost_before = bench.counters()["totals"]["lost"].as_u64().unwrap();
    let overlapped = bench.act("overlap");
    let lost = lost_before + figure(&overlapped, "lost");
    wait_until("what is lost is given up", || {
        bench.counters()["totals"]["lost"].as_u64().unwrap() >= lost
    });
    assert_eq!(bench.counters()["totals"]["lost"], lost);
    assert_eq!(lanes(&bench.counters()).len(), 4);
    let after = processes(&bench.counters());
    assert!(
        after.iter().all(|process| !during.contains(process)),
        "{after:?}"
    );
}

#[test]
fn others_join_and_leave() {
    let bench = Bench::start("sockets=2&flows=64&rate=500&steer=hash");
    for who in ["process", "python"] {
        if who == "python" && !has_python() {
            skip("there is no python3");
            continue;
        }
        let joined = bench.act(who);
        let counters = bench.counters();
        assert_eq!(
            (lanes(&counters).len(), &lanes(&counters)[2]["kind"]),
            (3, &who.into())
        );
        assert_eq!(
            lanes(&counters)[2]["flows"],
            joined["figures"]["to_it"],
            "{joined}"
        );
        assert!(figure(&joined, "to_it") > 0, "{joined}");
        let ended = bench.act(who);
        assert_eq!(
            ended["figures"]["own"], joined["figures"]["to_it"],
            "{ended}"
        );
        assert_eq!(lanes(&bench.counters()).len(), 2);
    }
    let tried = bench.act("other-user");
    match tried["figures"]["result"].as_str().unwrap() {
        "not tried" => skip("only root makes sockets of another user"),
        result => assert_eq!(result, "EADDRINUSE", "{tried}"),
    }
    assert_eq!(figure(&tried, "moved"), 0, "{tried}");
}

#[test]
fn an_address_says_who_else_is_there() {
    let setup = "sockets=2&flows=64&rate=0&steer=hash&process=1";
    let bench = Bench::start(setup);
    let counters = bench.counters();
    assert_eq!(lanes(&counters)[2]["kind"], "process");
    let joined = counters["said"]["text"].as_str().unwrap();
    assert!(joined.contains("bound the port too, beside 2 sockets"));
    bench.act("process");
    assert_eq!(bench.counters()["setup"], setup.replace("&process=1", ""));
    bench.act(&format!("set?{setup}"));
    assert_eq!(bench.counters()["setup"], setup);
}

#[test]
fn a_guest_is_where_it_was_when_the_server_is_restarted() {
    let bench = Bench::start("sockets=4&flows=256&rate=200&steer=hash");
    bench.act("process");
    let reopened = bench.act("reopen");
    let text = reopened["text"].as_str().unwrap();
    assert!(!text.contains("nobody had the port"), "{text}");
    // Its socket is the first of the group now, and the hash is of places.
    assert_eq!(lanes(&bench.counters())[0]["kind"], "process");
    assert!(figure(&reopened, "moved") > 0, "{reopened}");
}

#[test]
fn another_server_takes_the_place_of_one_that_was_killed() {
    let bench = Bench::start("sockets=3&flows=64&rate=500&steer=hash");
    bench.act("reopen");
    for action in ["add", "takeover", "overlap"] {
        let before = lanes(&bench.counters()).len();
        let killed = processes(&bench.counters())[0];
        let mut kill = Command::new("kill");
        let kill = kill.args(["-9", &killed.to_string()]);
        assert!(kill.status().unwrap().success());
        let ended = format!("Process {killed} has ended");
        wait_until("it is noticed", || {
            let said = bench.counters()["said"]["text"].to_string();
            said.contains(&ended)
        });
        let counters = bench.counters();
        assert_eq!(lanes(&counters).len(), before, "{counters}");
        assert!(!processes(&counters).contains(&killed), "{counters}");
        bench.act(action);
    }
    assert_eq!(lanes(&bench.counters()).len(), 4);
}

/// The program's file may be another by now, or none.
#[test]
fn a_program_whose_file_is_gone_restarts_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("shardns");
    // By another process: a descriptor that writes to the copy, inherited by what another
    // test starts meanwhile, would keep it from being run.
    let mut copied = Command::new("cp");
    let copied = copied.arg(env!("CARGO_BIN_EXE_shardns")).arg(&copy);
    assert!(copied.status().unwrap().success());
    let bench = Bench::start_of(&copy, "sockets=3&flows=16&rate=100&steer=hash");
    std::fs::remove_file(&copy).unwrap();
    bench.act("reopen");
    assert_eq!(lanes(&bench.counters()).len(), 3);
}

#[test]
fn it_ends_with_all_that_it_started() {
    let mut bench = Bench::start("sockets=2&flows=4&rate=100&steer=hash");
    bench.act("takeover");
    bench.act("process");
    let processes = processes(&bench.counters());
    let is_there = |process: &u64| Path::new(&format!("/proc/{process}")).exists();
    assert!(processes.iter().all(is_there));
    // Somebody looks on.
    let mut stream = TcpStream::connect(bench.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (address, token) = (bench.address, &bench.token);
    let request =
        format!("GET /frames HTTP/1.1\r\nHost: {address}\r\nX-Shardns-Token: {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    let id = bench.child.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert!(bench.child.wait().unwrap().success());
    assert!(!processes.iter().any(is_there), "{processes:?}");
}
