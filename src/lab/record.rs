//! What an experiment found, as it is written to a file and read again.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figure::{Named, NamedWords};
use super::place::{Machine, Surroundings};
use super::result::{ExperimentResult, Finding, Row};
use super::{Conditions, Experiment};

/// The form of the files; it grows by one with each change after which an older
/// reader would misread them. README describes the fields.
pub const SCHEMA: u64 = 2;

/// A file's content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// `SCHEMA`.
    pub schema: u64,
    /// The experiment's name.
    pub experiment: String,
    /// What it asks.
    pub question: String,
    /// What it found.
    pub finding: Finding,
    /// Where and when.
    pub place: Machine,
    /// What the figures depend on beside the machine.
    pub surroundings: Surroundings,
    /// What was chosen on the command line.
    pub conditions: Conditions,
    /// What the figure is drawn from: each round's, by name.
    pub samples: Vec<Named>,
    /// What the cells of a figure of words say, by name.
    pub words: Vec<NamedWords>,
    /// The source's card and its settings, where the sockets were on another
    /// host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Value>,
    /// That host: its address, its `place`, and the card that leads to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<Value>,
    /// All that was measured, with the same names in every row.
    pub rows: Vec<Row>,
}

impl Record {
    /// A record of what was just found.
    pub fn new(
        experiment: &Experiment,
        outcome: &ExperimentResult,
        conditions: &Conditions,
        (place, surroundings): (&Machine, &Surroundings),
    ) -> Record {
        Record {
            schema: SCHEMA,
            experiment: experiment.name.into(),
            question: experiment.question.into(),
            finding: outcome.finding.clone(),
            place: place.clone(),
            surroundings: surroundings.clone(),
            conditions: conditions.clone(),
            samples: outcome.figure.samples(),
            words: outcome.figure.words(),
            card: None,
            far: None,
            rows: outcome.rows.clone(),
        }
    }

    /// Reads one from a folder; `None` where the folder has none of this
    /// experiment.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or is of another form.
    pub fn find(folder: &Path, experiment: &Experiment) -> anyhow::Result<Option<Record>> {
        let path = folder.join(format!("{}.json", experiment.name));
        let name = path.display();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {name}"))?,
        };
        Record::read(&text)
            .map(Some)
            .with_context(|| format!("cannot use {name}"))
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// What is not JSON, and what is of another form.
    pub fn read(text: &str) -> anyhow::Result<Record> {
        /// What all forms have in common; the first one did not number itself.
        #[derive(Deserialize)]
        struct Form {
            #[serde(default = "first")]
            schema: u64,
        }
        fn first() -> u64 {
            1
        }
        let Form { schema } = serde_json::from_str(text).context("this is not a record")?;
        if schema != SCHEMA {
            bail!(
                "this is a record of form {schema} and not {SCHEMA}: measure again with this \
                    version, or compare with the one that wrote it"
            );
        }
        serde_json::from_str(text).context("this is not a whole record")
    }
}
