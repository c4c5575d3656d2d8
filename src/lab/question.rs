//! The client's side of the messages, by a library that has nothing in common
//! with the code that answers.

use std::str::FromStr;

use anyhow::Context;
use trust_dns_proto::op::{Message, MessageType, OpCode, Query};
use trust_dns_proto::rr::{DNSClass, Name, RecordType};

use super::load_generator::LoadRequest;

/// A question for an address, as a request whose id is left open.
///
/// # Errors
///
/// A name that is none.
pub fn request(name: &str) -> anyhow::Result<LoadRequest> {
    LoadRequest::new(octets(0, name, RecordType::A, DNSClass::IN)?).context("no question")
}

/// A whole query.
///
/// # Errors
///
/// A name that is none.
pub fn octets(id: u16, name: &str, rtype: RecordType, class: DNSClass) -> anyhow::Result<Vec<u8>> {
    let mut query = Query::query(Name::from_str(name)?, rtype);
    query.set_query_class(class);
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(query);
    Ok(message.to_vec()?)
}
