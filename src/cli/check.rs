//! `shardns check`: what would be served, and what is wrong with it.

use std::io::{self, BufWriter, Write};

use anyhow::bail;

use super::sources::{self, plural};
use crate::zone::load::{self, Loaded};
use crate::zone::records::Severity;

/// The arguments of `shardns check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[arg(value_name = "ZONE", help = sources::HELP)]
    zones: Vec<String>,
    /// Print the records as well, one a line, names completed and in lower case
    #[arg(long)]
    print: bool,
}

impl Check {
    /// Reads all zones and prints what there is to say.
    ///
    /// # Errors
    ///
    /// At least one zone cannot be served.
    pub fn run(self) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        let mut all = Vec::new();
        let (mut errors, mut unread) = (0, 0);
        for source in load::find(&self.zones)? {
            match source.load() {
                Ok(loaded) => {
                    if self.print {
                        source.print(|line| drop(writeln!(out, "{line}")))?;
                    }
                    errors += report(&mut out, &loaded)?;
                    all.push(loaded);
                }
                // The other files still have something to say.
                Err(error) => {
                    writeln!(out, "{error}")?;
                    unread += 1;
                }
            }
        }
        let assembled = load::assemble(&all).map(drop);
        if errors + unread == 0 {
            out.flush()?;
            return Ok(assembled?);
        }
        if let Err(error) = assembled {
            writeln!(out, "{error}")?;
            errors += 1;
        }
        out.flush()?;
        let bad = all.iter().filter(|loaded| loaded.zone.is_none()).count() + unread;
        let found = errors + unread;
        let zones = all.len() + unread;
        bail!(
            "{found} {}; {bad} of {zones} {} cannot be served",
            plural(found, "error"),
            plural(zones, "zone")
        );
    }
}

/// Prints faults and summary; returns the number of errors.
fn report(out: &mut impl Write, loaded: &Loaded) -> io::Result<usize> {
    for fault in &loaded.faults {
        writeln!(out, "{fault}")?;
    }
    let errors = loaded
        .faults
        .iter()
        .filter(|fault| fault.severity == Severity::Error)
        .count();
    let warnings = loaded.faults.len() - errors;
    let path = loaded.path.display();
    match &loaded.zone {
        Some(zone) => {
            let summary = zone.summary();
            write!(
                out,
                "{path}: {}: {} names, {} record sets, {} records, {} bytes",
                zone.apex(),
                summary.names,
                summary.record_sets,
                summary.records,
                summary.octets
            )?;
        }
        None => write!(out, "{path}: {errors} {}", plural(errors, "error"))?,
    }
    if warnings > 0 {
        write!(out, ", {warnings} {}", plural(warnings, "warning"))?;
    }
    writeln!(out)?;
    Ok(errors)
}
