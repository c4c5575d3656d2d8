//! How much memory frames take, and whether so much may be locked.
//!
//! The kernel counts it by user, whichever processes have it, and compares it with the
//! limit of the process that asks (`xdp_umem_account_pages` in `net/xdp/xdp_umem.c`).
//! What others of the user have can be had when they leave; more than the limit never.

use super::XdpError;
use crate::sys::{limits, user};

/// The memory of an interface's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The interface.
    pub interface: String,
    /// Queues that are read.
    pub queues: usize,
    /// Octets of the frames of each.
    pub octets: usize,
}

impl Locked {
    /// Sees whether this process may ever lock the memory of all of these, as far as its
    /// capabilities tell.
    ///
    /// # Errors
    ///
    /// It may not; the sentence names the interface for which there is too little.
    pub fn check(all: &[Locked]) -> Result<(), XdpError> {
        match user::may_lock_memory() {
            true => Ok(()),
            false => Locked::check_limited(all),
        }
    }

    /// The same where the kernel has said that the limit counts: it does within a user's
    /// own namespace, whatever capabilities there are.
    ///
    /// # Errors
    ///
    /// As `check`.
    pub fn check_limited(all: &[Locked]) -> Result<(), XdpError> {
        within(limits::locked_memory(), all)
    }

    pub(super) fn refused(&self) -> XdpError {
        XdpError::LockedMemory {
            interface: self.interface.clone(),
            kib: self.octets / 1024,
        }
    }
}

fn within(limit: u64, all: &[Locked]) -> Result<(), XdpError> {
    let mut sum = 0u64;
    for one in all {
        sum = sum.saturating_add((one.queues * one.octets) as u64);
        if sum > limit {
            return Err(one.refused());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_all_interfaces_count_together() {
        let locked = |interface: &str, queues| Locked {
            interface: interface.into(),
            queues,
            octets: 4 << 20,
        };
        let all = [locked("eth0", 2), locked("eth1", 1)];
        let refused = |limit| within(limit, &all).err().map(|error| error.to_string());
        assert_eq!(refused(12 << 20), None);
        assert_eq!(refused(u64::MAX), None);
        for (limit, interface) in [
            ((12 << 20) - 1, "eth1"),
            ((8 << 20) - 1, "eth0"),
            (0, "eth0"),
        ] {
            let said = refused(limit).unwrap();
            let begin = format!(
                "too little memory may be locked for the frames of {interface}, 4096 KiB a queue;"
            );
            assert!(said.starts_with(&begin), "{said}");
        }
    }
}
