//! Aliases that lead nowhere, or round in a circle.

use std::collections::{HashMap, HashSet};

use super::super::names::NameId;
use super::super::records::Faults;
use super::super::sorted::SortedSet;
use super::Checker;
use super::targets::target;
use crate::wire::{LookupName, Name, RrType};

/// Names of a circle that a message shows.
const SHOWN: usize = 6;

/// How far the walk over the aliases has come with one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walked {
    Not,
    /// Now, in the walk of this number.
    In(u32),
}

/// Where the zone's DNAMEs lead: for each owner what stands for it at last, be it
/// by way of others (RFC 6672 §2.2). None where they lead round in a circle.
#[derive(Default)]
pub(super) struct Redirections(HashMap<NameId, Option<Name>>);

impl Checker<'_> {
    /// Follows all DNAMEs, each once.
    pub(super) fn redirections(&self) -> Redirections {
        let mut known = HashMap::new();
        for id in self.sorted.records.names.ids() {
            // Those that are being followed, the next owner and what it begins with.
            let mut path: Vec<(NameId, Name)> = Vec::new();
            let mut followed = HashSet::new();
            let mut at = id;
            let mut end = loop {
                if let Some(end) = known.get(&at) {
                    break *end;
                }
                let Some(target) = self.redirects_to(at) else {
                    break Some(self.shown(at));
                };
                if !followed.insert(at) {
                    break None;
                }
                path.push((at, target));
                match self.dname_over(&target, 0) {
                    Some(next) => at = next,
                    None => break Some(target),
                }
            };
            while let Some((owner, target)) = path.pop() {
                if let Some(over) = self.dname_over(&target, 0) {
                    end = end.map(|end| substitute(&target, &self.shown(over), &end));
                }
                known.insert(owner, end);
            }
        }
        Redirections(known)
    }

    fn redirects_to(&self, id: NameId) -> Option<Name> {
        let set = self.sorted.set(id, RrType::DNAME)?;
        let record = self.first(set);
        self.is_served(id)
            .then(|| target(&self.sorted.records, record))?
    }

    /// The owner of the DNAME that holds for a name, `above` labels up at least.
    fn dname_over(&self, name: &Name, above: usize) -> Option<NameId> {
        let names = &self.sorted.records.names;
        let name = LookupName::of(name);
        let mut ancestors = (above..=name.labels()).filter_map(|label| names.find(&name, label));
        ancestors.find(|&id| self.redirects_to(id).is_some())
    }

    /// What the zone's DNAMEs make of a name in the end; `None` where they lead
    /// round in a circle.
    fn redirected(&self, name: Name) -> Option<Name> {
        if self.redirections.0.is_empty() {
            return Some(name);
        }
        let Some(owner) = self.dname_over(&name, 1) else {
            return Some(name);
        };
        let end = self.redirections.0.get(&owner)?.as_ref()?;
        Some(substitute(&name, &self.shown(owner), end))
    }

    /// A CNAME whose target should be in this zone and is not.
    pub(super) fn alias(&self, faults: &mut Faults, set: &SortedSet) {
        let record = self.first(set);
        let Some(target) = target(&self.sorted.records, record) else {
            return;
        };
        let Some(end) = self.redirected(target) else {
            return;
        };
        if self.is_missing(&end) && !self.is_address(&target) {
            let by_way = if end == target {
                ""
            } else {
                ", by way of a DNAME"
            };
            let sentence = format!("CNAME points at {end}{by_way}, which this zone does not have");
            faults.warning(record.from.field(0), sentence);
        }
    }

    /// A DNAME whose target it, or others that it leads to, redirect again and
    /// again (RFC 6672 §2.2).
    pub(super) fn redirection(&self, faults: &mut Faults, id: NameId, set: &SortedSet) {
        if self.redirections.0.get(&id) == Some(&None) {
            let sentence = format!("the DNAME of {} leads round in a circle", self.shown(id));
            faults.warning(self.first(set).from.field(0), sentence);
        }
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
        let target = self.redirected(target(&self.sorted.records, self.first(set))?)?;
        let next = self.sorted.covering(&LookupName::of(&target))?;
        let is_alias = self.is_served(next) && self.sorted.set(next, RrType::CNAME).is_some();
        is_alias.then_some(next)
    }
}

/// The name with `owner`, which it ends in, exchanged for `end`; unchanged where
/// that would be too long (RFC 6672 §2.2).
fn substitute(name: &Name, owner: &Name, end: &Name) -> Name {
    let before = &name.as_wire()[..name.as_wire().len() - owner.as_wire().len()];
    Name::from_wire(&[before, end.as_wire()].concat()).unwrap_or(*name)
}
