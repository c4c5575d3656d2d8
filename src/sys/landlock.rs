//! Landlock: what the threads of this process may still open, make and connect
//! to. Descriptors that are open keep working.

use std::path::PathBuf;
use std::sync::OnceLock;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictSelfAttr, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    Scope, make_bitflags,
};

/// The newest version whose restrictions were tried with this server: files, TCP,
/// and signals and abstract sockets beyond the process (Linux 6.12).
const NEWEST: ABI = ABI::V6;

/// What is left to a process. All that is not named is refused.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Files, and folders with all beneath them, that may be read.
    pub read: Vec<PathBuf>,
    /// Folders in which files and sockets may be made, written, renamed and
    /// removed.
    pub write: Vec<PathBuf>,
}

/// How far the kernel holds the process to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// In everything.
    Whole,
    /// In files, not in TCP, or not in signals, or not in truncating files.
    OlderVersion(i32),
    /// The kernel has no Landlock.
    Missing,
    /// It has, and it was not switched on when the machine started.
    SwitchedOff,
}

/// Its own entry in /proc, from which backtraces and counts of CPU time are read.
/// The kernel ties a rule to a file that it may forget and make again; one that is
/// open it keeps.
static OWN_PROCESS: OnceLock<PathFd> = OnceLock::new();

/// Restricts the calling thread and those that it starts; on new kernels (7.0)
/// those that run already, too. Paths that are not there are left out.
///
/// # Errors
///
/// What the kernel says.
pub fn restrict(allowed: &Allowed) -> Result<Extent, RulesetError> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let write =
        read | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | MakeSock | RemoveFile});
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    if let Ok(own) = PathFd::new("/proc/self") {
        rules = rules.add_rule(PathBeneath::new(OWN_PROCESS.get_or_init(|| own), read))?;
    }
    for (paths, access) in [(&allowed.read, read), (&allowed.write, write)] {
        for path in paths {
            let Ok(opened) = PathFd::new(path) else {
                continue;
            };
            rules = rules.add_rule(PathBeneath::new(opened, fitting(access, path.is_dir())))?;
        }
    }
    let status = rules.all_threads(true)?.restrict_self()?;
    Ok(match status.landlock {
        LandlockStatus::NotImplemented => Extent::Missing,
        LandlockStatus::NotEnabled => Extent::SwitchedOff,
        LandlockStatus::Available { effective_abi, .. } if effective_abi < NEWEST => {
            Extent::OlderVersion(effective_abi as i32)
        }
        LandlockStatus::Available { .. } => Extent::Whole,
    })
}

/// Rules on a file may not speak of what only folders have.
fn fitting(access: BitFlags<AccessFs>, folder: bool) -> BitFlags<AccessFs> {
    if folder {
        access
    } else {
        access & AccessFs::from_file(NEWEST)
    }
}
