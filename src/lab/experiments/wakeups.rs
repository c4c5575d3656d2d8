//! `wakeups`: whom one datagram wakes, and who gets it.

use std::time::{Duration, Instant};

use rand::RngExt;
use serde::Serialize;

use crate::lab::figure::{Axis, BarSeries, Bars, Drawing, Figure, Panel, number};
use crate::lab::group::clients;
use crate::lab::result::{ExperimentResult, Finding, Table, rows};
use crate::lab::statistics::{Sample, hottest, jain};
use crate::lab::wakeup_probe::{SleepingThreads, State, Waits};
use crate::lab::{Experiment, Lab, Practice};
use crate::sys::epoll::Trigger;

/// The experiment.
pub const EXPERIMENT: Experiment = Experiment {
    name: "wakeups",
    question: "Who is woken for one datagram?",
    method: "Some threads (as many as --sockets, 64 at most, 16 with --quick) wait for \
        datagrams on loopback: in a blocking receive on one socket; each in an epoll instance \
        of its own that watches this socket level-triggered, edge-triggered or with \
        EPOLLEXCLUSIVE; all in one instance; each in a blocking receive on a SO_REUSEPORT \
        socket of its own, with one flow and with 256. Threads begin to wait one after another, \
        and each datagram is sent when all sleep; the ways take turns in several rounds, with new \
        threads and sockets each time. A wake-up is a voluntary context switch of a \
        thread, as the kernel counts them in /proc: who sleeps anew has been awake. It is \
        useless where the thread took nothing; an empty return is one that the program saw too. \
        One datagram at a time shows the order among idle threads, not what a load makes of it.",
    expectation: "Where each thread has an epoll instance of its own, level- or edge-triggered, \
        one datagram wakes all: the thundering herd, most of which finds nothing. \
        EPOLLEXCLUSIVE wakes the instance that is first in the socket's list; the list never \
        changes, so the same thread gets everything. A blocking receive queues anew for each \
        datagram, and the threads take turns. One instance for all, level-triggered, reports the \
        socket to the next thread, too, in case more is queued: more than one wakes, for nothing. \
        With SO_REUSEPORT only the thread of the chosen socket wakes, and flows decide how even \
        that is.",
    practice: &[
        Practice {
            advice: "shardns: `serve --sockets reuseport`, the default, wakes the right worker \
                only; `--busy-poll` spares that wake-up, too, under load.",
            source: "README, `shardns serve`",
        },
        Practice {
            advice: "nginx: leave `accept_mutex` off. With `listen … reuseport` or EPOLLEXCLUSIVE \
                there is no herd that it could spare.",
            source: "nginx, Core functionality, accept_mutex",
        },
        Practice {
            advice: "HAProxy: `bind … shards by-thread` gives each thread a socket. Envoy: \
                `enable_reuse_port` does.",
            source: "HAProxy Configuration Manual, bind, shards; Envoy, Listener, enable_reuse_port",
        },
        Practice {
            advice: "Your own program: EPOLLEXCLUSIVE where threads watch one socket by instances \
                of their own.",
            source: "epoll_ctl(2), EPOLLEXCLUSIVE (since Linux 4.5)",
        },
    ],
    run,
};

/// Threads that wait, unless told otherwise.
const THREADS: usize = 4;
/// The most threads: a look at all of them shall not take long.
const MOST_THREADS: usize = 64;
/// The most threads of a quick run.
const MOST_THREADS_QUICK: usize = 16;
/// Flows where there are many.
const FLOWS: usize = 256;
/// Threads whose shares a table has room for.
const SHOWN_THREADS: usize = 8;
/// From which share on an order is called one.
const MOSTLY: f64 = 0.9;

/// How the threads wait, and from how many ports they are sent to.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    waits: Waits,
    flows: usize,
}

const RECEIVE: &str = "blocking receive";
const LEVEL: &str = "epoll, level";
const EDGE: &str = "epoll, edge";
const EXCLUSIVE: &str = "epoll, exclusive";
const ONE_EPOLL: &str = "one epoll for all";
const ONE_FLOW: &str = "own socket, 1 flow";
const OWN_SOCKET: &str = "own socket";

const WAYS: [Way; 7] = [
    Way::new(RECEIVE, Waits::Receive, 1),
    Way::new(LEVEL, Waits::Epoll(Trigger::Level), 1),
    Way::new(EDGE, Waits::Epoll(Trigger::Edge), 1),
    Way::new(EXCLUSIVE, Waits::Epoll(Trigger::Exclusive), 1),
    Way::new(ONE_EPOLL, Waits::OneEpoll, 1),
    Way::new(ONE_FLOW, Waits::Group, 1),
    Way::new(OWN_SOCKET, Waits::Group, FLOWS),
];

impl Way {
    const fn new(name: &'static str, waits: Waits, flows: usize) -> Way {
        Way { name, waits, flows }
    }
}

/// What one way of waiting came to in one round.
#[derive(Serialize)]
struct Measured {
    way: &'static str,
    round: usize,
    threads: usize,
    flows: usize,
    datagrams: usize,
    /// Datagrams that one thread took, once.
    taken_once: usize,
    wakeups: u64,
    useless: u64,
    /// Returns of the wait to the program, for something to read.
    returns: u64,
    empty_returns: u64,
    /// Datagrams by thread, in the order in which they began to wait.
    shares: Vec<u64>,
    hottest: f64,
    jain: f64,
    /// Share of datagrams that the taker of the one before took.
    same_again: f64,
    /// Share of datagrams that went to the thread that had had none for longest.
    longest_idle: f64,
}

fn run(lab: &Lab) -> anyhow::Result<ExperimentResult> {
    let threads = lab
        .sockets(THREADS)
        .min(lab.choose(MOST_THREADS, MOST_THREADS_QUICK));
    let rounds = lab.choose(5, 1);
    lab.plan(rounds * WAYS.len());
    let mut measured = Vec::new();
    for round in 0..rounds {
        for way in WAYS {
            lab.step(way.name)?;
            measured.push(measure(lab, way, round, threads)?);
        }
    }
    Ok(ExperimentResult {
        finding: finding(&measured, threads),
        tables: vec![table(&measured, threads)],
        figure: figure(&measured, threads),
        rows: rows(&measured),
    })
}

fn measure(lab: &Lab, way: Way, round: usize, threads: usize) -> anyhow::Result<Measured> {
    let (most, time) = lab.choose(
        (600, Duration::from_millis(600)),
        (200, Duration::from_millis(200)),
    );
    let waiters = SleepingThreads::start(way.waits, threads)?;
    let clients = clients(way.flows, waiters.address())?;
    let (mut random, end) = (lab.random(), Instant::now() + time);
    let (mut takers, mut sent, mut useless) = (Vec::new(), 0, 0);
    let first = waiters.settle(0)?;
    let mut before = first.clone();
    // Two at least: one alone follows nobody.
    while sent < most && (sent < 2 || Instant::now() < end) {
        lab.check()?;
        clients[random.random_range(0..clients.len())].send(&[0; 16])?;
        sent += 1;
        let after = waiters.settle(sent as u64)?;
        takers.extend(taker(&before, &after));
        useless += useless_wakeups(&before, &after);
        before = after;
    }
    let total = |figure: fn(&State) -> u64| -> u64 {
        let change = |(first, last): (&State, &State)| figure(last) - figure(first);
        first.iter().zip(&before).map(change).sum()
    };
    let shares: Vec<u64> = before.iter().map(|state| state.taken).collect();
    Ok(Measured {
        way: way.name,
        round,
        threads,
        flows: way.flows,
        datagrams: sent,
        taken_once: takers.len(),
        wakeups: first.iter().zip(&before).map(wakeups).sum(),
        useless,
        returns: total(|state| state.returns),
        empty_returns: total(|state| state.empty),
        hottest: hottest(&shares),
        jain: jain(&shares),
        shares,
        same_again: same_again(&takers),
        longest_idle: longest_idle(&takers, threads),
    })
}

/// How often a thread woke between two moments. A wait that ends for nothing
/// but its time is a wake-up of our making.
fn wakeups((before, after): (&State, &State)) -> u64 {
    (after.switches - before.switches).saturating_sub(after.ticks - before.ticks)
}

/// How often threads woke that took nothing.
fn useless_wakeups(before: &[State], after: &[State]) -> u64 {
    let pairs = before.iter().zip(after);
    let took_nothing = pairs.filter(|(before, after)| before.taken == after.taken);
    took_nothing.map(wakeups).sum()
}

/// The thread that took the one datagram between two moments.
fn taker(before: &[State], after: &[State]) -> Option<usize> {
    let taken = before.iter().zip(after).map(|(b, a)| a.taken - b.taken);
    let mut takers = taken.enumerate().filter(|(_, taken)| *taken > 0);
    match (takers.next(), takers.next()) {
        (Some((thread, 1)), None) => Some(thread),
        _ => None,
    }
}

/// Share of datagrams whose taker took the one before.
fn same_again(takers: &[usize]) -> f64 {
    let pairs = takers.windows(2);
    let again = pairs.clone().filter(|pair| pair[0] == pair[1]).count();
    again as f64 / pairs.len().max(1) as f64
}

/// Share of datagrams that went to the thread that had had none for longest;
/// counted once each thread but one has had its chance.
fn longest_idle(takers: &[usize], threads: usize) -> f64 {
    let turns = takers.windows(threads);
    let in_turn = |turn: &&[usize]| {
        let (last, others) = turn.split_last().expect("a window is not empty");
        let mut others = others.to_vec();
        others.sort_unstable();
        others.dedup();
        others.len() == threads - 1 && !others.contains(last)
    };
    turns.clone().filter(in_turn).count() as f64 / turns.len().max(1) as f64
}

/// The rounds of a way.
fn of<'m>(measured: &'m [Measured], way: &str) -> impl Iterator<Item = &'m Measured> {
    measured.iter().filter(move |round| round.way == way)
}

/// A figure of the rounds of a way.
fn each(measured: &[Measured], way: &str, figure: fn(&Measured) -> f64) -> Sample {
    of(measured, way).map(figure).collect()
}

impl Measured {
    fn wakeups_each(&self) -> f64 {
        self.wakeups as f64 / self.datagrams as f64
    }

    fn useless_each(&self) -> f64 {
        self.useless as f64 / self.datagrams as f64
    }

    /// The share of the thread that took most.
    fn most(&self) -> f64 {
        let most = self.shares.iter().max().copied().unwrap_or(0);
        most as f64 / self.datagrams as f64
    }

    /// The place in line of the thread that took most.
    fn busiest(&self) -> Option<usize> {
        let most = self.shares.iter().max()?;
        self.shares.iter().position(|share| share == most)
    }
}

fn table(measured: &[Measured], threads: usize) -> Table {
    let mut table = Table::new(
        format!(
            "{threads} threads: what one datagram comes to, and who gets it; medians of the rounds"
        ),
        &[
            "way of waiting",
            "datagrams",
            "wake-ups",
            "useless",
            "empty returns",
            "busiest/mean",
            "Jain",
            "to the same again",
            "to the longest idle",
            "shares in order of waiting",
        ],
    );
    for Way { name: way, .. } in WAYS {
        let median = |figure| each(measured, way, figure).middle();
        let share = |thread: usize| {
            let shares = of(measured, way).map(|round| round.shares[thread] as f64);
            number(shares.collect::<Sample>().middle())
        };
        let shares: Vec<String> = (0..threads.min(SHOWN_THREADS)).map(share).collect();
        let more = if threads > SHOWN_THREADS { " …" } else { "" };
        table.row([
            way.into(),
            number(median(|m| m.datagrams as f64)),
            number(median(Measured::wakeups_each)),
            number(median(Measured::useless_each)),
            number(median(|m| m.empty_returns as f64 / m.datagrams as f64)),
            number(median(|m| m.hottest)),
            number(median(|m| m.jain)),
            format!("{} %", number(median(|m| 100.0 * m.same_again))),
            format!("{} %", number(median(|m| 100.0 * m.longest_idle))),
            shares.join(" ") + more,
        ]);
    }
    table
}

fn figure(measured: &[Measured], threads: usize) -> Figure {
    let panel = |title: String, unit: &str, figure: fn(&Measured) -> f64| {
        let of_way = |way: &Way| each(measured, way.name, figure);
        let bars = Bars {
            x: Axis::linear(unit),
            groups: WAYS.iter().map(|way| way.name.into()).collect(),
            series: vec![BarSeries {
                name: unit.into(),
                samples: WAYS.iter().map(of_way).collect(),
            }],
            band: None,
        };
        Panel {
            title,
            drawing: Drawing::Bars(bars),
        }
    };
    Figure {
        panels: vec![
            panel(
                format!("Wake-ups of {threads} threads for one datagram"),
                "wake-ups a datagram",
                Measured::wakeups_each,
            ),
            panel(
                "Wake-ups that find nothing".into(),
                "wake-ups a datagram",
                Measured::useless_each,
            ),
            panel(
                format!("What the busiest of {threads} threads gets"),
                "times the mean of the threads",
                |m| m.hottest,
            ),
        ],
    }
}

fn finding(measured: &[Measured], threads: usize) -> Finding {
    let wakeups = |way| each(measured, way, Measured::wakeups_each).middle();
    let useless = |way| number(each(measured, way, Measured::useless_each).middle());
    let order = |way| order(of(measured, way), threads);
    if threads == 1 {
        let all: Sample = WAYS.iter().map(|way| wakeups(way.name)).collect();
        return Finding::new(format!(
            "With one thread there is no herd: wake-ups for one datagram, however it waits: {}.",
            range(&all)
        ));
    }
    let hottest = each(measured, OWN_SOCKET, |m| m.hottest);
    Finding::new(format!(
        "One datagram wakes {} of {threads} threads that watch a socket by their own epoll \
            instances, and {} where each has its own socket.",
        number(wakeups(LEVEL)),
        number(wakeups(OWN_SOCKET)),
    ))
    .note(format!(
        "Wake-ups that find nothing: {} of these {}; edge-triggered {} of {}.",
        useless(LEVEL),
        number(wakeups(LEVEL)),
        useless(EDGE),
        number(wakeups(EDGE)),
    ))
    .note(format!(
        "With EPOLLEXCLUSIVE {}; in a blocking receive {}.",
        order(EXCLUSIVE),
        order(RECEIVE),
    ))
    .note(format!(
        "With a socket each the busiest gets {} times the mean; in one epoll instance {}.",
        number(hottest.middle()),
        order(ONE_EPOLL),
    ))
}

/// From the least to the most.
fn range(sample: &Sample) -> String {
    let (low, high) = (number(sample.low()), number(sample.high()));
    match low == high {
        true => low,
        false => format!("{low} to {high}"),
    }
}

/// Who gets the datagrams, in words.
fn order<'m>(rounds: impl Iterator<Item = &'m Measured>, threads: usize) -> String {
    let rounds: Vec<&Measured> = rounds.collect();
    let median = |figure: fn(&Measured) -> f64| -> f64 {
        let each: Sample = rounds.iter().map(|round| figure(round)).collect();
        each.middle()
    };
    let is_always = |thread| rounds.iter().all(|round| round.busiest() == Some(thread));
    if median(|m| m.same_again) >= MOSTLY {
        let thread = if is_always(0) {
            "first in line"
        } else if is_always(threads - 1) {
            "last in line"
        } else {
            "same thread"
        };
        format!("{} go to the {thread}", part(median(Measured::most)))
    } else if median(|m| m.longest_idle) >= MOSTLY {
        format!(
            "{} go to the longest idle",
            part(median(|m| m.longest_idle))
        )
    } else {
        format!(
            "the busiest gets {} times the mean",
            number(median(|m| m.hottest))
        )
    }
}

/// So many datagrams. All is without exception; less than that is rounded down.
fn part(share: f64) -> String {
    if share >= 1.0 {
        return "all datagrams".into();
    }
    format!("{:.0} % of datagrams", (share * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_told_apart() {
        let (turns, same) = ([0, 1, 2, 0, 1, 2, 0], [1, 1, 1, 1]);
        assert_eq!((same_again(&turns), longest_idle(&turns, 3)), (0.0, 1.0));
        assert_eq!((same_again(&same), longest_idle(&same, 3)), (1.0, 0.0));
        // One thread is both, and nothing is neither.
        assert_eq!((same_again(&[0, 0]), longest_idle(&[0, 0], 1)), (1.0, 1.0));
        assert_eq!((same_again(&[]), longest_idle(&[], 2)), (0.0, 0.0));
        assert_eq!(longest_idle(&[0, 1, 1, 0], 2), 2.0 / 3.0);
    }

    fn woken(switches: u64, taken: u64, ticks: u64) -> State {
        State {
            sleeps: true,
            switches,
            returns: 0,
            taken,
            empty: 0,
            ticks,
        }
    }

    #[test]
    fn useless_is_who_took_nothing() {
        let before = [woken(5, 1, 0), woken(7, 2, 1), woken(9, 0, 0)];
        // One takes it and wakes twice, one wakes for its time and once more,
        // one sleeps on.
        let after = [woken(7, 2, 0), woken(9, 2, 2), woken(9, 0, 0)];
        assert_eq!(useless_wakeups(&before, &after), 1);
    }

    /// A round of a way with the datagrams that each thread took, and how they
    /// came to them.
    fn round(way: Way, shares: &[u64], same_again: f64, longest_idle: f64) -> Measured {
        let datagrams: u64 = shares.iter().sum();
        let all_wake = matches!(way.waits, Waits::Epoll(Trigger::Level | Trigger::Edge));
        let useless = if all_wake { 3 * datagrams } else { 0 };
        Measured {
            way: way.name,
            round: 0,
            threads: shares.len(),
            flows: way.flows,
            datagrams: datagrams as usize,
            taken_once: datagrams as usize,
            wakeups: datagrams + useless,
            useless,
            returns: datagrams,
            empty_returns: 0,
            shares: shares.into(),
            hottest: hottest(shares),
            jain: jain(shares),
            same_again,
            longest_idle,
        }
    }

    #[test]
    fn the_herd_is_told_beside_a_socket_each() {
        let measured = WAYS.map(|way| match way.name {
            EXCLUSIVE => round(way, &[100, 0, 0, 0], 1.0, 0.0),
            RECEIVE => round(way, &[25, 25, 25, 25], 0.0, 0.979),
            ONE_EPOLL => round(way, &[0, 0, 0, 100], 0.999, 0.0),
            _ => round(way, &[30, 30, 20, 20], 0.25, 0.1),
        });
        let finding = finding(&measured, 4);
        assert_eq!(
            finding.sentence,
            "One datagram wakes 4 of 4 threads that watch a socket by their own epoll instances, \
                and 1 where each has its own socket."
        );
        assert_eq!(
            finding.notes,
            [
                "Wake-ups that find nothing: 3 of these 4; edge-triggered 3 of 4.",
                "With EPOLLEXCLUSIVE all datagrams go to the first in line; in a blocking receive \
                    97 % of datagrams go to the longest idle.",
                "With a socket each the busiest gets 1.2 times the mean; in one epoll instance all \
                    datagrams go to the last in line.",
            ]
        );
    }

    #[test]
    fn the_longest_words_are_within_the_limits() {
        // Finding::new and Finding::note look at how many there are.
        let measured = WAYS.map(|way| round(way, &[98, 1, 1], 0.96, 0.0));
        let told = finding(&measured, 3);
        let order = "in one epoll instance 98 % of datagrams go to the first in line.";
        assert!(told.notes[2].ends_with(order), "{told}");
    }

    #[test]
    fn one_thread_is_no_herd() {
        let measured = WAYS.map(|way| round(way, &[100], 1.0, 1.0));
        let told = finding(&measured, 1);
        let sentence = "With one thread there is no herd: wake-ups for one datagram, however it \
            waits: 1 to 4.";
        assert_eq!(told, Finding::new(sentence));
    }

    #[test]
    fn the_same_is_in_line_where_it_is_in_every_round() {
        let ways = [WAYS[0], WAYS[0]];
        let same = ways.map(|way| round(way, &[0, 0, 9], 1.0, 0.0));
        assert_eq!(
            order(same.iter(), 3),
            "all datagrams go to the last in line"
        );
        let mut another = ways.map(|way| round(way, &[0, 0, 9], 1.0, 0.0));
        another[0].shares = vec![0, 9, 0];
        assert_eq!(
            order(another.iter(), 3),
            "all datagrams go to the same thread"
        );
    }

    #[test]
    fn all_is_without_exception() {
        assert_eq!(part(1.0), "all datagrams");
        assert_eq!(part(0.9999), "99 % of datagrams");
    }

    #[test]
    fn the_taker_is_who_took_one() {
        let state = |taken| woken(0, taken, 0);
        let before = [state(3), state(5)];
        assert_eq!(taker(&before, &[state(3), state(6)]), Some(1));
        assert_eq!(taker(&before, &[state(4), state(6)]), None);
        assert_eq!(taker(&before, &[state(3), state(7)]), None);
        assert_eq!(taker(&before, &before), None);
    }
}
