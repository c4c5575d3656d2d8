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

use crate::lab::figure::{Bars, Figure, Panel};
use crate::lab::group::{ANY_PORT, clients};
use crate::lab::question::octets;
use crate::lab::result::{ExperimentResult, Table, rows};
use crate::lab::statistics::chi_square;
use crate::lab::{Experiment, Lab};
use crate::server::{Config, Listen, Server};
use crate::sys::lab::process::end_with_parent;

const PROGRAM: &str = include_str!("serve_beside.py");

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "serve-beside",
    question: "Can servers in different languages share one port?",
    method: concat!(
        "A server with N workers, 64 at most, runs on a free port of loopback. Each of many client \
        ports asks it twice for worker.server (class CHAOS, type TXT), which says who answers: \
        before, while the program below runs beside it, and after that was ended. To try it by \
        hand, save the program and run it as the user who runs shardns: `python3 beside.py \
        127.0.0.1:5300`, then `dig @127.0.0.1 -p 5300 worker.server TXT CH` a few times. Not \
        covered: IPv6, TCP, another user (see bind), which of the old flows move (see resize).\n\n",
        include_str!("serve_beside.py")
    ),
    expectation: "The kernel knows sockets, not programs: the Python program gets one share of \
        N + 1 of the client ports, each port stays with one server, and once the program has \
        gone the workers answer everything again.",
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
const PATIENCE: Duration = Duration::from_secs(2);
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

#[derive(Serialize)]
struct ShareRow {
    phase: &'static str,
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
    lab.plan(PHASES.len());
    let server = start(workers)?;
    let address = server.addresses()[0];
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
    let answerers = answerers(workers);
    Ok(ExperimentResult {
        finding: finding(&asked, workers, ports),
        tables: vec![table(&asked, workers, ports)],
        figure: figure(&asked, workers),
        rows: rows(&measured(&asked, &answerers, ports)),
    })
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

fn measured(asked: &[Asked], answerers: &[String], ports: usize) -> Vec<ShareRow> {
    let mut measured = Vec::new();
    for (phase, asked) in PHASES.into_iter().zip(asked) {
        measured.extend(answerers.iter().map(|answerer| ShareRow {
            phase,
            answerer: answerer.clone(),
            language: if answerer == PYTHON { "Python" } else { "Rust" },
            client_ports: asked.by(answerer),
            of: ports,
            strayed: asked.strayed,
            lost: asked.lost,
        }));
    }
    measured
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

fn sum(asked: &Asked, answerers: &[String]) -> u64 {
    answerers.iter().map(|answerer| asked.by(answerer)).sum()
}

fn table(asked: &[Asked], workers: usize, ports: usize) -> Table {
    let title = format!(
        "Client ports that each answered, of {ports}; the Python program runs in the middle"
    );
    let mut table = Table::new(title, &["", PHASES[0], PHASES[1], PHASES[2]]);
    for (name, answerers) in lines(workers) {
        let cell = |phase: usize| match asked.get(phase) {
            Some(asked) => sum(asked, &answerers).to_string(),
            None => "no python3".into(),
        };
        table.row([name, cell(0), cell(1), cell(2)]);
    }
    table
}

fn figure(asked: &[Asked], workers: usize) -> Figure {
    let lines = lines(workers);
    let bars = |asked: &Asked| {
        lines
            .iter()
            .map(|(_, who)| sum(asked, who) as f64)
            .collect()
    };
    let series = PHASES.iter().zip(asked);
    let bars = Bars {
        title: "Who answers, with a Python program beside the workers and without".into(),
        y: "client ports".into(),
        series: series
            .map(|(phase, asked)| ((*phase).into(), bars(asked)))
            .collect(),
        groups: lines.iter().map(|(name, _)| name.clone()).collect(),
    };
    Figure {
        panels: vec![Panel::Bars(bars)],
    }
}

fn finding(asked: &[Asked], workers: usize, ports: usize) -> String {
    let [_, beside, after] = asked else {
        return "There is no python3 here, so that the Python program was not tried.".into();
    };
    let python = beside.by(PYTHON);
    let shares: Vec<u64> = answerers(workers)
        .iter()
        .map(|name| beside.by(name))
        .collect();
    let spread = match chi_square(&shares) {
        Some(test) if test.p > 0.001 => {
            format!(", within noise of an even share (p = {:.3})", test.p)
        }
        Some(_) => ", which is not an even share".into(),
        None => String::new(),
    };
    let judgement = if python == 0 { "No" } else { "Yes" };
    let plural = if workers == 1 { "" } else { "s" };
    let kept = match asked.iter().map(|asked| asked.strayed).sum::<usize>() {
        0 => "each port stays with one server".into(),
        strayed => format!("{strayed} ports got answers of two servers"),
    };
    let left = match after.by(PYTHON) {
        0 => "once it has gone the workers answer all of them again".into(),
        still => format!("once it has gone {still} ports are still its own"),
    };
    let lost = match asked.iter().map(|asked| asked.lost).sum::<usize>() {
        0 => String::new(),
        lost => format!("; {lost} ports missed an answer"),
    };
    format!(
        "{judgement}: beside {workers} worker{plural} in Rust, ten lines of Python answer \
            {python} of {ports} client ports ({:.0} %){spread}; {kept}, and {left}{lost}.",
        100.0 * python as f64 / ports as f64
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_has_ten_lines() {
        assert_eq!(PROGRAM.lines().count(), 10);
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
