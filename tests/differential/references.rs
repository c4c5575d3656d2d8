//! NSD, Knot and BIND, each started on a port that is free and with what it does not
//! share with the others switched off, and this server beside them.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shardns::server::{Config, Listen, Server};
use shardns::wire::Name;
use shardns::zone::text::Library;
use shardns::zone::{self, Zones};

use super::exchange::{self, EDNS_SIZE, Question};
use super::support::free_port;

/// Long enough for any of them to read its zones.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a reference is started again that has nothing to say to a zone's questions.
const MAX_RESTARTS: usize = 20;

/// A zone as it is served.
pub struct Served {
    pub origin: String,
    pub path: PathBuf,
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    Nsd,
    Knot,
    Bind,
}

impl Reference {
    pub const ALL: [Reference; 3] = [Reference::Nsd, Reference::Knot, Reference::Bind];

    pub fn program(self) -> &'static str {
        match self {
            Reference::Nsd => "nsd",
            Reference::Knot => "knotd",
            Reference::Bind => "named",
        }
    }

    /// Where the program is; Debian keeps it where an ordinary user's `PATH` does not
    /// lead.
    pub fn find(self) -> Option<PathBuf> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&folders);
        let folders = folders.chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
        let mut paths = folders.map(|folder: PathBuf| folder.join(self.program()));
        paths.find(|path| path.is_file())
    }

    fn configuration(self, folder: &Path, port: u16, zones: &[&Served]) -> String {
        let folder = folder.display();
        let mut text = match self {
            Reference::Nsd => format!(
                "server:\n  server-count: 1\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  \
                 zonesdir: {folder}\n  database: \"\"\n  zonelistfile: {folder}/zonelist\n  \
                 xfrdfile: {folder}/xfrd\n  xfrdir: {folder}\n  pidfile: {folder}/pid\n  \
                 minimal-responses: yes\n  rrl-ratelimit: 0\n  tcp-query-count: 0\n  \
                 tcp-timeout: 600\n  ipv4-edns-size: {EDNS_SIZE}\n\
                 remote-control:\n  control-enable: no\n"
            ),
            Reference::Knot => format!(
                "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  \
                 tcp-workers: 1\n  background-workers: 1\n  udp-max-payload: {EDNS_SIZE}\n  \
                 tcp-idle-timeout: 600\n\
                 log:\n  - target: stderr\n    any: warning\n\
                 database:\n  storage: {folder}\n\
                 template:\n  - id: default\n    zonefile-load: whole\n    journal-content: none\n\
                 zone:\n"
            ),
            Reference::Bind => format!(
                "options {{ directory \"{folder}\"; pid-file \"{folder}/pid\"; session-keyfile none; \
                 listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
                 minimal-responses no-auth; querylog no; max-udp-size {EDNS_SIZE}; \
                 edns-udp-size {EDNS_SIZE}; answer-cookie no; check-integrity no; \
                 check-names primary ignore; check-mx ignore; check-sibling no; \
                 check-srv-cname ignore; check-mx-cname ignore; check-wildcard no; \
                 max-records-per-type 0; max-types-per-name 0; notify no; \
                 tcp-idle-timeout 1200; empty-zones-enable no; rate-limit {{ responses-per-second 0; }}; }};\n\
                 controls {{ }};\n"
            ),
        };
        for zone in zones {
            let Served { origin, path } = zone;
            let path = path.display();
            text += &match self {
                Reference::Nsd => format!("zone:\n  name: {origin}\n  zonefile: {path}\n"),
                Reference::Knot => format!("  - domain: {origin}\n    file: {path}\n"),
                Reference::Bind => {
                    format!("zone \"{origin}\" {{ type primary; file \"{path}\"; }};\n")
                }
            };
        }
        text
    }

    fn spawn(self, program: &Path, folder: &Path) -> Child {
        let configuration = folder.join("configuration");
        // Ended with the tests, however these end.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self {
            Reference::Nsd => command.arg(program).args(["-d", "-c"]),
            Reference::Knot => command.arg(program).arg("-c"),
            Reference::Bind => {
                // Debian's AppArmor keeps /usr/sbin/named to its own folders; a copy is
                // left alone.
                let copy = folder.join("named");
                if !copy.exists() {
                    // By another process: a descriptor that writes to the copy, inherited by
                    // what another test starts meanwhile, would keep it from being run.
                    let copied = Command::new("cp").arg(program).arg(&copy).status();
                    assert!(copied.unwrap().success());
                }
                command.arg(copy).args(["-g", "-n", "1", "-c"])
            }
        };
        let log = fs::File::create(folder.join("log")).unwrap();
        command.arg(configuration);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        command.spawn().unwrap()
    }
}

/// A reference that runs.
pub struct Running {
    pub reference: Reference,
    address: SocketAddr,
    process: Mutex<Child>,
    program: PathBuf,
    folder: PathBuf,
    origins: Vec<Name>,
}

impl Running {
    /// Starts it; its folder is its own.
    fn spawn(reference: Reference, program: &Path, folder: &Path, zones: &[&Served]) -> Running {
        fs::create_dir_all(folder).unwrap();
        let port = free_port();
        let text = reference.configuration(folder, port, zones);
        fs::write(folder.join("configuration"), text).unwrap();
        Running {
            reference,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            process: Mutex::new(reference.spawn(program, folder)),
            program: program.into(),
            folder: folder.into(),
            origins: zones
                .iter()
                .map(|zone| zone.origin.parse().unwrap())
                .collect(),
        }
    }

    /// Waits until it answers for every zone.
    fn wait(&self) -> Result<(), String> {
        let start = Instant::now();
        let mut missing = self.origins.clone();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        while let Some(origin) = missing.last() {
            let ended = self.process.lock().unwrap().try_wait().unwrap().is_some();
            if ended || start.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("{:?} has no {origin}:\n{log}", self.reference));
            }
            let question = Question::plain(*origin, 6);
            let mut reply = [0; 4096];
            // A refused port is known at once, and so is a zone that is still read.
            let known = socket
                .send(&question.request(0))
                .and_then(|_| socket.recv(&mut reply));
            if known.is_ok_and(|_| reply[2] & 4 != 0 && reply[3] & 15 == 0) {
                missing.pop();
            } else {
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Ends it and starts it again.
    fn restart(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
        *process = self.reference.spawn(&self.program, &self.folder);
        drop(process);
        self.wait().unwrap();
    }

    /// Asks once more, one at a time, what had no reply. A question that leaves a server
    /// without a word for any other (Knot 3.2 goes round for ever with some sets of
    /// many signed addresses) has none in the end.
    fn ask_again(&self, questions: &[Question], replies: &mut [Option<Vec<u8>>]) {
        let silent = replies
            .iter_mut()
            .zip(questions)
            .filter(|(reply, _)| reply.is_none());
        let mut restarts = 0;
        for (n, (reply, question)) in silent.enumerate() {
            if n == 0 || restarts < MAX_RESTARTS {
                if n == 0 {
                    self.restart();
                }
                *reply = exchange::ask(self.address, &[*question]).remove(0);
                if reply.is_none() {
                    restarts += 1;
                    self.restart();
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let process = self.process.get_mut().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// All that are compared, with the same zones.
pub struct Servers {
    own: Server,
    pub references: Vec<Running>,
}

impl Servers {
    /// Starts those references that are named, and this server.
    pub fn start(
        references: &[(Reference, PathBuf)],
        zones: &[&Served],
        folder: &Path,
    ) -> Result<Servers, String> {
        let spawn = |(reference, program): &(Reference, PathBuf)| {
            Running::spawn(
                *reference,
                program,
                &folder.join(reference.program()),
                zones,
            )
        };
        let running: Vec<Running> = references.iter().map(spawn).collect();
        let own = own(zones)?;
        running.iter().try_for_each(Running::wait)?;
        Ok(Servers {
            own,
            references: running,
        })
    }

    /// Asks all at once; what each of them replies, this server first.
    pub fn ask(&self, questions: &[Question]) -> Vec<Vec<Option<Vec<u8>>>> {
        let own = self.own.addresses()[0];
        let addresses = self.references.iter().map(|running| running.address);
        let addresses: Vec<SocketAddr> = std::iter::once(own).chain(addresses).collect();
        let mut replies: Vec<_> = std::thread::scope(|scope| {
            let ask = |address| scope.spawn(move || exchange::ask(address, questions));
            let asking: Vec<_> = addresses.into_iter().map(ask).collect();
            asking
                .into_iter()
                .map(|replies| replies.join().unwrap())
                .collect()
        });
        for (running, replies) in self.references.iter().zip(&mut replies[1..]) {
            running.ask_again(questions, replies);
        }
        replies
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.own.stop();
    }
}

fn own(zones: &[&Served]) -> Result<Server, String> {
    let load = |served: &&Served| {
        let origin: Name = served.origin.parse().unwrap();
        let loaded = zone::load(Library::Disk, &served.path, Some(origin));
        let loaded = loaded.map_err(|error| error.to_string())?;
        let faults = || format!("not served here: {:#?}", loaded.faults);
        loaded.zone.ok_or_else(faults)
    };
    let zones: Result<Vec<_>, String> = zones.iter().map(load).collect();
    let config = Config {
        listen: vec![Listen {
            address: "127.0.0.1:0".parse().unwrap(),
            required: true,
        }],
        workers: Some(1),
        pin: false,
        busy_polls: 0,
        ..Config::default()
    };
    Server::start(&config, Arc::new(Zones::new(zones?))).map_err(|error| error.to_string())
}
