//! A server between its two halves: every socket is bound, no thread runs. What
//! must happen in between, such as giving up privileges, reaches all threads,
//! because each of them is started by the one that did it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::answerer::{Answerer, Responder};
use super::bind::{self, Held, Sockets};
use super::placement::{self, PlacementError, Seat};
use super::{Config, Server, StartError};
use crate::zone::Zones;

/// A server whose sockets are bound and take datagrams in, and that has no
/// thread yet. Dropped, it closes them.
pub struct Bound {
    pub(super) config: Config,
    pub(super) seats: Vec<Seat>,
    pub(super) held: Held,
}

impl Bound {
    /// Binds everything that `config` asks for.
    ///
    /// # Errors
    ///
    /// A sentence for the first thing that cannot be had.
    pub fn bind(config: &Config) -> Result<Bound, StartError> {
        let seats = seats(config)?;
        let held = bind::bind(config, seats.len())?;
        bind::steer(config, &held.groups, &seats)?;
        Ok(Bound {
            config: config.clone(),
            seats,
            held,
        })
    }

    /// Takes the sockets that another server has handed over, for as many workers
    /// as it had. Whatever program steers a group goes on doing so.
    ///
    /// # Errors
    ///
    /// Descriptors of something else, or no place for the workers.
    pub fn adopt(config: &Config, sockets: Sockets) -> Result<Bound, StartError> {
        let workers = sockets.workers;
        let held = bind::adopt(sockets).map_err(|error| StartError::System {
            what: "on the sockets that were handed over".into(),
            error,
        })?;
        let config = Config {
            workers: Some(workers),
            ..config.clone()
        };
        Ok(Bound {
            seats: seats(&config)?,
            config,
            held,
        })
    }

    /// The addresses that are bound, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.held.addresses()
    }

    /// Starts all threads.
    ///
    /// # Errors
    ///
    /// A sentence for what cannot be started; nothing runs then.
    pub fn start(self, zones: Arc<Zones>) -> Result<Server, StartError> {
        self.start_with(zones, |answerer| answerer)
    }

    /// Starts all threads, with something around the answerer of each worker.
    ///
    /// # Errors
    ///
    /// As `start`.
    pub fn start_with<R: Responder>(
        self,
        zones: Arc<Zones>,
        wrap: impl Fn(Answerer) -> R,
    ) -> Result<Server, StartError> {
        Server::start_on(self, zones, wrap)
    }
}

fn seats(config: &Config) -> Result<Vec<Seat>, PlacementError> {
    placement::plan(
        config.workers,
        config.cpus.as_deref(),
        config.pin,
        &placement::allowed_cpus(),
        placement::usable_cpus(),
    )
}
