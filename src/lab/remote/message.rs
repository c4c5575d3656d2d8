//! What source and answer say to each other, and how much of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lab::card::Card;
use crate::lab::rival::{Model, Rival};
use crate::lab::site::Site;
use crate::lab::tasks::Cost;
use crate::server::counters::Totals;
use crate::sys::steer::Steer;

/// Changes whenever one end would not understand the other.
pub(super) const VERSION: u32 = 1;
/// Octets of a line that the source writes: 64 CPUs are the longest.
pub(super) const MAX_REQUEST: usize = 4 << 10;
/// Octets of a line that it reads: the settings of a card with hundreds of queues.
pub(super) const MAX_REPLY: usize = 1 << 20;

/// The first line, to whoever connects.
#[derive(Serialize, Deserialize)]
pub(super) struct Greeting {
    /// The version.
    #[serde(rename = "shardns-lab")]
    pub(super) version: u32,
    /// To be proven with.
    pub(super) nonce: String,
}

/// The source's first line.
#[derive(Serialize, Deserialize)]
pub(super) struct Proof {
    /// Of the token.
    pub(super) proof: String,
}

/// What comes of it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Admission {
    Welcome(Box<Welcome>),
    /// For this reason.
    Refused(String),
}

/// Where the sockets will be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// Kernel, CPU, commit, date.
    pub(super) machine: Value,
    /// Tells two machines apart, and two starts of one.
    pub(super) boot: String,
    /// CPUs that the process may use, by number.
    pub(super) cpus: Vec<usize>,
    /// How much of them a control group leaves.
    pub(super) usable_cpus: usize,
    /// The network card on the way to the source.
    pub(super) card: Card,
}

/// A server that a contest visits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContenderKind {
    /// One worker that takes up to so many datagrams with one call.
    Batch(usize),
    /// Workers that share a port.
    Rival {
        /// How.
        model: Model,
        /// How many.
        workers: usize,
    },
}

impl ContenderKind {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(self, site: Site) -> anyhow::Result<Rival> {
        match self {
            ContenderKind::Batch(batch) => Rival::of_batch(site, batch),
            ContenderKind::Rival { model, workers } => Rival::start(site, model, workers),
        }
    }
}

/// What the source asks for. A subject is what an earlier request opened.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Request {
    /// Sockets that nobody reads.
    Group { sockets: usize },
    /// A program on such a group.
    Steer { subject: u32, steer: Steer },
    /// The datagrams that such a group has got.
    Collect { subject: u32, sent: usize },
    /// TCP listeners.
    Listeners { listeners: usize },
    /// Who has got connections.
    Accept { subject: u32, connections: usize },
    /// An end to these connections.
    HangUp { subject: u32 },
    /// A server.
    Contender(ContenderKind),
    /// What it has counted.
    Count { subject: u32 },
    /// What its threads have cost.
    Cost { subject: u32 },
    /// Workers that tell on which CPU a datagram came.
    CpuWorkers {
        cpus: Vec<usize>,
        pinned: bool,
        steer: Option<Steer>,
    },
    /// No more of a subject.
    Close { subject: u32 },
    /// No more at all.
    Leave,
}

/// What a server has counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Requests by worker.
    pub received: Vec<u64>,
    /// All counters by worker; none of processes.
    pub totals: Vec<Totals>,
}

impl Counted {
    /// By a server so far.
    ///
    /// # Errors
    ///
    /// A process that has ended.
    pub fn by(rival: &mut Rival) -> anyhow::Result<Counted> {
        Ok(Counted {
            received: rival.received()?,
            totals: rival.totals(),
        })
    }
}

/// What comes of a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    /// A subject, and the port that it is reached at.
    Opened {
        subject: u32,
        port: u16,
    },
    Done,
    /// The socket and the mark of each datagram.
    Collected(Vec<(usize, u32)>),
    /// The listener of each connection.
    Accepted(Vec<usize>),
    Counted(Counted),
    Cost(Option<Cost>),
    /// It was not to be, for this reason.
    Failed(String),
}
