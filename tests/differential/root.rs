//! A root zone, signed with a key made for the purpose, asked for every name in it and
//! for as many that are not.

use std::path::Path;

use shardns::wire::{Name, RrType};
use shardns::zone::text::{self, Library};

use super::exchange::{Edns, Question};
use super::generate::{Denial, Hashing, Keys, Signer, ZoneText};
use super::questions::Subject;
use super::references::Served;
use super::support::running::skip;
use super::world::{self, World, Zone};
use super::{Tally, say, sign};

/// Questions in flight are known by their ids.
const AT_ONCE: usize = 10_000;
/// Mistakes that are shown.
const SHOWN: usize = 10;

/// The zone without what its own signer added.
fn unsigned(path: &Path) -> Vec<String> {
    let records = text::read(Library::Disk, path, Some(Name::ROOT))
        .unwrap()
        .records;
    let signers = [RrType::RRSIG, RrType::NSEC, RrType::DNSKEY];
    let own = records
        .list
        .iter()
        .filter(|record| !signers.contains(&record.rtype));
    own.map(|record| text::line(&records, record)).collect()
}

/// For a name: what it has, an address, the DS set, and the same beside it.
fn questions(subject: &Subject) -> Vec<Question> {
    let types = [RrType::A, RrType::DS, RrType::NS, RrType::TXT];
    let names = subject.names();
    let each = names.iter().enumerate().flat_map(|(n, name)| {
        // A name that sorts right behind, at every level that names have.
        let mut wire = name.as_wire().to_vec();
        let label = usize::from(wire[0]);
        if label == 0 || label == 63 {
            wire.splice(0..0, *b"\x02zz");
        } else {
            wire[0] += 1;
            wire.insert(1 + label, b'-');
        }
        let beside = Name::from_wire(&wire).unwrap_or(*name);
        let rtype = types[n % types.len()];
        [
            (*name, RrType::A),
            (*name, rtype),
            (*name, RrType::NSEC),
            (beside, rtype),
            (beside, RrType::A),
        ]
    });
    each.enumerate()
        .map(|(n, (name, rtype))| Question {
            name,
            rtype,
            flags: 0,
            edns: Some(Edns {
                size: 1232,
                signed: n % 8 != 0,
                ..Edns::default()
            }),
            tcp: n % 32 == 0,
        })
        .collect()
}

#[test]
#[ignore = "it needs a root zone"]
fn the_root_zone_signed_is_answered_as_others_do() {
    let Some(path) = std::env::var_os("DIFFERENTIAL_ROOT") else {
        skip("DIFFERENTIAL_ROOT names no root zone");
        return;
    };
    let Some(references) = world::installed() else {
        return;
    };
    for denial in [Denial::Nsec, Denial::OptOut] {
        let text = ZoneText {
            denial,
            signer: Signer::Bind,
            keys: Keys::One,
            hashing: Hashing::default(),
            needed: Vec::new(),
            records: unsigned(Path::new(&path)),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = sign::write(&text, ".", &folder.path().join("root")).unwrap();
        let zone = Zone {
            text,
            subject: Subject::read(&path, Name::ROOT).unwrap(),
            served: Served {
                origin: ".".into(),
                path,
            },
        };
        let world = World::serve(&references, vec![zone], folder).unwrap();
        let zone = &world.zones[0];
        let mut tally = Tally::default();
        for questions in questions(&zone.subject).chunks(AT_ONCE) {
            for (question, compared) in questions.iter().zip(world.ask(zone, questions)) {
                let compared = compared.unwrap_or_else(|error| panic!("{question}: {error}"));
                tally.note(&compared);
                if !compared.unexplained().is_empty() && tally.unexplained <= SHOWN {
                    say(&format!("{question}\n{compared}"));
                }
            }
        }
        say(&format!("the root zone, {denial:?}: {tally}"));
        assert_eq!(tally.unexplained, 0, "differences that nothing explains");
    }
}
