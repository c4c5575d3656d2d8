//! What a server gives up when its sockets are bound: being root, every
//! capability, files that are not its own to read, system calls that it does not
//! use. What to give up is settled before anything is bound; it is given up
//! between binding and the start of the first thread, because part of it reaches
//! only threads that start afterwards.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::sys::landlock::{self, Allowed, Extent};
use crate::sys::seccomp;
use crate::sys::user::{self, User};

/// Who a server becomes that root starts without a word about it.
const DEFAULT: &str = "nobody";
/// Its number where no list has it (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65_534;

/// What is to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privileges {
    identity: Identity,
    sandbox: bool,
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Identity {
    /// Root stays root, as it was told to.
    KeepRoot,
    /// Whoever started the program; capabilities that came with it go.
    Keep,
    /// Root becomes this user.
    Become(User),
}

/// What is read and written while the server runs, beyond what is open already.
#[derive(Clone, Debug, Default)]
pub struct Paths {
    /// Files that a reload reads again, and folders with zones. Of a file, all that
    /// lies in its folder stays readable, so that one that takes its place is too.
    pub read: Vec<PathBuf>,
    /// Folders, or sockets and files in them, that are made anew or removed, such
    /// as the control socket.
    pub write: Vec<PathBuf>,
}

/// Why privileges cannot be given up as they were to be.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user `{0}`; `getent passwd` lists them (--user takes a name or a number)")]
    NoUser(String),
    /// The user database cannot be asked.
    #[error("cannot look up the user `{name}`: {error}")]
    LookUp {
        /// The user.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// Only root can become somebody else.
    #[error(
        "only root can become another user; start the program as root, or as `{wanted}` (it runs \
            as `{own}`)"
    )]
    NotRoot {
        /// Who was asked for.
        wanted: String,
        /// Who the process is.
        own: String,
    },
    /// The kernel refuses, as in a container that keeps root from changing users.
    #[error(
        "cannot become the user `{name}`: {error}; --user root stays root, if that is all there is"
    )]
    Become {
        /// The user.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Something else that is never refused.
    #[error("cannot give up {what}: {error}")]
    GiveUp {
        /// What.
        what: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
}

impl Privileges {
    /// Settles what is to be given up: `user` is a name or a number, as given with
    /// `--user`; `sandbox` whether files and system calls are among it. Users are
    /// looked up here, while everything can still be read.
    ///
    /// # Errors
    ///
    /// A user that is not there, or that the process may not become.
    pub fn resolve(user: Option<&str>, sandbox: bool) -> Result<Privileges, PrivilegeError> {
        let own = user::effective();
        let wanted = user.map(find).transpose()?;
        let mut notes = Vec::new();
        let identity = match (own, wanted) {
            (0, Some(user)) if user.uid == 0 => Identity::KeepRoot,
            (0, Some(user)) => Identity::Become(user),
            (0, None) => {
                let user = nobody()?;
                notes.push(format!(
                    "started as root, it goes on as the user {}; --user takes another, \
                        --user root none",
                    user.name
                ));
                Identity::Become(user)
            }
            (own, Some(user)) if user.uid != own => {
                let (wanted, own) = (user.name, numbered(own)?.name);
                return Err(PrivilegeError::NotRoot { wanted, own });
            }
            (_, _) => Identity::Keep,
        };
        Ok(Privileges {
            identity,
            sandbox,
            notes,
        })
    }

    /// The user that the server goes on as.
    pub fn user(&self) -> String {
        match &self.identity {
            Identity::Become(user) => user.name.clone(),
            Identity::KeepRoot | Identity::Keep => own_name(),
        }
    }

    /// Does something as that user, while the server is still who started it.
    ///
    /// # Errors
    ///
    /// What the kernel says to that.
    pub fn act<T: Send>(&self, act: impl FnOnce() -> T + Send) -> io::Result<T> {
        match &self.identity {
            Identity::Become(user) => user::act_as(user, act),
            Identity::KeepRoot | Identity::Keep => Ok(act()),
        }
    }

    /// Gives everything up, for good, and returns what there is to say about it, a
    /// sentence each. To be called when all sockets are bound, the control socket
    /// and the service manager's too, and before any thread is started.
    ///
    /// # Errors
    ///
    /// Where the user cannot be changed or capabilities stay. The process must not
    /// go on then. What a kernel lacks of the rest is told in a note.
    pub fn drop(self, paths: &Paths) -> Result<Vec<String>, PrivilegeError> {
        let mut notes = self.notes;
        if self.identity != Identity::KeepRoot {
            // Where the thread may not, what it would execute gets none of them
            // because of `set_no_new_privileges`.
            user::bound_capabilities();
        }
        if let Identity::Become(user) = &self.identity {
            user::become_user(user).map_err(|error| PrivilegeError::Become {
                name: user.name.clone(),
                error,
            })?;
            give_up("being looked into", user::set_undumpable())?;
        }
        if self.identity != Identity::KeepRoot {
            give_up("capabilities", user::drop_capabilities())?;
        }
        let privileges = "privileges of what it executes";
        give_up(privileges, user::set_no_new_privileges())?;
        let allowed = allowed(paths);
        notes.extend(unreadable(paths));
        if self.sandbox {
            notes.extend(files_note(&allowed));
            notes.extend(calls_note());
        }
        Ok(notes)
    }
}

fn give_up(what: &'static str, done: io::Result<()>) -> Result<(), PrivilegeError> {
    done.map_err(|error| PrivilegeError::GiveUp { what, error })
}

fn find(name: &str) -> Result<User, PrivilegeError> {
    if let Ok(number) = name.parse() {
        return numbered(number);
    }
    let found = user::by_name(name).map_err(|error| PrivilegeError::LookUp {
        name: name.into(),
        error,
    })?;
    found.ok_or_else(|| PrivilegeError::NoUser(name.into()))
}

/// A machine without a list of users, as a container may be, has this one all the
/// same: the number is the kernel's for users that it cannot tell.
fn nobody() -> Result<User, PrivilegeError> {
    match find(DEFAULT) {
        Err(PrivilegeError::NoUser(name)) => Ok(User {
            name,
            uid: OVERFLOW,
            gid: OVERFLOW,
        }),
        found => found,
    }
}

/// A number that nobody has been given a name for goes with the group of the same
/// number.
fn numbered(uid: u32) -> Result<User, PrivilegeError> {
    let name = uid.to_string();
    match user::by_number(uid) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Ok(User {
            name,
            uid,
            gid: uid,
        }),
        Err(error) => Err(PrivilegeError::LookUp { name, error }),
    }
}

fn own_name() -> String {
    let uid = user::effective();
    numbered(uid).map_or(uid.to_string(), |user| user.name)
}

/// The folders that the paths stand for, and where links among them lead. The
/// program itself is read for the names in a backtrace.
fn allowed(paths: &Paths) -> Allowed {
    let mut read = BTreeSet::new();
    for path in &paths.read {
        read.insert(place(path));
        if let Ok(target) = path.canonicalize()
            && path.is_symlink()
        {
            read.insert(place(&target));
            // A link to a folder is turned to another beside it.
            let beside = target.parent().filter(|beside| *beside != Path::new("/"));
            read.extend(beside.filter(|_| target.is_dir()).map(Path::to_owned));
        }
    }
    read.extend(std::env::current_exe().ok());
    let write: BTreeSet<PathBuf> = paths.write.iter().map(|path| place(path)).collect();
    Allowed {
        read: read.into_iter().collect(),
        write: write.into_iter().collect(),
    }
}

/// The folder that stands for a path: itself, or the one that it is in. What lies
/// in `/` stands for itself, since all else is beneath that, and so does what
/// cannot be replaced by a rename, as a pipe among a shell's descriptors.
fn place(path: &Path) -> PathBuf {
    if path.is_dir() || path.starts_with("/dev") {
        return path.into();
    }
    match path.parent() {
        Some(folder) if folder == Path::new("/") => path.into(),
        Some(folder) if folder.as_os_str().is_empty() => ".".into(),
        Some(folder) => folder.into(),
        None => path.into(),
    }
}

/// What the process, being who it is now, cannot read: it was read before, and
/// will not be again.
fn unreadable(paths: &Paths) -> Option<String> {
    let reads = |path: &Path| match path.is_dir() {
        true => fs::read_dir(path).map(drop),
        // Opening a pipe waits for whoever writes to it.
        false if path.is_file() => File::open(path).map(drop),
        false => path.metadata().map(drop),
    };
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    let mut failing = paths
        .read
        .iter()
        .filter(|path| reads(path).is_err_and(|error| denied(&error)));
    let first = failing.next()?;
    let more = match failing.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let name = own_name();
    Some(format!(
        "{}{more} cannot be read by the user {name}, so that a reload will keep what was read at \
            the start; let {name} read it, or choose who can with --user",
        first.display()
    ))
}

fn files_note(allowed: &Allowed) -> Option<String> {
    let missing = |why: &str| Some(format!("files are not locked away: {why}"));
    match landlock::restrict(allowed) {
        Ok(Extent::Whole) => None,
        Ok(Extent::OlderVersion(version)) => Some(format!(
            "Landlock is version {version} here and locks files away{}",
            if version < 4 {
                ", TCP and signals not"
            } else {
                " and TCP, signals not"
            }
        )),
        Ok(Extent::Missing) => missing("this kernel has no Landlock, or a container hides it"),
        Ok(Extent::SwitchedOff) => {
            missing("Landlock is switched off here; `lsm=` on the kernel's command line lists it")
        }
        Err(error) => missing(&error.to_string()),
    }
}

fn calls_note() -> Option<String> {
    let missing = |why: &str| Some(format!("system calls are not limited: {why}"));
    match seccomp::restrict() {
        Ok(true) => None,
        Ok(false) => missing("no list of them is known for this kind of machine"),
        Err(error) => missing(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_for_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zone");
        fs::write(&path, "").unwrap();
        assert_eq!(place(&path), folder.path());
        assert_eq!(place(folder.path()), folder.path());
        assert_eq!(place(Path::new("a.zone")), Path::new("."));
        // All else is beneath the root.
        assert_eq!(place(Path::new("/a.zone")), Path::new("/a.zone"));
        assert_eq!(place(Path::new("/dev/stdin")), Path::new("/dev/stdin"));
    }

    #[test]
    fn where_a_link_leads_is_readable_too() {
        let [links, files] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let file = files.path().join("a.zone");
        fs::write(&file, "").unwrap();
        let link = links.path().join("a.zone");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let read = allowed(&Paths {
            read: vec![link],
            write: vec![links.path().join("control")],
        });
        for folder in [&links, &files] {
            let folder = folder.path().canonicalize().unwrap();
            assert!(read.read.contains(&folder), "{read:?}");
        }
        assert_eq!(read.write, [links.path()]);
    }
}
