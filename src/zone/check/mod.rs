//! What a zone must be to be served (`structure`), and what someone should look
//! at: what records point at (`targets`, `aliases`), and what people get wrong
//! (`mistakes`). Each fault is named at the record that shows it; none hides
//! another.

mod aliases;
mod mistakes;
mod structure;
mod targets;

use super::names::NameId;
use super::records::{Faults, Record};
use super::sorted::{Occlusion, Sorted, SortedSet};
use crate::wire::Name;

use aliases::Redirections;
pub use structure::no_soa;
pub use targets::target;

/// Looks at the whole zone. What seems to be missing is not missed where it
/// may stand on a line that could not be read.
pub fn check(sorted: &mut Sorted) {
    let mut faults = std::mem::take(&mut sorted.records.faults);
    let mut checker = Checker {
        sorted,
        redirections: Redirections::default(),
    };
    checker.redirections = checker.redirections();
    checker.apex(&mut faults);
    for id in sorted.records.names.ids() {
        checker.name(&mut faults, id);
    }
    checker.loops(&mut faults);
    sorted.records.faults = faults;
}

struct Checker<'d> {
    sorted: &'d Sorted,
    redirections: Redirections,
}

impl<'d> Checker<'d> {
    fn name(&self, faults: &mut Faults, id: NameId) {
        let sorted = self.sorted;
        match sorted.occlusion(id) {
            Occlusion::Outside => self.outside(faults, id),
            // A hash is no name, and so not below the apex.
            Occlusion::BelowDname(owner) if owner == sorted.apex && sorted.is_hashed(id) => {
                self.hashed(faults, id);
            }
            Occlusion::BelowDname(owner) => self.below_dname(faults, id, owner),
            Occlusion::Served if sorted.is_hashed(id) => self.hashed(faults, id),
            Occlusion::BelowCut(cut) => {
                self.hidden(faults, id, cut);
                for set in sorted.sets(id) {
                    self.ttls(faults, set);
                }
            }
            Occlusion::Served => {
                self.exclusive(faults, id);
                self.wildcard(faults, id);
                if sorted.is_cut(id) {
                    self.hidden(faults, id, id);
                }
                self.owner(faults, id);
                self.hashed(faults, id);
                for set in sorted.sets(id) {
                    self.ttls(faults, set);
                    self.soa_elsewhere(faults, id, set);
                    self.targets(faults, id, set);
                    self.mistakes(faults, id, set);
                    self.size(faults, id, set);
                }
            }
        }
    }

    fn all(&self, id: NameId) -> impl Iterator<Item = &Record> {
        self.sorted
            .sets(id)
            .iter()
            .flat_map(|set| self.sorted.records(set))
    }

    fn first(&self, set: &SortedSet) -> &Record {
        self.sorted.records(set).next().expect("a set has a record")
    }

    /// True for a name that the zone answers for.
    fn is_served(&self, id: NameId) -> bool {
        self.sorted.occlusion(id) == Occlusion::Served && !self.sorted.is_hashed(id)
    }

    fn shown(&self, id: NameId) -> Name {
        self.sorted.records.names.name(id)
    }
}
