//! A server between its two halves: every socket is bound, no thread runs. What
//! must happen in between, such as giving up privileges, reaches all threads,
//! because each of them is started by the one that did it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::answerer::{Answerer, Responder};
use super::bind::{self, Added, Held};
use super::handed;
use super::inherited::{self, Inherited, Sockets, Taken};
use super::placement::{self, PlacementError, Seat};
use super::queues::{self, Opened, Readers};
use super::{Config, Server, StartError};
use crate::zone::Zones;

/// A server whose sockets are bound and take datagrams in, and that has no
/// thread yet. Dropped, it closes them.
pub struct Bound {
    pub(super) config: Config,
    pub(super) seats: Vec<Seat>,
    pub(super) held: Held,
    /// Interfaces that are read past the sockets.
    pub(super) queues: Opened,
    taken: Taken,
}

impl Bound {
    /// Binds everything that `config` asks for.
    ///
    /// # Errors
    ///
    /// A sentence for the first thing that cannot be had.
    pub fn bind(config: &Config) -> Result<Bound, StartError> {
        Bound::bind_beside(config, Inherited::default(), &mut Readers::nobody())
    }

    /// Binds everything that `config` asks for and that is not there already. What
    /// is there and is not asked for is closed here. Groups that were there are
    /// steered by `Server::steer`, once nobody else needs them as they were. Interfaces
    /// that somebody reads past the sockets he leaves when all else is there.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn bind_beside(
        config: &Config,
        inherited: Inherited,
        readers: &mut Readers<'_>,
    ) -> Result<Bound, StartError> {
        let (mut bound, added) = Bound::take(config, inherited)?;
        bound.open_queues(readers)?;
        // Nobody reads these before the workers start.
        added.bind(&mut bound.held)?;
        // Whoever had the sockets before may still need its own program.
        if bound.taken.groups.is_empty() {
            bind::steer(config.steer, &bound.held.groups, &bound.seats)?;
        }
        Ok(bound)
    }

    /// Takes all sockets that another server has handed over, for as many workers as
    /// it had. Whatever program steers a group goes on doing so.
    ///
    /// # Errors
    ///
    /// Descriptors of something else, or no place for the workers.
    pub fn adopt(config: &Config, sockets: Sockets) -> Result<Bound, StartError> {
        let (workers, listeners) = (sockets.workers, sockets.listeners.len());
        let held = inherited::hold(sockets).map_err(|error| StartError::System {
            what: "on the sockets that were handed over".into(),
            error,
        })?;
        let config = Config {
            workers: Some(workers),
            tcp: config.tcp.filter(|_| listeners > 0),
            ..config.clone()
        };
        Ok(Bound {
            seats: seats(&config)?,
            config,
            held,
            // They cannot be opened without privileges, which may be gone.
            queues: Vec::new(),
            taken: Taken::default(),
        })
    }

    fn open_queues(&mut self, readers: &mut Readers<'_>) -> Result<(), StartError> {
        let (workers, served) = (self.seats.len(), self.addresses());
        self.queues = queues::open(&self.config, workers, &served, readers)?;
        Ok(())
    }

    fn take(config: &Config, mut inherited: Inherited) -> Result<(Bound, Added), StartError> {
        let seats = seats(config)?;
        let (held, added) = bind::bind(config, seats.len(), &mut inherited)?;
        let bound = Bound {
            config: config.clone(),
            seats,
            held,
            queues: Vec::new(),
            taken: Taken {
                hashed: config.steer.is_none(),
                ..inherited.taken().clone()
            },
        };
        Ok((bound, added))
    }

    /// What has been taken of sockets that were there.
    pub fn taken(&self) -> &Taken {
        &self.taken
    }

    /// Takes the sockets that a service manager has bound, in the place of those
    /// that `config` would listen on. Each gets a worker, at least. Where there
    /// are to be more workers, sockets are added to the groups that let them in,
    /// and those of others are read by several workers. Interfaces that somebody reads
    /// past the sockets he leaves when all else is there.
    ///
    /// # Errors
    ///
    /// Descriptors of something else or none, or no place for the workers.
    pub fn complete(
        config: &Config,
        sockets: Sockets,
        readers: &mut Readers<'_>,
    ) -> Result<Bound, StartError> {
        let mut held = inherited::hold(sockets).map_err(|error| StartError::System {
            what: "on the sockets that the service manager handed in".into(),
            error,
        })?;
        let wanted = seats(config)?.len();
        let config = Config {
            workers: Some(wanted.max(handed::fewest_workers(&held))),
            ..config.clone()
        };
        let seats = seats(&config)?;
        handed::complete(&mut held, &config, seats.len());
        bind::steer(config.steer, &held.groups, &seats)?;
        let mut bound = Bound {
            config,
            seats,
            held,
            queues: Vec::new(),
            taken: Taken::default(),
        };
        bound.open_queues(readers)?;
        Ok(bound)
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

/// Where the workers run that are asked for.
pub(super) fn seats(config: &Config) -> Result<Vec<Seat>, PlacementError> {
    placement::plan(
        config.workers,
        config.cpus.as_deref(),
        config.pin,
        &placement::allowed_cpus(),
        placement::usable_cpus(),
    )
}
