//! What one source has had opened, from its welcome until it is gone. Nothing of it
//! outlives the session.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::lines::Lines;
use super::message::{ContenderKind, Counted, Reply, Request};
use crate::lab::cpu_probe::CpuWorkers;
use crate::lab::group::{Group, MAX_WAITING, Unread};
use crate::lab::listeners::{Listeners, Listening, MAX_CONNECTING};
use crate::lab::rival::Rival;
use crate::lab::site::Site;
use crate::server::placement::allowed_cpus;
use crate::sys::port::MAX_WIDTH;

/// A source that is silent for so long is gone, though nobody said so. No step of an
/// experiment takes as long.
const SILENCE: Duration = Duration::from_secs(120);
/// As many sockets as `--sockets` takes.
const MAX_SOCKETS: usize = 4096;
/// As many workers as any experiment starts.
const MAX_WORKERS: usize = 64;
/// Twice what any experiment has open at a time.
const MAX_SUBJECTS: usize = 16;

enum Subject {
    Group(Group),
    Listeners(Listeners),
    Contender(Box<Rival>),
    #[expect(dead_code, reason = "they answer by themselves until they are dropped")]
    CpuWorkers(CpuWorkers),
}

/// The subjects of a source, by the number that it knows them by.
pub(super) struct Session {
    site: Site,
    subjects: BTreeMap<u32, Subject>,
    opened: u32,
}

impl Session {
    pub(super) fn new(site: Site) -> Session {
        Session {
            site,
            subjects: BTreeMap::new(),
            opened: 0,
        }
    }

    /// Does what the source asks for until it leaves.
    ///
    /// # Errors
    ///
    /// A source that hangs up, falls silent or says what makes no sense.
    pub(super) fn serve(&mut self, lines: &mut Lines) -> anyhow::Result<()> {
        loop {
            let request = match lines.receive(SILENCE) {
                Ok(Some(Request::Leave)) => return Ok(()),
                Ok(Some(request)) => request,
                Ok(None) => bail!("it hung up"),
                Err(error) => {
                    // It may be there and misunderstood.
                    let _ = lines.send(&Reply::Failed(format!("not understood: {error}")));
                    bail!("it is not understood: {}", error.kind());
                }
            };
            let reply = self.answer(request);
            lines.send(&reply.unwrap_or_else(|error| Reply::Failed(format!("{error:#}"))))?;
        }
    }

    fn answer(&mut self, request: Request) -> anyhow::Result<Reply> {
        match request {
            Request::Group { sockets } => {
                within(sockets, MAX_SOCKETS, "sockets")?;
                let group = Group::bind_at(self.site, sockets)?;
                self.open(group.address().port(), Subject::Group(group))
            }
            Request::Listeners { listeners } => {
                within(listeners, MAX_SOCKETS, "listeners")?;
                let listeners = Listeners::open(self.site, listeners)?;
                self.open(listeners.address().port(), Subject::Listeners(listeners))
            }
            Request::Contender(kind) => {
                let contender = self.start(kind)?;
                let port = contender.address.port();
                self.open(port, Subject::Contender(Box::new(contender)))
            }
            Request::CpuWorkers {
                cpus,
                pinned,
                steer,
            } => {
                within(cpus.len(), MAX_WORKERS, "workers")?;
                let allowed = allowed_cpus();
                ensure!(cpus.iter().all(|cpu| allowed.contains(cpu)), "no such CPU");
                let workers = CpuWorkers::start(self.site, &cpus, pinned, steer)?;
                self.open(workers.address().port(), Subject::CpuWorkers(workers))
            }
            Request::Close { subject } => {
                self.subjects.remove(&subject);
                Ok(Reply::Done)
            }
            Request::Leave => Ok(Reply::Done),
            Request::Steer { .. }
            | Request::Collect { .. }
            | Request::Accept { .. }
            | Request::HangUp { .. }
            | Request::Count { .. }
            | Request::Cost { .. } => self.look(&request),
        }
    }

    fn start(&self, kind: ContenderKind) -> anyhow::Result<Rival> {
        match kind {
            ContenderKind::Batch(batch) => within(batch, MAX_WIDTH, "datagrams a batch")?,
            ContenderKind::Rival { workers, .. } => within(workers, MAX_WORKERS, "workers")?,
        }
        kind.start(self.site)
    }

    fn open(&mut self, port: u16, subject: Subject) -> anyhow::Result<Reply> {
        ensure!(
            self.subjects.len() < MAX_SUBJECTS,
            "{MAX_SUBJECTS} are open already"
        );
        self.opened += 1;
        self.subjects.insert(self.opened, subject);
        Ok(Reply::Opened {
            subject: self.opened,
            port,
        })
    }

    /// What is asked about a subject.
    fn look(&mut self, request: &Request) -> anyhow::Result<Reply> {
        let (Request::Steer { subject, .. }
        | Request::Collect { subject, .. }
        | Request::Accept { subject, .. }
        | Request::HangUp { subject }
        | Request::Count { subject }
        | Request::Cost { subject }) = request
        else {
            bail!("that is about nothing");
        };
        let found = self.subjects.get_mut(subject).context("there is no such")?;
        Ok(match (found, request) {
            (Subject::Group(group), Request::Steer { steer, .. }) => {
                group.steer(*steer)?;
                Reply::Done
            }
            (Subject::Group(group), Request::Collect { sent, .. }) => {
                within(*sent, MAX_WAITING, "datagrams")?;
                Reply::Collected(Unread::collect(group, *sent)?)
            }
            (Subject::Listeners(listeners), Request::Accept { connections, .. }) => {
                within(*connections, MAX_CONNECTING, "connections")?;
                Reply::Accepted(listeners.accept(*connections)?)
            }
            (Subject::Listeners(listeners), Request::HangUp { .. }) => {
                listeners.hang_up()?;
                Reply::Done
            }
            (Subject::Contender(rival), Request::Count { .. }) => {
                Reply::Counted(Counted::by(rival)?)
            }
            (Subject::Contender(rival), Request::Cost { .. }) => Reply::Cost(rival.tasks.cost()),
            _ => bail!("that is something else"),
        })
    }
}

fn within(number: usize, most: usize, what: &str) -> anyhow::Result<()> {
    ensure!(
        (1..=most).contains(&number),
        "{number} {what}: from 1 to {most} are to be had"
    );
    Ok(())
}
