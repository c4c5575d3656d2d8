//! Two network namespaces with a veth pair between them: a wire on which the
//! machine's own network is not seen. Made by `ip`, as root, and gone when it
//! is dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, bail};

use crate::sys::lab::namespace::enter_network;

/// The server's end and the client's, in a network that is set aside for
/// measurements (RFC 2544, appendix C.2.2).
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2)];
/// The interface, at both ends.
pub const INTERFACE: &str = "shardns0";

/// The pair.
pub struct Veth {
    server: Namespace,
    client: Namespace,
}

impl Veth {
    /// Makes namespaces and interfaces.
    ///
    /// # Errors
    ///
    /// What `ip` says, as to who is not root.
    pub fn new() -> anyhow::Result<Veth> {
        remove_what_dead_processes_left();
        let process = std::process::id();
        let veth = Veth {
            server: Namespace::new(format!("shardns-{process}-server"))?,
            client: Namespace::new(format!("shardns-{process}-client"))?,
        };
        let ends = [&veth.server.name, &veth.client.name];
        let [server, client] = ends;
        ip(&format!(
            "link add {INTERFACE} netns {server} type veth peer name {INTERFACE} netns {client}"
        ))?;
        for (end, address) in ends.iter().zip(ADDRESSES) {
            ip(&format!("-n {end} addr add {address}/30 dev {INTERFACE}"))?;
            ip(&format!("-n {end} link set {INTERFACE} up"))?;
        }
        Ok(veth)
    }

    /// The server's address, at a port that the kernel chooses.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(ADDRESSES[0].into(), 0)
    }

    /// The server's end.
    pub fn server(&self) -> &Namespace {
        &self.server
    }

    /// The client's end.
    pub fn client(&self) -> &Namespace {
        &self.client
    }

    /// Spreads what the server receives over these CPUs by flow, as a network
    /// card with a queue for each would (receive packet steering,
    /// `Documentation/networking/scaling.rst`).
    ///
    /// # Errors
    ///
    /// What the kernel says, as where it has no such thing.
    pub fn spread(&self, cpus: &[usize]) -> anyhow::Result<()> {
        let (end, mask) = (&self.server.name, mask(cpus));
        let file = format!("/sys/class/net/{INTERFACE}/queues/rx-0/rps_cpus");
        // Only within `ip netns exec` is /sys the namespace's.
        let write = format!("echo {mask} > {file}");
        run(Command::new("ip").args(["netns", "exec", end, "sh", "-c", &write]))
    }
}

/// A network namespace with a name.
pub struct Namespace {
    name: String,
    file: Option<File>,
}

impl Namespace {
    fn new(name: String) -> anyhow::Result<Namespace> {
        ip(&format!("netns add {name}"))?;
        let path = format!("/run/netns/{name}");
        let mut namespace = Namespace { name, file: None };
        // Set only now, so that whatever fails from here on is undone.
        namespace.file = Some(File::open(&path).with_context(|| format!("cannot open {path}"))?);
        Ok(namespace)
    }

    /// Does something with the namespace as its network, on a thread that ends
    /// with it. Sockets made there stay there.
    ///
    /// # Errors
    ///
    /// What the kernel says to the move, or what the work says.
    pub fn within<T: Send>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        let file = self.file.as_ref().context("the namespace is gone")?;
        let work = || {
            enter_network(file).context("cannot enter a network namespace")?;
            work()
        };
        let done = thread::scope(|scope| scope.spawn(work).join());
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Whoever is killed leaves its namespaces. Their names tell whose they were.
fn remove_what_dead_processes_left() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("shardns-")
            .and_then(|rest| rest.split('-').next());
        let is_dead =
            |owner: &str| owner.parse::<u32>().is_ok() && !Path::new("/proc").join(owner).exists();
        if owner.is_some_and(is_dead) {
            // Another may be removing it, too.
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody is left to tell; the interfaces go with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// Runs a command that says nothing where all is well.
fn run(command: &mut Command) -> anyhow::Result<()> {
    // In a group of its own, so that Ctrl-C does not stop what tidies up.
    let command = command.stdin(Stdio::null()).process_group(0);
    let output = command.output().context("cannot run `ip`")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`ip` says: {}", said.trim());
    }
    Ok(())
}

/// CPUs as the kernel takes them: hexadecimal words of 32 bits, the highest
/// first, with commas between.
pub fn mask(cpus: &[usize]) -> String {
    let highest = cpus.iter().max().map_or(0, |cpu| cpu / 32);
    let word = |index: usize| {
        let bits = cpus.iter().filter(|cpu| *cpu / 32 == index);
        format!(
            "{:08x}",
            bits.fold(0u32, |word, cpu| word | 1 << (cpu % 32))
        )
    };
    let words: Vec<String> = (0..=highest).rev().map(word).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks() {
        assert_eq!(mask(&[0, 1]), "00000003");
        assert_eq!(mask(&[31]), "80000000");
        assert_eq!(mask(&[0, 32, 65]), "00000002,00000001,00000001");
        assert_eq!(mask(&[]), "00000000");
    }
}
