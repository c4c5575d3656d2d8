//! `stall`: what clients notice when one worker stands still for a while.

mod shown;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::lab::load;
use crate::lab::result::{ExperimentResult, rows};
use crate::lab::stub::{self, StubPlan, StubQuestion, StubReply};
use crate::lab::{Experiment, Lab, Practice};
use crate::server::answerer::{Answerer, Responder};
use crate::server::placement::MAX_WORKERS;
use crate::server::{Config, Server, Sharing};
use crate::sys::port::Port;
use crate::sys::steer::Steer;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "stall",
    question: "What does one slow worker cost?",
    method: "200 stub resolvers on loopback, each with its own port, ask N workers (1,024 at \
        most) 2,000 questions a second at random, answered or not. One worker stands still in \
        the last 100 of every 500 ms, from the first datagram that it takes then. A stub asks \
        again from the same port with the same ID after 40 and 80 ms, as long as nothing came. \
        Asked once looks only at the reply to the first datagram, with retry at whatever came \
        first. Late is later than half a stall, from the first datagram; a client is hit when \
        one of its answers is late or missing, within the three stalls of a round. Policies \
        take turns in several rounds. Not covered: stalls of a whole CPU or of a batch, and \
        load near saturation.",
    expectation: "hash: the clients on the stalled worker's socket wait, all others notice \
        nothing; a retry queues behind the same worker. query-id: everybody's questions are hit \
        now and then, and a retry with the same ID helps as little. random: everybody is hit, \
        but a retry most likely comes to another worker. One shared socket: only what the \
        worker has in hand waits, since the others go on reading.",
    practice: &[
        Practice {
            advice: "shardns: `serve --sockets shared` lets the other workers go on where one may \
                stand still. What it costs otherwise, rivals measures.",
            source: "README, `shardns serve`",
        },
        Practice {
            advice: "BIND: `reuseport no` lets other threads take what waits for one that a long \
                operation keeps busy.",
            source: "BIND 9 Administrator Reference Manual, reuseport",
        },
        Practice {
            advice: "Resolvers: ask again from a new port rather than from the same one; the hash \
                then mostly chooses another worker.",
            source: "RFC 5452, section 9.2",
        },
        Practice {
            advice: "dnsperf: give it many ports (`-c 200`), or its queries meet the slow worker \
                all or not at all.",
            source: "dnsperf(1), -c",
        },
    ],
    run,
};

/// Workers, unless told otherwise.
const WORKERS: usize = 4;
/// The one that stalls.
const STALLED: u16 = 0;
const STUBS: usize = 200;
/// Questions a second: far from what keeps anybody busy.
const RATE: u64 = 2000;
/// When a stub asks again.
const RETRY: Duration = Duration::from_millis(40);
const RETRIES: u8 = 2;
/// How long to wait for what is missing at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest latency that is told from longer ones, in microseconds.
const LONGEST: u64 = 60_000_000;

/// How datagrams come to workers.
struct StallPolicy {
    name: &'static str,
    /// The same, for people.
    shown: &'static str,
    sharing: Sharing,
    steer: Option<Steer>,
}

const POLICIES: [StallPolicy; 4] = [
    StallPolicy {
        name: "hash",
        shown: "by hash",
        sharing: Sharing::Reuseport,
        steer: None,
    },
    StallPolicy {
        name: "query-id",
        shown: "by message ID",
        sharing: Sharing::Reuseport,
        steer: Some(Steer::QueryId),
    },
    StallPolicy {
        name: "random",
        shown: "by chance",
        sharing: Sharing::Reuseport,
        steer: Some(Steer::Random),
    },
    StallPolicy {
        name: "one shared socket",
        shown: "one shared socket",
        sharing: Sharing::Shared,
        steer: None,
    },
];

/// How a client asks.
#[derive(Clone, Copy)]
enum Asking {
    Once,
    WithRetry,
}

const ASKING: [Asking; 2] = [Asking::Once, Asking::WithRetry];

impl Asking {
    fn name(self) -> &'static str {
        match self {
            Asking::Once => "once",
            Asking::WithRetry => "with retry",
        }
    }

    /// What such a client takes for the answer.
    fn reply(self, question: &StubQuestion) -> Option<StubReply> {
        match self {
            Asking::Once => question.once,
            Asking::WithRetry => question.retried,
        }
    }
}

/// When the worker stands still: at the end of each period.
#[derive(Clone, Copy)]
struct Stalls {
    every: Duration,
    length: Duration,
}

impl Stalls {
    /// How long it still stands still, at a time from the start.
    fn rest(self, at: Duration) -> Option<Duration> {
        let into = at.as_nanos() % self.every.as_nanos();
        let rest = self.every - Duration::from_nanos(into as u64);
        (rest <= self.length).then_some(rest)
    }

    /// What is later has been held up.
    fn late(self) -> Duration {
        self.length / 2
    }
}

/// A worker that stands still at times: before it answers a batch.
struct Stalling {
    answerer: Answerer,
    stalls: Stalls,
    start: Instant,
}

impl Responder for Stalling {
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        if self.answerer.worker() == STALLED
            && let Some(rest) = self.stalls.rest(self.start.elapsed())
        {
            thread::sleep(rest);
        }
        self.answerer.answer(port, received);
    }

    fn idle(&mut self) {
        self.answerer.idle();
    }
}

/// One policy in one round: what was asked.
struct StallRound {
    policy: &'static str,
    round: usize,
    questions: Vec<StubQuestion>,
}

/// The questions of one policy and round that one worker answered, or all.
#[derive(Serialize)]
struct StallRow {
    policy: &'static str,
    round: usize,
    workers: usize,
    stall_ms: u64,
    every_ms: u64,
    asked: &'static str,
    /// Who answered; nothing for all.
    worker: Option<u16>,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize)]
struct Figures {
    questions: u64,
    answered: u64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// Answers later than half a stall.
    late: u64,
    /// Those of them that the stalled worker gave.
    late_of_stalled: u64,
    clients: usize,
    /// Clients with a late answer, or without one.
    clients_hit: usize,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let workers = lab.sockets(WORKERS).min(MAX_WORKERS);
    let milliseconds = Duration::from_millis;
    let stalls = Stalls {
        every: milliseconds(lab.choose(500, 300)),
        length: milliseconds(lab.choose(100, 150)),
    };
    let (rounds, periods) = (lab.choose(4, 1), lab.choose(3, 1));
    lab.plan(rounds * POLICIES.len());
    let mut measured = Vec::new();
    for round in 0..rounds {
        for policy in &POLICIES {
            lab.step(policy.name)?;
            measured.push(StallRound {
                policy: policy.name,
                round,
                questions: ask(lab, policy, workers, stalls, periods)?,
            });
        }
    }
    Ok(ExperimentResult {
        finding: shown::finding(&measured, workers, stalls),
        tables: vec![
            shown::table(&measured, workers, stalls),
            shown::by_worker(&measured, workers, stalls),
        ],
        figure: shown::figure(&measured, stalls),
        rows: rows(&raw(&measured, workers, stalls)),
    })
}

fn ask(
    lab: &Lab,
    policy: &StallPolicy,
    workers: usize,
    stalls: Stalls,
    periods: u32,
) -> anyhow::Result<Vec<StubQuestion>> {
    let config = Config {
        sharing: policy.sharing,
        steer: policy.steer,
        ..load::config(workers)
    };
    let start = Instant::now();
    let stalling = |answerer| Stalling {
        answerer,
        stalls,
        start,
    };
    let server =
        Server::start_with(&config, Arc::default(), stalling).context("cannot start the server")?;
    let plan = StubPlan {
        peer: server.addresses()[0],
        stubs: STUBS,
        rate: RATE,
        duration: stalls.every * periods,
        retry: RETRY,
        retries: RETRIES,
        patience: PATIENCE,
        stop: lab.stop(),
    };
    stub::run(&plan, &mut lab.random())
}

/// Looks at the questions of a round: those that `worker` answered, or all.
fn look(round: &StallRound, asking: Asking, worker: Option<u16>, stalls: Stalls) -> Figures {
    let mut latency_us = Histogram::<u64>::new_with_max(LONGEST, 3).expect("the bounds are good");
    let (mut questions, mut late, mut late_of_stalled) = (0, 0, 0);
    let (mut clients, mut hit) = (BTreeSet::new(), BTreeSet::new());
    for question in &round.questions {
        let reply = asking.reply(question);
        if worker.is_some() && reply.map(|reply| reply.worker) != worker {
            continue;
        }
        questions += 1;
        clients.insert(question.stub);
        if let Some(reply) = reply {
            latency_us.saturating_record(reply.latency.as_micros() as u64);
        }
        match reply {
            Some(reply) if reply.latency <= stalls.late() => continue,
            Some(reply) => {
                late += 1;
                late_of_stalled += u64::from(reply.worker == STALLED);
            }
            None => {}
        }
        hit.insert(question.stub);
    }
    let at = |quantile| latency_us.value_at_quantile(quantile) as f64 / 1000.0;
    Figures {
        questions,
        answered: latency_us.len(),
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        p999_ms: at(0.999),
        max_ms: latency_us.max() as f64 / 1000.0,
        late,
        late_of_stalled,
        clients: clients.len(),
        clients_hit: hit.len(),
    }
}

impl Figures {
    /// Of a hundred answers.
    fn late_percent(&self) -> f64 {
        100.0 * self.late as f64 / self.answered.max(1) as f64
    }

    /// Of a hundred clients.
    fn hit_percent(&self) -> f64 {
        100.0 * self.clients_hit as f64 / self.clients.max(1) as f64
    }
}

fn raw(measured: &[StallRound], workers: usize, stalls: Stalls) -> Vec<StallRow> {
    let mut raw = Vec::new();
    for round in measured {
        for asking in ASKING {
            let each = (0..workers).map(|worker| Some(worker as u16));
            for worker in std::iter::once(None).chain(each) {
                raw.push(StallRow {
                    policy: round.policy,
                    round: round.round,
                    workers,
                    stall_ms: stalls.length.as_millis() as u64,
                    every_ms: stalls.every.as_millis() as u64,
                    asked: asking.name(),
                    worker,
                    figures: look(round, asking, worker, stalls),
                });
            }
        }
    }
    raw
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_the_end_of_its_period() {
        let ms = Duration::from_millis;
        let stalls = Stalls {
            every: ms(500),
            length: ms(100),
        };
        for (at, rest) in [
            (0, None),
            (399, None),
            (400, Some(100)),
            (499, Some(1)),
            (500, None),
            (1450, Some(50)),
        ] {
            assert_eq!(stalls.rest(ms(at)), rest.map(ms), "{at}");
        }
    }

    #[test]
    fn who_is_hit_and_by_whom() {
        let stalls = Stalls {
            every: Duration::from_millis(500),
            length: Duration::from_millis(100),
        };
        let reply = |milliseconds, worker| {
            Some(StubReply {
                latency: Duration::from_millis(milliseconds),
                worker,
            })
        };
        let questions = vec![
            StubQuestion::answered(0, reply(50, STALLED), reply(50, STALLED)),
            StubQuestion::answered(1, reply(51, STALLED), reply(41, 1)),
            StubQuestion::answered(1, reply(60, 1), reply(60, 1)),
            StubQuestion::answered(2, None, reply(1, 2)),
        ];
        let round = StallRound {
            policy: "hash",
            round: 0,
            questions,
        };
        let look = |asking, worker| look(&round, asking, worker, stalls);
        let once = look(Asking::Once, None);
        assert_eq!((once.questions, once.answered), (4, 3));
        assert_eq!((once.late, once.late_of_stalled), (2, 1));
        assert_eq!((once.clients, once.clients_hit), (3, 2));
        let retried = look(Asking::WithRetry, None);
        assert_eq!((retried.late, retried.clients_hit), (1, 1));
        assert_eq!(look(Asking::Once, Some(STALLED)).questions, 2);
    }
}
