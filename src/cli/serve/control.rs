//! Options about who may look at a running server and change it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::daemon::Equipment;
use crate::daemon::control::Control;
use crate::daemon::takeover::{Handed, Takeover};
use crate::server::inherited::Inherited;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Control")]
pub struct ControlOptions {
    /// Where `shardns ctl` reaches the server: a socket that only its user and root
    /// can use
    #[arg(long, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Take the sockets of the server whose control socket that is, and its place,
    /// without losing a query; start as ever where there is none
    #[arg(long, requires = "control")]
    takeover: bool,
    /// Where metrics can be had, as text over HTTP
    #[arg(long, value_name = "ADDR:PORT")]
    metrics: Option<SocketAddr>,
}

/// What another process has handed over, if any has.
#[derive(Default)]
pub struct Predecessor {
    /// Its sockets.
    pub inherited: Inherited,
    /// The takeover.
    pub takeover: Option<Takeover>,
    /// What it had beside them.
    pub equipment: Equipment,
}

impl ControlOptions {
    /// Takes what there is to be taken, and opens the rest.
    ///
    /// # Errors
    ///
    /// What cannot be had.
    pub fn open(&self) -> anyhow::Result<Predecessor> {
        let mut predecessor = Predecessor::default();
        let mut metrics = None;
        if let (true, Some(path)) = (self.takeover, &self.control)
            && let Some((takeover, handed)) = Takeover::begin(path)?
        {
            let Handed {
                sockets,
                control,
                metrics: listener,
                ..
            } = handed;
            metrics = listener;
            let what = "the sockets that were handed over are not what they should be";
            predecessor.inherited = Inherited::of(sockets).context(what)?;
            predecessor.equipment.control = Some(Control::adopt(path, control).context(what)?);
            predecessor.takeover = Some(takeover);
        } else if let Some(path) = &self.control {
            predecessor.equipment.control = Some(Control::open(path)?);
        }
        if let Some(address) = self.metrics {
            let there = metrics.map(TcpListener::from);
            predecessor.equipment.metrics = Some(listener(address, there)?);
        }
        Ok(predecessor)
    }
}

/// A listener at the address, which may be there already.
fn listener(address: SocketAddr, there: Option<TcpListener>) -> anyhow::Result<TcpListener> {
    let is_it = |listener: &TcpListener| {
        let local = listener.local_addr().ok();
        local.is_some_and(|local| {
            local == address || (address.port() == 0 && local.ip() == address.ip())
        })
    };
    if let Some(listener) = there.filter(is_it) {
        return Ok(listener);
    }
    match TcpListener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) => bail!("cannot listen on TCP {address} for metrics: {error}"),
    }
}
