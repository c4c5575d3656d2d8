//! Stub resolvers, many at once: they ask at a steady rate, answered or not,
//! each from a port of its own, and ask again from the same port with the same
//! message ID where no answer came in time. Of each question they know when the
//! datagram that was sent first was answered, and when the first answer came.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::group::clients;
use crate::sys::epoll::Epoll;
use crate::wire::header::HEADER;

/// Whom to ask, how many stubs, how often, and when to ask again.
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

/// The name that a worker answers with its number, in class CHAOS.
const NAME: &[u8] = b"\x06worker\x06server\0";
/// Where its first letters are, whose case says how many datagrams of the
/// question came before this one: a reply has the case of its request.
const LETTERS: std::ops::Range<usize> = 1..7;
/// TXT, in class CHAOS.
const TYPE_AND_CLASS: [u8; 4] = [0, 16, 0, 3];
const REQUEST: usize = HEADER + NAME.len() + TYPE_AND_CLASS.len();
/// Longer than any reply.
const REPLY: usize = 512;
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

fn request(id: u16, attempt: u8) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..2].copy_from_slice(&id.to_be_bytes());
    request[5] = 1;
    let (name, tail) = request[HEADER..].split_at_mut(NAME.len());
    name.copy_from_slice(NAME);
    for (bit, letter) in name[LETTERS].iter_mut().enumerate() {
        if attempt >> bit & 1 != 0 {
            letter.make_ascii_uppercase();
        }
    }
    tail.copy_from_slice(&TYPE_AND_CLASS);
    request
}

/// The ID, the attempt and the worker of a reply.
fn read(reply: &[u8]) -> Option<(u16, u8, u16)> {
    let id = u16::from_be_bytes(*reply.first_chunk()?);
    let name = reply.get(HEADER..HEADER + NAME.len())?;
    let letters = name[LETTERS].iter().rev();
    let attempt = letters.fold(0, |bits, letter| {
        bits << 1 | u8::from(letter.is_ascii_uppercase())
    });
    let text = String::from_utf8_lossy(&reply[REQUEST.min(reply.len())..]);
    let (_, worker) = text.split_once("worker=")?;
    let end = worker.find(|c: char| !c.is_ascii_digit());
    let worker = worker[..end.unwrap_or(worker.len())].parse().ok()?;
    name.eq_ignore_ascii_case(NAME)
        .then_some((id, attempt, worker))
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
        numbers: HashMap::new(),
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
    /// Questions by stub and message ID.
    numbers: HashMap<(usize, u16), usize>,
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
            let stub = random.random_range(0..self.plan.stubs);
            // One that the stub has not used yet.
            let id = loop {
                let id = random.random();
                if let Entry::Vacant(place) = self.numbers.entry((stub, id)) {
                    place.insert(number);
                    break id;
                }
            };
            self.questions.push(StubQuestion {
                stub,
                once: None,
                retried: None,
                id,
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
        let _ = self.sockets[stub].send(&request(id, attempt));
        if attempt < self.plan.retries {
            let due = now + self.plan.retry;
            self.repeats.push_back((due, number, attempt + 1));
        }
    }

    fn receive(&mut self, stub: usize) {
        let mut reply = [0; REPLY];
        while let Ok(length) = self.sockets[stub].recv(&mut reply) {
            let Some((id, attempt, worker)) = read(&reply[..length]) else {
                continue;
            };
            let number = self.numbers.get(&(stub, id));
            let Some(question) = number.and_then(|&number| self.questions.get_mut(number)) else {
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
    use std::thread;

    use rand::SeedableRng;

    use super::*;
    use crate::answer::{self, Request, Settings, Via};
    use crate::lab::group::ANY_PORT;
    use crate::wire::LookupName;
    use crate::zone::Zones;

    /// Longer than anything takes.
    const LONG: Duration = Duration::from_secs(60);
    /// Waited for to its end where a first attempt has no answer; the repetitions and
    /// their answers need a little of it, on a machine with other work some more.
    const SOON: Duration = Duration::from_secs(2);

    /// Asks a server that answers from a certain attempt on; returns how many
    /// datagrams it got, too.
    fn asked(from: u8, retry: Duration, patience: Duration) -> (Vec<StubQuestion>, usize) {
        let server = UdpSocket::bind(ANY_PORT).unwrap();
        let plan = StubPlan {
            peer: server.local_addr().unwrap(),
            stubs: 3,
            rate: 100,
            duration: Duration::from_millis(200),
            retry,
            retries: 2,
            patience,
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
        let (mut datagrams, mut request) = (0, [0; 64]);
        loop {
            let (length, client) = server.recv_from(&mut request).unwrap();
            if length == 0 {
                return datagrams;
            }
            datagrams += 1;
            if attempt_of(&request) >= from {
                let reply = answer(&request[..length]);
                server.send_to(&reply, client).unwrap();
            }
        }
    }

    fn attempt_of(request: &[u8]) -> u8 {
        let letters = &request[HEADER..][LETTERS];
        (0..6).fold(0, |bits, bit| {
            bits | u8::from(letters[bit].is_ascii_uppercase()) << bit
        })
    }

    /// As worker 7 does.
    fn answer(octets: &[u8]) -> Vec<u8> {
        let request = Request {
            octets,
            peer: ANY_PORT,
            local: ANY_PORT.ip(),
            via: Via::Udp(answer::Worker {
                index: 7,
                cpu: None,
                batch: 1,
            }),
            now: Duration::ZERO,
        };
        let (mut name, mut out) = (LookupName::new(), vec![0; REPLY]);
        let settings = Settings::default();
        let outcome = answer::respond(&Zones::default(), &settings, &request, &mut name, &mut out);
        out.truncate(outcome.length());
        out
    }

    #[test]
    fn what_is_answered_is_not_asked_again() {
        let (questions, datagrams) = asked(0, LONG, LONG);
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
        let (questions, datagrams) = asked(1, retry, SOON);
        assert!(datagrams >= 2 * questions.len());
        for question in questions {
            assert_eq!(question.once, None);
            assert!(question.retried.unwrap().latency >= retry);
        }
    }

    #[test]
    fn it_gives_up_after_the_last_repetition() {
        let (questions, datagrams) = asked(3, Duration::from_millis(5), SOON);
        assert_eq!(datagrams, 3 * questions.len());
        assert!(questions.iter().all(|question| question.retried.is_none()));
    }

    #[test]
    fn a_reply_tells_question_attempt_and_worker() {
        for attempt in 0..64 {
            let reply = answer(&request(4711, attempt));
            assert_eq!(read(&reply), Some((4711, attempt, 7)));
            assert_eq!(read(&reply[..REQUEST]), None);
        }
        assert_eq!(read(&[]), None);
    }
}
