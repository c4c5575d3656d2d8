//! Zones for the commands that serve or ask: loaded, and their faults told to
//! whoever started the program.

use anyhow::bail;

use super::tell;
use crate::zone::Zones;
use crate::zone::load::{assemble, find};
use crate::zone::records::Severity;

/// The help text of `ZONE` arguments.
pub const HELP: &str = "A master file, ORIGIN=FILE (`.=FILE` for the root), \
    or a folder whose *.zone files are read [default: the folder zones/ if there is one, else the \
    demo]";

/// Reads the zones that the arguments stand for, prints their faults to
/// stderr, and makes one set of them.
///
/// # Errors
///
/// Anything that makes a zone unfit to be served.
pub fn load(arguments: &[String]) -> anyhow::Result<Zones> {
    let mut all = Vec::new();
    let mut errors = 0;
    for source in find(arguments)? {
        let loaded = source.load()?;
        for fault in &loaded.faults {
            tell(format_args!("{fault}\n"));
            errors += usize::from(fault.severity == Severity::Error);
        }
        all.push(loaded);
    }
    if errors > 0 {
        bail!(
            "{errors} {} in the zones; nothing is served until they are mended",
            plural(errors, "error")
        );
    }
    Ok(assemble(&all)?)
}

/// `word`, or its plural where there are not one of them.
pub fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.into()
    } else {
        format!("{word}s")
    }
}
