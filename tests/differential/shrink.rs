//! A zone and a question -> fewer records to which the servers still differ. All
//! attempts of a step are served at once, under origins of their own.

use std::path::PathBuf;

use shardns::wire::Name;

use super::exchange::Question;
use super::generate::ZoneText;
use super::references::Reference;
use super::world::World;

/// Takes away what the difference does not need.
pub fn shrink(
    references: &[(Reference, PathBuf)],
    (origin, text): (&str, &ZoneText),
    question: &Question,
) -> ZoneText {
    let origin: Name = origin.parse().unwrap();
    let mut least = text.clone();
    let mut size = least.records.len().div_ceil(2);
    while size > 0 {
        // Which of the parts can be spared, each by itself; then how many of these
        // together.
        let parts: Vec<usize> = (0..least.records.len()).step_by(size).collect();
        let single: Vec<ZoneText> = parts
            .iter()
            .map(|part| without(&least, &[*part], size))
            .collect();
        let differing = differing(references, &single, question, &origin);
        let spare: Vec<usize> = differing.into_iter().map(|n| parts[n]).collect();
        let together = (1..=spare.len()).map(|n| without(&least, &spare[..n], size));
        let together: Vec<ZoneText> = together.collect();
        match self::differing(references, &together, question, &origin).last() {
            Some(&n) => least = together[n].clone(),
            None if size == 1 => break,
            None => {}
        }
        size = if size == 1 { 1 } else { size / 2 };
    }
    least
}

/// The zone without some parts of its records, given by where they begin.
fn without(text: &ZoneText, parts: &[usize], size: usize) -> ZoneText {
    let records = text.records.iter().enumerate();
    let kept = records.filter(|(n, _)| !parts.iter().any(|part| (*part..part + size).contains(n)));
    ZoneText {
        records: kept.map(|(_, record)| record.clone()).collect(),
        ..text.clone()
    }
}

/// Which of the zones show a difference that nothing explains.
fn differing(
    references: &[(Reference, PathBuf)],
    texts: &[ZoneText],
    question: &Question,
    origin: &Name,
) -> Vec<usize> {
    let named = texts
        .iter()
        .enumerate()
        .map(|(n, text)| (format!("s{n}.test."), text.clone()));
    let named: Vec<(String, ZoneText)> = named.collect();
    if named.is_empty() {
        return Vec::new();
    }
    let Ok(world) = World::start_possible(references, &named) else {
        return Vec::new();
    };
    let differing = world.zones.iter().filter(|zone| {
        let question = Question {
            name: moved(&question.name, origin, &zone.served.origin.parse().unwrap()),
            ..*question
        };
        let compared = world.ask(zone, &[question]).remove(0);
        compared.is_ok_and(|compared| !compared.unexplained().is_empty())
    });
    let numbers = differing.map(|zone| {
        let number = zone.served.origin.strip_prefix('s').unwrap();
        number.strip_suffix(".test.").unwrap().parse().unwrap()
    });
    numbers.collect()
}

/// A name of one zone as that of another.
fn moved(name: &Name, from: &Name, to: &Name) -> Name {
    let wire = name.as_wire();
    let below = &wire[..wire.len() - from.as_wire().len()];
    Name::from_wire(&[below, to.as_wire()].concat()).unwrap()
}
