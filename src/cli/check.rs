//! `shardns check`: what would be served, and what is wrong with it.

use std::io::{self, BufWriter, Write};

use anyhow::bail;

use super::sources::{self, Read, plural};
use crate::zone::text::fault::Severity;

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
        for source in sources::find(&self.zones)? {
            match sources::read(&source) {
                Ok(read) => {
                    if self.print {
                        sources::print(&source, |line| drop(writeln!(out, "{line}")))?;
                    }
                    errors += report(&mut out, &read)?;
                    all.push(read);
                }
                // The other files still have something to say.
                Err(error) => {
                    writeln!(out, "{error:#}")?;
                    unread += 1;
                }
            }
        }
        let assembled = sources::assemble(&all).map(drop);
        if errors + unread == 0 {
            out.flush()?;
            return assembled;
        }
        if let Err(error) = assembled {
            writeln!(out, "{error:#}")?;
            errors += 1;
        }
        out.flush()?;
        let bad = all.iter().filter(|read| read.zone.is_none()).count() + unread;
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
fn report(out: &mut impl Write, read: &Read) -> io::Result<usize> {
    for fault in &read.faults {
        writeln!(out, "{fault}")?;
    }
    let errors = read
        .faults
        .iter()
        .filter(|fault| fault.severity == Severity::Error)
        .count();
    let warnings = read.faults.len() - errors;
    let path = read.path.display();
    match &read.zone {
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
