//! Following CNAME and DNAME within a zone (RFC 1034 §3.6.2, RFC 6672 §3.2).
//! Targets stand in the reply uncompressed, so that each can be the owner of
//! what follows.

use arrayvec::ArrayVec;

use super::edns::ExtendedError;
use super::end::{above, conclude};
use super::reply::{Oversized, Owner, Reply};
use super::signed::{self, Expanded};
use super::terms::Source;
use crate::wire::header::{HEADER, class};
use crate::wire::name::MAX_NAME;
use crate::wire::{LookupName, Rcode, RrType};
use crate::zone::store::{FURTHEST_MOVE, RECORD_HEAD, Set};
use crate::zone::{Alias, Encloser, End, Found, Zone, Zones};

/// Aliases that one answer follows, those of DNAME counted twice; a resolver asks for
/// the rest. Real chains have two or three; each hop costs a lookup and up to two
/// records of 267 octets.
pub const MAX_ALIASES: usize = 8;
/// Wildcards among them, where each has to be proved.
const MAX_EXPANDED: usize = 3;
/// Labels of all names that an answer goes through: each name costs more the deeper it
/// is. Those of addresses in `ip6.arpa` have 34.
const MAX_CHAIN_LABELS: usize = 128;
// What stands behind the longest chain, at a wildcard grown to the longest
// name, can still be pointed into.
const _: () = assert!(MAX_ALIASES * 2 * (RECORD_HEAD + MAX_NAME) + MAX_NAME <= FURTHEST_MOVE);

/// Goes round for each alias within the zone; what lies outside is for the
/// resolver to ask again. The rcode is that of the last name (RFC 6604 §3). `SIGNED`
/// where the client wants signatures.
#[inline(never)]
pub fn follow<'z, const SIGNED: bool>(
    (zones, zone): (&'z Zones, &'z Zone),
    rtype: RrType,
    mut alias: Alias<'z>,
    name: &mut LookupName,
    reply: &mut Reply<'_>,
) -> Rcode {
    let mut chain = Chain::<SIGNED>::new(name);
    loop {
        let owner = chain.owner(name);
        let next = match alias {
            Alias::Cname(set, encloser) => chain.cname(&set, encloser, owner, reply),
            Alias::Dname(set) => match chain.dname(&set, owner, reply) {
                Ok(next) => next.filter(|_| rtype != RrType::CNAME && rtype != RrType::ANY),
                Err(TooLong) => return chain.leave(Rcode::YxDomain, zone, name, reply),
            },
        };
        match next {
            Some(target) if chain.turn_to(target, name, reply) && zone.holds(name) => {}
            _ => return chain.leave(Rcode::NoError, zone, name, reply),
        }
        alias = match zone.find(name, rtype) {
            Found::End(end @ End::Referral(..)) => {
                return chain.conclude(end, zone, name, reply);
            }
            // A zone below, which this one does not refer to, is another all the
            // same (RFC 1034 §4.3.2 step 2).
            _ if !zones.is_in(zone, name, rtype) => {
                return chain.leave(Rcode::NoError, zone, name, reply);
            }
            Found::End(end) => return chain.conclude(end, zone, name, reply),
            Found::Alias(alias) => alias,
        };
    }
}

/// What speaks for a name that has an alias; of names below a DNAME, it alone.
#[inline]
pub fn source(alias: &Alias<'_>, name: &LookupName) -> Source {
    match alias {
        Alias::Cname(_, None) => Source::Name,
        Alias::Cname(_, Some(encloser)) => above(encloser, name),
        Alias::Dname(set) => Source::Above((name.length() - set.owner_length()) as u8),
    }
}

/// The names that an answer has gone through, the question's first.
struct Chain<'z, const SIGNED: bool> {
    /// The DNAME sets that are in the answer.
    redirected: ArrayVec<Set<'z>, MAX_ALIASES>,
    /// The wildcards whose CNAME sets are in the answer.
    expanded: ArrayVec<Expanded, MAX_EXPANDED>,
    /// The hash of each, where it starts, and its octets.
    owners: [(u64, u16, u8); MAX_ALIASES],
    length: usize,
    /// What is left of `MAX_ALIASES` and of `MAX_CHAIN_LABELS`.
    steps_left: usize,
    labels_left: usize,
    current: usize,
    /// The hash of the name that is looked for.
    hash: u64,
}

/// A DNAME made a name of more than 255 octets.
struct TooLong;

impl<'z, const SIGNED: bool> Chain<'z, SIGNED> {
    /// A chain at its start, the name of the question.
    #[inline]
    fn new(name: &LookupName) -> Self {
        Chain {
            redirected: ArrayVec::new(),
            expanded: ArrayVec::new(),
            owners: [(0, 0, 0); MAX_ALIASES],
            length: 0,
            steps_left: MAX_ALIASES,
            labels_left: MAX_CHAIN_LABELS - name.labels(),
            current: HEADER,
            hash: name.hash_of(0),
        }
    }

    /// Where the name that is looked for stands in the reply.
    #[inline]
    fn owner(&self, name: &LookupName) -> Owner {
        Owner {
            at: self.current,
            length: name.length(),
        }
    }

    /// Adds the CNAME of `owner`; returns where its target stands, unless
    /// there is no room, or the chain is too long.
    fn cname(
        &mut self,
        cname: &Set<'_>,
        encloser: Option<Encloser<'_>>,
        owner: Owner,
        reply: &mut Reply<'_>,
    ) -> Option<usize> {
        self.pass(owner, 1, reply)?;
        if SIGNED && let Some(encloser) = encloser {
            let expanded = Expanded {
                owner,
                next_closer: encloser.next_closer,
            };
            if self.expanded.try_push(expanded).is_err() {
                reply.set_ede(ExtendedError::Other);
                return None;
            }
        }
        let target = reply.length() + RECORD_HEAD;
        // One record always fits into a message.
        let placed = match SIGNED {
            true => reply.signed_answer(cname, owner),
            false => reply.answer(cname, owner),
        };
        placed.unwrap_or(false).then_some(target)
    }

    /// Adds the DNAME above `owner` and the CNAME that it makes of it, with
    /// the same TTL (RFC 6672 §3.1).
    fn dname(
        &mut self,
        dname: &Set<'z>,
        owner: Owner,
        reply: &mut Reply<'_>,
    ) -> Result<Option<usize>, TooLong> {
        if self.pass(owner, 2, reply).is_none() {
            return Ok(None);
        }
        // A record set stands in an answer once, however often it is used.
        if !self.redirected.iter().any(|used| used.is(dname)) {
            let placed = match SIGNED {
                true => reply.signed_answer(dname, owner.end(dname.owner_length())),
                false => reply.answer_above(dname, owner),
            };
            match placed {
                Ok(true) => {}
                Ok(false) | Err(Oversized) => return Ok(None),
            }
            self.redirected.push(*dname);
        }
        let (head, target) = dname.open().answer.split_at(RECORD_HEAD);
        let prefix = owner.length - dname.owner_length();
        if prefix + target.len() > MAX_NAME {
            return Err(TooLong);
        }
        let mut kept = [0; MAX_NAME];
        kept[..prefix].copy_from_slice(&reply.written(owner.at)[..prefix]);
        let mut fixed = [0; 8];
        fixed[..2].copy_from_slice(&RrType::CNAME.0.to_be_bytes());
        fixed[2..4].copy_from_slice(&class::IN.to_be_bytes());
        fixed[4..].copy_from_slice(&head[6..10]);
        let at = reply.length() + RECORD_HEAD;
        Ok(reply
            .record(owner.at, &fixed, [&kept[..prefix], target])
            .then_some(at))
    }

    /// The chain ends in this zone.
    #[inline]
    fn conclude(
        &self,
        end: End<'_>,
        zone: &Zone,
        name: &mut LookupName,
        reply: &mut Reply<'_>,
    ) -> Rcode {
        match SIGNED {
            true => signed::conclude(zone, end, name, self.owner(name), &self.expanded, reply),
            false => conclude(zone, end, name, self.owner(name), reply),
        }
    }

    /// The chain leads elsewhere, or nowhere.
    #[inline]
    fn leave(
        &self,
        rcode: Rcode,
        zone: &Zone,
        name: &mut LookupName,
        reply: &mut Reply<'_>,
    ) -> Rcode {
        if SIGNED {
            signed::leave(zone, &self.expanded, name, reply);
        }
        rcode
    }

    /// Makes the name at `target` the one that is looked for. False where the
    /// chain has been there before, and where signatures have taken it so far that
    /// what comes next could not be pointed into.
    fn turn_to(&mut self, target: usize, name: &mut LookupName, reply: &mut Reply<'_>) -> bool {
        if name.set(reply.written(target)).is_none() {
            debug_assert!(false, "targets are names");
            return false;
        }
        if SIGNED && reply.length() > FURTHEST_MOVE {
            reply.set_ede(ExtendedError::Other);
            return false;
        }
        let Some(labels_left) = self.labels_left.checked_sub(name.labels()) else {
            reply.set_ede(ExtendedError::Other);
            return false;
        };
        self.labels_left = labels_left;
        (self.current, self.hash) = (target, name.hash_of(0));
        // Names that go round may be long, and alike but for an octet.
        let same = |&(hash, at, length): &(u64, u16, u8)| {
            let before = || &reply.written(at.into())[..length.into()];
            hash == self.hash && before().eq_ignore_ascii_case(name.suffix(0))
        };
        !self.owners[..self.length].iter().any(same)
    }

    /// One more name is behind us; `None` where it is one too many.
    fn pass(&mut self, owner: Owner, steps: usize, reply: &mut Reply<'_>) -> Option<()> {
        let Some(left) = self.steps_left.checked_sub(steps) else {
            reply.set_ede(ExtendedError::Other);
            return None;
        };
        self.steps_left = left;
        self.owners[self.length] = (self.hash, owner.at as u16, owner.length as u8);
        self.length += 1;
        Some(())
    }
}
