//! Which processes have a socket open, from `/proc/PID/fd`. Of other users'
//! processes only root may look at these.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A process that has a socket open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// The name of its program.
    pub name: String,
    /// Its descriptor of the socket.
    pub descriptor: i32,
    /// True where a signal, or a debugger, has stopped it.
    pub is_stopped: bool,
    #[serde(skip)]
    parent: u32,
    #[serde(skip)]
    program: Option<PathBuf>,
}

/// Holders of sockets by inode.
#[derive(Debug, Default)]
pub struct Holders {
    of: BTreeMap<u32, Vec<Holder>>,
    /// True where some process did not let us look.
    pub are_hidden: bool,
}

impl Holders {
    /// Looks through all processes for these sockets.
    pub fn find(inodes: &BTreeSet<u32>) -> Holders {
        let mut holders = Holders::default();
        let Ok(processes) = fs::read_dir("/proc") else {
            return holders;
        };
        for entry in processes.flatten() {
            let name = entry.file_name();
            let process = name.to_str().and_then(|name| name.parse().ok());
            if let Some(process) = process {
                holders.look_into(process, &entry.path(), inodes);
            }
        }
        holders
    }

    fn look_into(&mut self, process: u32, folder: &Path, inodes: &BTreeSet<u32>) {
        let descriptors = match fs::read_dir(folder.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.are_hidden |= error.kind() == io::ErrorKind::PermissionDenied;
                return;
            }
        };
        let mut about = None;
        for descriptor in descriptors.flatten() {
            let Some(inode) = inode(&descriptor.path()).filter(|it| inodes.contains(it)) else {
                continue;
            };
            let number = descriptor.file_name();
            let number = number.to_str().and_then(|number| number.parse().ok());
            let about = about.get_or_insert_with(|| Holder::read(process, folder));
            let held = self.of.entry(inode).or_default();
            // One descriptor of each process is enough.
            if held.iter().all(|holder| holder.process != process) {
                held.push(Holder {
                    descriptor: number.unwrap_or(-1),
                    ..about.clone()
                });
            }
        }
    }

    /// Who has the socket open; nobody where we may not look.
    pub fn of(&self, inode: u32) -> &[Holder] {
        self.of.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// The processes in groups that belong together: a server's processes have the
    /// same program and come from one another or from one parent, or have a socket
    /// in common. Two groups are two who do not know of each other; they are in the order
    /// of their first sockets, as the numbers of processes begin anew some time.
    pub fn parties_of(&self, inodes: impl Iterator<Item = u32>) -> Vec<Vec<Holder>> {
        let mut parties: Vec<(usize, Vec<Holder>)> = Vec::new();
        for (place, held) in inodes.map(|inode| self.of(inode)).enumerate() {
            if held.is_empty() {
                continue;
            }
            let (mut first, mut party) = (place, held.to_vec());
            let is_of = |(_, other): &(usize, Vec<Holder>)| {
                let related = |one: &Holder| other.iter().any(|other| one.is_related(other));
                held.iter().any(related)
            };
            let (own, others): (Vec<_>, Vec<_>) = parties.into_iter().partition(is_of);
            for (place, own) in own {
                first = first.min(place);
                party.extend(own);
            }
            party.sort_by_key(|holder| holder.process);
            party.dedup_by_key(|holder| holder.process);
            parties = others;
            parties.push((first, party));
        }
        parties.sort_by_key(|(first, _)| *first);
        parties.into_iter().map(|(_, party)| party).collect()
    }
}

impl Holder {
    fn read(process: u32, folder: &Path) -> Holder {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        let status = read("status");
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap_or_default().trim().to_owned()
        };
        Holder {
            process,
            name: read("comm").trim().into(),
            descriptor: -1,
            is_stopped: field("State:").starts_with(['T', 't']),
            parent: field("PPid:").parse().unwrap_or(0),
            program: fs::read_link(folder.join("exe")).ok(),
        }
    }

    fn is_related(&self, other: &Holder) -> bool {
        const INIT: u32 = 1;
        let is_same_program =
            self.program == other.program && (self.program.is_some() || self.name == other.name);
        let is_family = self.parent == other.process
            || other.parent == self.process
            || (self.parent == other.parent && self.parent > INIT);
        self.process == other.process || (is_same_program && is_family)
    }
}

/// The socket that a descriptor is of.
fn inode(descriptor: &Path) -> Option<u32> {
    let target = fs::read_link(descriptor).ok()?;
    let target = target.to_str()?.strip_prefix("socket:[")?;
    target.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(process: u32, parent: u32, program: &str) -> Holder {
        Holder {
            process,
            name: program.into(),
            descriptor: 3,
            is_stopped: false,
            parent,
            program: Some(program.into()),
        }
    }

    fn parties(sockets: &[&[&Holder]]) -> Vec<Vec<u32>> {
        let held = |held: &&[&Holder]| held.iter().map(|&holder| holder.clone()).collect();
        let holders = Holders {
            of: (1..).zip(sockets.iter().map(held)).collect(),
            are_hidden: false,
        };
        let numbers = |party: Vec<Holder>| party.iter().map(|holder| holder.process).collect();
        let parties = holders.parties_of(1..10).into_iter();
        parties.map(numbers).collect()
    }

    #[test]
    fn a_servers_processes_are_one_party() {
        let master = &holder(10, 1, "nsd");
        let (one, two) = (&holder(11, 10, "nsd"), &holder(12, 10, "nsd"));
        assert_eq!(parties(&[&[one], &[two]]), [[11, 12]]);
        assert_eq!(parties(&[&[one], &[two], &[master]]), [[10, 11, 12]]);
        // Whoever has a socket in common with it was given it.
        let handed = &holder(20, 1, "other");
        assert_eq!(parties(&[&[master, handed], &[master]]), [[10, 20]]);
        // A shell starts both; only the program tells them apart.
        let other = &holder(13, 10, "python3");
        assert_eq!(parties(&[&[one], &[other]]), [[11], [13]]);
        // Init starts everything.
        let (first, second) = (&holder(30, 1, "nsd"), &holder(31, 1, "nsd"));
        assert_eq!(parties(&[&[first], &[second]]), [[30], [31]]);
        // Whoever came later may have the lower number.
        assert_eq!(parties(&[&[second], &[first]]), [[31], [30]]);
        let between: [&[&Holder]; 3] = [&[two], &[first], &[one]];
        assert_eq!(parties(&between), [vec![11, 12], vec![30]]);
    }

    #[test]
    fn ones_own_socket_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        use std::os::fd::AsRawFd;
        let descriptor = socket.as_raw_fd();
        let inode = inode(Path::new(&format!("/proc/self/fd/{descriptor}"))).unwrap();
        let holders = Holders::find(&BTreeSet::from([inode]));
        // Another test may be starting a process, which has it for a moment.
        let own = holders
            .of(inode)
            .iter()
            .find(|it| it.process == std::process::id());
        assert_eq!(own.unwrap().descriptor, descriptor);
        assert!(!own.unwrap().name.is_empty());
    }
}
