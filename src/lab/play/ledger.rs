//! What has become of each datagram: which are on their way, which were answered
//! and by which socket, which clients wait. All figures of the bench are from here.

use std::collections::HashMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::message::{Answer, Serial};

/// A client whose question is older than this waits.
const OVERDUE: Duration = Duration::from_millis(100);
/// A question that is older than this is given up. Longer than a socket is stalled.
const GIVEN_UP: Duration = Duration::from_secs(2);
/// Questions that are remembered: of more than two seconds at the highest rate.
const REMEMBERED: usize = 1 << 18;
/// Nobody has answered.
pub const NOBODY: Serial = Serial::MAX;

#[derive(Clone, Copy)]
struct Question {
    /// Microseconds since the bench was set up.
    sent: u64,
    flow: u16,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    OnItsWay,
    /// Its client waits.
    Overdue,
    Answered,
    GivenUp,
}

/// A client port.
#[derive(Clone, Copy)]
pub struct Flow {
    /// Who answered it last.
    pub at: Serial,
    /// Answers that it got.
    pub answers: u32,
    /// The number of the last question of it that was answered, and one.
    answered_to: u64,
    /// Questions that are overdue.
    overdue: u32,
}

impl Flow {
    /// True where it has waited too long for an answer.
    pub fn waits(&self) -> bool {
        self.overdue > 0
    }
}

/// Sums since the bench was set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Questions that were sent.
    pub sent: u64,
    /// Questions that were answered.
    pub answered: u64,
    /// Questions that were given up.
    pub lost: u64,
    /// Answers that came to a client whose buffer was full.
    pub overrun: u64,
    /// Times that the kernel said that nobody is there.
    pub refused: u64,
    /// Clients that wait now.
    pub waiting: u64,
}

/// The ledger.
pub struct Ledger {
    start: Instant,
    questions: Box<[Question]>,
    next: u64,
    /// All before have been looked at for whether they are overdue, or given up.
    overdue_to: u64,
    given_up_to: u64,
    flows: Vec<Flow>,
    by: HashMap<Serial, u64>,
    totals: Totals,
    /// The questions that are counted apart, and how many of them were answered.
    span: Range<u64>,
    span_answered: u64,
    slowest: u64,
    most_waiting: u64,
}

impl Ledger {
    /// A ledger of so many flows.
    pub fn new(flows: usize) -> Ledger {
        let none = Question {
            sent: 0,
            flow: 0,
            state: State::Answered,
        };
        let flow = Flow {
            at: NOBODY,
            answers: 0,
            answered_to: 0,
            overdue: 0,
        };
        Ledger {
            start: Instant::now(),
            questions: vec![none; REMEMBERED].into(),
            next: 0,
            overdue_to: 0,
            given_up_to: 0,
            flows: vec![flow; flows],
            by: HashMap::new(),
            totals: Totals::default(),
            span: 0..0,
            span_answered: 0,
            slowest: 0,
            most_waiting: 0,
        }
    }

    /// Notes a question, and returns its number.
    pub fn ask(&mut self, flow: u16, now: Instant) -> u32 {
        let number = self.next;
        if number >= self.given_up_to + REMEMBERED as u64 {
            self.give_up(self.given_up_to);
            self.given_up_to += 1;
            self.overdue_to = self.overdue_to.max(self.given_up_to);
        }
        let sent = self.time(now);
        *self.question(number) = Question {
            sent,
            flow,
            state: State::OnItsWay,
        };
        self.next += 1;
        self.totals.sent += 1;
        number as u32
    }

    /// Notes an answer. What was answered or given up already is no news.
    pub fn answered(&mut self, answer: Answer, now: Instant) {
        // The answer has the low bits of a number that was given out lately.
        let age = (self.next as u32).wrapping_sub(answer.number);
        let Some(number) = self.next.checked_sub(u64::from(age)) else {
            return;
        };
        if age == 0 || number < self.given_up_to || usize::from(answer.flow) >= self.flows.len() {
            return;
        }
        let time = self.time(now);
        let question = self.question(number);
        let state = question.state;
        if question.flow != answer.flow || matches!(state, State::Answered | State::GivenUp) {
            return;
        }
        question.state = State::Answered;
        let took = time.saturating_sub(question.sent);
        self.slowest = self.slowest.max(took);
        let flow = &mut self.flows[usize::from(answer.flow)];
        flow.at = answer.from;
        flow.answers = flow.answers.wrapping_add(1);
        flow.answered_to = flow.answered_to.max(number + 1);
        if state == State::Overdue {
            self.end_wait(answer.flow);
        }
        self.totals.answered += 1;
        if self.span.contains(&number) {
            self.span_answered += 1;
        }
        *self.by.entry(answer.from).or_default() += 1;
    }

    /// Notes that the kernel said that nobody is there.
    pub fn refused(&mut self) {
        self.totals.refused += 1;
    }

    /// Notes answers that came to a client whose buffer was full.
    pub fn overran(&mut self, answers: u64) {
        self.totals.overrun += answers;
    }

    /// Looks who waits by now, and gives up what is too old.
    pub fn look(&mut self, now: Instant) {
        let time = self.time(now);
        let before = |age: Duration| time.checked_sub(age.as_micros() as u64);
        if let Some(limit) = before(OVERDUE) {
            while self.overdue_to < self.next && self.question(self.overdue_to).sent <= limit {
                self.make_overdue(self.overdue_to);
                self.overdue_to += 1;
            }
        }
        if let Some(limit) = before(GIVEN_UP) {
            while self.given_up_to < self.overdue_to
                && self.question(self.given_up_to).sent <= limit
            {
                self.give_up(self.given_up_to);
                self.given_up_to += 1;
            }
        }
    }

    fn make_overdue(&mut self, number: u64) {
        let question = self.question(number);
        if question.state != State::OnItsWay {
            return;
        }
        question.state = State::Overdue;
        let flow = usize::from(question.flow);
        self.flows[flow].overdue += 1;
        if self.flows[flow].overdue == 1 {
            self.totals.waiting += 1;
            self.most_waiting = self.most_waiting.max(self.totals.waiting);
        }
    }

    fn give_up(&mut self, number: u64) {
        let question = self.question(number);
        let (state, flow) = (question.state, question.flow);
        if matches!(state, State::Answered | State::GivenUp) {
            return;
        }
        question.state = State::GivenUp;
        self.totals.lost += 1;
        if state == State::Overdue {
            self.end_wait(flow);
        }
    }

    fn end_wait(&mut self, flow: u16) {
        let flow = &mut self.flows[usize::from(flow)];
        flow.overdue -= 1;
        if flow.overdue == 0 {
            self.totals.waiting -= 1;
        }
    }

    fn question(&mut self, number: u64) -> &mut Question {
        &mut self.questions[number as usize % REMEMBERED]
    }

    fn time(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_micros() as u64
    }

    /// Microseconds since the bench was set up.
    pub fn age(&self) -> u64 {
        self.time(Instant::now())
    }

    /// The number that the next question gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Begins to count the questions apart.
    pub fn begin(&mut self) {
        self.span = self.next..u64::MAX;
        self.span_answered = 0;
    }

    /// What is asked from now on is not counted apart.
    pub fn end(&mut self) {
        self.span.end = self.next;
    }

    /// Questions that were counted apart, and those of them that have no answer,
    /// however long ago they were forgotten.
    pub fn counted(&self) -> (u64, u64) {
        let sent = self.span.end.min(self.next) - self.span.start;
        (sent, sent - self.span_answered)
    }

    /// True where each of these questions is answered or given up.
    pub fn is_decided(&self) -> bool {
        self.counted().1 == 0 || self.given_up_to >= self.span.end.min(self.next)
    }

    /// All flows, by number.
    pub fn flows(&self) -> &[Flow] {
        &self.flows
    }

    /// Flows that have an answer to a question of this number or a later one.
    pub fn heard_since(&self, number: u64) -> usize {
        let heard = |flow: &&Flow| flow.answered_to > number;
        self.flows.iter().filter(heard).count()
    }

    /// Where each flow was answered, `NOBODY` where it was not since that number.
    pub fn places_since(&self, number: u64) -> Vec<Serial> {
        let place = |flow: &Flow| match flow.answered_to > number {
            true => flow.at,
            false => NOBODY,
        };
        self.flows.iter().map(place).collect()
    }

    /// Answers of a socket.
    pub fn answers_by(&self, serial: Serial) -> u64 {
        self.by.get(&serial).copied().unwrap_or(0)
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Begins to look for the longest wait and the most clients that wait.
    pub fn watch(&mut self) {
        self.slowest = 0;
        self.most_waiting = self.totals.waiting;
    }

    /// The longest time to an answer since, and the most clients that waited at once.
    pub fn watched(&self) -> (Duration, u64) {
        (Duration::from_micros(self.slowest), self.most_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(flow: u16, number: u32) -> Answer {
        let from = 5;
        Answer { flow, number, from }
    }

    #[test]
    fn every_question_ends_as_answered_or_lost() {
        let mut ledger = Ledger::new(2);
        let start = Instant::now();
        ledger.begin();
        let [one, two] = [0, 1].map(|flow| ledger.ask(flow, start));
        ledger.answered(answer(0, one), start);
        // Again, and for another: no news.
        ledger.answered(answer(0, one), start);
        ledger.answered(answer(0, two), start);
        ledger.answered(answer(0, two + 1), start);
        ledger.look(start + OVERDUE);
        assert!(!ledger.flows()[0].waits() && ledger.flows()[1].waits());
        assert_eq!((ledger.counted(), ledger.totals().waiting), ((2, 1), 1));
        assert!(!ledger.is_decided());
        assert_eq!(ledger.places_since(0), [5, NOBODY]);
        assert_eq!((ledger.heard_since(0), ledger.heard_since(1)), (1, 0));
        ledger.look(start + GIVEN_UP);
        let expected = Totals {
            sent: 2,
            answered: 1,
            lost: 1,
            overrun: 0,
            refused: 0,
            waiting: 0,
        };
        assert_eq!(ledger.totals(), expected);
        assert!(ledger.is_decided());
        // Too late.
        ledger.answered(answer(1, two), start + GIVEN_UP);
        assert_eq!(ledger.totals(), expected);
        assert_eq!(ledger.answers_by(5), 1);
    }

    #[test]
    fn a_late_answer_ends_the_wait() {
        let mut ledger = Ledger::new(1);
        let start = Instant::now();
        let number = ledger.ask(0, start);
        ledger.watch();
        ledger.look(start + OVERDUE);
        let late = start + 3 * OVERDUE;
        ledger.answered(answer(0, number), late);
        let totals = ledger.totals();
        assert_eq!((totals.waiting, totals.answered), (0, 1));
        let (slowest, waited) = ledger.watched();
        assert!(slowest >= 2 * OVERDUE && waited == 1);
        ledger.look(late + GIVEN_UP);
        assert_eq!(ledger.totals().lost, 0);
    }

    #[test]
    fn what_is_forgotten_was_lost() {
        let mut ledger = Ledger::new(1);
        let start = Instant::now();
        ledger.ask(0, start);
        ledger.begin();
        for _ in 0..REMEMBERED + 9 {
            ledger.ask(0, start);
        }
        ledger.end();
        let asked = REMEMBERED as u64 + 9;
        assert_eq!(ledger.totals().lost, 10);
        assert_eq!(ledger.counted(), (asked, asked));
        ledger.answered(answer(0, 9), start);
        assert_eq!(ledger.totals().answered, 0);
        ledger.answered(answer(0, 10), start);
        assert_eq!(ledger.totals().answered, 1);
        let after = ledger.ask(0, start);
        ledger.answered(answer(0, after), start);
        assert_eq!(ledger.counted(), (asked, asked - 1));
    }
}
