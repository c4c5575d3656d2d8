//! Sockets that take their part and that nobody reads: which, and who leaves them.

use super::facts::{Facts, Member};
use super::holders::Holder;
use super::told::{percent, seconds, thousands};
use super::verdict::{Diagnosis, Verdict, holders};
use crate::sys::proc_net::Protocol;

/// Where something waited all the time and nobody took any of it.
pub fn not_read(facts: &Facts) -> Option<Verdict> {
    let is_unread = |member: &&Member| {
        let is_received = facts.protocol == Protocol::Udp && member.received > Some(0);
        member.queue.is_left_alone() && !is_received
    };
    let unread: Vec<&Member> = facts.members.iter().filter(is_unread).collect();
    if unread.is_empty() {
        return None;
    }
    let (reads, waits) = match facts.protocol {
        Protocol::Udp => ("reads", "octets wait"),
        Protocol::Tcp => ("accepts on", "connections wait"),
    };
    let (waiting, drops) = unread.iter().fold((0, 0), |(waiting, drops), member| {
        let queue = &member.queue;
        (waiting + u64::from(queue.last), drops + queue.drops())
    });
    let sentence = format!(
        "Nobody {reads} {}: {} {waits}, {} were dropped in {}.",
        these(facts, &unread),
        thousands(waiting),
        thousands(drops),
        seconds(facts.lasted),
    );
    let part = match (facts.members.len() == unread.len(), unread.len()) {
        (true, 1) => "What is sent here is lost until somebody reads or closes the socket.".into(),
        (true, _) => "What is sent here is lost until somebody reads or closes them.".into(),
        (false, count) => format!(
            "The kernel gives {} {} of all flows for as long as {} open; what is not read has to \
                be closed.",
            if count == 1 { "it" } else { "them" },
            percent(unread.iter().map(|member| member.asked).sum()),
            if count == 1 { "it is" } else { "they are" },
        ),
    };
    let who = who_leaves(&unread);
    Some(Verdict::new(Diagnosis::NotRead, sentence, &[&who, &part]))
}

/// `socket 1 of 3`, `sockets 1 and 3 of 4` or `any of 3 sockets`.
fn these(facts: &Facts, some: &[&Member]) -> String {
    const NAMED: usize = 6;
    let kind = match facts.protocol {
        Protocol::Udp => "socket",
        Protocol::Tcp => "listener",
    };
    let (count, all) = (some.len(), facts.members.len());
    if all == 1 {
        return format!("the only {kind}");
    }
    if count == all {
        return format!("any of {all} {kind}s");
    }
    let is_one = |member: &Member| some.iter().any(|it| std::ptr::eq(*it, member));
    let numbers = (1..).zip(&facts.members).filter(|(_, it)| is_one(it));
    let mut named: Vec<String> = numbers.map(|(number, _)| number.to_string()).collect();
    if count > NAMED {
        named.truncate(NAMED);
        named.push(format!("{} more", count - NAMED));
    }
    match &named[..] {
        [one] => format!("{kind} {one} of {all}"),
        [first @ .., last] => format!("{kind}s {} and {last} of {all}", first.join(", ")),
        [] => String::new(),
    }
}

/// Who has sockets open that nobody reads, and where to look.
fn who_leaves(unread: &[&Member]) -> String {
    let mut held: Vec<Holder> = Vec::new();
    for holder in unread.iter().flat_map(|member| &member.holders) {
        if held.iter().all(|it| it.process != holder.process) {
            held.push(holder.clone());
        }
    }
    let (has, them) = (
        if held.len() == 1 { "has" } else { "have" },
        match unread.len() {
            1 => "it",
            _ => "them",
        },
    );
    let stopped = held.iter().find(|holder| holder.is_stopped);
    match (&held[..], stopped) {
        ([], _) => format!("Find who has {them} open (as root) and look what it does."),
        (_, Some(Holder { process, .. })) => format!(
            "{} {has} {them} open, and {process} is stopped: `kill -CONT {process}` has it go on.",
            holders(&held)
        ),
        ([first, ..], None) => format!(
            "{} {has} {them} open: is a thread stuck, or {} not meant to have {them}? See \
                /proc/{}/task/*/stack.",
            holders(&held),
            if held.len() == 1 { "is it" } else { "are they" },
            first.process
        ),
    }
}
