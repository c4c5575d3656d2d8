//! Every signature of a zone, held against the keys at its apex, on as many threads as
//! there shall be. This is for `check --dnssec`: nothing on the way of a datagram, nor
//! of a zone that is about to be served, comes here.
//!
//! It takes sorted records, since they are together no more once answers are composed
//! of them, and so it is in this layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ring::signature::{self as crypto, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};

use super::check::{Scrutiny, is_good, labels};
use super::keys::{By, Done, Keys};
use super::names::NameId;
use super::records::Provenance;
use super::sorted::{Occlusion, Sorted, SortedSet};
use crate::wire::rdata::dnssec::{Signature, algorithm_name};
use crate::wire::{RrType, rdata};

/// What came of the signatures of a zone.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Signatures that are right.
    pub right: usize,
    /// Signatures that are wrong, each of which is an error, or a warning where another
    /// makes up for it.
    pub wrong: usize,
    /// Signatures by keys that the zone does not have.
    pub keyless: usize,
    /// Signatures that cannot be verified here, by what they are; of each kind there is a
    /// warning.
    pub unverified: BTreeMap<String, usize>,
    /// Keys by which something is signed.
    pub keys: usize,
    /// How long it took.
    pub took: Duration,
}

/// Names that a thread takes at once.
const TAKEN: usize = 64;

/// Verifies all signatures on as many threads as are asked for, and notes each that is
/// wrong.
pub fn verify(sorted: &mut Sorted, scrutiny: Scrutiny) -> Verified {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let keys = Keys::of(sorted);
    let shared = &*sorted;
    let work = || {
        let mut verifier = Verifier::new(shared, &keys, scrutiny.now);
        let names = shared.records.names.len();
        loop {
            // Each thread takes other names, whatever it sees of the others' work.
            let first = next.fetch_add(TAKEN, Ordering::Relaxed);
            if first >= names {
                return verifier.found;
            }
            for id in first..names.min(first + TAKEN) {
                verifier.name(NameId(id as u32));
            }
        }
    };
    let found: Vec<Found> = thread::scope(|scope| {
        let threads: Vec<_> = (0..scrutiny.verifiers.max(1))
            .map(|_| scope.spawn(work))
            .collect();
        let threads = threads.into_iter();
        threads
            .map(|thread| thread.join().expect("verifying does not panic"))
            .collect()
    });
    let mut verified = Verified::default();
    let (mut used, mut first) = (BTreeSet::new(), BTreeMap::new());
    for found in found {
        verified.right += found.right;
        verified.wrong += found.wrong.len();
        verified.keyless += found.keyless;
        for (what, (from, count)) in found.unverified {
            let known = first.entry(what.clone()).or_insert(from);
            *known = from.min(*known);
            *verified.unverified.entry(what).or_default() += count;
        }
        used.extend(found.used);
        for Wrong {
            from,
            sentence,
            is_spare,
        } in found.wrong
        {
            match is_spare {
                true => sorted.records.faults.warning(from, sentence),
                false => sorted.records.faults.error(from, sentence),
            }
        }
    }
    for (what, from) in first {
        let sentence = format!(
            "a signature that is not verified here: {what}; {} in all",
            verified.unverified[&what]
        );
        sorted.records.faults.warning(from, sentence);
    }
    verified.keys = used.len();
    verified.took = start.elapsed();
    verified
}

/// What one thread has found.
#[derive(Default)]
struct Found {
    right: usize,
    wrong: Vec<Wrong>,
    keyless: usize,
    /// With the first of each kind.
    unverified: BTreeMap<String, (Provenance, usize)>,
    /// The places of keys that have signed something.
    used: BTreeSet<usize>,
}

/// A signature that is wrong.
struct Wrong {
    from: Provenance,
    sentence: String,
    /// Another of its set is right and does the same.
    is_spare: bool,
}

struct Verifier<'d> {
    sorted: &'d Sorted,
    keys: &'d Keys<'d>,
    /// In seconds since 1970, modulo 2^32.
    now: u32,
    /// The data of a set in canonical form, and in canonical order.
    set: Vec<Vec<u8>>,
    /// What is signed.
    signed: Vec<u8>,
    found: Found,
}

impl<'d> Verifier<'d> {
    fn new(sorted: &'d Sorted, keys: &'d Keys<'d>, now: u32) -> Verifier<'d> {
        Verifier {
            sorted,
            keys,
            now,
            set: Vec::new(),
            signed: Vec::new(),
            found: Found::default(),
        }
    }

    /// Verifies all signatures at a name whose sets are the zone's own.
    fn name(&mut self, id: NameId) {
        let sorted = self.sorted;
        if sorted.occlusion(id) != Occlusion::Served && !sorted.is_hashed(id) {
            return;
        }
        let is_signature = |set: &&SortedSet| set.rtype == RrType::RRSIG;
        for signatures in sorted.sets(id).iter().filter(is_signature) {
            // One of nothing has a fault already.
            let Some(set) = sorted.set(id, signatures.covered) else {
                continue;
            };
            self.take_set(set);
            let labels = labels(sorted.records.names.wire(id));
            let (mut done, mut wrong) = (Done::default(), Vec::new());
            for record in sorted.records(signatures) {
                let Some(signature) = Signature::read(sorted.records.rdata(record)) else {
                    continue;
                };
                match self.signature(id, &signature, record.from) {
                    Verdict::Right if is_good(&signature, labels, self.now) => {
                        done.add(self.keys.maker(&signature));
                    }
                    Verdict::Wrong(why) => wrong.push((record.from, signature, why)),
                    Verdict::Right | Verdict::None => {}
                }
            }
            for (from, signature, why) in wrong {
                let by = self.keys.maker(&signature);
                let is_spare = self.keys.is_spare(set.rtype, by, done);
                self.wrong(id, from, &signature, why, is_spare);
            }
        }
    }

    fn take_set(&mut self, set: &SortedSet) {
        let records = self.sorted.records(set);
        self.set.clear();
        self.set.extend(records.map(|record| {
            let mut octets = self.sorted.records.rdata(record).to_vec();
            rdata::make_canonical(set.rtype, &mut octets);
            octets
        }));
        // What is the same in this form is one record (RFC 4034 §6.3).
        self.set.sort_unstable();
        self.set.dedup();
    }

    /// Verifies one signature, and counts it unless it is wrong.
    fn signature(&mut self, id: NameId, signature: &Signature, from: Provenance) -> Verdict {
        let keys = self.keys;
        if [By::Foreign, By::Nobody].contains(&keys.maker(signature)) {
            self.found.keyless += 1;
            return Verdict::None;
        }
        let Some(kind) = Kind::of(signature.algorithm) else {
            let number = signature.algorithm;
            let what = format!("algorithm {number} ({})", algorithm_name(number));
            return self.unverified(what, from);
        };
        if !self.sign(id, signature) {
            return Verdict::Wrong(Why::Labels);
        }
        let mut verdict = Verdict::None;
        for (at, key) in keys.named_by(signature) {
            match kind.verify(key.octets, &self.signed, signature.octets) {
                Ok(()) => {
                    self.found.right += 1;
                    self.found.used.insert(at);
                    return Verdict::Right;
                }
                Err(Why::RsaBits) => return self.unverified(RSA_BITS.into(), from),
                // Another key of this tag may have made it.
                Err(why) => verdict = Verdict::Wrong(why),
            }
        }
        verdict
    }

    fn unverified(&mut self, what: String, from: Provenance) -> Verdict {
        let (_, count) = self.found.unverified.entry(what).or_insert((from, 0));
        *count += 1;
        Verdict::None
    }

    /// Notes a wrong signature, which others make up for where it is spare.
    fn wrong(
        &mut self,
        id: NameId,
        from: Provenance,
        signature: &Signature,
        why: Why,
        is_spare: bool,
    ) {
        let sentence = format!(
            "the signature of {} at {} by key {} ({}) is wrong: {}",
            signature.covered,
            self.sorted.records.names.name(id),
            signature.key_tag,
            algorithm_name(signature.algorithm),
            why.words()
        );
        self.found.wrong.push(Wrong {
            from: from.field(OCTETS),
            sentence,
            is_spare,
        });
    }

    /// Writes down what a signature signs (RFC 4034 §3.1.8.1). False where it is for more
    /// labels than the name has.
    fn sign(&mut self, id: NameId, signature: &Signature) -> bool {
        let name = self.sorted.records.names.wire(id);
        let Some(owner) = owner(name, signature.labels) else {
            return false;
        };
        let (out, rtype) = (&mut self.signed, signature.covered);
        out.clear();
        out.extend_from_slice(signature.head);
        out.extend(signature.signer.iter().map(u8::to_ascii_lowercase));
        for data in &self.set {
            for part in owner {
                out.extend_from_slice(part);
            }
            out.extend_from_slice(&rtype.0.to_be_bytes());
            out.extend_from_slice(&CLASS_IN);
            out.extend_from_slice(&signature.original_ttl.to_be_bytes());
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            out.extend_from_slice(data);
        }
        true
    }
}

const CLASS_IN: [u8; 2] = [0, 1];
/// The last field of RRSIG.
const OCTETS: usize = 8;

/// The owner in a set that is signed for so many labels, in two parts: the name, or the
/// wildcard that it would have come from (RFC 4035 §5.3.2). `None` where it has fewer.
fn owner(name: &[u8], signed_labels: u8) -> Option<[&[u8]; 2]> {
    let own = labels(name);
    if own == signed_labels {
        return Some([name, &[]]);
    }
    let mut rest = name;
    let is_wildcard = name.starts_with(b"\x01*");
    let mut surplus = own.checked_sub(signed_labels)? + u8::from(is_wildcard);
    while surplus > 0 {
        let (&length, behind) = rest.split_first()?;
        rest = behind.get(usize::from(length)..)?;
        surplus -= 1;
    }
    Some([b"\x01*", rest])
}

/// How signatures of an algorithm are verified.
#[derive(Clone, Copy)]
enum Kind {
    Rsa(&'static RsaParameters),
    /// With the octets of key and signature; points of curves are written with what
    /// `prefix` says before them.
    Curve {
        algorithm: &'static dyn crypto::VerificationAlgorithm,
        prefix: &'static [u8],
        key: usize,
        signature: usize,
    },
}

/// What came of one signature.
enum Verdict {
    Right,
    Wrong(Why),
    /// It was not verified, and counted as such.
    None,
}

/// Why a signature is wrong.
#[derive(Clone, Copy)]
enum Why {
    Labels,
    KeyLength(usize, usize),
    SignatureLength(usize, usize),
    RsaKey,
    RsaBits,
    Octets,
}

impl Why {
    fn words(self) -> String {
        match self {
            Why::Labels => "it is for more labels than the name has".into(),
            Why::KeyLength(found, right) => format!("the key has {found} octets, not {right}"),
            Why::SignatureLength(found, right) => format!("it has {found} octets, not {right}"),
            Why::RsaKey => "the key is none of RSA".into(),
            Why::RsaBits => RSA_BITS.into(),
            Why::Octets => "the records are not those that the key has signed".into(),
        }
    }
}

impl Kind {
    /// `None` for algorithms that are not known here.
    fn of(algorithm: u8) -> Option<Kind> {
        Some(match algorithm {
            5 | 7 => Kind::Rsa(&crypto::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
            8 => Kind::Rsa(&crypto::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
            10 => Kind::Rsa(&crypto::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
            13 => Kind::Curve {
                algorithm: &crypto::ECDSA_P256_SHA256_FIXED,
                prefix: UNCOMPRESSED,
                key: 64,
                signature: 64,
            },
            14 => Kind::Curve {
                algorithm: &crypto::ECDSA_P384_SHA384_FIXED,
                prefix: UNCOMPRESSED,
                key: 96,
                signature: 96,
            },
            15 => Kind::Curve {
                algorithm: &crypto::ED25519,
                prefix: &[],
                key: 32,
                signature: 64,
            },
            _ => return None,
        })
    }

    fn verify(self, key: &[u8], signed: &[u8], signature: &[u8]) -> Result<(), Why> {
        let verified = match self {
            Kind::Rsa(parameters) => {
                let key = rsa_key(key).ok_or(Why::RsaKey)?;
                if !is_verified(key.n) {
                    return Err(Why::RsaBits);
                }
                if signature.len() != key.n.len() {
                    return Err(Why::SignatureLength(signature.len(), key.n.len()));
                }
                key.verify(parameters, signed, signature)
            }
            Kind::Curve {
                algorithm,
                prefix,
                key: key_length,
                signature: length,
            } => {
                if key.len() != key_length {
                    return Err(Why::KeyLength(key.len(), key_length));
                }
                if signature.len() != length {
                    return Err(Why::SignatureLength(signature.len(), length));
                }
                let key = UnparsedPublicKey::new(algorithm, [prefix, key].concat());
                key.verify(signed, signature)
            }
        };
        verified.map_err(|_| Why::Octets)
    }
}

/// What stands before a point of a curve that is written in full (SEC 1 §2.3.3), and is
/// left out in DNSKEY (RFC 6605 §4).
const UNCOMPRESSED: &[u8] = &[4];
/// What is not verified of RSA.
const RSA_BITS: &str = "keys of RSA of other than 1,024 to 8,192 bits";

/// True for a modulus, without zeros before it, of as many bits as are verified.
fn is_verified(modulus: &[u8]) -> bool {
    let zeros = modulus.first().map_or(0, |octet| octet.leading_zeros());
    let bits = 8 * modulus.len() - zeros as usize;
    (1024..=8192).contains(&bits)
}

/// Exponent and modulus (RFC 3110 §2).
fn rsa_key(octets: &[u8]) -> Option<RsaPublicKeyComponents<&[u8]>> {
    let (length, rest) = match octets {
        [0, upper, lower, rest @ ..] => (u16::from_be_bytes([*upper, *lower]), rest),
        [length, rest @ ..] => (u16::from(*length), rest),
        [] => return None,
    };
    let (e, n) = rest.split_at_checked(length.into())?;
    // There are no zeros before a number.
    let start = |octets: &[u8]| octets.iter().take_while(|&&octet| octet == 0).count();
    Some(RsaPublicKeyComponents {
        n: &n[start(n)..],
        e: &e[start(e)..],
    })
}
