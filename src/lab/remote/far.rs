//! The source's end: the host where the sockets are, as it is seen from here. What is
//! sent goes to the address that the other end was reached at by TCP, where somebody
//! who knows the token wants it, and to no other.

use std::cell::RefCell;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::answer::boot;
use super::lines::Lines;
use super::message::{
    Admission, ContenderKind, Counted, Greeting, MAX_REPLY, Proof, Reply, Request, VERSION, Welcome,
};
use super::token::Token;
use crate::lab::card::Card;
use crate::lab::group::Unread;
use crate::lab::listeners::Listening;
use crate::lab::tasks::Cost;
use crate::sys::steer::Steer;

/// How long the other end may take to let somebody in, or to see somebody else out.
const ADMISSION: Duration = Duration::from_secs(10);
/// How long it may take to do what it was asked for: dozens of processes to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// The other host, for as long as the session lasts.
pub struct Far {
    address: SocketAddr,
    lines: RefCell<Lines>,
    welcome: Welcome,
    card: Card,
}

impl Far {
    /// Asks to be let in.
    ///
    /// # Errors
    ///
    /// Nobody there, somebody else, or the reason for being refused.
    pub fn reach(address: SocketAddr, token: &Token) -> anyhow::Result<Far> {
        let stream = TcpStream::connect_timeout(&address, ADMISSION)
            .with_context(|| format!("cannot reach {address}; `shardns lab answer` runs there?"))?;
        let mut lines = Lines::new(stream, MAX_REPLY)?;
        let strange = || strange(address);
        let unheard = |error| unheard(address, error);
        let greeting: Option<Greeting> = lines.receive(ADMISSION).map_err(unheard)?;
        let greeting = greeting.with_context(strange)?;
        ensure!(
            greeting.version == VERSION,
            "{address} speaks version {} and this program version {VERSION}; use the same \
                release at both ends",
            greeting.version
        );
        let nonce = greeting.nonce.parse().map_err(anyhow::Error::msg);
        lines.send(&Proof {
            proof: token.proof(&nonce.with_context(strange)?),
        })?;
        let admission: Option<Admission> = lines.receive(ADMISSION).map_err(unheard)?;
        match admission.with_context(strange)? {
            Admission::Refused(why) => bail!("{address} refuses: {why}"),
            Admission::Welcome(welcome) => Ok(Far {
                address,
                lines: RefCell::new(lines),
                welcome: *welcome,
                card: Card::towards(address),
            }),
        }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a machine tells of itself.
    pub fn machine(&self) -> &Value {
        &self.welcome.machine
    }

    /// CPUs that its process may use, by number.
    pub fn cpus(&self) -> &[usize] {
        &self.welcome.cpus
    }

    /// How much of them a control group leaves it.
    pub fn usable_cpus(&self) -> usize {
        self.welcome.usable_cpus
    }

    /// True where it is this machine, so that CPUs have the same numbers.
    pub fn is_here(&self) -> bool {
        let own = boot();
        !own.is_empty() && self.welcome.boot == own
    }

    /// The network cards on the way, this end's and the other's.
    pub fn cards(&self) -> [&Card; 2] {
        [&self.card, &self.welcome.card]
    }

    /// Opens sockets that nobody reads.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn group(self: &Rc<Far>, sockets: usize) -> anyhow::Result<FarSubject> {
        self.open(&Request::Group { sockets }, sockets)
    }

    /// Opens TCP listeners.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn listeners(self: &Rc<Far>, listeners: usize) -> anyhow::Result<FarSubject> {
        self.open(&Request::Listeners { listeners }, listeners)
    }

    /// Starts a server.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn contender(self: &Rc<Far>, kind: ContenderKind) -> anyhow::Result<FarSubject> {
        self.open(&Request::Contender(kind), 0)
    }

    /// Starts workers that tell on which CPU a datagram came.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn cpu_workers(
        self: &Rc<Far>,
        cpus: &[usize],
        pinned: bool,
        steer: Option<Steer>,
    ) -> anyhow::Result<FarSubject> {
        let request = Request::CpuWorkers {
            cpus: cpus.to_vec(),
            pinned,
            steer,
        };
        self.open(&request, cpus.len())
    }

    fn open(self: &Rc<Far>, request: &Request, sockets: usize) -> anyhow::Result<FarSubject> {
        match self.ask(request)? {
            Reply::Opened { subject, port } => {
                let mut address = self.address;
                address.set_port(port);
                Ok(FarSubject {
                    far: self.clone(),
                    number: subject,
                    address,
                    sockets,
                })
            }
            other => Err(self.nonsense(&other)),
        }
    }

    fn ask(&self, request: &Request) -> anyhow::Result<Reply> {
        let mut lines = self.lines.borrow_mut();
        let mut exchange = || {
            lines.send(request)?;
            lines.receive(PATIENCE)
        };
        let exchanged = exchange();
        if !matches!(exchanged, Ok(Some(_))) {
            // Not to wait as long for each of the subjects.
            let _ = lines.stream().shutdown(Shutdown::Both);
        }
        match exchanged.with_context(|| format!("{} is gone", self.address))? {
            None => bail!("{} is gone", self.address),
            Some(Reply::Failed(why)) => bail!("{} says: {why}", self.address),
            Some(reply) => Ok(reply),
        }
    }

    fn nonsense(&self, reply: &Reply) -> anyhow::Error {
        anyhow::anyhow!("{} says what makes no sense: {reply:?}", self.address)
    }
}

fn strange(address: SocketAddr) -> String {
    format!("{address} does not speak as `shardns lab answer` does")
}

/// Who is slow is no stranger.
fn unheard(address: SocketAddr, error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::TimedOut => anyhow::anyhow!(
            "{address} did not answer within {} s; is that `shardns lab answer`, and is it busy?",
            ADMISSION.as_secs()
        ),
        _ => anyhow::Error::new(error).context(strange(address)),
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // The next source is let in once all is closed.
        let _ = self.ask(&Request::Leave);
    }
}

/// What the other end has opened, until it is dropped.
pub struct FarSubject {
    far: Rc<Far>,
    number: u32,
    address: SocketAddr,
    sockets: usize,
}

impl FarSubject {
    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a server has counted.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn counted(&self) -> anyhow::Result<Counted> {
        let subject = self.number;
        match self.far.ask(&Request::Count { subject })? {
            Reply::Counted(counted) => Ok(counted),
            other => Err(self.far.nonsense(&other)),
        }
    }

    /// What a server's threads have cost.
    ///
    /// # Errors
    ///
    /// What the other end says.
    pub fn cost(&self) -> anyhow::Result<Option<Cost>> {
        let subject = self.number;
        match self.far.ask(&Request::Cost { subject })? {
            Reply::Cost(cost) => Ok(cost),
            other => Err(self.far.nonsense(&other)),
        }
    }

    fn done(&self, request: &Request) -> anyhow::Result<()> {
        match self.far.ask(request)? {
            Reply::Done => Ok(()),
            other => Err(self.far.nonsense(&other)),
        }
    }
}

impl Drop for FarSubject {
    fn drop(&mut self) {
        // Where the other end is gone, so is the subject.
        let subject = self.number;
        let _ = self.far.ask(&Request::Close { subject });
    }
}

impl Unread for FarSubject {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn sockets(&self) -> usize {
        self.sockets
    }

    fn steer(&self, steer: Steer) -> anyhow::Result<()> {
        let subject = self.number;
        self.done(&Request::Steer { subject, steer })
    }

    fn collect(&mut self, sent: usize) -> anyhow::Result<Vec<(usize, u32)>> {
        let subject = self.number;
        let collected = match self.far.ask(&Request::Collect { subject, sent }) {
            Ok(Reply::Collected(collected)) => collected,
            Ok(other) => return Err(self.far.nonsense(&other)),
            Err(error) => {
                let hint = "cannot count there; are datagrams from here let in?";
                return Err(error.context(hint));
            }
        };
        let is_one = |(socket, _): &(usize, u32)| *socket < self.sockets;
        match collected.len() == sent && collected.iter().all(is_one) {
            true => Ok(collected),
            false => Err(self.far.nonsense(&Reply::Collected(collected))),
        }
    }
}

impl Listening for FarSubject {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn listeners(&self) -> usize {
        self.sockets
    }

    fn accept(&mut self, connections: usize) -> anyhow::Result<Vec<usize>> {
        let request = Request::Accept {
            subject: self.number,
            connections,
        };
        match self.far.ask(&request)? {
            Reply::Accepted(had) if had.iter().all(|listener| *listener < self.sockets) => Ok(had),
            other => Err(self.far.nonsense(&other)),
        }
    }

    fn hang_up(&mut self) -> anyhow::Result<()> {
        let subject = self.number;
        self.done(&Request::HangUp { subject })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_slow_is_told_from_a_stranger() {
        let address = "192.0.2.1:5399".parse().unwrap();
        let told = |kind: io::ErrorKind| format!("{:#}", unheard(address, kind.into()));
        let slow = told(io::ErrorKind::TimedOut);
        assert!(
            slow.starts_with("192.0.2.1:5399 did not answer within 10 s"),
            "{slow}"
        );
        let strange = told(io::ErrorKind::InvalidData);
        assert!(strange.contains("does not speak as"), "{strange}");
    }
}
