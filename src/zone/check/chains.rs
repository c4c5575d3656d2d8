//! What a signed zone has beside the chain that it proves with (`proofs`): other chains,
//! which are there while one is exchanged for another (RFC 5155 §10.4, §10.5), and NSEC3
//! records of no chain.
//!
//! A chain that is being built or taken down is wrong at most names, which is told once.

use super::super::denial::Parameters;
use super::super::hashes::{HashedChain, is_fit, listed};
use super::super::names::NameId;
use super::super::pieces::{ids, in_turn};
use super::super::records::{Faults, Provenance, Record};
use super::Checker;
use super::signed::Tally;
use crate::wire::RrType;
use crate::wire::rdata::dnssec::Nsec3;

/// The most chains of NSEC3 that are looked at, each of which takes a hash for every
/// name of the zone. A zone has one, or two for a time.
const MAX_CHAINS: usize = 8;
/// A field of NSEC3.
const FLAGS: usize = 1;

/// What the records of all chains are looked through for.
#[derive(Default)]
struct Seen {
    /// NSEC3 records of no chain.
    strays: Tally,
    /// Those of chains that have unknown flags.
    flagged: Tally,
    /// Whether a name has NSEC.
    is_named: bool,
}

impl Checker<'_> {
    /// What there is beside the chain that is proved with.
    pub(super) fn other_chains(
        &self,
        faults: &mut Faults,
        served: Option<&HashedChain>,
        ttls: &mut Tally,
    ) {
        let listed: Vec<(&Record, Parameters)> = listed(self.sorted).collect();
        if let Some((record, _)) = listed.get(MAX_CHAINS) {
            let sentence = format!(
                "more than {MAX_CHAINS} NSEC3PARAM; of chains, only the one that is proved with \
                is looked at"
            );
            return self.invalid(faults, record.from, sentence);
        }
        let seen = self.chained_records(faults, &listed);
        if let Some((from, sentence)) = seen.strays.into_told() {
            faults.warning(from, sentence);
        }
        if let Some((from, sentence)) = seen.flagged.into_told() {
            self.invalid(faults, from, sentence);
        }
        // Another server of the zone may prove with any chain that is said to be whole.
        for (record, parameters) in listed {
            let is_served = served.is_some_and(|chain| chain.parameters == parameters);
            if is_served || !is_fit(&parameters) {
                continue;
            }
            let mut wrong = Faults::of_one_kind();
            let chain = HashedChain::with(self.sorted, parameters);
            self.by_hash(&mut wrong, &chain, ttls);
            if let Some((_, sentence)) = first(wrong) {
                let sentence = format!(
                    "there is no whole chain of NSEC3 with these parameters (RFC 5155 §4): \
                    {sentence}"
                );
                self.invalid(faults, record.from, sentence);
            }
        }
        if served.is_some() && seen.is_named {
            let mut wrong = Faults::of_one_kind();
            self.by_name(&mut wrong, ttls);
            if let Some((from, sentence)) = first(wrong) {
                let sentence = format!(
                    "the chain of NSEC is not whole, and not proved with while there is one of \
                    NSEC3: {sentence}"
                );
                faults.warning(from, sentence);
            }
        }
    }

    /// Looks through the records of all chains.
    fn chained_records(&self, faults: &mut Faults, listed: &[(&Record, Parameters)]) -> Seen {
        let look = |piece| {
            let (mut faults, mut seen) = (Faults::of_part(), Seen::default());
            for id in ids(piece) {
                seen.is_named |= self.in_chain(id);
                self.nsec3_records(&mut faults, id, listed, &mut seen);
            }
            (faults, seen)
        };
        let mut all = Seen::default();
        in_turn(self.sorted.records.names.len(), look, |(part, seen)| {
            faults.append(part);
            all.strays.append(seen.strays);
            all.flagged.append(seen.flagged);
            all.is_named |= seen.is_named;
        });
        all
    }

    /// The NSEC3 records of an owner: each of a chain, and of one chain no second.
    fn nsec3_records(
        &self,
        faults: &mut Faults,
        id: NameId,
        listed: &[(&Record, Parameters)],
        seen: &mut Seen,
    ) {
        let sorted = self.sorted;
        let Some(set) = sorted.set(id, RrType::NSEC3) else {
            return;
        };
        let mut met = [false; MAX_CHAINS];
        for record in sorted.records(set) {
            let data = sorted.records.rdata(record);
            let chain = listed.iter().position(|(_, known)| known.are_of(data));
            match chain.map(|chain| std::mem::replace(&mut met[chain], true)) {
                Some(false) if Nsec3::read(data).is_some_and(|data| data.has_unknown_flags) => {
                    seen.flagged.add(record.from.field(FLAGS), || {
                        format!(
                            "the NSEC3 of {} has flags other than 0 and 1, for which validators \
                            pass over it (RFC 5155 §8.2)",
                            self.shown(id)
                        )
                    });
                }
                Some(false) => {}
                Some(true) => {
                    let sentence = format!(
                        "a second NSEC3 of the same parameters at {}; there is one (RFC 5155 §7.1)",
                        self.shown(id)
                    );
                    self.invalid(faults, record.from, sentence);
                }
                None => seen.strays.add(record.from, || {
                    format!(
                        "the NSEC3 of {} proves nothing: {} has no NSEC3PARAM with its parameters \
                        and without flags (RFC 5155 §4)",
                        self.shown(id),
                        self.shown(sorted.apex)
                    )
                }),
            }
        }
    }
}

/// The first of faults, and how many more there are.
fn first(faults: Faults) -> Option<(Provenance, String)> {
    let more = faults.count().saturating_sub(1);
    let (_, from, sentence) = faults.into_list().into_iter().next()?;
    let sentence = match more {
        0 => sentence,
        _ => format!("{sentence}; and {more} more like it"),
    };
    Some((from, sentence))
}
