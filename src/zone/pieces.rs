//! The names of a large zone gone through by as many threads as there are CPUs: in
//! pieces, and what comes of these is taken in their order.

use std::ops::Range;

use super::ahead::{self, cpus};
use super::names::NameId;

/// Names of a piece. What is made of one stays in the cache of its CPU until it is
/// taken. Tests have few names and shall have pieces all the same.
const PIECE: usize = if cfg!(test) { 16 } else { 1024 };
/// Names for which it pays to start threads.
const MANY: usize = 16 * PIECE;

/// The names of one piece.
pub(super) type Piece = Range<usize>;

/// Their numbers.
pub(super) fn ids(piece: Piece) -> impl Iterator<Item = NameId> {
    piece.map(|at| NameId(at as u32))
}

/// Does `work` on each piece of so many names, and hands what it makes to `take`, in
/// the order of the names.
pub(super) fn in_turn<R: Send>(
    names: usize,
    work: impl Fn(Piece) -> R + Sync,
    mut take: impl FnMut(R),
) {
    let threads = threads(names);
    if threads < 2 {
        return take(work(0..names));
    }
    let mut pieces = (0..names)
        .step_by(PIECE)
        .map(|start| start..names.min(start + PIECE));
    ahead::with_threads(
        threads,
        || &work,
        |mut ahead| {
            loop {
                while ahead.has_room()
                    && let Some(piece) = pieces.next()
                {
                    ahead.give(piece.clone(), piece);
                }
                let Some((piece, made)) = ahead.take() else {
                    return;
                };
                take(made.unwrap_or_else(|| work(piece)));
            }
        },
    );
}

/// True where so many names are gone through in pieces.
pub(super) fn are_many(names: usize) -> bool {
    threads(names) > 1
}

fn threads(names: usize) -> usize {
    match names {
        0..MANY => 1,
        _ => cpus(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::canonical;
    use super::super::text::Library;
    use super::*;
    use crate::wire::LookupName;

    /// Every kind of name, and faults at one of four.
    #[test]
    fn a_zone_of_pieces_has_everything_and_its_faults_in_order() {
        let mut text = String::from("@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\n@ 60 NS ns2\n");
        text += "ns 60 A 192.0.2.1\nns2 60 A 192.0.2.2\n";
        let count = MANY / 4;
        for number in 0..count {
            text += &format!("a{number} 60 A 192.0.2.3\n");
            text += &format!("*.w{number} 60 TXT x\n");
            text += &format!("cut{number} 60 NS ns.cut{number}\n");
            text += &format!("ns.cut{number} 60 A 192.0.2.4\n");
            text += &format!("c{number} 60 CNAME missing{number}\n");
        }
        let text: &'static str = Box::leak(text.into_boxed_str());
        let texts: &'static [_] = Box::leak(vec![("x.zone", text)].into_boxed_slice());
        let origin = Some("example.".parse().unwrap());
        let library = Library::Embedded(texts);
        let loaded = super::super::load(library, "x.zone".as_ref(), origin).unwrap();
        let zone = loaded.zone.unwrap();
        assert_eq!(canonical::records(&zone).len(), 5 + 5 * count);
        let lines: Vec<usize> = loaded.faults.iter().map(|fault| fault.line).collect();
        let expected: Vec<usize> = (0..count).map(|number| 10 + 5 * number).collect();
        assert_eq!(lines, expected);
        for number in 0..count {
            for (name, types) in [("a", 1), ("cut", 1), ("c", 1), ("*.w", 1), ("w", 0)] {
                let name = format!("{name}{number}.example").parse().unwrap();
                let name = LookupName::of(&name);
                let node = zone.nodes().find(|node| node.name() == name.suffix(0));
                assert_eq!(node.map(|node| node.all_sets().count()), Some(types));
            }
        }
    }

    #[test]
    fn every_name_once_and_in_order() {
        for names in [0, 1, PIECE, PIECE + 1, MANY - 1, MANY, 3 * MANY + 7] {
            let mut seen = Vec::new();
            in_turn(
                names,
                |piece| ids(piece).collect::<Vec<_>>(),
                |ids| seen.extend(ids),
            );
            let expected: Vec<_> = ids(0..names).collect();
            assert_eq!(seen, expected);
        }
    }
}
