//! Who the process is: users by name, and giving up what root may. What is given
//! up here never comes back.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::{panic, thread};

use libc::c_ulong;

/// The longest entry of the user database that is read.
const MAX_ENTRY: usize = 1 << 20;
/// The version of `capset` that takes 64 capabilities
/// (`include/uapi/linux/capability.h`).
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// `CAP_IPC_LOCK`.
const LOCK_MEMORY: u32 = 14;

/// A user, with the group that is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name, or the number where it has none.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
}

/// The user that this process acts as.
pub fn effective() -> u32 {
    // SAFETY: the call takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// Looks a name up in all that the machine knows users from (NSS).
///
/// # Errors
///
/// What the database says, not that it lacks the name.
pub fn by_name(name: &str) -> io::Result<Option<User>> {
    let name = CString::new(name)?;
    look_up(|entry, room, found| {
        let (text, length) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: `name` ends in a zero; `entry`, `room` with its length, and
        // `found` live through the call.
        unsafe { libc::getpwnam_r(name.as_ptr(), entry, text, length, found) }
    })
}

/// Looks a number up, as `by_name`.
///
/// # Errors
///
/// What the database says, not that it lacks the number.
pub fn by_number(uid: u32) -> io::Result<Option<User>> {
    look_up(|entry, room, found| {
        let (text, length) = (room.as_mut_ptr().cast(), room.len());
        // SAFETY: `entry`, `room` with its length, and `found` live through the call.
        unsafe { libc::getpwuid_r(uid, entry, text, length, found) }
    })
}

type Entry = *mut libc::passwd;

fn look_up(
    mut call: impl FnMut(Entry, &mut [u8], &mut Entry) -> libc::c_int,
) -> io::Result<Option<User>> {
    let mut room = vec![0u8; 1024];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = ptr::null_mut();
        match call(entry.as_mut_ptr(), &mut room, &mut found) {
            0 if found.is_null() => return Ok(None),
            // SAFETY: the call has filled in `entry`, which `found` points at.
            0 => return Ok(Some(user(unsafe { entry.assume_init_ref() }))),
            libc::ERANGE if room.len() < MAX_ENTRY => room.resize(room.len() * 2, 0),
            libc::EINTR => {}
            // What some sources say where they have no such user.
            libc::ENOENT | libc::ESRCH => return Ok(None),
            error => return Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn user(entry: &libc::passwd) -> User {
    // SAFETY: a name of an entry is a string that ends in a zero, in the room
    // that the entry was read to.
    let name = unsafe { CStr::from_ptr(entry.pw_name) };
    User {
        name: name.to_string_lossy().into_owned(),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
    }
}

/// Becomes the user for good, with its own group and no other. All threads do.
///
/// # Errors
///
/// What the kernel says; the process may be left with some of it done, and must
/// not go on.
pub fn become_user(user: &User) -> io::Result<()> {
    let (uid, gid) = (user.uid, user.gid);
    // SAFETY: no group is read from the pointer.
    super::check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: the call takes no pointer.
    super::check(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: the call takes no pointer.
    super::check(unsafe { libc::setresuid(uid, uid, uid) })?;
    Ok(())
}

/// Whether the calling thread may lock memory past all limits; assumed where the kernel
/// does not say.
pub fn may_lock_memory() -> bool {
    let header = [CAPABILITY_VERSION_3, 0];
    let mut sets = [0u32; 6];
    let (header, place) = (header.as_ptr(), sets.as_mut_ptr());
    // SAFETY: header and data are as long as this version has them, and live through
    // the call.
    let returned = unsafe { libc::syscall(libc::SYS_capget, header, place) };
    // The first of them has the effective ones below 32.
    returned != 0 || sets[0] & (1 << LOCK_MEMORY) != 0
}

/// Does something as another user, on a thread that has that one's group and no other,
/// and that ends with it. All other threads stay who they are.
///
/// # Errors
///
/// What the kernel says, as where the user cannot be changed.
pub fn act_as<T: Send>(user: &User, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let work = || {
            become_alone(user)?;
            Ok(act())
        };
        let thread = thread::Builder::new().spawn_scoped(scope, work)?;
        let done = thread.join();
        done.unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

/// As `become_user` for the calling thread alone: libc has all threads follow, the
/// kernel does not.
fn become_alone(user: &User) -> io::Result<()> {
    let (uid, gid) = (user.uid, user.gid);
    let none = ptr::null::<libc::gid_t>();
    // SAFETY: no group is read from the pointer.
    let groups = unsafe { libc::syscall(libc::SYS_setgroups, 0, none) };
    super::check(groups as libc::c_int)?;
    // SAFETY: the call takes no pointer.
    let group = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    super::check(group as libc::c_int)?;
    // SAFETY: the call takes no pointer.
    let user = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    super::check(user as libc::c_int)?;
    Ok(())
}

/// Sees whether the calling thread's user may write to a file, or make files in a folder,
/// without what capabilities allow.
///
/// # Errors
///
/// What the kernel says to `access`.
pub fn may_write(path: &Path) -> io::Result<()> {
    let mode = match path.is_dir() {
        true => libc::W_OK | libc::X_OK,
        false => libc::W_OK,
    };
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` ends in a zero.
    super::check(unsafe { libc::access(path.as_ptr(), mode) }).map(drop)
}

/// Takes the capabilities out of reach of whatever would be executed, where the
/// thread is allowed to; returns whether it was.
pub fn bound_capabilities() -> bool {
    // The kernel knows fewer than 64; the first that it does not know ends it.
    for capability in 0..64 {
        if let Err(error) = control(libc::PR_CAPBSET_DROP, capability) {
            return error.raw_os_error() == Some(libc::EINVAL);
        }
    }
    true
}

/// Gives up all capabilities of the calling thread, and of those that it starts.
///
/// # Errors
///
/// What the kernel says to `capset`.
pub fn drop_capabilities() -> io::Result<()> {
    // Kernels before 4.3 have no ambient ones to be cleared.
    let _ = control(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong,
    );
    // Version and process (0 for the caller); effective, permitted and
    // inheritable, twice 32 of each.
    let header = [CAPABILITY_VERSION_3, 0];
    let none = [0u32; 6];
    let (header, none) = (header.as_ptr(), none.as_ptr());
    // SAFETY: header and data are as long as this version has them.
    let returned = unsafe { libc::syscall(libc::SYS_capset, header, none) };
    super::check(returned as libc::c_int).map(drop)
}

/// Has no program that the thread executes get more than it has.
///
/// # Errors
///
/// What the kernel says to `prctl`.
pub fn set_no_new_privileges() -> io::Result<()> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Keeps other processes of the user from looking into this one's memory, and
/// that from being written to a file when it crashes.
///
/// # Errors
///
/// What the kernel says to `prctl`.
pub fn set_undumpable() -> io::Result<()> {
    control(libc::PR_SET_DUMPABLE, 0)
}

/// A `prctl` whose argument is a number, with zeroes behind it.
fn control(option: libc::c_int, argument: c_ulong) -> io::Result<()> {
    let none: c_ulong = 0;
    // SAFETY: the options given here take numbers and no pointer.
    let returned = unsafe { libc::prctl(option, argument, none, none, none) };
    super::check(returned).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let root = by_name("root").unwrap().unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(by_number(0).unwrap(), Some(root));
        assert_eq!(by_name("no such user").unwrap(), None);
        assert_eq!(by_number(4_000_000_000).unwrap(), None);
        assert!(by_name("a\0b").is_err());
    }

    #[test]
    fn a_thread_is_another_user_and_the_process_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let own = effective();
        let other = User {
            name: "another".into(),
            uid: 65_534,
            gid: 65_534,
        };
        let act = || (effective(), may_write(folder.path()));
        match act_as(&other, act) {
            Ok((uid, wrote)) => {
                assert_eq!((own, uid), (0, other.uid));
                let denied = wrote.unwrap_err().kind();
                assert_eq!(denied, io::ErrorKind::PermissionDenied);
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                assert_ne!(own, 0, "root may");
            }
        }
        assert_eq!(effective(), own);
        may_write(folder.path()).unwrap();
        let nothing = may_write(&folder.path().join("nothing")).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
    }
}
