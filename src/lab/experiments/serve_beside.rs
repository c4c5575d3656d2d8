//! `serve-beside`: a program in another language joins a running group. It is
//! `serve_beside.py`, which is printed for the reader to take along.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;
use trust_dns_proto::op::Message;
use trust_dns_proto::rr::{DNSClass, RData, RecordType};

use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::group::{ANY_PORT, clients};
use crate::lab::question::octets;
use crate::lab::result::{ExperimentResult, Finding, Table, rows};
use crate::lab::statistics::{ChiSquare, Range, Sample, chi_square, ideal, pooled};
use crate::lab::{Experiment, Lab, Practice};
use crate::server::{Config, Listen, Server};
use crate::sys::lab::process::end_with_parent;

/// The program that joins.
pub const PROGRAM: &str = include_str!("serve_beside.py");

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "serve-beside",
    question: "Can servers in different languages share one port?",
    method: concat!(
        "A server with N workers, 64 at most, runs on a free port of loopback. Each of many client \
        ports asks it twice for worker.server (class CHAOS, type TXT), which says who answers: \
        before, while the program below runs beside it, and after that was ended; in several \
        rounds, each with new ports and a new program. To try it by \
        hand, save the program and run it as the user who runs shardns: `python3 beside.py \
        127.0.0.1:5300`, then `dig @127.0.0.1 -p 5300 worker.server TXT CH` a few times. Not \
        covered: IPv6, TCP, another user (see bind), which of the old flows move (see resize).\n\n",
        include_str!("serve_beside.py")
    ),
    expectation: "The kernel knows sockets, not programs: the Python program gets one share of \
        N + 1 of the client ports, each port stays with one server, and once the program has \
        gone the workers answer everything again.",
    practice: &[
        Practice {
            advice: "Any program of the same user can join, in any language. Run a server as a user \
                that runs nothing else.",
            source: "socket(7), SO_REUSEPORT",
        },
        Practice {
            advice: "`ss -ulnp 'sport = :53'` lists the members of a group: more sockets than \
                workers means that somebody has joined.",
            source: "ss(8), -u, -l, -n, -p",
        },
        Practice {
            advice: "shardns: `serve --join` shares a port with others; without it, the server does \
                not start where another has the port.",
            source: "README, `shardns serve`",
        },
        Practice {
            advice: "NSD's `reuseport: yes` and BIND's `reuseport yes`, its default, make such \
                groups, too.",
            source: "nsd.conf(5), reuseport; BIND 9 Administrator Reference Manual, reuseport",
        },
    ],
    run,
};

/// Workers of the server, unless told otherwise.
const WORKERS: usize = 3;
/// More workers need more client ports than there is time to ask from.
const MOST_WORKERS: usize = 64;
/// Client ports that ask, when there is time and when not.
const PORTS: (usize, usize) = (1024, 128);
/// Client ports for each server, at least: that one gets none of so many has a
/// chance of 1 in 3,000.
const PORTS_EACH: usize = 8;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an interpreter may take to start, on a machine with other work.
const START: Duration = Duration::from_secs(20);
/// How often it is looked for.
const TICK: Duration = Duration::from_millis(1);
/// Questions that may be lost before nobody seems to be there.
const LOSSES: usize = 3;
/// Workers that a table has room for.
const SHOWN: usize = 8;
/// Who the Python program says it is.
const PYTHON: &str = "python";
const PHASES: [&str; 3] = ["before", "beside", "after"];

/// How often chance is tried for the band of the figure.
const TRIALS: usize = 2000;
/// Shares that chance makes more rarely are not even.
const EVEN: f64 = 0.001;

#[derive(Serialize)]
struct ShareRow {
    phase: &'static str,
    round: usize,
    answerer: String,
    language: &'static str,
    client_ports: u64,
    of: usize,
    strayed: usize,
    lost: usize,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let workers = lab.sockets(WORKERS).min(MOST_WORKERS);
    let ports = lab.choose(PORTS.0, PORTS.1).max(PORTS_EACH * (workers + 1));
    let rounds = lab.choose(5, 1);
    lab.plan(rounds * PHASES.len());
    let server = start(workers)?;
    let mut asked = Vec::new();
    for _ in 0..rounds {
        asked.push(round(lab, server.addresses()[0], ports)?);
    }
    let shown = Shown {
        asked,
        workers,
        ports,
    };
    let by_chance = ideal(TRIALS, ports, workers + 1, &mut lab.random(), |shares| {
        shares[0] as f64
    });
    Ok(ExperimentResult {
        finding: shown.finding(),
        tables: vec![shown.table()],
        figure: shown.figure(by_chance),
        rows: rows(&shown.rows()),
    })
}

/// Asks in each phase; in the first alone where there is no Python.
fn round(lab: &Lab, address: SocketAddr, ports: usize) -> anyhow::Result<Vec<Asked>> {
    let clients = clients(ports, address)?;
    lab.step("the server alone")?;
    let mut asked = vec![ask(lab, &clients)?];
    lab.step("a Python program beside it")?;
    if let Some(program) = Beside::start(lab, address)? {
        asked.push(ask(lab, &clients)?);
        drop(program);
        lab.step("the server alone again")?;
        asked.push(ask(lab, &clients)?);
    }
    Ok(asked)
}

fn start(workers: usize) -> anyhow::Result<Server> {
    let config = Config {
        listen: vec![Listen {
            address: ANY_PORT,
            required: true,
        }],
        workers: Some(workers),
        tcp: None,
        ..Config::default()
    };
    Ok(Server::start(&config, Arc::default())?)
}

/// The Python program, for as long as this lives.
struct Beside {
    process: Child,
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Beside {
    /// Starts it and waits until a client port is answered by it; `None` where
    /// there is no Python. Its socket in /proc/net/udp would say less: a list
    /// that is read while sockets come and go may have some twice.
    fn start(lab: &Lab, address: SocketAddr) -> anyhow::Result<Option<Beside>> {
        let mut python = Command::new("python3");
        python.args(["-I", "-c", PROGRAM, &address.to_string()]);
        python
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let process = match end_with_parent(&mut python).spawn() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            process => process.context("cannot start python3")?,
        };
        let mut beside = Beside { process };
        let deadline = Instant::now() + START;
        while !is_there(address)? {
            lab.check()?;
            if beside.process.try_wait()?.is_some() {
                bail!("the Python program ended: {}", beside.last_words());
            }
            if Instant::now() > deadline {
                bail!(
                    "the Python program does not join within {} s",
                    START.as_secs()
                );
            }
            thread::sleep(TICK);
        }
        Ok(Some(beside))
    }

    fn last_words(&mut self) -> String {
        let mut words = String::new();
        if let Some(faults) = &mut self.process.stderr {
            // Without them it is only harder to see why.
            let _ = faults.read_to_string(&mut words);
        }
        words
            .trim()
            .lines()
            .last()
            .unwrap_or("it says nothing")
            .into()
    }
}

fn is_there(address: SocketAddr) -> anyhow::Result<bool> {
    let client = &clients(1, address)?[0];
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(exchange(client, 0)?.as_deref() == Some(PYTHON))
}

/// Who answered.
struct Asked {
    /// Client ports by whose answer came first.
    ports: BTreeMap<String, u64>,
    /// Client ports that got answers of two.
    strayed: usize,
    /// Client ports that missed an answer.
    lost: usize,
}

impl Asked {
    fn by(&self, answerer: &str) -> u64 {
        self.ports.get(answerer).copied().unwrap_or(0)
    }
}

fn ask(lab: &Lab, clients: &[UdpSocket]) -> anyhow::Result<Asked> {
    let mut asked = Asked {
        ports: BTreeMap::new(),
        strayed: 0,
        lost: 0,
    };
    for (id, client) in (0..).zip(clients) {
        lab.check()?;
        client.set_read_timeout(Some(PATIENCE))?;
        match (exchange(client, id)?, exchange(client, id)?) {
            (Some(first), Some(second)) => {
                asked.strayed += usize::from(first != second);
                *asked.ports.entry(first).or_default() += 1;
            }
            _ => asked.lost += 1,
        }
        if asked.lost > LOSSES {
            bail!("questions on loopback get no answer");
        }
    }
    Ok(asked)
}

/// Asks and returns who answered; `None` where nobody did in time.
fn exchange(client: &UdpSocket, id: u16) -> anyhow::Result<Option<String>> {
    client.send(&octets(
        id,
        "worker.server.",
        RecordType::TXT,
        DNSClass::CH,
    )?)?;
    let mut reply = [0; 512];
    match client.recv(&mut reply) {
        Ok(length) => Ok(Some(answerer(&reply[..length])?)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error).context("cannot receive an answer"),
    }
}

/// The value of `worker=…` in the reply.
fn answerer(reply: &[u8]) -> anyhow::Result<String> {
    let message = Message::from_vec(reply).context("the answer is no DNS message")?;
    let texts = message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.iter()),
            _ => None,
        });
    let worker = texts
        .flatten()
        .find_map(|text| text.strip_prefix(b"worker="));
    let worker = worker.context("the answer does not say whose it is")?;
    Ok(String::from_utf8_lossy(worker).into_owned())
}

/// All who may answer, the Python program last.
fn answerers(workers: usize) -> Vec<String> {
    let workers = (0..workers).map(|worker| worker.to_string());
    workers.chain([PYTHON.into()]).collect()
}

/// Lines of the table: a name, and whose ports are counted in it.
fn lines(workers: usize) -> Vec<(String, Vec<String>)> {
    let named = (0..workers.min(SHOWN)).map(|w| (format!("worker {w}"), vec![w.to_string()]));
    let mut lines: Vec<_> = named.collect();
    if workers > SHOWN {
        let others = (SHOWN..workers).map(|worker| worker.to_string());
        lines.push((
            format!("{} more workers", workers - SHOWN),
            others.collect(),
        ));
    }
    lines.push(("Python program".into(), vec![PYTHON.into()]));
    lines
}

/// What was asked, for people: of each figure the median of the rounds.
struct Shown {
    /// By round and phase.
    asked: Vec<Vec<Asked>>,
    workers: usize,
    ports: usize,
}

impl Shown {
    fn phase(&self, phase: usize) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter_map(move |round| round.get(phase))
    }

    /// Ports of some answerers in a phase.
    fn ports_of(&self, phase: usize, answerers: &[String]) -> Sample {
        let sum = |asked: &Asked| answerers.iter().map(|who| asked.by(who)).sum::<u64>();
        self.phase(phase).map(|asked| sum(asked) as f64).collect()
    }

    fn rows(&self) -> Vec<ShareRow> {
        let mut rows = Vec::new();
        for (round, asked) in self.asked.iter().enumerate() {
            for (phase, asked) in PHASES.into_iter().zip(asked) {
                rows.extend(
                    answerers(self.workers)
                        .into_iter()
                        .map(|answerer| ShareRow {
                            phase,
                            round,
                            language: if answerer == PYTHON { "Python" } else { "Rust" },
                            client_ports: asked.by(&answerer),
                            answerer,
                            of: self.ports,
                            strayed: asked.strayed,
                            lost: asked.lost,
                        }),
                );
            }
        }
        rows
    }

    fn table(&self) -> Table {
        let title = format!(
            "Client ports that each answered, of {}: medians of the rounds; the Python program runs \
                in the middle",
            number(self.ports as f64)
        );
        let mut table = Table::new(title, &["", PHASES[0], PHASES[1], PHASES[2]]);
        for (name, answerers) in lines(self.workers) {
            let cell = |phase| match self.ports_of(phase, &answerers) {
                ports if ports.is_empty() => "no python3".into(),
                ports => number(ports.middle()),
            };
            table.row([name, cell(0), cell(1), cell(2)]);
        }
        table
    }

    fn figure(&self, by_chance: Range) -> Figure {
        let lines = lines(self.workers);
        let panel = |title: &str, phases: &[usize], band, lines: &[(String, Vec<String>)]| {
            let series = |&phase: &usize| BarSeries {
                name: PHASES[phase].into(),
                samples: lines
                    .iter()
                    .map(|(_, who)| self.ports_of(phase, who))
                    .collect(),
            };
            let bars = Bars {
                x: Axis::linear("client ports"),
                groups: lines.iter().map(|(name, _)| name.clone()).collect(),
                series: phases.iter().map(series).collect(),
                band,
            };
            Panel {
                title: title.into(),
                drawing: Drawing::Bars(bars),
            }
        };
        let mut panels = Vec::new();
        if self.phase(1).next().is_some() {
            // Chance leaves one as much as another, not several together.
            let single: Vec<_> = lines
                .iter()
                .filter(|(_, who)| who.len() == 1)
                .cloned()
                .collect();
            let band = (
                "what chance leaves each in 95 of 100 cases".into(),
                by_chance.low,
                by_chance.high,
            );
            let title = "Client ports answered, Python beside the workers";
            panels.push(panel(title, &[1], Some(band), &single));
        }
        let title = "Before, beside and after the Python program";
        panels.push(panel(title, &[0, 1, 2], None, &lines));
        Figure { panels }
    }

    /// Whether chance alone would share out so, over all rounds.
    fn test(&self) -> Option<ChiSquare> {
        let answerers = answerers(self.workers);
        let test = |asked: &Asked| {
            let shares: Vec<u64> = answerers.iter().map(|name| asked.by(name)).collect();
            chi_square(&shares)
        };
        let tests: Vec<_> = self.phase(1).map(test).collect();
        pooled(&tests, answerers.len())
    }

    fn finding(&self) -> Finding {
        let python = self.ports_of(1, &[PYTHON.into()]);
        if python.is_empty() {
            return Finding::new("There is no python3 here, so the Python program was not tried.");
        }
        let test = self.test();
        let share = match test {
            Some(test) if test.p > EVEN => ", an even share within noise",
            Some(_) => ", which is not an even share",
            None => "",
        };
        let judgement = if python.middle() > 0.0 { "Yes" } else { "No" };
        let plural = if self.workers == 1 { "" } else { "s" };
        let finding = Finding::new(format!(
            "{judgement}: beside {} worker{plural} in Rust, ten lines of Python answer {} of {} \
                client ports{share}.",
            self.workers,
            number(python.middle()),
            number(self.ports as f64)
        ));
        finding
            .note(self.kept())
            .note_where(test.map(told_chance))
            .note_where(self.missed())
    }

    /// Whether the ports kept to their servers.
    fn kept(&self) -> String {
        let strayed: usize = self.asked.iter().flatten().map(|asked| asked.strayed).sum();
        let still: u64 = self.phase(2).map(|after| after.by(PYTHON)).sum();
        let kept = match strayed {
            0 => "Each client port stays with one server".to_owned(),
            strayed => format!("Client ports with answers of two servers: {strayed}"),
        };
        match still {
            0 => format!("{kept}; once Python has gone, the workers answer all of them again."),
            still => format!("{kept}; that Python answers once it has gone: {still}."),
        }
    }

    fn missed(&self) -> Option<String> {
        let lost: usize = self.asked.iter().flatten().map(|asked| asked.lost).sum();
        (lost > 0).then(|| format!("Client ports that missed an answer, in all rounds: {lost}."))
    }
}

fn told_chance(test: ChiSquare) -> String {
    if test.p > EVEN {
        let percent = number(100.0 * test.p);
        format!("Chance alone makes shares as uneven as these or more in {percent} % of cases.")
    } else {
        "Chance alone makes shares as uneven as these in less than 0.1 % of cases.".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_ten_lines() {
        assert_eq!(PROGRAM.lines().count(), 10);
    }

    /// Who answered how many ports.
    fn asked(ports: &[(&str, u64)]) -> Asked {
        Asked {
            ports: ports
                .iter()
                .map(|&(who, ports)| (who.into(), ports))
                .collect(),
            strayed: 0,
            lost: 0,
        }
    }

    fn shown(asked: Vec<Vec<Asked>>) -> Shown {
        Shown {
            asked,
            workers: 1,
            ports: 1024,
        }
    }

    /// A round in which the Python program answers so many.
    fn round(python: u64) -> Vec<Asked> {
        vec![
            asked(&[("0", 1024)]),
            asked(&[("0", 1024 - python), (PYTHON, python)]),
            asked(&[("0", 1024)]),
        ]
    }

    #[test]
    fn an_even_share_is_told_as_one() {
        let finding = shown(vec![round(500), round(512), round(530)]).finding();
        assert_eq!(
            finding.sentence,
            "Yes: beside 1 worker in Rust, ten lines of Python answer 512 of 1,024 client ports, an \
                even share within noise."
        );
        assert_eq!(
            finding.notes,
            [
                "Each client port stays with one server; once Python has gone, the workers answer \
                    all of them again.",
                "Chance alone makes shares as uneven as these or more in 60.9 % of cases.",
            ]
        );
    }

    #[test]
    fn what_is_odd_is_told_within_the_limits() {
        let mut odd = round(100);
        odd[1].strayed = 2;
        odd[2] = asked(&[("0", 1000), (PYTHON, 24)]);
        odd[2].lost = 1;
        let finding = shown(vec![odd]).finding();
        assert!(
            finding.sentence.ends_with(", which is not an even share."),
            "{finding}"
        );
        assert_eq!(
            finding.notes,
            [
                "Client ports with answers of two servers: 2; that Python answers once it has gone: \
                    24.",
                "Chance alone makes shares as uneven as these in less than 0.1 % of cases.",
                "Client ports that missed an answer, in all rounds: 1.",
            ]
        );
        let finding = shown(vec![round(0)]).finding();
        assert!(finding.sentence.starts_with("No: "), "{finding}");
    }

    #[test]
    fn without_python_there_is_a_finding_and_a_figure() {
        let shown = shown(vec![vec![asked(&[("0", 1024)])]]);
        assert!(shown.finding().sentence.contains("no python3"));
        let by_chance = Range {
            low: 1.0,
            median: 2.0,
            high: 3.0,
        };
        assert_eq!(shown.figure(by_chance).panels.len(), 1);
        assert_eq!(shown.table().rows[1][2], "no python3");
    }

    #[test]
    fn many_workers_are_told_together() {
        assert_eq!(lines(SHOWN).len(), SHOWN + 1);
        let lines = lines(SHOWN + 5);
        assert_eq!(lines.len(), SHOWN + 2);
        let (name, others) = &lines[SHOWN];
        assert_eq!((name.as_str(), others.len()), ("5 more workers", 5));
    }
}
