//! The validator of the hickory project. It takes any signature that is good; so beside
//! its judgement each signature of each reply is verified by itself, that of a key which
//! is on its way in or out not less than others.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_net::DnsHandle;
use hickory_net::dnssec::DnssecDnsHandle;
use hickory_net::runtime::TokioRuntimeProvider;
use hickory_net::tcp::TcpClientStream;
use hickory_net::xfer::{DnsExchange, FirstAnswer};
use hickory_net::{DnsError, NetError};
use trust_dns_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use trust_dns_proto::dnssec::{TrustAnchors, Verifier};
use trust_dns_proto::op::{DnsRequestOptions, DnsResponse, Message, Query};
use trust_dns_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::sign::{self, Denial, Signed};
use crate::{Verdict, questions};

const PATIENCE: Duration = Duration::from_secs(20);

pub fn ask_all(zone: &Signed, server: SocketAddr) -> Verdict {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(ask(zone, server))
}

async fn ask(zone: &Signed, server: SocketAddr) -> Verdict {
    // What it started ends with it.
    let provider = TokioRuntimeProvider::new();
    // Nothing is cut short over TCP.
    let client = TcpClientStream::exchange(server, None, PATIENCE, None, provider.clone());
    let client = client.await.unwrap();
    let validating = DnssecDnsHandle::with_trust_anchor(client.clone(), anchors(zone));
    let mut verdict = Verdict::default();
    for (name, rtype, proof) in questions(zone) {
        let rtype: RecordType = rtype.parse().unwrap();
        let query = Query::query(Name::from_ascii(format!("{name}.")).unwrap(), rtype);
        if takes(zone, &name, rtype) {
            let found = judgement(&validating, query.clone()).await;
            let accepted = proof.accepts(zone, found == Found::Secure, found == Found::Insecure);
            verdict.note(accepted, || format!("hickory {name} {rtype}: {found:?}"));
        }
        let reply = lookup(&client, query).await.unwrap();
        let wrong = wrong_signatures(&client, &reply, zone).await;
        verdict.note(wrong.is_empty(), || {
            format!("hickory {name} {rtype}: {wrong:?}")
        });
    }
    verdict
}

/// Proofs that it takes for what they are; others' validators take all.
fn takes(zone: &Signed, name: &str, rtype: RecordType) -> bool {
    let is = |names: &[&str]| names.iter().any(|known| name.starts_with(known));
    // It looks in them for the name that was asked for, not for the one aliases lead to.
    let of_alias =
        is(&["through.", "x.d.", "nowhere."]) || rtype == RecordType::TXT && is(&["alias."]);
    // It wants the wildcard itself covered, which exists.
    let of_wildcard = zone.denial == Denial::Nsec && is(&["x.w.", "x.alias.", "q.hollow."]);
    // It knows none for an empty non-terminal that opt-out passes over.
    let of_passed = zone.denial == Denial::OptOut && is(&["onlyinsecure."]);
    !of_alias && !of_wildcard && !of_passed
}

/// All keys of the zone: it would look for a digest of each that is not trusted at the
/// parent, which is not served here.
fn anchors(zone: &Signed) -> Arc<TrustAnchors> {
    let mut anchors = TrustAnchors::empty();
    let apex = Name::from_ascii(format!("{}.", zone.apex)).unwrap();
    for key in sign::keys(&zone.apex, &zone.file) {
        anchors.insert_with_name(key.public_key(), (&apex).into());
    }
    Arc::new(anchors)
}

async fn lookup<H: DnsHandle>(client: &H, query: Query) -> Result<DnsResponse, NetError> {
    let mut options = DnsRequestOptions::default();
    options.edns_set_dnssec_ok = true;
    client.lookup(query, options).first_answer().await
}

#[derive(Debug, PartialEq)]
enum Found {
    Secure,
    Insecure,
    Bogus(String),
}

/// What the validator makes of a reply.
async fn judgement<H: DnsHandle>(validating: &H, query: Query) -> Found {
    let reply = match lookup(validating, query).await {
        Ok(reply) => reply,
        Err(NetError::Dns(DnsError::Nsec { proof, .. })) if proof.is_insecure() => {
            return Found::Insecure;
        }
        Err(error) => return Found::Bogus(error.to_string()),
    };
    // Nobody signs the servers of a delegation.
    let counted =
        |record: &&Record| !matches!(record.record_type(), RecordType::RRSIG | RecordType::NS);
    let records = || {
        reply
            .answers
            .iter()
            .chain(&reply.authorities)
            .filter(counted)
    };
    if records().all(|record| record.proof.is_secure()) {
        Found::Secure
    } else if records().all(|record| record.proof.is_secure() || record.proof.is_insecure()) {
        Found::Insecure
    } else {
        let told = records().map(|record| format!("{record}: {:?}", record.proof));
        Found::Bogus(told.collect::<Vec<_>>().join("\n"))
    }
}

/// Signatures that do not verify, and sets with fewer or more than there are keys.
async fn wrong_signatures(
    client: &DnsExchange<TokioRuntimeProvider>,
    reply: &Message,
    zone: &Signed,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut keys = BTreeMap::new();
    for section in [&reply.answers, &reply.authorities, &reply.additionals] {
        for (owner, signature) in signatures(section) {
            let signer = &signature.input().signer_name;
            if !keys.contains_key(signer) {
                keys.insert(signer.clone(), keys_of(client, signer).await);
            }
            let covered = signature.input().type_covered;
            let set = || {
                let of_set =
                    |record: &&Record| record.name == *owner && record.record_type() == covered;
                section.iter().filter(of_set)
            };
            let good = |key: &DNSKEY| {
                key.verify_rrsig(owner, DNSClass::IN, signature, set())
                    .is_ok()
            };
            if !keys[signer].iter().any(good) {
                wrong.push(format!("{owner} {covered} by {signer}"));
            }
            let beside = signatures(section)
                .filter(|(name, other)| *name == owner && other.input().type_covered == covered)
                .count();
            if covered != RecordType::DNSKEY && beside != zone.signatures {
                wrong.push(format!("{owner} {covered}: {beside} signatures"));
            }
        }
    }
    wrong
}

fn signatures(section: &[Record]) -> impl Iterator<Item = (&Name, &RRSIG)> {
    section.iter().filter_map(|record| match &record.data {
        RData::DNSSEC(DNSSECRData::RRSIG(signature)) => Some((&record.name, signature)),
        _ => None,
    })
}

async fn keys_of(client: &DnsExchange<TokioRuntimeProvider>, signer: &Name) -> Vec<DNSKEY> {
    let query = Query::query(signer.clone(), RecordType::DNSKEY);
    let reply = lookup(client, query).await.unwrap();
    let keys = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::DNSSEC(DNSSECRData::DNSKEY(key)) => Some(key.clone()),
            _ => None,
        });
    keys.collect()
}
