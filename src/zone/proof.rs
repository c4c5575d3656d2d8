//! Which records prove that a name or a type does not exist: NSEC (RFC 4035
//! §3.1.3) or NSEC3 (RFC 5155 §7.2), from what `lookup` met on its way. Nothing is
//! proved in a zone without a chain, and no more than its chain can.

use arrayvec::ArrayVec;

use super::denial::{Denial, Hashed, Ordered};
use super::lookup::{Encloser, End, Found, Zone};
use super::store::{Node, Set};
use crate::wire::name::{MAX_NAME, wire_length};
use crate::wire::{Cursor, LookupName, RrType};

/// Record sets that prove something together, each once. NSEC3 needs up to three:
/// for the closest encloser, the next closer name, and the wildcard.
#[derive(Default)]
pub struct Proof<'z>(ArrayVec<Set<'z>, 3>);

impl<'z> Proof<'z> {
    /// Adds a set, where there is one that has not been added.
    fn add(&mut self, set: Option<Set<'z>>) {
        if let Some(set) = set
            && !self.0.iter().any(|known| known.is(&set))
        {
            self.0.push(set);
        }
    }

    /// The sets.
    pub fn sets(&self) -> &[Set<'z>] {
        &self.0
    }
}

impl Zone {
    /// Proves that a name does not exist, nor a wildcard that would stand for it.
    pub fn prove_no_name<'z>(&'z self, name: &LookupName, encloser: &Encloser<'z>) -> Proof<'z> {
        let mut proof = Proof::default();
        match &self.denial {
            Denial::None => {}
            Denial::Nsec(chain) => {
                proof.add(self.nsec_covering(chain, name, encloser.next_closer));
                proof.add(self.nsec_of_wildcard(chain, name, encloser));
            }
            Denial::Nsec3(chain) => {
                let provable = self.prove_encloser(chain, name, encloser.next_closer, &mut proof);
                let star = Asterisk::below(name.suffix(provable));
                proof.add(self.nsec3_covering(chain, star.wire()));
            }
        }
        proof
    }

    /// Proves that the wildcard which has stood for a name was the closest one:
    /// there is no name between them (RFC 4035 §3.1.3.3, RFC 5155 §7.2.6).
    /// `next_closer` is that of its encloser.
    pub fn prove_expansion(&self, name: &LookupName, next_closer: usize) -> Proof<'_> {
        let mut proof = Proof::default();
        match &self.denial {
            Denial::None => {}
            Denial::Nsec(chain) => proof.add(self.nsec_covering(chain, name, next_closer)),
            Denial::Nsec3(chain) => {
                proof.add(self.nsec3_covering(chain, name.suffix(next_closer)));
            }
        }
        proof
    }

    /// Proves that there is no set of the type at a node that exists and is the
    /// suffix of the name which begins with `label`. Where the chain passes over
    /// it, as over insecure delegations with opt-out, that is proved instead
    /// (RFC 5155 §7.2.4, §7.2.7).
    pub fn prove_no_data<'z>(
        &'z self,
        name: &LookupName,
        label: usize,
        node: Node<'z>,
    ) -> Proof<'z> {
        let mut proof = Proof::default();
        match &self.denial {
            Denial::None => {}
            Denial::Nsec(chain) => {
                let own = node.set(RrType::NSEC);
                proof.add(own.or_else(|| self.nsec_covering(chain, name, label)));
            }
            Denial::Nsec3(chain) => match self.nsec3_at(node) {
                Some(set) => proof.add(Some(set)),
                None => {
                    self.prove_encloser(chain, name, label, &mut proof);
                }
            },
        }
        proof
    }

    /// Proves that a wildcard which stands for the name has no set of the type
    /// (RFC 4035 §3.1.3.4, RFC 5155 §7.2.5).
    pub fn prove_no_wildcard_data<'z>(
        &'z self,
        name: &LookupName,
        wildcard: Node<'z>,
        encloser: &Encloser<'z>,
    ) -> Proof<'z> {
        let mut proof = Proof::default();
        match &self.denial {
            Denial::None => {}
            Denial::Nsec(chain) => {
                let own = wildcard.set(RrType::NSEC);
                proof.add(own.or_else(|| self.nsec_before_asterisk(chain, name, encloser)));
                proof.add(self.nsec_covering(chain, name, encloser.next_closer));
            }
            Denial::Nsec3(chain) => {
                self.prove_encloser(chain, name, encloser.next_closer, &mut proof);
                let own = self.nsec3_at(wildcard);
                proof.add(own.or_else(|| self.nsec3_covering(chain, wildcard.name())));
            }
        }
        proof
    }

    /// The record set of a name, its own or that of a wildcard which stands for it, whose
    /// signatures are those of the name as well (RFC 4035 §5.3.2).
    pub fn signed_set(&self, name: &LookupName, rtype: RrType) -> Option<Set<'_>> {
        match self.find(name, rtype) {
            Found::End(End::Answer(set, _)) => Some(set),
            _ => None,
        }
    }

    /// The closest provable encloser (RFC 5155 §7.2.1): the closest one that the
    /// chain has not passed over, and what covers the next closer name. Returns the
    /// label with which it begins.
    fn prove_encloser<'z>(
        &'z self,
        chain: &Hashed,
        name: &LookupName,
        mut next_closer: usize,
        proof: &mut Proof<'z>,
    ) -> usize {
        let apex = name.labels() - self.lookup_name().labels();
        let own = |label| self.nsec3_at(self.store.find(name, label)?);
        let mut label = (next_closer + 1).min(apex);
        let mut set = own(label);
        if set.is_none() && label < apex {
            // What is above a name of the chain is in the chain (RFC 5155 §7.1), so that
            // the lowest is found by halving.
            (next_closer, label, set) = (label, apex, own(apex));
            while label - next_closer > 1 {
                let middle = (label + next_closer) / 2;
                match own(middle) {
                    None => next_closer = middle,
                    found => (label, set) = (middle, found),
                }
            }
        }
        proof.add(set);
        proof.add(self.nsec3_covering(chain, name.suffix(next_closer)));
        label
    }

    /// The NSEC of the last name before the suffix of a name that begins with a label,
    /// which does not exist or is an empty non-terminal.
    fn nsec_covering<'z>(
        &'z self,
        chain: &Ordered,
        name: &LookupName,
        label: usize,
    ) -> Option<Set<'z>> {
        let whole = name.marked(label);
        // The apex is the first of all.
        if whole.labels() <= self.lookup_name().labels() {
            return None;
        }
        self.nsec_before(chain, name, label + 1, whole.label(0))
    }

    /// The NSEC of the last name before the asterisk below the closest encloser.
    fn nsec_before_asterisk<'z>(
        &'z self,
        chain: &Ordered,
        name: &LookupName,
        encloser: &Encloser<'_>,
    ) -> Option<Set<'z>> {
        self.nsec_before(chain, name, encloser.next_closer + 1, b"*")
    }

    /// The NSEC of the last name before the one that a label makes with a suffix.
    fn nsec_before<'z>(
        &'z self,
        chain: &Ordered,
        name: &LookupName,
        above: usize,
        label: &[u8],
    ) -> Option<Set<'z>> {
        let found = chain.find(&self.store, name, above, label);
        found?.set(RrType::NSEC)
    }

    /// What covers the asterisk below the closest encloser, mostly its own NSEC: hardly
    /// anything comes before an asterisk.
    fn nsec_of_wildcard<'z>(
        &'z self,
        chain: &Ordered,
        name: &LookupName,
        encloser: &Encloser<'z>,
    ) -> Option<Set<'z>> {
        let own = encloser.node.set(RrType::NSEC).filter(|own| {
            let (next, above) = (next_name(own), encloser.node.name());
            is_behind_asterisk(next, above)
        });
        own.or_else(|| self.nsec_before_asterisk(chain, name, encloser))
    }

    fn nsec3_at(&self, node: Node<'_>) -> Option<Set<'_>> {
        self.store.node(node.nsec3()?).set(RrType::NSEC3)
    }

    fn nsec3_covering<'z>(&'z self, chain: &Hashed, name: &[u8]) -> Option<Set<'z>> {
        chain.covering(&self.store, name)?.set(RrType::NSEC3)
    }
}

/// The next name in an NSEC record, which is not compressed (RFC 4034 §4.1.1), in
/// its own case.
fn next_name<'z>(set: &Set<'z>) -> &'z [u8] {
    let record = Cursor::new(set.open().answer).record();
    let data = record.map_or(&[][..], |record| record.data);
    &data[..wire_length(data).unwrap_or(0)]
}

/// True where nothing stands between a name and the asterisk below it: the name that
/// comes next is not below it, or only by labels behind an asterisk.
fn is_behind_asterisk(next: &[u8], above: &[u8]) -> bool {
    let mut rest = next;
    let mut label = &next[..0];
    while rest.len() > above.len() {
        let (&length, behind) = rest.split_first().expect("it is not empty");
        (label, rest) = behind.split_at(usize::from(length).min(behind.len()));
    }
    !rest.eq_ignore_ascii_case(above) || label > &b"*"[..]
}

/// The name of a wildcard.
struct Asterisk {
    octets: [u8; MAX_NAME],
    length: usize,
}

impl Asterisk {
    /// The asterisk label below a name that encloses another, and so has room for
    /// it.
    fn below(name: &[u8]) -> Asterisk {
        let mut octets = [0; MAX_NAME];
        let length = 2 + name.len();
        octets[..2].copy_from_slice(b"\x01*");
        octets[2..length].copy_from_slice(name);
        Asterisk { octets, length }
    }

    fn wire(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}
