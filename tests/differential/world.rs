//! Zones, all servers with them, and what these say to questions.

use std::path::{Path, PathBuf};

use super::compare::{Compared, Part, compare};
use super::exchange::Question;
use super::explain::{explain_code, explain_left_out, explain_length};
use super::generate::ZoneText;
use super::questions::Subject;
use super::references::{Reference, Served, Servers};
use super::sign;
use super::support::running::skip;

/// Parts that depend on the room there is, and what may be said of them.
type Length = fn(&Compared, &Compared, &Question) -> Option<&'static str>;
const LENGTHS: [(Part, Length); 3] = [
    (Part::Header, explain_code),
    (Part::Truncated, explain_length),
    (Part::Additional, explain_left_out),
];

/// A zone, where it is served, and what can be asked of it.
pub struct Zone {
    pub text: ZoneText,
    pub served: Served,
    pub subject: Subject,
}

/// Servers that have the same zones. Their files are gone when they are.
pub struct World {
    pub zones: Vec<Zone>,
    pub servers: Servers,
    _folder: tempfile::TempDir,
}

/// The references that are installed, two at least: one has nobody to agree with. What
/// is missing is said.
pub fn installed() -> Option<Vec<(Reference, PathBuf)>> {
    let mut found = Vec::new();
    for reference in Reference::ALL {
        match reference.find() {
            Some(path) => found.push((reference, path)),
            None => skip(&format!("{} is not installed", reference.program())),
        }
    }
    let signers = ["dnssec-signzone", "ldns-signzone", "kzonesign", "keymgr"];
    let missing = signers.iter().find(|signer| !sign::is_installed(signer));
    if let Some(missing) = missing {
        skip(&format!("{missing} is not installed"));
    }
    (found.len() >= 2 && missing.is_none()).then_some(found)
}

impl World {
    /// Signs and serves zones, each given by its origin.
    pub fn start(
        references: &[(Reference, PathBuf)],
        texts: &[(String, ZoneText)],
    ) -> Result<World, String> {
        let folder = tempfile::tempdir().unwrap();
        let zones: Result<Vec<Zone>, String> = write(texts, &folder.path().join("zones"))
            .into_iter()
            .collect();
        World::serve(references, zones?, folder)
    }

    /// The same without the zones that cannot be signed.
    pub fn start_possible(
        references: &[(Reference, PathBuf)],
        texts: &[(String, ZoneText)],
    ) -> Result<World, String> {
        let folder = tempfile::tempdir().unwrap();
        let zones = write(texts, &folder.path().join("zones"));
        World::serve(references, zones.into_iter().flatten().collect(), folder)
    }

    pub fn serve(
        references: &[(Reference, PathBuf)],
        zones: Vec<Zone>,
        folder: tempfile::TempDir,
    ) -> Result<World, String> {
        let served: Vec<&Served> = zones.iter().map(|zone| &zone.served).collect();
        let servers = Servers::start(references, &served, &folder.path().join("servers"))?;
        Ok(World {
            zones,
            servers,
            _folder: folder,
        })
    }

    /// What comes of questions for one of the zones.
    pub fn ask(&self, zone: &Zone, questions: &[Question]) -> Vec<Result<Compared, String>> {
        let mut all = self.ask_once(zone, questions);
        for (question, compared) in questions.iter().zip(&mut all) {
            let Ok(compared) = compared else { continue };
            for (part, explain) in LENGTHS {
                if !compared.unexplained().contains(&part) {
                    continue;
                }
                let question_by_tcp = Question {
                    tcp: true,
                    ..*question
                };
                let whole = self.ask_once(zone, &[question_by_tcp]).remove(0);
                let whole = whole.ok();
                let reason = whole.and_then(|whole| explain(compared, &whole, question));
                compared.set_reason(part, reason);
            }
        }
        all
    }

    fn ask_once(&self, zone: &Zone, questions: &[Question]) -> Vec<Result<Compared, String>> {
        let replies = self.servers.ask(questions);
        let (own, others) = replies.split_first().unwrap();
        let each = questions.iter().enumerate().map(|(n, question)| {
            let running = self.servers.references.iter().zip(others);
            let others: Vec<_> = running
                .map(|(running, replies)| (running.reference, replies[n].as_deref()))
                .collect();
            let subject = self.subject(zone, question);
            compare(question, subject, own[n].as_deref(), &others)
        });
        each.collect()
    }

    /// Of the zone and its children the one that the name is in.
    fn subject<'w>(&'w self, zone: &'w Zone, question: &Question) -> &'w Subject {
        let subjects = self.zones.iter().map(|zone| &zone.subject);
        let above = subjects.filter(|subject| subject.encloses(&question.name));
        above
            .max_by_key(|subject| subject.depth())
            .unwrap_or(&zone.subject)
    }
}

/// Writes zones as files, two at a time.
fn write(texts: &[(String, ZoneText)], folder: &Path) -> Vec<Result<Zone, String>> {
    let half = texts.len().div_ceil(2).max(1);
    let write_one = |(origin, text): &(String, ZoneText)| {
        let written = sign::write(text, origin, &folder.join(origin));
        let path = written.map_err(|error| format!("{error}\n{}", text.text(origin)))?;
        Ok(Zone {
            text: text.clone(),
            subject: Subject::read(&path, origin.parse().unwrap())?,
            served: Served {
                origin: origin.clone(),
                path,
            },
        })
    };
    std::thread::scope(|scope| {
        let write_all = |texts: &[(String, ZoneText)]| texts.iter().map(write_one).collect();
        let writing = texts.chunks(half);
        let writing: Vec<_> = writing
            .map(|texts| scope.spawn(move || write_all(texts)))
            .collect();
        let written = writing.into_iter().map(|written| written.join().unwrap());
        written.flat_map(|written: Vec<_>| written).collect()
    })
}
