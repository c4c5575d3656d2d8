//! What it comes to: one sentence with the figures that carry it, and at most three
//! notes on where to look next. The gravest thing is told, the others are left to
//! the tables.

use serde::Serialize;

use super::facts::{Evidence, Facts, Member};
use super::holders::Holder;
use super::members::name;
use super::told::{counted, percent, seconds, span, thousands};
use super::unread::not_read;
use crate::sys::proc_net::Protocol;

/// Below so many datagrams nothing is said of a program.
const ENOUGH: u64 = 50;
/// Below so many datagrams nothing is said of parts.
const FEW: u64 = 10;
/// More is not read.
const NOTES: usize = 3;
/// The busiest socket takes this times the mean: worth a sentence.
const UNEVEN: f64 = 1.5;
/// The part of all datagrams that land elsewhere than the hash has them, from
/// which on that is no matter of when counting began.
const MISPLACED: f64 = 0.1;
/// A flow with this part of a socket's datagrams is what makes it busy.
const HEAVY: f64 = 0.5;

/// What is the matter, from the gravest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagnosis {
    /// A socket takes its part and nobody reads it.
    NotRead,
    /// There is one socket.
    Alone,
    /// The kernel never chooses some of the sockets.
    NeverChosen,
    /// Datagrams land elsewhere than the hash has them.
    Program,
    /// One flow carries most of what the busiest socket takes.
    HeavyFlow,
    /// There are too few flows to come out evenly.
    FewFlows,
    /// The hash gives one socket more than chance would.
    MoreThanChance,
    /// Sockets are read, but not fast enough.
    Overloaded,
    /// Processes that do not belong together share the port.
    Strangers,
    /// As chance has it.
    Even,
    /// Nothing came.
    Quiet,
    /// It was not to be seen what came.
    Unseen,
}

/// The sentence and the notes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What is the matter.
    pub diagnosis: Diagnosis,
    /// One sentence.
    pub sentence: String,
    /// Where to look, and what to do: three at most.
    pub notes: Vec<String>,
}

impl Verdict {
    /// Looks for the gravest first.
    pub fn of(facts: &Facts) -> Verdict {
        let found = [
            not_read,
            alone,
            never_chosen,
            program,
            uneven,
            overloaded,
            strangers,
            even,
        ];
        let verdict = found.iter().find_map(|find| find(facts));
        verdict.unwrap_or_else(|| unseen(facts)).with_more(facts)
    }

    /// Adds what else there is, where it is not what the sentence is on: of the
    /// notes, these come before the last.
    fn with_more(mut self, facts: &Facts) -> Verdict {
        let says = [Diagnosis::NotRead, Diagnosis::Alone, Diagnosis::Overloaded];
        let drops = dropped(facts).filter(|_| !says.contains(&self.diagnosis));
        let others = shared(facts).filter(|_| self.diagnosis != Diagnosis::Strangers);
        for more in [drops, others].into_iter().flatten() {
            self.notes.insert(self.notes.len().min(1), more);
        }
        self.notes.truncate(NOTES);
        self
    }

    pub(super) fn new(diagnosis: Diagnosis, sentence: String, notes: &[&str]) -> Verdict {
        Verdict {
            diagnosis,
            sentence,
            notes: notes.iter().map(|&note| note.into()).collect(),
        }
    }
}

/// `Socket 2 of 4`.
fn which(facts: &Facts, index: usize) -> String {
    let kind = match facts.protocol {
        Protocol::Udp => "Socket",
        Protocol::Tcp => "Listener",
    };
    match facts.members.len() {
        1 => format!("The only {}", kind.to_lowercase()),
        count => format!("{kind} {} of {count}", index + 1),
    }
}

/// `name (1), name (2)`.
pub fn holders(held: &[Holder]) -> String {
    const NAMED: usize = 3;
    let mut named: Vec<String> = held
        .iter()
        .take(NAMED)
        .map(|holder| format!("{} ({})", holder.name, holder.process))
        .collect();
    if held.len() > NAMED {
        named.push(format!("{} more", held.len() - NAMED));
    }
    named.join(", ")
}

fn alone(facts: &Facts) -> Option<Verdict> {
    let [member] = &facts.members[..] else {
        return None;
    };
    let (kind, what) = match facts.protocol {
        Protocol::Udp => ("socket", "datagrams"),
        Protocol::Tcp => ("listener", "connections"),
    };
    let sentence = format!(
        "One {kind} alone takes all {what} for {}; there is nothing to share out.",
        facts.address
    );
    let takers = match facts.protocol {
        Protocol::Udp => member.readers.len(),
        Protocol::Tcp => member.holders.len(),
    };
    let in_turn =
        format!("{takers} threads or processes take from it: the kernel wakes one of them.");
    let grouped = member.options.map(|options| options.reuse_port);
    let note = match grouped {
        _ if takers > 1 => &in_turn,
        Some(true) => {
            "It has SO_REUSEPORT, so that others of the same user may join it; none has. Does the \
                server run with one worker?"
        }
        Some(false) => {
            "It has no SO_REUSEPORT, so that no other may join it. NSD calls that `reuseport: \
                yes`, Unbound `so-reuseport: yes`, nginx `listen … reuseport`."
        }
        None => {
            "A server with several workers opens several: NSD with `reuseport: yes`, Unbound with \
                `so-reuseport: yes`, nginx with `listen … reuseport`."
        }
    };
    let mut verdict = Verdict::new(Diagnosis::Alone, sentence, &[note]);
    verdict.notes.extend(dropped(facts));
    Some(verdict)
}

fn never_chosen(facts: &Facts) -> Option<Verdict> {
    let members = &facts.members;
    let interface = members.first()?.socket.interface;
    // Each interface has its own choice.
    if members
        .iter()
        .any(|member| member.socket.interface != interface)
    {
        return None;
    }
    let passed_over = members.iter().filter(|member| member.asked == 0.0).count();
    let index = members.iter().position(|member| member.asked > 0.0)?;
    if passed_over == 0 {
        return None;
    }
    let chosen = members.len() - passed_over;
    let address_only = |member: &Member| {
        member
            .options
            .is_some_and(|it| it.reuse_address && !it.reuse_port)
    };
    let sentence = match chosen {
        1 => format!(
            "{} takes everything: the kernel chooses none of the other {passed_over}.",
            which(facts, index)
        ),
        _ => format!(
            "{chosen} of {} sockets share everything: the kernel never chooses the other \
                {passed_over}.",
            members.len()
        ),
    };
    let why = match members.iter().any(address_only) {
        true => {
            "They share the address by SO_REUSEADDR without SO_REUSEPORT: on UDP the last one \
                bound takes everything."
        }
        false => {
            "So it is where sockets share an address by SO_REUSEADDR without SO_REUSEPORT: on UDP \
                the last one bound takes everything."
        }
    };
    let todo = "Have every one of them set SO_REUSEPORT, and not SO_REUSEADDR, before it binds.";
    Some(Verdict::new(Diagnosis::NeverChosen, sentence, &[why, todo]))
}

/// The socket with the most, and its part.
fn busiest(facts: &Facts) -> Option<(usize, f64)> {
    let took = |member: &Member| member.took(facts.evidence);
    let total: u64 = facts.members.iter().map(took).sum();
    let parts = facts.members.iter().map(took).enumerate();
    // The first of several.
    let (index, most) = parts.rev().max_by_key(|(_, took)| *took)?;
    let is_counted = matches!(facts.evidence, Evidence::Receives | Evidence::Datagrams);
    let is_enough = total >= if is_counted { FEW } else { 1 };
    is_enough.then(|| (index, most as f64 / total as f64))
}

fn total(facts: &Facts) -> u64 {
    facts
        .members
        .iter()
        .map(|member| member.took(facts.evidence))
        .sum()
}

/// `12,004 datagrams in 2 s`.
fn amount(facts: &Facts) -> String {
    let total = total(facts);
    match facts.evidence {
        Evidence::Receives | Evidence::Datagrams | Evidence::Nothing => format!(
            "{} in {}",
            counted(total, "datagram"),
            seconds(facts.lasted)
        ),
        Evidence::Connections => counted(total, "connection"),
        Evidence::Clients => format!("{} on this machine", counted(total, "client")),
    }
}

/// What a socket does with them: where only the lookup tells, that is said.
fn verb(facts: &Facts) -> &'static str {
    match facts.evidence {
        Evidence::Receives | Evidence::Nothing => "took",
        Evidence::Connections => "has",
        Evidence::Datagrams => "gets, by the hash,",
        Evidence::Clients => "has, by the hash,",
    }
}

fn program(facts: &Facts) -> Option<Verdict> {
    let (total, hashed) = (total(facts), facts.datagrams);
    if facts.evidence != Evidence::Receives || total < ENOUGH || hashed < ENOUGH {
        return None;
    }
    let parts = |member: &Member| {
        let took = member.took(facts.evidence) as f64 / total as f64;
        (took, member.by_hash as f64 / hashed as f64)
    };
    let apart = |member: &Member| {
        let (took, by_hash) = parts(member);
        (took - by_hash).abs()
    };
    let misplaced = facts.members.iter().map(apart).sum::<f64>() / 2.0;
    if misplaced < MISPLACED {
        return None;
    }
    let furthest = |a: &(usize, &Member), b: &(usize, &Member)| apart(a.1).total_cmp(&apart(b.1));
    let (index, member) = facts.members.iter().enumerate().max_by(furthest)?;
    let (took, by_hash) = parts(member);
    let sentence = format!(
        "{} took {} of {}; the kernel's hash would give it {}: a program steers.",
        which(facts, index),
        percent(took),
        amount(facts),
        percent(by_hash)
    );
    let inferred = "That is inferred: no option tells of a group's program \
        (SO_ATTACH_REUSEPORT_CBPF or _EBPF), and SO_INCOMING_CPU does the same; `bpftool prog` \
        lists the eBPF ones.";
    let (_, most) = busiest(facts)?;
    let effect = match most * facts.members.len() as f64 >= UNEVEN {
        true => "What it does is uneven: ask whoever configured the server.",
        false => "It spreads the load evenly, as it may be meant to.",
    };
    Some(Verdict::new(
        Diagnosis::Program,
        sentence,
        &[inferred, effect],
    ))
}

fn uneven(facts: &Facts) -> Option<Verdict> {
    let (index, part) = busiest(facts)?;
    let count = facts.members.len() as f64;
    let chance = facts.chance?.busiest;
    if part * count < UNEVEN && part <= chance.high {
        return None;
    }
    let (which, verb) = (which(facts, index), verb(facts));
    let heaviest = facts.heaviest.filter(|heaviest| {
        let flow = heaviest.datagrams as f64 / facts.datagrams.max(1) as f64;
        flow >= HEAVY * part && part * count >= UNEVEN
    });
    let ports = "A load test needs more client ports: `dnsperf -c 64` for 4 sockets; `shardns lab \
        spread` tells how many.";
    let steer = "shardns spreads even one flow with `--steer query-id` or `--steer random`.";
    if let Some(heaviest) = heaviest {
        let flow = heaviest.datagrams as f64 / facts.datagrams as f64;
        let sentence = format!(
            "{which} {verb} {} of {}: one flow carries {}.",
            percent(part),
            amount(facts),
            percent(flow)
        );
        let from = format!(
            "It comes from {}; the kernel keeps a flow on one socket, whatever it carries.",
            heaviest.peer
        );
        return Some(Verdict::new(
            Diagnosis::HeavyFlow,
            sentence,
            &[&from, ports, steer],
        ));
    }
    let flows = counted(facts.flows as u64, "flow");
    if part > chance.high {
        let sentence = format!(
            "{which} {verb} {} of {}; of {flows} chance alone gives {} at most.",
            percent(part),
            amount(facts),
            percent(chance.high)
        );
        let why = match facts.protocol {
            Protocol::Udp => "It is where the kernel's hash puts these flows, one time in 40.",
            Protocol::Tcp => {
                "Connections that last stay where they were accepted, whoever has come since."
            }
        };
        return Some(Verdict::new(
            Diagnosis::MoreThanChance,
            sentence,
            &[why, ports],
        ));
    }
    let sentence = format!(
        "{which} {verb} {} of {}: with {flows}, chance gives the busiest {}.",
        percent(part),
        amount(facts),
        span(chance, percent)
    );
    let notes = match facts.protocol {
        Protocol::Udp => &[ports, steer][..],
        Protocol::Tcp => &[ports],
    };
    Some(Verdict::new(Diagnosis::FewFlows, sentence, notes))
}

/// A note on drops, where there were any.
fn dropped(facts: &Facts) -> Option<String> {
    let drops: u64 = facts
        .members
        .iter()
        .map(|member| member.queue.drops())
        .sum();
    (drops > 0).then(|| {
        format!(
            "{} were dropped in {} because a queue was full.",
            thousands(drops),
            seconds(facts.lasted)
        )
    })
}

fn overloaded(facts: &Facts) -> Option<Verdict> {
    let members = facts.members.iter().enumerate();
    let (index, member) = members.max_by_key(|(_, member)| member.queue.drops())?;
    let (drops, all) = (member.queue.drops(), facts.members.iter());
    if drops == 0 {
        return None;
    }
    let others = all.filter(|member| member.queue.drops() > 0).count() - 1;
    let what = match facts.protocol {
        Protocol::Udp => "datagram",
        Protocol::Tcp => "connection",
    };
    let too = match others {
        0 => String::new(),
        1 => ", and another one dropped some".into(),
        _ => format!(", and {others} others dropped some"),
    };
    let sentence = format!(
        "{} dropped {} in {}{too}: it cannot keep up.",
        which(facts, index),
        counted(drops, what),
        seconds(facts.lasted)
    );
    let todo = match facts.protocol {
        Protocol::Udp => {
            "For bursts, a larger receive buffer (net.core.rmem_max, SO_RCVBUF); for a load that \
                stays, more workers or more CPU."
        }
        Protocol::Tcp => "A longer queue (net.core.somaxconn, listen's backlog) or more workers.",
    };
    Some(Verdict::new(Diagnosis::Overloaded, sentence, &[todo]))
}

/// That there are strangers.
fn shared(facts: &Facts) -> Option<String> {
    let [first, second, ..] = &facts.parties[..] else {
        return None;
    };
    Some(format!(
        "{} unrelated processes share the port: {} and {}.",
        facts.parties.len(),
        holders(&first[..1]),
        holders(&second[..1])
    ))
}

fn strangers(facts: &Facts) -> Option<Verdict> {
    let sentence = shared(facts)?;
    let second = facts.parties.get(1)?;
    let held = |party: &[Holder]| {
        let is_its = |member: &&Member| {
            let is_one = |holder: &Holder| party.iter().any(|it| it.process == holder.process);
            member.holders.iter().any(is_one)
        };
        let own: Vec<&Member> = facts.members.iter().filter(is_its).collect();
        let took: u64 = own.iter().map(|member| member.took(facts.evidence)).sum();
        (own.len(), took)
    };
    let (sockets, took) = held(second);
    let part = match total(facts) {
        0 => String::new(),
        total => format!(", and {} of what came", percent(took as f64 / total as f64)),
    };
    let note = format!(
        "{} has {sockets} of {} sockets{part}.",
        holders(&second[..1]),
        facts.members.len()
    );
    let todo = "Any process of the same user may join a group. Where it is not a takeover, stop \
        the one that does not belong there.";
    Some(Verdict::new(Diagnosis::Strangers, sentence, &[&note, todo]))
}

fn even(facts: &Facts) -> Option<Verdict> {
    let ((_, part), chance) = (busiest(facts)?, facts.chance?);
    let sentence = format!(
        "Within chance: the busiest of {} {} {} of {}; {} give it {}.",
        facts.members.len(),
        verb(facts),
        percent(part),
        amount(facts),
        counted(facts.flows as u64, "flow"),
        span(chance.busiest, percent)
    );
    Some(Verdict::new(Diagnosis::Even, sentence, &[]))
}

fn unseen(facts: &Facts) -> Verdict {
    let (count, kind) = (facts.members.len(), name(facts.protocol));
    let fair = percent(1.0 / count as f64);
    if facts.evidence == Evidence::Nothing {
        let sentence = format!(
            "{count} {kind} sockets share {}; the hash gives each about {fair} of all flows.",
            facts.address
        );
        let note = match facts.protocol {
            Protocol::Udp => {
                "How much each takes, and by which flows, only root can see: run this again as \
                    root, while there is load."
            }
            Protocol::Tcp => "Which of them had the connections is not told from outside.",
        };
        return Verdict::new(Diagnosis::Unseen, sentence, &[note]);
    }
    let came = match total(facts) {
        0 => "Nothing".into(),
        few => format!("No more than {}", counted(few, "datagram")),
    };
    let sentence = format!(
        "{came} came in {}; the hash gives each of {count} sockets about {fair} of all flows.",
        seconds(facts.lasted)
    );
    let note = "Run this again while there is load, or longer, with `--for 30s`.";
    Verdict::new(Diagnosis::Quiet, sentence, &[note])
}

#[cfg(test)]
mod tests;
