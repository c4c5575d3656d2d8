//! Random zones and random questions, asked of this server, NSD, Knot and BIND: where
//! at least two of these agree, so must this one.
//!
//! ```text
//! cargo test --test differential                 4,000 questions
//! cargo test --test differential -- --ignored    100,000 of them, and the root zone
//!     DIFFERENTIAL_SEED=N         other zones and questions
//!     DIFFERENTIAL_QUESTIONS=N    more or less of them
//!     DIFFERENTIAL_ALL=1          every difference, as it is
//!     DIFFERENTIAL_REASON=WORDS   those too with a reason that has these words in it
//!     DIFFERENTIAL_ROOT=FILE      a root zone
//! ```
//!
//! A difference that nothing in `explain` fits is shown with the seed and the least
//! zone that has it.

mod compare;
mod exchange;
mod explain;
mod generate;
mod questions;
mod references;
mod root;
mod shrink;
mod sign;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Write, stderr};
use std::time::Instant;

use compare::{Compared, Part};
use exchange::Question;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use references::Reference;
use world::World;

/// Zones that are served at once.
const ZONES: usize = 100;
/// Differences that are shrunk and shown; there are often many for one reason.
const SHOWN: usize = 3;

/// What came of many questions.
#[derive(Default)]
pub struct Tally {
    questions: usize,
    /// Those with no part in which two references agree and this server does not.
    agreed: usize,
    undecided: BTreeMap<Part, usize>,
    explained: BTreeMap<(Part, &'static str), usize>,
    silent: BTreeMap<Reference, usize>,
    /// What nothing explains.
    unexplained: usize,
}

impl Tally {
    fn note(&mut self, compared: &Compared) {
        self.questions += 1;
        self.agreed += usize::from(compared.differing.is_empty());
        for part in &compared.undecided {
            *self.undecided.entry(*part).or_default() += 1;
        }
        for (part, why) in &compared.differing {
            let why = why.unwrap_or("unexplained");
            *self.explained.entry((*part, why)).or_default() += 1;
        }
        for reference in &compared.silent {
            *self.silent.entry(*reference).or_default() += 1;
        }
        self.unexplained += usize::from(!compared.unexplained().is_empty());
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = 100.0 * self.agreed as f64 / self.questions.max(1) as f64;
        writeln!(f, "{} questions, {rate:.2} % agree", self.questions)?;
        for ((part, why), count) in &self.explained {
            writeln!(f, "{count:>7} {part:?}: {why}")?;
        }
        for (part, count) in &self.undecided {
            writeln!(f, "{count:>7} {part:?}: no two references agree")?;
        }
        for (reference, count) in &self.silent {
            writeln!(f, "{count:>7} {reference:?} does not reply")?;
        }
        Ok(())
    }
}

/// Puts so many questions to so many zones that come of a seed.
fn differences(seed: u64, zones: usize, questions: usize) -> Tally {
    let mut tally = Tally::default();
    let Some(references) = world::installed() else {
        return tally;
    };
    let shows_all = std::env::var_os("DIFFERENTIAL_ALL").is_some();
    let reason = std::env::var("DIFFERENTIAL_REASON");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let texts = generate::zones(zones, &mut random);
    let world = World::start(&references, &texts);
    let world = world.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    let mut to_show = Vec::new();
    for zone in &world.zones {
        let (origin, text) = (&zone.served.origin, &zone.text);
        let each = 0..questions.div_ceil(world.zones.len());
        let asked = each.map(|_| zone.subject.question(&mut random));
        let asked: Vec<Question> = asked.collect();
        for (question, compared) in asked.iter().zip(world.ask(zone, &asked)) {
            let compared = compared.unwrap_or_else(|error| {
                panic!("seed {seed}: {question}: {error}\n{}", text.text(origin))
            });
            tally.note(&compared);
            if shows_all && !compared.silent.is_empty() {
                say(&format!("{question}: silence from {:?}", compared.silent));
            }
            let (denial, signer, keys) = (text.denial, text.signer, text.keys);
            let shown = |parts: &[Part]| {
                format!("{denial:?} by {signer:?} with {keys:?}: {parts:?}\n{question}\n{compared}")
            };
            for (part, why) in &compared.differing {
                if let (Some(why), Ok(words)) = (why, &reason)
                    && why.contains(words)
                {
                    say(&format!("{why}\n{}", shown(&[*part])));
                }
            }
            let unexplained = compared.unexplained();
            if unexplained.is_empty() {
                continue;
            }
            let shown = shown(&unexplained);
            match shows_all {
                true => say(&shown),
                false if to_show.len() < SHOWN => to_show.push((zone, *question, shown)),
                false => {}
            }
        }
    }
    for (zone, question, shown) in to_show {
        let origin = &zone.served.origin;
        let least = shrink::shrink(&references, (origin, &zone.text), &question);
        say(&format!("\nseed {seed}, {shown}{}", least.text(origin)));
    }
    tally
}

/// Where the test runner does not hide it.
fn say(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

fn check(seed: u64, zones: usize, questions: u64) {
    let start = Instant::now();
    let tally = differences(seed, zones, questions as usize);
    say(&format!("seed {seed}, {:.0?}: {tally}", start.elapsed()));
    assert_eq!(tally.unexplained, 0, "differences that nothing explains");
}

#[test]
fn where_two_references_agree_so_does_this_server() {
    check(variable("DIFFERENTIAL_SEED", 1), 20, 4_000);
}

#[test]
#[ignore = "it takes minutes"]
fn where_two_references_agree_so_does_this_server_at_length() {
    let questions = variable("DIFFERENTIAL_QUESTIONS", 100_000);
    check(variable("DIFFERENTIAL_SEED", 2), ZONES, questions);
}
