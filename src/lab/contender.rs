//! The servers that a contest visits, wherever they are.

use std::net::SocketAddr;

use super::Lab;
use super::remote::{ContenderKind, Counted, FarSubject};
use super::rival::Rival;
use super::site::Site;
use super::tasks::Cost;

/// A server, here or on another host.
pub enum Contender {
    /// In this process, or started by it.
    Here(Box<Rival>),
    /// Started by `shardns lab answer`.
    There(FarSubject),
}

impl Contender {
    /// Starts one where the laboratory has its sockets.
    ///
    /// # Errors
    ///
    /// What the kernel would not give, here or there.
    pub fn start(lab: &Lab, kind: ContenderKind) -> anyhow::Result<Contender> {
        match lab.far() {
            Some(far) => far.contender(kind).map(Contender::There),
            None => kind
                .start(Site::LOOPBACK)
                .map(Box::new)
                .map(Contender::Here),
        }
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        match self {
            Contender::Here(rival) => rival.address,
            Contender::There(far) => far.address(),
        }
    }

    /// What it has counted so far.
    ///
    /// # Errors
    ///
    /// One that has ended.
    pub fn counted(&mut self) -> anyhow::Result<Counted> {
        match self {
            Contender::Here(rival) => Counted::by(rival),
            Contender::There(far) => far.counted(),
        }
    }

    /// What its threads have cost so far.
    ///
    /// # Errors
    ///
    /// One that is not reached any more.
    pub fn cost(&mut self) -> anyhow::Result<Option<Cost>> {
        match self {
            Contender::Here(rival) => Ok(rival.tasks.cost()),
            Contender::There(far) => far.cost(),
        }
    }
}
