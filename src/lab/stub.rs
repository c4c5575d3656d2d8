//! Stub resolvers, many at once: they ask at a steady rate, answered or not,
//! each from a port of its own, and ask again from the same port with the same
//! message ID where no answer came in time. Of each question they know when the
//! datagram that was sent first was answered, and when the first answer came.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::group::clients;
use crate::sys::epoll::Epoll;
use crate::wire::header::HEADER;

/// What is to be done.
pub struct StubPlan<'p> {
    /// Who is asked.
    pub peer: SocketAddr,
    /// Stub resolvers.
    pub stubs: usize,
    /// Questions a second, over all of them.
    pub rate: u64,
    /// For how long.
    pub duration: Duration,
    /// How long a stub waits before it asks again.
    pub retry: Duration,
    /// How often it asks again.
    pub retries: u8,
    /// How long to wait, at the end, for what is missing.
    pub patience: Duration,
    /// Set from elsewhere to end early.
    pub stop: &'p AtomicBool,
}

/// A question, and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct StubQuestion {
    /// Who asked.
    pub stub: usize,
    /// The reply to the datagram that was sent first.
    pub once: Option<StubReply>,
    /// The reply that came first, to any datagram.
    pub retried: Option<StubReply>,
    id: u16,
    /// When the first datagram was sent, from the start.
    sent: Duration,
}

/// A reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StubReply {
    /// From the first datagram of the question to this.
    pub latency: Duration,
    /// Who answered.
    pub worker: u16,
}

/// Behind a DNS header that is empty but for the ID: the question's number, and
/// how many datagrams came before this one; in a reply then the worker.
const REQUEST: usize = HEADER + 4 + 1;
const REPLY: usize = REQUEST + 2;
/// How often it looks up, at least.
const TICK: Duration = Duration::from_millis(10);

impl StubQuestion {
    /// A question that was asked, for tests.
    #[cfg(test)]
    pub fn answered(
        stub: usize,
        once: Option<StubReply>,
        retried: Option<StubReply>,
    ) -> StubQuestion {
        StubQuestion {
            stub,
            once,
            retried,
            id: 0,
            sent: Duration::ZERO,
        }
    }
}

fn request(id: u16, number: u32, attempt: u8) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..2].copy_from_slice(&id.to_be_bytes());
    request[HEADER..HEADER + 4].copy_from_slice(&number.to_be_bytes());
    request[HEADER + 4] = attempt;
    request
}

/// Writes the reply to a request, as from this worker, and returns its length;
/// 0 where that was none, or there is no room.
pub fn answer(request: &[u8], worker: u16, out: &mut [u8]) -> usize {
    let Some(reply) = out.get_mut(..REPLY) else {
        return 0;
    };
    if request.len() != REQUEST {
        return 0;
    }
    reply[..REQUEST].copy_from_slice(request);
    reply[2] |= 0x80;
    reply[REQUEST..].copy_from_slice(&worker.to_be_bytes());
    REPLY
}

/// The question's number, the attempt and the worker of a reply.
fn read(reply: &[u8; REPLY]) -> (usize, u8, u16) {
    let [.., a, b, c, d, attempt, high, low] = *reply;
    let number = u32::from_be_bytes([a, b, c, d]);
    (number as usize, attempt, u16::from_be_bytes([high, low]))
}

/// Carries the plan out; `random` chooses who asks, and the IDs.
///
/// # Errors
///
/// Sockets that are not to be had. A datagram that the kernel does not take is
/// one that is not answered.
pub fn run(plan: &StubPlan, random: &mut ChaCha8Rng) -> anyhow::Result<Vec<StubQuestion>> {
    let mut epoll = Epoll::new()?;
    let sockets = clients(plan.stubs, plan.peer)?;
    for (index, socket) in sockets.iter().enumerate() {
        socket.set_nonblocking(true)?;
        epoll.add(socket, index)?;
    }
    let mut stubs = Stubs {
        plan,
        sockets,
        start: Instant::now(),
        questions: Vec::new(),
        unanswered: 0,
        repeats: VecDeque::new(),
    };
    while !stubs.are_done() {
        stubs.ask(random);
        stubs.ask_again();
        let ready: Vec<usize> = epoll.wait(stubs.next().min(TICK))?.collect();
        ready.into_iter().for_each(|stub| stubs.receive(stub));
    }
    Ok(stubs.questions)
}

struct Stubs<'p> {
    plan: &'p StubPlan<'p>,
    sockets: Vec<UdpSocket>,
    start: Instant,
    questions: Vec<StubQuestion>,
    /// Questions whose first datagram has no reply.
    unanswered: usize,
    /// When which question is to be asked again, for which time. All wait
    /// equally long, so that these are in order.
    repeats: VecDeque<(Duration, usize, u8)>,
}

impl Stubs<'_> {
    fn are_done(&self) -> bool {
        let now = self.start.elapsed();
        let patience = match self.unanswered {
            0 => Duration::ZERO,
            _ => self.plan.patience,
        };
        // Relaxed: nothing is read on the strength of it.
        now >= self.plan.duration + patience || self.plan.stop.load(Ordering::Relaxed)
    }

    fn due(&self, number: usize) -> Duration {
        Duration::from_nanos(number as u64 * 1_000_000_000 / self.plan.rate)
    }

    /// Until the next question or repetition is due.
    fn next(&self) -> Duration {
        let question = Some(self.due(self.questions.len())).filter(|due| *due < self.plan.duration);
        let repeat = self.repeats.front().map(|(due, ..)| *due);
        let next = question.into_iter().chain(repeat).min();
        next.map_or(TICK, |next| next.saturating_sub(self.start.elapsed()))
    }

    /// Asks what is due.
    fn ask(&mut self, random: &mut ChaCha8Rng) {
        loop {
            let (now, number) = (self.start.elapsed(), self.questions.len());
            if now >= self.plan.duration || self.due(number) > now {
                return;
            }
            self.questions.push(StubQuestion {
                stub: random.random_range(0..self.plan.stubs),
                once: None,
                retried: None,
                id: random.random(),
                sent: now,
            });
            self.unanswered += 1;
            self.send(number, 0, now);
        }
    }

    /// Repeats what has no answer yet and is due.
    fn ask_again(&mut self) {
        let now = self.start.elapsed();
        while let Some(&(due, number, attempt)) = self.repeats.front()
            && due <= now
        {
            self.repeats.pop_front();
            if self.questions[number].retried.is_none() {
                self.send(number, attempt, now);
            }
        }
    }

    fn send(&mut self, number: usize, attempt: u8, now: Duration) {
        let StubQuestion { stub, id, .. } = self.questions[number];
        let _ = self.sockets[stub].send(&request(id, number as u32, attempt));
        if attempt < self.plan.retries {
            let due = now + self.plan.retry;
            self.repeats.push_back((due, number, attempt + 1));
        }
    }

    fn receive(&mut self, stub: usize) {
        let mut reply = [0; REPLY];
        while let Ok(REPLY) = self.sockets[stub].recv(&mut reply) {
            let (number, attempt, worker) = read(&reply);
            let Some(question) = self.questions.get_mut(number) else {
                continue;
            };
            let latency = self.start.elapsed().saturating_sub(question.sent);
            let reply = StubReply { latency, worker };
            question.retried.get_or_insert(reply);
            if attempt == 0 && question.once.is_none() {
                question.once = Some(reply);
                self.unanswered -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::group::ANY_PORT;
    use rand::SeedableRng;
    use std::thread;

    /// Asks a server that answers from a certain attempt on; returns how many
    /// datagrams it got, too.
    fn asked(from: u8, retry: Duration) -> (Vec<StubQuestion>, usize) {
        let server = UdpSocket::bind(ANY_PORT).unwrap();
        let plan = StubPlan {
            peer: server.local_addr().unwrap(),
            stubs: 3,
            rate: 1000,
            duration: Duration::from_millis(20),
            retry,
            retries: 2,
            patience: Duration::from_millis(100),
            stop: &AtomicBool::new(false),
        };
        thread::scope(|scope| {
            let serving = scope.spawn(|| serve(&server, from));
            let questions = run(&plan, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
            // An empty datagram ends it.
            let last = UdpSocket::bind(ANY_PORT).unwrap();
            last.send_to(&[], plan.peer).unwrap();
            (questions, serving.join().unwrap())
        })
    }

    fn serve(server: &UdpSocket, from: u8) -> usize {
        let (mut datagrams, mut request, mut out) = (0, [0; 64], [0; 64]);
        loop {
            let (length, client) = server.recv_from(&mut request).unwrap();
            if length == 0 {
                return datagrams;
            }
            datagrams += 1;
            if request[HEADER + 4] >= from {
                let length = answer(&request[..length], 7, &mut out);
                server.send_to(&out[..length], client).unwrap();
            }
        }
    }

    #[test]
    fn what_is_answered_is_not_asked_again() {
        let (questions, datagrams) = asked(0, Duration::from_secs(60));
        assert!(!questions.is_empty());
        assert_eq!(questions.len(), datagrams);
        for question in questions {
            assert_eq!(question.once, question.retried);
            assert_eq!(question.once.unwrap().worker, 7);
        }
    }

    #[test]
    fn what_is_not_answered_is_asked_again() {
        let retry = Duration::from_millis(5);
        let (questions, datagrams) = asked(1, retry);
        assert!(datagrams >= 2 * questions.len());
        for question in questions {
            assert_eq!(question.once, None);
            assert!(question.retried.unwrap().latency >= retry);
        }
    }

    #[test]
    fn it_gives_up_after_the_last_repetition() {
        let (questions, datagrams) = asked(3, Duration::from_millis(5));
        assert_eq!(datagrams, 3 * questions.len());
        assert!(questions.iter().all(|question| question.retried.is_none()));
    }

    #[test]
    fn only_requests_are_answered() {
        let (request, mut out) = (request(1, 2, 3), [0; REPLY]);
        assert_eq!(answer(&request, 4, &mut out), REPLY);
        assert_eq!(read(&out), (2, 3, 4));
        assert_eq!(answer(&request[1..], 4, &mut out), 0);
        assert_eq!(answer(&request, 4, &mut out[1..]), 0);
    }
}
