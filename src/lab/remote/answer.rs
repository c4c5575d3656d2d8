//! The host where the sockets are: lets one source in at a time, and sees it out.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::door::{Came, Door};
use super::lines::Lines;
use super::message::{Admission, Reply, Welcome};
use super::session::Session;
use super::token::Token;
use crate::lab::card::Card;
use crate::lab::place::Machine;
use crate::lab::site::Site;
use crate::server::placement::{allowed_cpus, usable_cpus};

/// How often it looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);

/// Waits for sources.
pub struct Answer {
    door: Door,
}

/// The source that is let in.
struct Guest<'s> {
    stream: TcpStream,
    session: ScopedJoinHandle<'s, ()>,
}

impl Answer {
    /// Listens where sources are to come to.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bind(address: SocketAddr, token: Token) -> anyhow::Result<Answer> {
        let listener = TcpListener::bind(address);
        let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
        Ok(Answer {
            door: Door::new(listener, token)?,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.door.address()?)
    }

    /// Lets sources in, one at a time, until `stop` is set or the time has come, and
    /// says who comes and goes. Then whoever is there is sent away.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn run(
        &mut self,
        stop: &AtomicBool,
        end: Option<Instant>,
        say: &(dyn Fn(&str) + Sync),
    ) -> anyhow::Result<()> {
        // Set by a session whose source has left.
        let is_leaving = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut guest: Option<Guest<'_>> = None;
            // Relaxed: nothing is read on the strength of either flag but that the
            // session's thread is about to end, which is then waited for.
            while !stop.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
                for Came { peer, outcome } in self.door.wait(TICK)? {
                    let is_gone = |guest: &mut Guest<'_>| {
                        guest.session.is_finished() || is_leaving.load(Ordering::Relaxed)
                    };
                    if let Some(gone) = guest.take_if(is_gone) {
                        let _ = gone.session.join();
                    }
                    match outcome.and_then(|lines| admit(lines, guest.is_some())) {
                        Ok((lines, site)) => {
                            say(&format!("{peer} is in session"));
                            is_leaving.store(false, Ordering::Relaxed);
                            guest = Some(host(scope, lines, site, &is_leaving, say)?);
                        }
                        Err(why) => say(&format!("{peer} is sent away: {why:#}")),
                    }
                }
            }
            if let Some(guest) = guest {
                let _ = guest.stream.shutdown(Shutdown::Both);
            }
            Ok(())
        })
    }
}

/// Lets in who knows the token, unless somebody else is there.
fn admit(mut lines: Lines, is_busy: bool) -> anyhow::Result<(Lines, Site)> {
    if is_busy {
        let busy = "another source is in session";
        lines.send(&Admission::Refused(busy.into()))?;
        bail!(busy);
    }
    let (local, peer) = (lines.stream().local_addr()?, lines.stream().peer_addr()?);
    let site = Site {
        address: port_0(local),
        source: Some(peer.ip().to_canonical()),
    };
    let welcome = Welcome {
        machine: serde_json::to_value(Machine::here())?,
        boot: boot(),
        cpus: allowed_cpus(),
        usable_cpus: usable_cpus(),
        card: Card::towards(peer),
    };
    lines.send(&Admission::Welcome(Box::new(welcome)))?;
    Ok((lines, site))
}

fn host<'s>(
    scope: &'s Scope<'s, '_>,
    mut lines: Lines,
    site: Site,
    is_leaving: &'s AtomicBool,
    say: &'s (dyn Fn(&str) + Sync),
) -> anyhow::Result<Guest<'s>> {
    let stream = lines.stream().try_clone()?;
    let peer = stream.peer_addr()?;
    let session = scope.spawn(move || {
        let mut session = Session::new(site);
        let served = session.serve(&mut lines);
        is_leaving.store(true, Ordering::Relaxed);
        drop(session);
        match served {
            Ok(()) => {
                say(&format!("{peer} has left"));
                // Now the next may come.
                let _ = lines.send(&Reply::Done);
            }
            Err(why) => say(&format!("{peer} is gone: {why:#}")),
        }
        // There is a second descriptor of it.
        let _ = lines.stream().shutdown(Shutdown::Both);
    });
    Ok(Guest { stream, session })
}

/// The same address, at a port of the kernel's choice, without IPv4 inside IPv6.
fn port_0(mut address: SocketAddr) -> SocketAddr {
    let canonical = address.ip().to_canonical();
    if canonical != address.ip() {
        return SocketAddr::new(canonical, 0);
    }
    // Keeps the scope of a link-local address.
    address.set_port(0);
    address
}

/// What the kernel calls its start.
pub(super) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}
