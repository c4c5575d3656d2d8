//! `wakeups`: whom one datagram wakes, and who gets it.

use std::time::{Duration, Instant};

use rand::RngExt;
use serde::Serialize;

use crate::lab::figure::{Bars, Figure, Panel};
use crate::lab::group::clients;
use crate::lab::result::{ExperimentResult, Table, rows};
use crate::lab::statistics::{hottest, jain};
use crate::lab::wakeup_probe::{SleepingThreads, State, Waits};
use crate::lab::{Experiment, Lab};
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
        and each datagram is sent when all sleep. A wake-up is a voluntary context switch of a \
        thread, as the kernel counts them in /proc: who sleeps anew has been awake. It is \
        useless where the thread took nothing; an empty return is one that the program saw too. \
        One datagram at a time shows the order among idle threads, not what a load makes of it.",
    expectation: "Where each thread has an epoll instance of its own, level- or edge-triggered, \
        one datagram wakes all: the thundering herd, most of which finds nothing. \
        EPOLLEXCLUSIVE wakes the instance that is first in the socket's list; the list never \
        changes, so the same thread gets everything. A blocking receive queues anew for each \
        datagram, and the threads take turns. With SO_REUSEPORT only the thread of the chosen \
        socket wakes, and flows decide how even that is.",
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
/// From which share on an order is called one.
const MOSTLY: f64 = 0.9;

/// How the threads wait, and from how many ports they are sent to.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    waits: Waits,
    flows: usize,
}

/// The way in which the one flow chooses the thread.
const ONE_FLOW: &str = "reuseport, 1 flow";

const WAYS: [Way; 7] = [
    Way::new("receive", Waits::Receive, 1),
    Way::new("epoll level", Waits::Epoll(Trigger::Level), 1),
    Way::new("epoll edge", Waits::Epoll(Trigger::Edge), 1),
    Way::new("epoll exclusive", Waits::Epoll(Trigger::Exclusive), 1),
    Way::new("one epoll", Waits::OneEpoll, 1),
    Way::new(ONE_FLOW, Waits::Group, 1),
    Way::new("reuseport", Waits::Group, FLOWS),
];

impl Way {
    const fn new(name: &'static str, waits: Waits, flows: usize) -> Way {
        Way { name, waits, flows }
    }
}

/// What one way of waiting came to.
#[derive(Serialize)]
struct Measured {
    way: &'static str,
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
    lab.plan(WAYS.len());
    let mut measured = Vec::new();
    for way in WAYS {
        lab.step(way.name)?;
        measured.push(measure(lab, way, threads)?);
    }
    Ok(ExperimentResult {
        finding: finding(&measured, threads),
        tables: vec![table(&measured, threads)],
        figure: figure(&measured, threads),
        rows: rows(&measured),
    })
}

fn measure(lab: &Lab, way: Way, threads: usize) -> anyhow::Result<Measured> {
    let (most, time) = lab.choose(
        (3000, Duration::from_secs(3)),
        (200, Duration::from_millis(200)),
    );
    let waiters = SleepingThreads::start(way.waits, threads)?;
    let clients = clients(way.flows, waiters.address())?;
    let (mut random, end) = (lab.random(), Instant::now() + time);
    let (mut takers, mut sent, mut useless) = (Vec::new(), 0, 0);
    let first = waiters.settle(0)?;
    let mut before = first.clone();
    while sent < most && (sent == 0 || Instant::now() < end) {
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

fn table(measured: &[Measured], threads: usize) -> Table {
    let mut table = Table::new(
        format!("{threads} threads: what one datagram comes to, and who gets it"),
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
    for m in measured {
        let each = |count: u64| format!("{:.2}", count as f64 / m.datagrams as f64);
        let shares = m.shares.iter().take(8).map(u64::to_string);
        let more = if m.shares.len() > 8 { " …" } else { "" };
        table.row([
            m.way.into(),
            m.datagrams.to_string(),
            each(m.wakeups),
            each(m.useless),
            each(m.empty_returns),
            format!("{:.2}", m.hottest),
            format!("{:.3}", m.jain),
            format!("{:.0} %", m.same_again * 100.0),
            format!("{:.0} %", m.longest_idle * 100.0),
            shares.collect::<Vec<_>>().join(" ") + more,
        ]);
    }
    table
}

fn figure(measured: &[Measured], threads: usize) -> Figure {
    let bars = |title: String, y: &str, series: Vec<(String, Vec<f64>)>| {
        Panel::Bars(Bars {
            title,
            y: y.into(),
            groups: measured.iter().map(|m| m.way.into()).collect(),
            series,
        })
    };
    let each = |name: &str, count: fn(&Measured) -> u64| {
        let each = |m: &Measured| count(m) as f64 / m.datagrams as f64;
        (name.to_owned(), measured.iter().map(each).collect())
    };
    Figure {
        panels: vec![
            bars(
                format!("Wake-ups of {threads} threads for one datagram"),
                "wake-ups",
                vec![each("all", |m| m.wakeups), each("useless", |m| m.useless)],
            ),
            bars(
                format!("The busiest of {threads} threads"),
                "times the mean",
                vec![(
                    "busiest".into(),
                    measured.iter().map(|m| m.hottest).collect(),
                )],
            ),
        ],
    }
}

fn finding(measured: &[Measured], threads: usize) -> String {
    let each = |m: &Measured| {
        let wakeups = m.wakeups as f64 / m.datagrams as f64;
        format!("{wakeups:.2} with {} ({})", m.way, order(m))
    };
    let all: Vec<String> = measured.iter().map(each).collect();
    format!(
        "One datagram wakes, of {threads} threads, {}.",
        all.join(", ")
    )
}

/// Who gets the work, in words.
fn order(measured: &Measured) -> String {
    let shares = &measured.shares;
    let most = shares.iter().copied().max().unwrap_or(0);
    let busiest = shares.iter().position(|share| *share == most);
    if measured.same_again >= MOSTLY {
        let often = often(most as f64 / shares.iter().sum::<u64>().max(1) as f64);
        match busiest {
            _ if shares.len() == 1 => "the only one".into(),
            _ if measured.way == ONE_FLOW => format!("{often} the flow's"),
            Some(0) => format!("{often} the first in line"),
            Some(last) if last + 1 == shares.len() => format!("{often} the last in line"),
            _ => format!("{often} the same"),
        }
    } else if measured.longest_idle >= MOSTLY {
        format!("{} the longest idle", often(measured.longest_idle))
    } else {
        format!("the busiest takes {:.2} times the mean", measured.hottest)
    }
}

/// All is "always"; less than that is rounded down.
fn often(share: f64) -> String {
    if share >= 1.0 {
        return "always".into();
    }
    format!("in {:.0} %", (share * 100.0).floor())
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

    #[test]
    fn always_is_without_exception() {
        assert_eq!(often(1.0), "always");
        assert_eq!(
            (often(0.97), often(0.9999)),
            ("in 97 %".into(), "in 99 %".into())
        );
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
