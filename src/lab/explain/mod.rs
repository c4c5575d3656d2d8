//! `shardns lab explain`: why the sockets of a running group, anybody's, have the
//! load that they have. It is read in the order of its work: `members` finds the
//! sockets, `window` watches them, `facts` puts together what is known, `verdict`
//! says what it comes to, `told` writes it down.
//!
//! Two things of the kernel make it possible. Asked over netlink for the socket
//! that takes a flow, it answers as its hash would for a datagram, to any user
//! (`sys::lab::diag`); so each flow that is seen has its place, and what is
//! received elsewhere was steered there. And a tracepoint tells root of each
//! receive (`receipts`).

pub mod chance;
pub mod facts;
pub mod holders;
pub mod members;
pub mod receipts;
pub mod told;
mod unread;
pub mod verdict;
pub mod window;

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::result::Table;
use crate::sys::lab::diag::Diag;
use crate::sys::proc_net::Protocol;

use facts::Facts;
use members::Members;
use verdict::Verdict;

/// What is to be explained.
#[derive(Clone, Copy, Debug)]
pub struct Inquiry {
    /// Where datagrams, or connections, are sent to.
    pub address: SocketAddr,
    /// UDP, or listeners of TCP.
    pub protocol: Protocol,
    /// How long to watch.
    pub window: Duration,
    /// What chance begins with.
    pub seed: u64,
}

/// The explanation.
pub struct Explanation {
    /// What it comes to.
    pub verdict: Verdict,
    /// The figures for people.
    pub tables: Vec<Table>,
    /// What the parts were told from, in words.
    pub evidence: &'static str,
    /// What could not be known.
    pub unknown: Vec<String>,
    /// Everything, for programs.
    pub json: Value,
}

/// Explains; ends early, with what was seen until then, when `stop` is set.
///
/// # Errors
///
/// `members::NoSocket`, or what the kernel says.
pub fn explain(inquiry: &Inquiry, stop: &AtomicBool) -> anyhow::Result<Explanation> {
    const LISTS: &str = "cannot list sockets over netlink; the kernel needs CONFIG_INET_UDP_DIAG \
        (module udp_diag) or CONFIG_INET_TCP_DIAG (tcp_diag)";
    let diag = Diag::open(inquiry.protocol).context(LISTS)?;
    let members = Members::find(&diag, inquiry.protocol, inquiry.address)?;
    let seen = window::watch(&diag, &members, inquiry.window, stop)?;
    let facts = Facts::gather(&diag, &members, seen, inquiry.seed)?;
    let verdict = Verdict::of(&facts);
    Ok(Explanation {
        tables: told::tables(&members, &facts),
        evidence: told::evidence(facts.evidence),
        json: told::json(&members, &facts, &verdict),
        unknown: facts.unknown,
        verdict,
    })
}
