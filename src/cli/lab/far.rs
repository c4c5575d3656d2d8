//! `shardns lab NAME --to`: an experiment whose sockets are on another host, and what
//! its result says of both.

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::lab::record::Record;
use crate::lab::remote::{EXPERIMENTS, Far, Token};
use crate::lab::result::Row;
use crate::lab::{Experiment, Lab};

/// Where the sockets are to be.
#[derive(Debug, clap::Args)]
pub struct FarArguments {
    /// Send from here to sockets on another host, where `shardns lab answer` runs
    #[arg(long, value_name = "ADDR:PORT")]
    to: Option<SocketAddr>,
    /// What `shardns lab answer` wants to hear
    #[arg(
        long,
        value_name = "TOKEN",
        env = "SHARDNS_LAB_TOKEN",
        hide_env_values = true
    )]
    token: Option<Unread>,
}

/// What may be a token, which matters only where one is needed: the environment may
/// have it for other commands. Not for a log by accident.
#[derive(Clone)]
struct Unread(OsString);

impl From<OsString> for Unread {
    fn from(text: OsString) -> Unread {
        Unread(text)
    }
}

impl fmt::Debug for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unread")
    }
}

impl Unread {
    fn parse(&self) -> anyhow::Result<Token> {
        let text = self.0.to_string_lossy();
        let parsed = text.parse().map_err(anyhow::Error::msg);
        parsed.context("neither --token nor SHARDNS_LAB_TOKEN has what --to needs")
    }
}

impl FarArguments {
    /// Whether the experiment can be run this way.
    pub fn check(&self, experiment: &Experiment) -> anyhow::Result<()> {
        if self.to.is_some() && !EXPERIMENTS.contains(&experiment.name) {
            bail!(
                "--to is for {}; {} is about what one machine does alone",
                EXPERIMENTS.join(", "),
                experiment.name
            );
        }
        Ok(())
    }

    /// All of them cannot.
    pub fn refuse_for_all(&self) -> anyhow::Result<()> {
        if self.to.is_some() {
            bail!("--to is for one experiment of {}", EXPERIMENTS.join(", "));
        }
        Ok(())
    }

    /// The laboratory with its sockets where they are to be.
    pub fn reach(&self, lab: Lab) -> anyhow::Result<Lab> {
        let Some(address) = self.to else {
            return Ok(lab);
        };
        let token = self.token.as_ref().context(
            "--to needs the token that `shardns lab answer` printed: --token TOKEN, or \
                SHARDNS_LAB_TOKEN in the environment, which other users do not see",
        )?;
        Ok(lab.with_far(Far::reach(address, &token.parse()?)?))
    }
}

/// Says what is between the two hosts, and how it is set.
pub fn introduce(lab: &Lab) -> anyhow::Result<()> {
    let Some(far) = lab.far() else {
        return Ok(());
    };
    super::say(&super::for_people(&format!(
        "The sockets, and the threads that serve them, are at {}: where the method says \
            loopback, the way there is meant.\n",
        far.address().ip()
    )))?;
    for (end, card) in ["The source's card", "The sockets' card"]
        .iter()
        .zip(far.cards())
    {
        super::say(&format!("{}\n", card.show(end)))?;
    }
    Ok(())
}

/// Adds to a record where the sockets were; its `place` is where the source was.
pub fn add_to_record(lab: &Lab, record: &mut Record) {
    if let Some(far) = lab.far() {
        let [own, other] = far.cards();
        record.card = Some(json!(own));
        record.far = Some(json!({
            "address": far.address(),
            "place": far.machine(),
            "card": other,
        }));
    }
}

/// Adds to each row where the sockets were, for a table without a head.
pub fn add_to_rows(lab: &Lab, rows: &mut [Row]) {
    let Some(Value::Object(machine)) = lab.far().map(|far| far.machine()) else {
        return;
    };
    for row in rows {
        let named = |(name, value): (&String, &Value)| (format!("far_{name}"), value.clone());
        row.extend(machine.iter().map(named));
    }
}
