//! Options about who may look at a running server and change it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::cli::ctl::DEFAULT_PATH;
use crate::daemon::Equipment;
use crate::daemon::control::Control;
use crate::daemon::takeover::Takeover;
use crate::server::inherited::{self, Inherited};

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
    /// Takes what there is to be taken, and opens the rest. Sockets that a service
    /// manager has handed in go before those that would be opened.
    ///
    /// # Errors
    ///
    /// What cannot be had.
    pub fn open(
        &self,
        control: Option<UnixListener>,
        metrics: Option<TcpListener>,
    ) -> anyhow::Result<Predecessor> {
        let mut predecessor = Predecessor::default();
        let mut metrics = metrics;
        if let (true, Some(path)) = (self.takeover, &self.control)
            && let Some((takeover, handed)) = Takeover::begin(path)?
        {
            let what = "the sockets that were handed over are not what they should be";
            metrics = metrics.or(handed.metrics.map(TcpListener::from));
            predecessor.inherited = Inherited::of(handed.sockets).context(what)?;
            let control = Control::adopt(path, handed.control);
            predecessor.equipment.control = Some(control.context(what)?);
            predecessor.takeover = Some(takeover);
        } else if let Some(listener) = control {
            let path = self.control.clone().unwrap_or_else(|| DEFAULT_PATH.into());
            predecessor.equipment.control = Some(Control::adopt(&path, listener.into())?);
        } else if let Some(path) = &self.control {
            predecessor.equipment.control = Some(Control::open(path)?);
        }
        predecessor.equipment.metrics = match self.metrics {
            Some(address) => Some(listener(address, metrics)?),
            // The service manager's needs no option; a predecessor's does.
            None => metrics.filter(|_| predecessor.takeover.is_none()),
        };
        Ok(predecessor)
    }

    /// True where the sockets of another server are to be had.
    pub fn takes_over(&self) -> bool {
        self.takeover
    }

    /// The control socket's path.
    pub fn path(&self) -> Option<PathBuf> {
        self.control.clone()
    }
}

/// A listener at the address, which may be there already.
fn listener(address: SocketAddr, there: Option<TcpListener>) -> anyhow::Result<TcpListener> {
    let is_it = |listener: &TcpListener| {
        let local = listener.local_addr();
        local.is_ok_and(|local| inherited::fits(address, local))
    };
    if let Some(listener) = there.filter(is_it) {
        return Ok(listener);
    }
    match TcpListener::bind(address) {
        Ok(listener) => Ok(listener),
        Err(error) => bail!("cannot listen on TCP {address} for metrics: {error}"),
    }
}
