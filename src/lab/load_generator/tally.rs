//! What became of all requests.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// What became of all requests: `sent` is `answered` and `lost`.
#[derive(Debug)]
pub struct Tally {
    /// Requests that the kernel took.
    pub sent: u64,
    /// Requests whose reply came in time.
    pub answered: u64,
    /// Requests whose reply did not.
    pub lost: u64,
    /// Requests that were due but found no room in the kernel or no free id.
    pub held_back: u64,
    /// Replies to requests that had been given up.
    pub late: u64,
    /// Replies to requests that were answered before.
    pub duplicates: u64,
    /// Datagrams that reply to nothing: another id, another question, no reply.
    pub strangers: u64,
    /// Times that the kernel would not send or receive, as after "port
    /// unreachable".
    pub errors: u64,
    /// The last of these.
    pub last_error: Option<io::Error>,
    /// Answers by response code.
    pub rcodes: [u64; 16],
    /// How long it sent, and how many answers came while it did.
    pub sending: Duration,
    /// Answers in that time.
    pub answered_meanwhile: u64,
    /// Nanoseconds from a request to its answer; in the open loop from when the
    /// request was due, so that a generator that was held up does not hide it.
    pub latency_ns: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        Tally {
            sent: 0,
            answered: 0,
            lost: 0,
            held_back: 0,
            late: 0,
            duplicates: 0,
            strangers: 0,
            errors: 0,
            last_error: None,
            rcodes: [0; 16],
            sending: Duration::ZERO,
            answered_meanwhile: 0,
            latency_ns: Histogram::new_with_max(LONGEST, 3).expect("the bounds are good"),
        }
    }

    /// Both together, where they ran side by side.
    pub fn and(mut self, other: Tally) -> Tally {
        self.sent += other.sent;
        self.answered += other.answered;
        self.lost += other.lost;
        self.held_back += other.held_back;
        self.late += other.late;
        self.duplicates += other.duplicates;
        self.strangers += other.strangers;
        self.errors += other.errors;
        self.last_error = self.last_error.or(other.last_error);
        for (count, more) in self.rcodes.iter_mut().zip(other.rcodes) {
            *count += more;
        }
        self.sending = self.sending.max(other.sending);
        self.answered_meanwhile += other.answered_meanwhile;
        self.latency_ns += other.latency_ns;
        self
    }

    /// Requests sent, for each second of sending.
    pub fn sent_per_s(&self) -> f64 {
        self.sent as f64 / self.sending.as_secs_f64()
    }

    /// Answers that came during the sending, for each second of it.
    pub fn answers_per_s(&self) -> f64 {
        self.answered_meanwhile as f64 / self.sending.as_secs_f64()
    }

    pub(super) fn error(&mut self, error: io::Error) {
        self.errors += 1;
        self.last_error = Some(error);
    }
}
