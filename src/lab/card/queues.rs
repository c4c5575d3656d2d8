//! The receive queues of an interface: from its driver as `ethtool` asks it, from the
//! files of `/sys/class/net`, and from those of its interrupts.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Reading, not_told, read};
use crate::sys::ethtool::{Channels, Ethtool};
use crate::sys::lab::route::Interface;

/// Queues or interrupts that a line has room for.
const SHOWN: usize = 8;
/// What virtio calls the interrupt that tells of settings.
const VIRTIO_CONFIG: &str = "-config";

/// An interface, and whom to ask about it.
pub(super) struct Queues {
    driver: io::Result<Ethtool>,
    /// `None` where these files are of another network namespace.
    files: Option<PathBuf>,
    ipv6: bool,
}

impl Queues {
    pub(super) fn of(interface: &Interface, ipv6: bool) -> Queues {
        let files = Path::new("/sys/class/net").join(&interface.name);
        // A namespace that was entered by `nsenter` or `setns` alone has the files of
        // the one before, where the name may be another interface's.
        let index = fs::read_to_string(files.join("ifindex")).unwrap_or_default();
        let is_it = index.trim().parse() == Ok(interface.index);
        Queues {
            driver: Ethtool::new(&interface.name),
            files: is_it.then_some(files),
            ipv6,
        }
    }

    pub(super) fn driver(&self) -> Reading {
        self.told(Ethtool::driver, |driver| driver)
    }

    /// `None` where the driver does not tell.
    pub(super) fn channels(&self) -> Option<Channels> {
        self.driver.as_ref().ok()?.channels().ok()
    }

    pub(super) fn count(&self) -> Reading {
        match (self.channels(), self.receive_queues()) {
            (Some(told), _) => Reading::Is(format!("{} of {}", told.receiving, told.most)),
            (None, Ok(queues)) => Reading::Is(queues.len().to_string()),
            (None, Err(unknown)) => unknown,
        }
    }

    pub(super) fn indirection(&self) -> Reading {
        self.told(Ethtool::indirection, |table| shares(&table))
    }

    pub(super) fn hash_fields(&self) -> Reading {
        let ask = |driver: &Ethtool| driver.udp_hash_fields(self.ipv6);
        self.told(ask, |letters| match letters.as_str() {
            "sdfn" => "sdfn, addresses and ports".into(),
            "sd" => "sd, addresses alone".into(),
            "" => "the driver names no fields".into(),
            _ => letters,
        })
    }

    pub(super) fn interrupts(&self) -> Reading {
        let Some(files) = &self.files else {
            return elsewhere();
        };
        // Those of a virtio device are its parent's.
        let places = ["device/msi_irqs", "device/../msi_irqs"];
        let found = places
            .iter()
            .find_map(|place| fs::read_dir(files.join(place)).ok());
        let Some(found) = found else {
            return Reading::Absent("it has no device that is listed with any".into());
        };
        let numbers = found
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        let all: Vec<String> = numbers.into_iter().filter_map(interrupt).collect();
        Reading::Is(some_of(&all))
    }

    pub(super) fn packet_steering(&self) -> Reading {
        let queues = match self.receive_queues() {
            Ok(queues) => queues,
            Err(unknown) => return unknown,
        };
        let mut masks = Vec::new();
        for queue in &queues {
            match read(&queue.join("rps_cpus")) {
                Reading::Is(mask) => masks.push(mask),
                other => return other,
            }
        }
        let is_off = |mask: &String| mask.chars().all(|c| c == '0' || c == ',');
        Reading::Is(match masks.iter().all(is_off) {
            true => "off".into(),
            false => some_of(&masks),
        })
    }

    /// The files of each queue, in order.
    fn receive_queues(&self) -> Result<Vec<PathBuf>, Reading> {
        let files = self.files.as_ref().ok_or_else(elsewhere)?;
        let entries = fs::read_dir(files.join("queues"));
        let entries = entries.map_err(|error| not_told(&error))?;
        let number = |entry: fs::DirEntry| {
            let number = entry
                .file_name()
                .to_str()?
                .strip_prefix("rx-")?
                .parse()
                .ok()?;
            Some((number, entry.path()))
        };
        let queues: BTreeMap<u32, PathBuf> = entries.flatten().filter_map(number).collect();
        Ok(queues.into_values().collect())
    }

    fn told<T>(
        &self,
        ask: impl FnOnce(&Ethtool) -> io::Result<T>,
        tell: impl FnOnce(T) -> String,
    ) -> Reading {
        let told = self.driver.as_ref().map(ask);
        match told {
            Ok(Ok(told)) => Reading::Is(tell(told)),
            Ok(Err(error)) => not_told(&error),
            Err(error) => not_told(error),
        }
    }
}

fn elsewhere() -> Reading {
    Reading::Unknown("/sys is of another network namespace".into())
}

/// An interrupt of datagrams that somebody waits for, with its CPUs; the name is that of
/// a folder.
fn interrupt(number: u32) -> Option<String> {
    let folder = PathBuf::from(format!("/proc/irq/{number}"));
    let mut entries = fs::read_dir(&folder).ok()?.flatten();
    let action = entries.find(|entry| entry.path().is_dir())?.file_name();
    let action = action.to_string_lossy();
    if action.ends_with(VIRTIO_CONFIG) {
        return None;
    }
    let cpus = read(&folder.join("smp_affinity_list"));
    Some(format!("{number} {action}: CPU {cpus}"))
}

/// How much of a table each queue has.
fn shares(table: &[u32]) -> String {
    let mut shares = BTreeMap::<u32, usize>::new();
    table
        .iter()
        .for_each(|queue| *shares.entry(*queue).or_default() += 1);
    match shares.len() {
        0 => "all to one queue".into(),
        1 => format!("all {} to queue {}", table.len(), table[0]),
        _ => {
            let share = |(queue, entries): (&u32, &usize)| format!("{queue}: {entries}");
            let shares: Vec<String> = shares.iter().map(share).collect();
            format!("of {} {}", table.len(), some_of(&shares))
        }
    }
}

fn some_of(all: &[String]) -> String {
    let more = if all.len() > SHOWN { ", …" } else { "" };
    all[..all.len().min(SHOWN)].join(", ") + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_told_by_queue() {
        assert_eq!(shares(&[0, 1, 0, 1]), "of 4 0: 2, 1: 2");
        assert_eq!(shares(&[3, 3]), "all 2 to queue 3");
        assert_eq!(shares(&[]), "all to one queue");
        let many: Vec<u32> = (0..9).collect();
        assert!(shares(&many).ends_with("7: 1, …"), "{}", shares(&many));
    }
}
