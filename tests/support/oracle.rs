//! A second opinion: hickory-proto decodes the same octets and must see the
//! same message.

use trust_dns_proto::op::Message as Theirs;
use trust_dns_proto::rr::Record as TheirRecord;
use trust_dns_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use shardns::wire::RrType;

use super::decode::{Message, Record};

/// Says where the two readings differ.
pub fn compare(reply: &[u8], ours: &Message) -> Result<(), String> {
    // It takes SIG for what signs a message (RFC 2931), and nothing else.
    if ours.sections[0]
        .iter()
        .any(|record| record.rtype == RrType::SIG)
    {
        return Ok(());
    }
    let theirs =
        Theirs::from_vec(reply).map_err(|error| format!("hickory cannot read it: {error}"))?;
    let differ = |what: &str, theirs: String, ours: String| match theirs == ours {
        true => Ok(()),
        false => Err(format!("{what}: hickory sees {theirs}, we see {ours}")),
    };
    differ("id", theirs.metadata.id.to_string(), ours.id.to_string())?;
    differ(
        "AA",
        theirs.metadata.authoritative.to_string(),
        (ours.flags & 0x400 != 0).to_string(),
    )?;
    differ(
        "TC",
        theirs.metadata.truncation.to_string(),
        (ours.flags & 0x200 != 0).to_string(),
    )?;
    differ(
        "RCODE",
        u16::from(theirs.metadata.response_code).to_string(),
        ours.rcode().to_string(),
    )?;
    differ(
        "EDNS",
        theirs.edns.is_some().to_string(),
        ours.opt.is_some().to_string(),
    )?;
    let question = theirs.queries.first().map(|query| wire(query.name()));
    let own_question = ours.question.map(|(name, ..)| name.as_wire().to_vec());
    differ(
        "question",
        format!("{question:?}"),
        format!("{own_question:?}"),
    )?;
    let sections = [&theirs.answers, &theirs.authorities, &theirs.additionals];
    for (theirs, ours) in sections.into_iter().zip(&ours.sections) {
        differ("records", theirs.len().to_string(), ours.len().to_string())?;
        for (theirs, ours) in theirs.iter().zip(ours) {
            compare_record(theirs, ours).map_err(|error| format!("{}: {error}", ours.line()))?;
        }
    }
    Ok(())
}

fn compare_record(theirs: &TheirRecord, ours: &Record) -> Result<(), String> {
    let head = (
        wire(&theirs.name),
        u16::from(theirs.record_type()),
        u16::from(theirs.dns_class),
        theirs.ttl,
    );
    let own = (
        ours.owner.as_wire().to_vec(),
        ours.rtype.0,
        ours.class,
        ours.ttl,
    );
    if head != own {
        return Err(format!("hickory sees {head:?}, we see {own:?}"));
    }
    let data = encode(&theirs.data);
    if data != ours.rdata {
        return Err(format!(
            "hickory sees the data {data:?}, we see {:?}",
            ours.rdata
        ));
    }
    Ok(())
}

fn wire(name: &impl BinEncodable) -> Vec<u8> {
    encode(name)
}

fn encode(part: &impl BinEncodable) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    part.emit(&mut encoder)
        .expect("what was decoded can be encoded");
    octets
}
