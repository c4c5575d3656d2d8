//! `shardns check`: what would be served, and what is wrong with it.

use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use anyhow::bail;

use super::Silent;
use super::sources::{ConfigFile, ZoneArguments, plural, untold};
use crate::lab::figure::grouped;
use crate::zone::load::{LoadError, Loaded};
use crate::zone::records::Severity;
use crate::zone::told::Told;
use crate::zone::{Scrutiny, Verified};

/// The arguments of `shardns check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    #[command(flatten)]
    zones: ZoneArguments,
    #[command(flatten)]
    _config: ConfigFile,
    /// Print the records as well, one a line: names completed, owners in lower case
    #[arg(long)]
    print: bool,
    /// Print nothing at all; the exit code says whether all is well
    #[arg(short, long, conflicts_with = "print")]
    quiet: bool,
    /// Take warnings for errors: exit 1 if there is one
    #[arg(long)]
    strict: bool,
    /// Verify every signature of signed zones, on all CPUs, and take for an error what a
    /// resolver that validates would refuse: a wrong, missing or expired signature, a
    /// proof that is wrong
    #[arg(long)]
    dnssec: bool,
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
        let mut found = Found::default();
        let mut told = Told::nothing(self.zones.all);
        let scrutiny = self.scrutiny();
        for source in self.zones.find()? {
            let mut print = |line: &str| drop(writeln!(out, "{line}"));
            let loaded = match self.print {
                true => source.load_and_print(scrutiny, &mut print),
                false => source.load_under(scrutiny),
            };
            found.files += 1;
            match loaded {
                Ok(loaded) => {
                    let count = count(&loaded);
                    report(out, &loaded, count, &mut told)?;
                    found.add(&loaded, count, out)?;
                }
                // The other files still have something to say.
                Err(error) => {
                    writeln!(out, "{error}")?;
                    found.bad += 1;
                    found.count.errors += 1;
                }
            }
        }
        if let Some(words) = untold(&told) {
            writeln!(out, "{words}")?;
        }
        out.flush()?;
        self.conclude(&found)
    }

    fn scrutiny(&self) -> Scrutiny {
        let cpus = || thread::available_parallelism().map_or(1, NonZero::get);
        Scrutiny {
            verifiers: if self.dnssec { cpus() } else { 0 },
            ..Scrutiny::now()
        }
    }

    fn conclude(&self, found: &Found) -> anyhow::Result<()> {
        let Count { errors, warnings } = found.count;
        if errors > 0 {
            let (bad, files) = (found.bad, found.files);
            let or_validated = if self.dnssec { " or validated" } else { "" };
            bail!(
                "{errors} {}; {bad} of {files} {} cannot be served{or_validated}",
                plural(errors, "error"),
                plural(files, "zone")
            );
        }
        if self.strict && warnings > 0 {
            let word = plural(warnings, "warning");
            bail!("{warnings} {word}, which --strict takes for errors");
        }
        Ok(())
    }
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    files: usize,
    bad: usize,
    count: Count,
    /// The file of each zone, by the zone's name in lower case.
    owners: HashMap<Vec<u8>, PathBuf>,
}

impl Found {
    /// A name belongs to the file that comes first.
    fn add(&mut self, loaded: &Loaded, count: Count, out: &mut impl Write) -> io::Result<()> {
        self.count.errors += count.errors;
        self.count.warnings += count.warnings;
        let Some(zone) = &loaded.zone else {
            self.bad += 1;
            return Ok(());
        };
        let (name, second) = (zone.lookup_name().suffix(0), loaded.path.clone());
        let Some(first) = self.owners.get(name).cloned() else {
            self.owners.insert(name.to_vec(), second);
            return Ok(());
        };
        self.bad += 1;
        self.count.errors += 1;
        let apex = Box::new(*zone.apex());
        let twice = LoadError::Twice {
            first,
            second,
            apex,
        };
        writeln!(out, "{twice}")
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
fn report(out: &mut impl Write, loaded: &Loaded, count: Count, told: &mut Told) -> io::Result<()> {
    told.tell(&loaded.faults, |text| writeln!(out, "{text}"))?;
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
    writeln!(out)?;
    match &loaded.verified {
        Some(verified) => writeln!(out, "{path}: {}", verdict(verified)),
        None => Ok(()),
    }
}

/// What came of a zone's signatures, in one line.
fn verdict(verified: &Verified) -> String {
    let Verified {
        right, wrong, keys, ..
    } = verified;
    if *right + *wrong + verified.keyless == 0 && verified.unverified.is_empty() {
        return "no signatures".into();
    }
    let count = right + wrong;
    let mut line = format!(
        "{} {} of {keys} {} verified in {:.1} s: {} wrong",
        thousands(count),
        plural(count, "signature"),
        plural(*keys, "key"),
        verified.took.as_secs_f64(),
        thousands(*wrong)
    );
    if verified.keyless > 0 {
        line += &format!(
            ", {} by keys that are not there",
            thousands(verified.keyless)
        );
    }
    for (what, count) in &verified.unverified {
        line += &format!(", {} not verified: {what}", thousands(*count));
    }
    line
}

/// A number with commas between thousands.
fn thousands(number: usize) -> String {
    grouped(&number.to_string())
}
