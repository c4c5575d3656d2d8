//! `shardns check`: what would be served, and what is wrong with it.

use std::io::{self, BufWriter, Write};

use anyhow::bail;

use super::Silent;
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
    /// Print nothing at all; the exit code says whether all is well
    #[arg(short, long, conflicts_with = "print")]
    quiet: bool,
    /// Take warnings for errors: exit 1 if there is one
    #[arg(long)]
    strict: bool,
}

/// How many faults there are.
#[derive(Clone, Copy, Default)]
struct Count {
    errors: usize,
    warnings: usize,
}

impl Check {
    /// Reads all zones and prints what there is to say.
    ///
    /// # Errors
    ///
    /// At least one zone cannot be served, or has a warning and `--strict` was
    /// given.
    pub fn run(self) -> anyhow::Result<()> {
        if self.quiet {
            return self.check(&mut io::sink()).map_err(|_| Silent.into());
        }
        self.check(&mut BufWriter::new(io::stdout().lock()))
    }

    fn check(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut all = Vec::new();
        let (mut found, mut unread) = (Count::default(), 0);
        for source in load::find(&self.zones)? {
            match source.load() {
                Ok(loaded) => {
                    if self.print {
                        source.print(|line| drop(writeln!(out, "{line}")))?;
                    }
                    let count = count(&loaded);
                    report(out, &loaded, count)?;
                    found.errors += count.errors;
                    found.warnings += count.warnings;
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
        let mut errors = found.errors + unread;
        if errors == 0 {
            out.flush()?;
            assembled?;
            if self.strict && found.warnings > 0 {
                let warnings = plural(found.warnings, "warning");
                bail!(
                    "{} {warnings}, which --strict takes for errors",
                    found.warnings
                );
            }
            return Ok(());
        }
        if let Err(error) = assembled {
            writeln!(out, "{error}")?;
            errors += 1;
        }
        out.flush()?;
        let bad = all.iter().filter(|loaded| loaded.zone.is_none()).count() + unread;
        let zones = all.len() + unread;
        bail!(
            "{errors} {}; {bad} of {zones} {} cannot be served",
            plural(errors, "error"),
            plural(zones, "zone")
        );
    }
}

fn count(loaded: &Loaded) -> Count {
    let is_error = |severity| severity == Severity::Error;
    let severities = loaded.faults.iter().map(|fault| fault.severity);
    let errors = severities.filter(|severity| is_error(*severity)).count();
    Count {
        errors,
        warnings: loaded.faults.len() - errors,
    }
}

/// Prints faults and summary.
fn report(out: &mut impl Write, loaded: &Loaded, count: Count) -> io::Result<()> {
    for fault in &loaded.faults {
        writeln!(out, "{fault}")?;
    }
    let Count { errors, warnings } = count;
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
    writeln!(out)
}
