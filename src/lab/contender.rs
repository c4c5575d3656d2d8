//! The servers that a contest visits, wherever they are.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::bail;

use super::Lab;
use super::load::{self, Demand, PATIENCE};
use super::load_generator::Pace;
use super::remote::{ContenderKind, Counted, FarSubject};
use super::rival::Rival;
use super::site::Site;
use super::tasks::Cost;

/// How long a server on another host is asked whether it is reached.
const GREETING: Duration = Duration::from_millis(5);

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
    /// What the kernel would not give, here or there, or a host that is reached by TCP
    /// alone.
    pub fn start(lab: &Lab, kind: ContenderKind) -> anyhow::Result<Contender> {
        match lab.far() {
            Some(far) => {
                let there = far.contender(kind)?;
                check_way(lab, there.address())?;
                Ok(Contender::There(there))
            }
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

/// Asks before anything is measured: where a firewall is in the way, everything would
/// be lost, and that would be the result.
fn check_way(lab: &Lab, server: SocketAddr) -> anyhow::Result<()> {
    let demand = Demand {
        flows: 1,
        pace: Pace::Closed { window: 1 },
        duration: GREETING,
        patience: PATIENCE,
    };
    match load::ask(lab, server, &load::questions()?, &demand)?.answered {
        0 => bail!("no answer comes from {server}; is UDP let through, there and back?"),
        _ => Ok(()),
    }
}
