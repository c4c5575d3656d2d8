//! Differences that stay, each with the reason. What none of these fits is a mistake,
//! here or in two references.

use shardns::wire::RrType;

use super::compare::{Compared, Part, View};
use super::exchange::Question;
use super::questions::Subject;

/// Why this server says something else in this part than two references do, if that is
/// as it should be.
pub fn explain(
    question: &Question,
    part: Part,
    majority: &View,
    compared: &Compared,
    subject: &Subject,
) -> Option<&'static str> {
    let own = &compared.own;
    match part {
        Part::Truncated if question.rtype == RrType::ANY && !own.is_truncated => {
            Some("RFC 8482 §4.1: one of the sets fits where all of them do not")
        }
        _ if question.rtype == RrType::ANY && is_part_of(own, majority) => Some(
            "RFC 8482 §4.1: ANY is answered with one of the sets, or with the alias that \
             stands for them, here as by BIND",
        ),
        Part::Truncated if is_referral(own) && own.sections[1] == majority.sections[1] => {
            Some("RFC 9471 §3.1: TC where addresses below the cut do not fit, here as by Knot")
        }
        _ if part != Part::Header && !agree_on_contents(compared) => {
            Some("no two references say the same in code, answer and authority")
        }
        Part::Authority if proves_wildcard(own, majority, subject) => Some(
            "RFC 4035 §3.1.3.4: that the wildcard which stands for the name has no data is \
             proved too where the wildcard is an empty non-terminal",
        ),
        Part::Authority if covers_wildcard(compared, majority) => Some(
            "RFC 5155 §7.2.5: a wildcard that opt-out has left without a record is covered, here \
             as by BIND",
        ),
        Part::Authority if question.rtype == RrType::DS && own.sections[1].is_empty() => Some(
            "RFC 4035 §3.1.4.1: the DS set of an apex that an alias leads to is the parent's, of \
             whom it is to be asked",
        ),
        Part::Additional if !is_referral(own) => {
            Some("RFC 1034 §4.3.2: addresses beside an answer are a courtesy")
        }
        Part::Additional if glue(own) == glue(majority) => {
            Some("RFC 9471 §3: of a referral's addresses only those below the cut must be there")
        }
        Part::Additional if glue(majority).iter().all(|line| glue(own).contains(line)) => {
            Some("RFC 9471 §3.1: more of the addresses below the cut fit here")
        }
        Part::Additional if is_from_wildcard(own, majority, subject) => {
            Some("RFC 4592 §2.2: a wildcard below a cut is no source of addresses")
        }
        _ => None,
    }
}

/// Why a reply is cut off here and not by two references, given what came of the same
/// question over TCP.
pub fn explain_length(whole: &Compared, limit: usize) -> Option<&'static str> {
    if whole.own.octets <= limit || !whole.unexplained().is_empty() {
        return None;
    }
    match whole.differing.is_empty() {
        true => Some("the same reply takes more octets here than there is room for"),
        false => Some("the whole reply, which differs for one of these reasons, does not fit"),
    }
}

fn word(line: &str, number: usize) -> &str {
    line.split(' ').nth(number).unwrap_or_default()
}

/// The records of `one` that `other` does not have.
fn only<'v>(one: &'v [String], other: &[String]) -> Vec<&'v str> {
    let only = one.iter().filter(|line| !other.contains(line));
    only.map(String::as_str).collect()
}

/// Some of what the majority answers with, and not nothing.
fn is_part_of(own: &View, majority: &View) -> bool {
    let is_there = |line: &String| majority.sections[0].contains(line);
    own.sections[0].iter().all(is_there) && !own.sections[0].is_empty()
}

/// Two references have the same response code, answer and authority section.
fn agree_on_contents(compared: &Compared) -> bool {
    let contents = |view: &View| {
        (
            view.rcode,
            view.sections[0].clone(),
            view.sections[1].clone(),
        )
    };
    let voters = compared.references.iter().map(|(_, view)| contents(view));
    let voters: Vec<_> = voters.collect();
    let mut others = voters.iter().enumerate();
    others.any(|(n, one)| voters[..n].contains(one))
}

/// Besides all that the majority has, NSEC records whose next name shows that a wildcard
/// exists which owns nothing.
fn proves_wildcard(own: &View, majority: &View, subject: &Subject) -> bool {
    let more = only(&own.sections[1], &majority.sections[1]);
    let is_all = only(&majority.sections[1], &own.sections[1]).is_empty();
    let shows = |line: &&str| {
        let next = word(line, 4);
        let mut wildcards = next.match_indices("*.").map(|(at, _)| &next[at..]);
        word(line, 3) == "nsec" && wildcards.any(|wildcard| !subject.owns(wildcard))
    };
    let is_proof = |line: &str| {
        word(line, 3) == "nsec" || (word(line, 3) == "rrsig" && word(line, 4) == "nsec")
    };
    is_all && more.iter().any(shows) && more.iter().all(|line| is_proof(line))
}

/// Besides all that the majority has, NSEC3 records, and a reference has the same.
fn covers_wildcard(compared: &Compared, majority: &View) -> bool {
    let own = &compared.own.sections[1];
    let more = only(own, &majority.sections[1]);
    let is_proof = |line: &str| {
        word(line, 3) == "nsec3" || (word(line, 3) == "rrsig" && word(line, 4) == "nsec3")
    };
    only(&majority.sections[1], own).is_empty()
        && more.iter().all(|line| is_proof(line))
        && compared
            .references
            .iter()
            .any(|(_, view)| view.sections[1] == *own)
}

/// True for a reply with servers of another zone in it.
fn is_referral(view: &View) -> bool {
    let has = |rtype: &str| view.sections[1].iter().any(|line| word(line, 3) == rtype);
    has("ns") && !has("soa")
}

/// The addresses of servers at or below a referral's cut.
fn glue(view: &View) -> Vec<&str> {
    let servers = view.sections[1].iter().find(|line| word(line, 3) == "ns");
    let cut = servers.map_or("", |line| word(line, 0));
    let addresses = view.sections[2].iter().filter(|line| {
        let owner = word(line, 0);
        let is_below = owner
            .strip_suffix(cut)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        is_below && word(line, 3) != "rrsig"
    });
    addresses.map(String::as_str).collect()
}

/// The glue that is more in the majority's reply has owners that the zone does not.
fn is_from_wildcard(own: &View, majority: &View, subject: &Subject) -> bool {
    let (own, theirs) = (glue(own), glue(majority));
    own.iter().all(|line| theirs.contains(line))
        && theirs
            .iter()
            .filter(|line| !own.contains(line))
            .all(|line| !subject.owns(word(line, 0)))
}
