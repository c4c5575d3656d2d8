//! How often each UDP socket was read from, by which thread: the kernel's own
//! tracepoint in each receive (`sock_recv_length`, since Linux 6.3), recorded for
//! a moment in a trace instance of our own, which leaves other tracing alone. It
//! takes root.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::sys::lab::tracefs::Tracefs;
use crate::sys::proc_net::pointers;

/// What instances are called, with the process behind it.
const INSTANCE: &str = "shardns-explain-";
const EVENT: &str = "events/sock/sock_recv_length";
/// Kibibytes for records, over all CPUs: some 900,000 receives.
const BUFFER_KIB: usize = 32 << 10;
/// A CPU's part of it.
const PART_KIB: std::ops::RangeInclusive<usize> = 64..=8192;
/// `MSG_PEEK`: looked at, not taken.
const PEEK: u32 = 2;

/// Receives from one socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Receipts {
    /// Datagrams.
    pub datagrams: f64,
    /// Threads that took them.
    pub threads: BTreeMap<u32, f64>,
}

/// What was recorded.
#[derive(Debug, Default)]
pub struct Recorded {
    /// Receipts by inode.
    pub of: HashMap<u32, Receipts>,
    /// Receives for which there was no room; they were counted in proportion.
    pub estimated: u64,
}

/// A recording, from `begin` to `end`; nothing of it stays when it is dropped.
pub struct Recorder {
    instance: PathBuf,
    /// Inodes by the name that the kernel gives a socket in its texts.
    sockets: HashMap<String, u32>,
    _files: Tracefs,
}

impl Recorder {
    /// Makes everything ready, which takes a while.
    ///
    /// # Errors
    ///
    /// What this kernel, or its administrator, does not have or give.
    pub fn prepare() -> anyhow::Result<Recorder> {
        let files = Tracefs::open().context("the kernel's tracing files take root")?;
        if !files.root().join(EVENT).is_dir() {
            bail!("this kernel has no tracepoint in its receives; Linux 6.3 has");
        }
        let sockets = pointers();
        if sockets.is_empty() {
            bail!("/proc/net/udp does not tell sockets apart while kernel.kptr_restrict is not 0");
        }
        let instances = files.root().join("instances");
        remove_leftovers(&instances);
        let instance = instances.join(format!("{INSTANCE}{}", std::process::id()));
        fs::create_dir(&instance).context("cannot record receives")?;
        let recorder = Recorder {
            instance,
            sockets,
            _files: files,
        };
        let cpus = recorder.cpus()?.len().max(1);
        let part = (BUFFER_KIB / cpus).clamp(*PART_KIB.start(), *PART_KIB.end());
        recorder.set("buffer_size_kb", &part.to_string())?;
        // The beginning is kept whole, so that what is missing is known.
        recorder.set("options/overwrite", "0")?;
        recorder.set(&format!("{EVENT}/filter"), "protocol == 17 && ret >= 0")?;
        Ok(recorder)
    }

    /// Records from now on.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn begin(&self) -> anyhow::Result<()> {
        self.set(&format!("{EVENT}/enable"), "1")
    }

    /// Records no more.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn end(&self) -> anyhow::Result<()> {
        self.set(&format!("{EVENT}/enable"), "0")
    }

    /// Reads what was recorded.
    ///
    /// # Errors
    ///
    /// Files that cannot be read.
    pub fn read_all(mut self) -> anyhow::Result<Recorded> {
        // Sockets that came meanwhile.
        self.sockets.extend(pointers());
        let mut recorded = Recorded::default();
        for cpu in self.cpus()? {
            self.read(&cpu, &mut recorded)
                .with_context(|| format!("cannot read {}", cpu.display()))?;
        }
        Ok(recorded)
    }

    fn read(&self, cpu: &Path, recorded: &mut Recorded) -> anyhow::Result<()> {
        let statistics = fs::read_to_string(cpu.join("stats"))?;
        let number = |name: &str| -> u64 {
            let value = statistics.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|it| it.trim().parse().ok()).unwrap_or(0)
        };
        let (kept, lost) = (number("entries:"), number("dropped events:"));
        recorded.estimated += lost;
        let weight = (kept + lost) as f64 / kept.max(1) as f64;
        for line in BufReader::new(File::open(cpu.join("trace"))?).lines() {
            let Some((socket, thread)) = parse(&line?) else {
                continue;
            };
            let Some(&inode) = self.sockets.get(&socket) else {
                continue;
            };
            let receipts = recorded.of.entry(inode).or_default();
            receipts.datagrams += weight;
            *receipts.threads.entry(thread).or_default() += weight;
        }
        Ok(())
    }

    fn cpus(&self) -> anyhow::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.instance.join("per_cpu"))?;
        Ok(entries
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()?)
    }

    fn set(&self, file: &str, value: &str) -> anyhow::Result<()> {
        fs::write(self.instance.join(file), value)
            .with_context(|| format!("cannot write {value} to {file} of the kernel's tracing"))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // An instance goes with all that was set in it.
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Instances of processes that were killed.
fn remove_leftovers(instances: &Path) {
    for entry in fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(INSTANCE));
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The socket and the thread of a line such as
/// `name-123 [001] ..... 4.5: sock_recv_length: sk address = 00ab, …, flags = 0x0`.
fn parse(line: &str) -> Option<(String, u32)> {
    let (before, rest) = line.rsplit_once(": sock_recv_length: sk address = ")?;
    let (socket, rest) = rest.split_once(',')?;
    let (_, flags) = rest.rsplit_once("flags = 0x")?;
    if u32::from_str_radix(flags.trim(), 16).ok()? & PEEK != 0 {
        return None;
    }
    // A thread's name may have anything in it, and stands first.
    let (task, _) = before.rsplit_once(" [")?;
    let (_, thread) = task.trim_end().rsplit_once('-')?;
    Some((socket.into(), thread.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_the_threads_name() {
        let line = |name: &str, flags: &str| {
            format!(
                "  {name}-10393   [000] ..... 24390.031365: sock_recv_length: sk address = \
                    00000000a4a31746, family = AF_INET protocol = 0x11, length = 1, error = 0, \
                    flags = {flags}"
            )
        };
        let read = Some(("00000000a4a31746".to_owned(), 10393));
        for name in ["<...>", "worker 1", "a-b [7] c", "x: sock_recv_length: y"] {
            assert_eq!(parse(&line(name, "0x40")), read);
        }
        assert_eq!(parse(&line("peeks", "0x42")), None);
        assert_eq!(parse("#              | |         |   |||||     |"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn receives_are_counted_by_socket_and_thread() {
        let recorder = match Recorder::prepare() {
            Ok(recorder) => recorder,
            Err(error) => return eprintln!("SKIPPED: {error:#}"),
        };
        let instance = recorder.instance.clone();
        recorder.begin().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let local = socket.local_addr().unwrap();
        for _ in 0..5 {
            socket.send_to(b"words", local).unwrap();
            socket.peek_from(&mut [0; 8]).unwrap();
            socket.recv_from(&mut [0; 8]).unwrap();
        }
        recorder.end().unwrap();
        let recorded = recorder.read_all().unwrap();
        assert!(!instance.exists());
        let own = recorded.of.values().filter(|it| it.datagrams == 5.0);
        assert!(
            own.into_iter().any(|it| it.threads.len() == 1),
            "{recorded:?}"
        );
    }
}
