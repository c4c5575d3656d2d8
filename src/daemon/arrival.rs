//! The control thread's part of taking another process's sockets over. Workers answer
//! from them already; until the other process has let go, or it is plain that it will
//! not, whoever asks and whatever signal comes is served as ever.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tracing::{info, warn};

use super::Daemon;
use super::handover::Stage;
use super::reload::What;
use super::status::Status;
use super::takeover::{Answer, Takeover};
use crate::server::inherited::Taken;
use crate::sys::steer::Steer;

/// How long who asks for the status waits for what the other process has counted: one
/// that is well lets go sooner.
const COUNTS: Duration = Duration::from_millis(500);

/// A process that is to let go.
pub struct Awaiting {
    process: u32,
    /// How long it, and those before it, have counted.
    counting: Duration,
    since: Instant,
    /// Whether it has sockets in groups of which this one has taken a part.
    has_surplus: bool,
    /// Who has asked for the status since.
    asked: Vec<Sender<Status>>,
}

impl Daemon {
    /// Says to the process whose sockets were taken that they are answered here. Until
    /// it has said something to that, it may go on itself.
    ///
    /// # Errors
    ///
    /// What the kernel says to one more thread.
    pub fn take_over(&mut self, takeover: Takeover, taken: &Taken) -> io::Result<()> {
        let counting = Duration::try_from_secs_f64(takeover.offer.counting_seconds);
        let mut groups = takeover.offer.groups.iter().zip(&taken.groups);
        let has_surplus = groups.any(|(there, taken)| (1..*there).contains(taken));
        self.stage = Stage::Awaiting(Awaiting {
            process: takeover.offer.pid,
            counting: counting.unwrap_or_default(),
            since: Instant::now(),
            has_surplus,
            asked: Vec::new(),
        });
        if has_surplus {
            self.steer_alone();
        }
        let (taken, asks) = (taken.clone(), self.asks.0.clone());
        self.predecessor = Some(takeover.settle(taken, asks)?);
        Ok(())
    }

    /// Goes on as the only server, from what the other process has counted; breaks where
    /// the other one goes on itself, and this one must not.
    pub(super) fn settle(&mut self, answer: Answer) -> ControlFlow<()> {
        let awaiting = match (std::mem::take(&mut self.stage), &answer) {
            (Stage::Awaiting(awaiting), _) => awaiting,
            // One that stood still may say so late, when this one has begun.
            (Stage::None | Stage::Handed(_), Answer::Withdrawn) => return self.give_way(),
            // By now this one has a successor of its own.
            (stage, _) => {
                self.stage = stage;
                return ControlFlow::Continue(());
            }
        };
        let process = awaiting.process;
        match answer {
            Answer::LetGo(counted) => {
                info!("took over from process {process}");
                self.carry_on(&counted);
            }
            Answer::Silent => warn!("process {process} stands still; its sockets are read here"),
            Answer::Died => warn!("process {process} died; its sockets are here"),
            Answer::Withdrawn => return self.give_way(),
        }
        self.counted_before = awaiting.counting;
        if !awaiting.has_surplus {
            self.steer();
        }
        self.tell_status(awaiting.asked);
        info!("ready");
        self.say_ready();
        // What was read here may be older than what was served there by now.
        self.reload(What::All, None);
        ControlFlow::Continue(())
    }

    /// Has the kernel choose none of the sockets that were not taken: the process that has
    /// them may stand still. Until it has closed them (`Leaving`), or is gone.
    fn steer_alone(&self) {
        self.steer_by(self.config.steer.or(Some(Steer::Random)));
    }

    /// The process whose sockets were taken has ended, perhaps before it could take off
    /// the program that kept datagrams from what it closed.
    pub(super) fn serve_alone(&self) {
        if matches!(self.stage, Stage::None | Stage::Handed(_)) {
            self.steer();
        }
    }

    fn give_way(&mut self) -> ControlFlow<()> {
        self.stage = Stage::Withdrawn;
        ControlFlow::Break(())
    }

    /// The process that is to let go.
    pub(super) fn awaited(&self) -> Option<u32> {
        match &self.stage {
            Stage::Awaiting(awaiting) => Some(awaiting.process),
            _ => None,
        }
    }

    /// Tells the state of the server when it is known, or has not been for too long.
    pub(super) fn ask_status(&mut self, asker: Sender<Status>) {
        match &mut self.stage {
            Stage::Awaiting(awaiting) if awaiting.since.elapsed() < COUNTS => {
                awaiting.asked.push(asker);
            }
            _ => self.tell_status(vec![asker]),
        }
    }

    /// Lets nobody wait for the status any longer that has waited for long.
    pub(super) fn tell_who_waits(&mut self) {
        if let Stage::Awaiting(awaiting) = &mut self.stage
            && awaiting.since.elapsed() >= COUNTS
        {
            let asked = std::mem::take(&mut awaiting.asked);
            self.tell_status(asked);
        }
    }

    fn tell_status(&mut self, askers: Vec<Sender<Status>>) {
        for asker in askers {
            // Whoever asked may have gone.
            let _ = asker.send(self.status());
        }
    }
}
