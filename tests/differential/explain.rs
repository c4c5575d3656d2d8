//! Differences that stay, each with the reason. What none of these fits is a mistake,
//! here or in two references.

use shardns::wire::RrType;

use super::compare::{Compared, Part, View};
use super::exchange::Question;
use super::questions::Subject;

/// "Checking disabled" among a header's flags.
const CD: u16 = 0x10;
/// The option of an extended error.
const EXTENDED_ERROR: u16 = 15;
/// How much longer replies are where others find more to compress.
const MORE_OCTETS: usize = 16;

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
        Part::Flags => (own.flags == majority.flags & !CD && has_flags_like(compared)).then_some(
            "RFC 4035 §3.1.6: CD is cleared in what a server of the zone says, here as by \
             another also in BADVERS, where NSD and BIND copy it",
        ),
        Part::Edns => adds_extended_error(own, majority).then_some(
            "RFC 8914 §2: any reply may have an extended error; here it tells of aliases \
             without an end",
        ),
        // Of BIND's answer, which has one of the sets too, the same one.
        _ if question.rtype == RrType::ANY && has_like(compared) => Some(
            "RFC 8482 §4.1: ANY is answered with one of the sets, or with the alias that \
             stands for them, here as by another",
        ),
        Part::Truncated if lacks_glue(own) && has_like(compared) => {
            Some("RFC 9471 §3.1: TC where addresses below the cut do not fit, here as by another")
        }
        Part::Header | Part::Answer | Part::Authority
            if !agree_on_contents(compared) && has_like(compared) =>
        {
            Some("no two references say the same in code, answer and authority, one says this")
        }
        Part::Authority if proves_wildcard(own, majority, subject) => Some(
            "RFC 4035 §3.1.3.4: that the wildcard which stands for the name has no data is \
             proved too where the wildcard is an empty non-terminal: delv accepts no reply \
             without it",
        ),
        Part::Authority if covers_wildcard(compared, majority) => Some(
            "RFC 5155 §7.2.5: a wildcard that opt-out has left without a record is covered, here \
             as by BIND",
        ),
        Part::Authority if question.rtype == RrType::DS && own.sections[1].is_empty() => Some(
            "RFC 4035 §3.1.4.1: the DS set of an apex that an alias leads to is the parent's, of \
             whom it is to be asked",
        ),
        Part::Additional => explain_additional(majority, compared, subject),
        _ => None,
    }
}

/// Why the additional sections differ. What is here alone must be of the zone at least.
fn explain_additional(
    majority: &View,
    compared: &Compared,
    subject: &Subject,
) -> Option<&'static str> {
    let own = &compared.own;
    let missing = only(&majority.sections[2], &own.sections[2]);
    let more = only(&own.sections[2], &majority.sections[2]);
    if !more.iter().all(|line| subject.has(word(line, 0))) {
        return None;
    }
    match is_referral(own) {
        false if missing.is_empty() => {
            Some("RFC 1034 §4.3.2: addresses beside an answer are a courtesy, here there are more")
        }
        true if missing.is_empty() => Some(
            "RFC 9471 §3: of a referral's addresses those below the cut must be there, here \
                  are more",
        ),
        true if missing.iter().all(|line| !subject.owns(word(line, 0))) => {
            Some("RFC 4592 §2.2: a wildcard below a cut is no source of addresses")
        }
        false if missing.iter().all(|line| subject.is_glue(word(line, 0))) => {
            Some("RFC 2181 §5.4.1: glue leads to servers and is no address beside an answer")
        }
        _ => None,
    }
}

/// Why the response code is another, given what came of the same question over TCP.
pub fn explain_code(compared: &Compared, whole: &Compared, _: &Question) -> Option<&'static str> {
    (is_cut_off_chain(&compared.own) && whole.unexplained().is_empty())
        .then_some("a chain of aliases is cut off before it is known what it ends with")
}

/// Why this server cuts off what two references do not, or the other way round, given
/// what came of the same question over TCP.
pub fn explain_length(
    compared: &Compared,
    whole: &Compared,
    question: &Question,
) -> Option<&'static str> {
    let own = &compared.own;
    if !whole.unexplained().is_empty() {
        return None;
    }
    if !own.is_truncated {
        let is_there = |line: &String| own.sections[2].contains(line);
        return (contents(own) == contents(&whole.own) && glue(&whole.own).all(is_there))
            .then_some("RFC 9471 §3.1: no TC where all fits but addresses not below the cut");
    }
    if whole.own.octets <= question.limit() {
        return None;
    }
    if !agree_on_contents(whole) {
        return Some("the whole reply, to which no two references say the same, does not fit");
    }
    if !whole.differing.is_empty() {
        return Some("the whole reply, which differs for one of these reasons, does not fit");
    }
    let like = whole
        .references
        .iter()
        .filter(|(_, view)| contents(view) == contents(&whole.own));
    let least = like.map(|(_, view)| view.octets).min()?;
    // Not all point at the same names, and not all names may be pointed at (RFC 3597 §4).
    // The targets of aliases are never shortened here, since what follows points at them,
    // and servers not to the question, which is not known when a referral is composed.
    let asked = question.name.to_string().to_lowercase();
    let [answer, authority, _] = &whole.own.sections;
    let targets = answer.iter().chain(authority).filter(|line| {
        let is_asked = word(line, 3) == "ns" && word(line, 4) == asked;
        word(line, 3) == "cname" || is_asked
    });
    let targets: usize = targets.map(|line| word(line, 4).len()).sum();
    (whole.own.octets <= least + MORE_OCTETS + targets)
        .then_some("the same reply takes more octets here than there is room for")
}

/// Why addresses are missing here, given what came of the same question over TCP.
pub fn explain_left_out(
    compared: &Compared,
    whole: &Compared,
    question: &Question,
) -> Option<&'static str> {
    let is_part = only(&compared.own.sections[2], &whole.own.sections[2]).is_empty();
    (whole.own.octets > question.limit() && is_part && whole.unexplained().is_empty()).then_some(
        "the first addresses beside an answer that do not fit are the last, not so for all",
    )
}

fn word(line: &str, number: usize) -> &str {
    line.split(' ').nth(number).unwrap_or_default()
}

/// The records of `one` that `other` does not have.
fn only<'v>(one: &'v [String], other: &[String]) -> Vec<&'v str> {
    let only = one.iter().filter(|line| !other.contains(line));
    only.map(String::as_str).collect()
}

/// Code, AA, answer and authority section.
fn contents(view: &View) -> (u16, bool, &[String], &[String]) {
    let [answer, authority, _] = &view.sections;
    (view.rcode, view.is_authoritative, answer, authority)
}

/// A reference says the same and has cut as much off.
fn has_like(compared: &Compared) -> bool {
    let own = &compared.own;
    let mut references = compared.references.iter();
    references
        .any(|(_, view)| contents(view) == contents(own) && view.is_truncated == own.is_truncated)
}

/// A reference sets the same flags.
fn has_flags_like(compared: &Compared) -> bool {
    let mut references = compared.references.iter();
    references.any(|(_, view)| view.flags == compared.own.flags)
}

/// The OPT records differ in the extended error that is here alone.
fn adds_extended_error(own: &View, majority: &View) -> bool {
    let (Some((version, flags, options)), Some(other)) = (&own.edns, &majority.edns) else {
        return false;
    };
    *options == [EXTENDED_ERROR] && (*version, *flags, Vec::new()) == *other
}

/// A chain of aliases that did not fit.
fn is_cut_off_chain(view: &View) -> bool {
    let mut answer = view.sections[0].iter();
    view.is_truncated && answer.any(|line| matches!(word(line, 3), "cname" | "dname"))
}

/// Two references have the same response code, answer and authority section.
fn agree_on_contents(compared: &Compared) -> bool {
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

/// True for a referral that is cut off where the addresses come.
fn lacks_glue(view: &View) -> bool {
    is_referral(view) && view.is_truncated
}

/// The addresses of servers at or below a referral's cut.
fn glue(view: &View) -> impl Iterator<Item = &String> {
    let servers = view.sections[1].iter().find(|line| word(line, 3) == "ns");
    let cut = servers.map(|line| word(line, 0));
    view.sections[2].iter().filter(move |line| {
        let below = cut.and_then(|cut| word(line, 0).strip_suffix(cut));
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.')) && word(line, 3) != "rrsig"
    })
}
