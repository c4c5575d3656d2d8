//! Aliases that lead nowhere, or round in a circle.

use super::super::names::NameId;
use super::super::records::Faults;
use super::super::sorted::SortedSet;
use super::Checker;
use super::targets::target;
use crate::wire::{LookupName, Name, RrType};

/// Names of a circle that a message shows.
const SHOWN: usize = 6;
/// DNAMEs in a row that are looked through.
const MAX_REDIRECTIONS: usize = 64;

/// How far the walk over the aliases has come with one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walked {
    Not,
    /// Now, in the walk of this number.
    In(u32),
}

impl Checker<'_> {
    /// A CNAME whose target should be in this zone and is not.
    pub(super) fn alias(&self, faults: &mut Faults, set: &SortedSet) {
        let record = self.first(set);
        let Some(target) = target(&self.sorted.records, record) else {
            return;
        };
        if self.is_missing(&target) && !self.is_address(&target) {
            let sentence = format!("CNAME points at {target}, which this zone does not have");
            faults.warning(record.from, sentence);
        }
    }

    /// A DNAME whose target it, or others that it leads to, redirect again and
    /// again (RFC 6672 §2.2).
    pub(super) fn redirection(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        let record = self.first(set);
        let owner = self.shown(id);
        let Some(target) = target(&self.sorted.records, record) else {
            return;
        };
        // What is redirected comes out below the target.
        if target.is_within(&owner) || self.substituted(target, 0).is_none() {
            let sentence = format!("the DNAME of {owner} leads round in a circle");
            faults.warning(record.from, sentence);
        }
    }

    /// What the zone's DNAMEs make of a name, or of the names below it where
    /// `above` is 0 rather than 1; none where they lead round in a circle, or make
    /// it longer without an end.
    fn substituted(&self, name: Name, above: usize) -> Option<Name> {
        let mut met = vec![name];
        while met.len() < MAX_REDIRECTIONS {
            let name = &met[met.len() - 1];
            let Some((owner, target)) = self.dname_over(name, above) else {
                break;
            };
            let before = &name.as_wire()[..name.as_wire().len() - owner.as_wire().len()];
            let next = Name::from_wire(&[before, target.as_wire()].concat()).ok()?;
            // Below a DNAME there is nothing, no other DNAME either, so that what is
            // below a name goes the way of that name.
            if met.iter().any(|earlier| next.is_within(earlier)) {
                return None;
            }
            met.push(next);
        }
        met.pop()
    }

    /// Owner and target of the DNAME that holds for a name, `above` labels up at
    /// least.
    fn dname_over(&self, name: &Name, above: usize) -> Option<(Name, Name)> {
        let sorted = self.sorted;
        let name = LookupName::of(name);
        let mut ancestors =
            (above..=name.labels()).filter_map(|label| sorted.records.names.find(&name, label));
        ancestors.find_map(|id| {
            let set = sorted
                .set(id, RrType::DNAME)
                .filter(|_| self.is_served(id))?;
            let target = target(&sorted.records, self.first(set))?;
            Some((self.shown(id), target))
        })
    }

    /// Finds each circle of CNAMEs once, and tells it at the name in it that the
    /// zone names first.
    pub(super) fn loops(&self, faults: &mut Faults) {
        let names = &self.sorted.records.names;
        let aliases: Vec<NameId> = names
            .ids()
            .filter(|&id| self.is_served(id) && self.sorted.set(id, RrType::CNAME).is_some())
            .collect();
        if aliases.is_empty() {
            return;
        }
        let mut walked = vec![Walked::Not; names.len()];
        for (walk, &start) in aliases.iter().enumerate() {
            let walk = Walked::In(walk as u32);
            let mut at = Some(start);
            while let Some(id) = at
                && walked[id.index()] == Walked::Not
            {
                walked[id.index()] = walk;
                at = self.behind(id);
            }
            // Where the walk has met itself, that is on a circle.
            if let Some(id) = at
                && walked[id.index()] == walk
            {
                self.circle(faults, id);
            }
        }
    }

    fn circle(&self, faults: &mut Faults, on_it: NameId) {
        let next = |&id: &NameId| self.behind(id).filter(|&next| next != on_it);
        let mut circle: Vec<NameId> = std::iter::successors(Some(on_it), next).collect();
        let first = (0..circle.len()).min_by_key(|&at| circle[at]);
        circle.rotate_left(first.unwrap_or(0));
        let shown = circle
            .iter()
            .take(SHOWN)
            .map(|&id| self.shown(id).to_string());
        let mut shown: Vec<String> = shown.collect();
        if circle.len() > SHOWN {
            shown.push("…".into());
        }
        shown.push(self.shown(circle[0]).to_string());
        let sentence = format!("a loop of aliases: {}", shown.join(" -> "));
        if let Some(set) = self.sorted.set(circle[0], RrType::CNAME) {
            faults.warning(self.first(set).from, sentence);
        }
    }

    /// The alias that this one leads to.
    fn behind(&self, id: NameId) -> Option<NameId> {
        let set = self.sorted.set(id, RrType::CNAME)?;
        let target = self.substituted(target(&self.sorted.records, self.first(set))?, 1)?;
        let next = self.sorted.covering(&LookupName::of(&target))?;
        let is_alias = self.is_served(next) && self.sorted.set(next, RrType::CNAME).is_some();
        is_alias.then_some(next)
    }
}
