//! The NSEC3 records of a zone in the order of their hashes (RFC 5155). Hashes are
//! evenly spread, so that the first octets of one lead to within a few places of
//! where it must be.
//!
//! ```text
//! starts   for each value of the first bits: the first record that has it,
//!          about four records apart
//! tags     the first 32 bits of each record's hash
//! nodes    where each record lies; its whole hash is its owner's name
//! ```
//!
//! A record takes nine octets here.

use data_encoding::BASE32_DNSSEC;
use sha1::{Digest, Sha1, block_api};

use super::super::memory;
use super::super::store::{Node, NodeRef, Store};
use crate::wire::{Cursor, rdata};

/// Octets of a SHA-1 hash, the only kind there is (RFC 5155 §11).
pub const HASH: usize = 20;
/// Characters of such a hash in base32hex, which is in the same order.
const LABEL: usize = 32;
/// Octets that SHA-1 takes at a time, and of the length behind all of them.
const BLOCK: usize = 64;
const LENGTH: usize = 8;
/// The most blocks of a hash and its salt, with a 1 and the length behind them.
const BLOCKS: usize = (HASH + 255 + 1 + LENGTH).div_ceil(BLOCK);
/// What SHA-1 begins with (FIPS 180-4 §5.3.1).
const START: [u32; 5] = [
    0x6745_2301,
    0xefcd_ab89,
    0x98ba_dcfe,
    0x1032_5476,
    0xc3d2_e1f0,
];
/// Records for each start, as a power of two.
const SPREAD: u32 = 2;

/// How the names of a chain are hashed (RFC 5155 §3.1, §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// How often a hash is hashed again.
    pub iterations: u16,
    salt: Box<[u8]>,
}

impl Parameters {
    /// What the data of NSEC3 or NSEC3PARAM begins with, and its flags. `None` for
    /// hashes that are not SHA-1.
    pub fn read(data: &[u8]) -> Option<(Parameters, u8)> {
        let mut rest = Cursor::new(data);
        let (kind, flags, iterations) = (rest.u8()?, rest.u8()?, rest.u16()?);
        let length = rest.u8()?;
        let salt = rest.take(length.into())?.into();
        let parameters = Parameters { iterations, salt };
        (kind == rdata::SHA1.0).then_some((parameters, flags))
    }

    /// True for data of NSEC3 with these parameters, whatever its flags.
    pub fn are_of(&self, data: &[u8]) -> bool {
        let [kind, _, upper, lower, length, rest @ ..] = data else {
            return false;
        };
        *kind == rdata::SHA1.0
            && u16::from_be_bytes([*upper, *lower]) == self.iterations
            && rest.get(..usize::from(*length)) == Some(&*self.salt)
    }

    /// The hash of a name, given lower-cased (RFC 5155 §5).
    pub fn hash(&self, name: &[u8]) -> [u8; HASH] {
        let first = Sha1::new_with_prefix(name).chain_update(&self.salt);
        let first = first.finalize().into();
        if self.iterations == 0 {
            return first;
        }
        self.hash_again(first)
    }

    /// Hashes a hash as often as the parameters say. All that differs from one time to
    /// the next is the hash in front: its salt and what SHA-1 puts behind (FIPS 180-4
    /// §5.1.1) are laid out once, which halves the work.
    fn hash_again(&self, mut hash: [u8; HASH]) -> [u8; HASH] {
        let mut blocks = [[0; BLOCK]; BLOCKS];
        let length = HASH + self.salt.len();
        let count = (length + 1 + LENGTH).div_ceil(BLOCK);
        let octets = &mut blocks.as_flattened_mut()[..count * BLOCK];
        octets[HASH..length].copy_from_slice(&self.salt);
        octets[length] = 0x80;
        let bits = 8 * length as u64;
        octets[count * BLOCK - LENGTH..].copy_from_slice(&bits.to_be_bytes());
        for _ in 0..self.iterations {
            blocks[0][..HASH].copy_from_slice(&hash);
            let mut state = START;
            block_api::compress(&mut state, &blocks[..count]);
            for (octets, word) in hash.chunks_exact_mut(4).zip(state) {
                octets.copy_from_slice(&word.to_be_bytes());
            }
        }
        hash
    }
}

/// The hash of which the first label of a name is the text.
pub fn owner_hash(name: &[u8]) -> Option<[u8; HASH]> {
    let mut hash = [0; HASH];
    let text = name
        .get(1..=LABEL)
        .filter(|_| usize::from(name[0]) == LABEL)?;
    let length = BASE32_DNSSEC.decode_mut(text, &mut hash).ok()?;
    (length == HASH).then_some(hash)
}

/// A chain of NSEC3 records on its way into the zone, each with what is known of it.
pub struct HashedBuilder<T> {
    records: Vec<([u8; HASH], T)>,
    starts: Vec<u32>,
    shift: u32,
}

impl<T: Copy> HashedBuilder<T> {
    /// The chain of records with these hashes.
    pub fn new(mut records: Vec<([u8; HASH], T)>) -> HashedBuilder<T> {
        records.sort_unstable_by_key(|(hash, _)| *hash);
        let bits = records.len().max(1).ilog2().saturating_sub(SPREAD);
        let shift = u32::BITS - bits;
        let mut starts = memory::filled(0, (1 << bits) + 1);
        for (hash, _) in &records {
            starts[start_of(tag(hash), shift) + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        HashedBuilder {
            records,
            starts,
            shift,
        }
    }

    /// The records in the order of their hashes.
    pub fn records(&self) -> &[([u8; HASH], T)] {
        &self.records
    }

    /// The place of the record with just this hash, or else that of the last before
    /// it, which covers it; `None` for an empty chain.
    pub fn find(&self, hash: &[u8; HASH]) -> Result<usize, Option<usize>> {
        let start = start_of(tag(hash), self.shift);
        let range = self.starts[start] as usize..self.starts[start + 1] as usize;
        let records = &self.records[range.clone()];
        let found = records.iter().position(|(own, _)| own >= hash);
        let at = range.start + found.unwrap_or(records.len());
        match found {
            Some(_) if self.records[at].0 == *hash => Ok(at),
            _ => Err(at.checked_sub(1).or(self.records.len().checked_sub(1))),
        }
    }

    /// The finished chain, with the node of each record.
    pub fn finish(self, parameters: Parameters, nodes: Vec<NodeRef>) -> Hashed {
        debug_assert_eq!(nodes.len(), self.records.len(), "each record has its node");
        Hashed {
            parameters,
            tags: self.records.iter().map(|(hash, _)| tag(hash)).collect(),
            nodes: nodes.into(),
            starts: self.starts.into_boxed_slice(),
            shift: self.shift,
        }
    }
}

/// A chain of NSEC3 records, which is a circle.
pub struct Hashed {
    parameters: Parameters,
    tags: Box<[u32]>,
    nodes: Box<[NodeRef]>,
    starts: Box<[u32]>,
    shift: u32,
}

impl Hashed {
    /// The node whose NSEC3 record has the hash of a name, given lower-cased, or
    /// the last before it, which then covers the name. `None` for an empty chain.
    pub fn covering<'z>(&self, store: &'z Store, name: &[u8]) -> Option<Node<'z>> {
        self.find(store, &self.parameters.hash(name))
    }

    /// The node of a hash, or the last before it.
    fn find<'z>(&self, store: &'z Store, hash: &[u8; HASH]) -> Option<Node<'z>> {
        let wanted = tag(hash);
        let mut at = self.starts[start_of(wanted, self.shift)] as usize;
        while let Some(&tag) = self.tags.get(at)
            && (tag < wanted || tag == wanted && self.is_at_or_before(store, at, hash))
        {
            at += 1;
        }
        let at = at.checked_sub(1).or(self.nodes.len().checked_sub(1))?;
        Some(store.node(self.nodes[at]))
    }

    /// Compares whole hashes, which is for those of one tag.
    #[cold]
    fn is_at_or_before(&self, store: &Store, at: usize, hash: &[u8; HASH]) -> bool {
        let own = owner_hash(store.node(self.nodes[at]).name());
        own.is_some_and(|own| own <= *hash)
    }

    /// The nodes, in the order of their hashes.
    pub fn nodes(&self) -> &[NodeRef] {
        &self.nodes
    }

    /// Octets of memory that the chain holds.
    pub fn octets(&self) -> usize {
        size_of_val(&*self.tags) + size_of_val(&*self.nodes) + size_of_val(&*self.starts)
    }
}

fn tag(hash: &[u8; HASH]) -> u32 {
    u32::from_be_bytes(*hash.first_chunk().expect("a hash is longer"))
}

fn start_of(tag: u32, shift: u32) -> usize {
    (u64::from(tag) >> shift) as usize
}

#[cfg(test)]
mod tests {
    use super::super::super::store::Builder;
    use super::*;
    use crate::wire::Name;

    fn wire(text: &str) -> Vec<u8> {
        text.parse::<Name>().unwrap().as_wire().to_vec()
    }

    /// RFC 5155 appendix A: the parameters of its zone, and the hashes of names in
    /// it.
    #[test]
    fn names_are_hashed_as_in_the_rfc() {
        let data = b"\x01\0\0\x0c\x04\xaa\xbb\xcc\xdd";
        let (parameters, flags) = Parameters::read(data).unwrap();
        assert_eq!((parameters.iterations, flags), (12, 0));
        for (name, hash) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
        ] {
            let found = parameters.hash(&wire(name));
            assert_eq!(BASE32_DNSSEC.encode(&found), hash);
            assert_eq!(owner_hash(&wire(&format!("{hash}.example"))), Some(found));
        }
        assert_eq!(owner_hash(&wire("example")), None);
        assert_eq!(owner_hash(&wire("zzzzhaveqvm6t7vbl5lop2u3t2rp3tom")), None);
        assert!(Parameters::read(b"\x02\0\0\x0c\0").is_none());
        assert!(Parameters::read(b"\x01\0\0\x0c\x04\xaa").is_none());
    }

    /// RFC 5155 §5, word by word, with salts that end on both sides of a block's end.
    #[test]
    fn a_hash_is_hashed_again_with_its_salt() {
        for length in [0, 4, 34, 35, 36, 44, 99, 100, 163, 164, 227, 228, 255] {
            for iterations in [0, 1, 2, 3] {
                let parameters = Parameters {
                    iterations,
                    salt: (0..length).collect(),
                };
                let mut expected = wire("a.example");
                for _ in 0..=iterations {
                    expected.extend(&parameters.salt);
                    expected = Sha1::digest(&expected).to_vec();
                }
                let hash = parameters.hash(&wire("a.example"));
                assert_eq!(hash[..], expected, "{length} {iterations}");
            }
        }
    }

    fn chain(hashes: &[[u8; HASH]]) -> (Store, HashedBuilder<NodeRef>) {
        let mut builder = Builder::new(hashes.len());
        let records = hashes.iter().map(|hash| {
            let name = wire(&format!("{}.example", BASE32_DNSSEC.encode(hash)));
            (*hash, builder.end(&name, 0).unwrap())
        });
        let chain = HashedBuilder::new(records.collect());
        (builder.finish(0, std::iter::empty(), Vec::new()), chain)
    }

    /// From one record to hundreds, asked for by each hash, and by what is next to
    /// it; some hashes begin alike.
    #[test]
    fn the_record_of_a_hash_or_the_last_before_it() {
        let parameters = Parameters {
            iterations: 0,
            salt: [].into(),
        };
        let most = if cfg!(miri) { 30 } else { 1000 };
        for count in [1, 2, 3, 4, 7, 8, 9, 100, most] {
            let mut hashes: Vec<[u8; HASH]> = (0..count)
                .map(|number: u32| parameters.hash(&(number / 3).to_be_bytes()))
                .collect();
            for (number, hash) in hashes.iter_mut().enumerate() {
                hash[19] = (number % 3 * 2) as u8;
            }
            let (store, chain) = chain(&hashes);
            for hash in &hashes {
                let at = chain.find(hash).unwrap();
                let (own, node) = chain.records()[at];
                assert_eq!(
                    (own, owner_hash(store.node(node).name())),
                    (*hash, Some(*hash))
                );
                let mut other = *hash;
                other[19] += 1;
                assert_eq!(chain.find(&other), Err(Some(at)));
            }
            let hashed = {
                let nodes = chain.records().iter().map(|(_, node)| *node).collect();
                chain.finish(parameters.clone(), nodes)
            };
            hashes.sort();
            let beside = [[0; HASH], [0xff; HASH]];
            for hash in hashes.iter().chain(&beside) {
                for last in [hash[19], hash[19].wrapping_add(1), 0, 0xff] {
                    let mut asked = *hash;
                    asked[19] = last;
                    let expected = hashes.iter().rfind(|own| **own <= asked);
                    // Before the first is behind the last.
                    let expected = expected.or(hashes.last());
                    let found = hashed.find(&store, &asked).unwrap();
                    assert_eq!(owner_hash(found.name()).as_ref(), expected);
                }
            }
        }
        let (store, chain) = chain(&[]);
        assert_eq!(chain.find(&[7; HASH]), Err(None));
        let hashed = chain.finish(parameters, Vec::new());
        assert!(hashed.find(&store, &[7; HASH]).is_none());
    }
}
