//! Replies -> what they say, in a form that is the same for replies that say the same;
//! and where this server says something else than two references.

use std::collections::BTreeMap;
use std::fmt;

use super::exchange::Question;
use super::explain::explain;
use super::questions::Subject;
use super::references::Reference;
use super::support::decode::{self, Record};

/// What is compared by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Response code, its upper bits from the OPT record, and AA.
    Header,
    /// The other flags: RD, RA, AD, CD and the one without a meaning.
    Flags,
    /// Whether there is an OPT record, and what it says beside the response code.
    Edns,
    Truncated,
    Answer,
    Authority,
    Additional,
}

pub const PARTS: [Part; 7] = [
    Part::Header,
    Part::Flags,
    Part::Edns,
    Part::Truncated,
    Part::Answer,
    Part::Authority,
    Part::Additional,
];

/// A reply as it is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    pub rcode: u16,
    pub is_authoritative: bool,
    pub is_truncated: bool,
    /// RD, RA, Z, AD and CD.
    pub flags: u16,
    /// Version, flags and options of the OPT record.
    pub edns: Option<(u8, u16, Vec<u16>)>,
    /// Lines in lower case, sorted.
    pub sections: [Vec<String>; 3],
    /// The whole message's octets.
    pub octets: usize,
}

impl View {
    pub fn of(reply: Option<&[u8]>) -> Result<View, String> {
        let reply = reply.ok_or("silence")?;
        let message = decode::decode(reply)?;
        let sections = message.sections.each_ref().map(|records| {
            let lines = records
                .iter()
                .map(|record| Record::line(record).to_lowercase());
            let mut lines: Vec<String> = lines.collect();
            lines.sort();
            lines
        });
        Ok(View {
            rcode: message.rcode(),
            is_authoritative: message.flags & 0x400 != 0,
            is_truncated: message.flags & 0x200 != 0,
            flags: message.flags & 0x1f0,
            edns: message.opt.map(|opt| {
                let options = opt.options.iter().map(|(code, _)| *code);
                (opt.version, opt.flags, options.collect())
            }),
            sections,
            octets: reply.len(),
        })
    }

    /// The part in one text.
    fn part(&self, part: Part) -> String {
        match part {
            Part::Header => format!("rcode {} aa {}", self.rcode, self.is_authoritative),
            Part::Flags => self.flags(),
            Part::Edns => self.edns(),
            Part::Truncated => format!("tc {}", self.is_truncated),
            Part::Answer => self.sections[0].join("\n"),
            Part::Authority => self.sections[1].join("\n"),
            Part::Additional => self.sections[2].join("\n"),
        }
    }

    fn flags(&self) -> String {
        let names = ["rd", "ra", "z", "ad", "cd"].iter().enumerate();
        let set = names.filter(|(n, _)| self.flags & 0x100 >> n != 0);
        let set: Vec<&str> = set.map(|(_, name)| *name).collect();
        format!("flags [{}]", set.join(" "))
    }

    fn edns(&self) -> String {
        self.edns.as_ref().map_or_else(
            || "no opt".into(),
            |(version, flags, options)| {
                format!("opt version {version} flags {flags:04x} options {options:?}")
            },
        )
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rcode, aa, tc) = (self.rcode, self.is_authoritative, self.is_truncated);
        let (flags, edns) = (self.flags(), self.edns());
        writeln!(f, "  rcode {rcode} aa {aa} tc {tc} octets {}", self.octets)?;
        writeln!(f, "  {flags} {edns}")?;
        for (name, section) in ["answer", "authority", "additional"]
            .iter()
            .zip(&self.sections)
        {
            writeln!(f, "  {name}")?;
            section
                .iter()
                .try_for_each(|line| writeln!(f, "    {line}"))?;
        }
        Ok(())
    }
}

/// What came of one question.
pub struct Compared {
    pub own: View,
    pub references: Vec<(Reference, View)>,
    /// References that do not reply, or with what cannot be read: these have no vote.
    pub silent: Vec<Reference>,
    /// Parts on which no two references agree.
    pub undecided: Vec<Part>,
    /// Parts where at least two agree and this server does not.
    pub differing: Vec<(Part, Option<&'static str>)>,
}

/// Compares the replies to one question, this server's first.
pub fn compare(
    question: &Question,
    subject: &Subject,
    own: Option<&[u8]>,
    references: &[(Reference, Option<&[u8]>)],
) -> Result<Compared, String> {
    let own = View::of(own).map_err(|error| format!("this server: {error}"))?;
    let mut compared = Compared {
        own,
        references: Vec::new(),
        silent: Vec::new(),
        undecided: Vec::new(),
        differing: Vec::new(),
    };
    for (reference, reply) in references {
        match View::of(*reply) {
            Ok(view) => compared.references.push((*reference, view)),
            Err(_) => compared.silent.push(*reference),
        }
    }
    for part in PARTS {
        match compared.majority(part) {
            _ if part > Part::Truncated && compared.own.is_truncated => {}
            None => compared.undecided.push(part),
            Some(view) if view.part(part) == compared.own.part(part) => {}
            Some(view) => {
                let view = view.clone();
                let why = explain(question, part, &view, &compared, subject);
                compared.differing.push((part, why));
            }
        }
    }
    Ok(compared)
}

impl Compared {
    /// One of those references that agree on a part. What is cut off says nothing of
    /// sections.
    pub fn majority(&self, part: Part) -> Option<&View> {
        let voters = self.references.iter().map(|(_, view)| view);
        let voters = voters.filter(|view| part <= Part::Truncated || !view.is_truncated);
        let mut groups: BTreeMap<String, Vec<&View>> = BTreeMap::new();
        for view in voters {
            groups.entry(view.part(part)).or_default().push(view);
        }
        groups
            .into_values()
            .find(|views| views.len() >= 2)
            .map(|views| views[0])
    }

    /// Says why one of the parts differs.
    pub fn set_reason(&mut self, part: Part, reason: Option<&'static str>) {
        let differing = self.differing.iter_mut();
        for (_, why) in differing.filter(|(differing, _)| *differing == part) {
            *why = reason;
        }
    }

    /// The parts that nothing explains.
    pub fn unexplained(&self) -> Vec<Part> {
        let unexplained = self.differing.iter().filter(|(_, why)| why.is_none());
        unexplained.map(|(part, _)| *part).collect()
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, " this server\n{}", self.own)?;
        for (reference, view) in &self.references {
            write!(f, " {reference:?}\n{view}")?;
        }
        Ok(())
    }
}
