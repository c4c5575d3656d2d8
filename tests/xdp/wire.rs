//! A wire: two network namespaces with a pair of interfaces between them, each with
//! two queues, made by `ip`.

use std::fs::File;
use std::process::Command;

use shardns::sys::lab::namespace::enter_network;

/// Both ends, by the name of their namespaces.
pub struct Wire {
    pub server: String,
    pub client: String,
}

/// The interfaces, first the server's.
pub const ENDS: [&str; 2] = ["xdp-server", "xdp-client"];
/// The server's addresses, and those of the client in the same networks.
pub const SERVER: [&str; 2] = ["198.18.0.1", "fd00:18::1"];
pub const CLIENT: [&str; 2] = ["198.18.0.2", "fd00:18::2"];
/// The same of a second pair of interfaces, where a test has one.
pub const SECOND_ENDS: [&str; 2] = ["xdp-server2", "xdp-client2"];
pub const SECOND_SERVER: [&str; 2] = ["198.19.0.1", "fd00:19::1"];
const SECOND_CLIENT: [&str; 2] = ["198.19.0.2", "fd00:19::2"];

impl Wire {
    /// Makes the wire; `name` is for this test alone.
    pub fn new(name: &str) -> Wire {
        let process = std::process::id();
        let wire = Wire {
            server: format!("xdp-{process}-{name}-s"),
            client: format!("xdp-{process}-{name}-c"),
        };
        for namespace in [&wire.server, &wire.client] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        wire.connect(ENDS, [SERVER, CLIENT]);
        wire
    }

    /// Adds the second pair of interfaces.
    pub fn connect_second(&self) {
        self.connect(SECOND_ENDS, [SECOND_SERVER, SECOND_CLIENT]);
    }

    /// One more pair of interfaces.
    pub fn connect(&self, ends: [&str; 2], addresses: [[&str; 2]; 2]) {
        let Wire { server, client } = self;
        ip(&format!(
            "link add {} netns {server} numrxqueues 2 numtxqueues 2 type veth peer name {} \
                netns {client} numrxqueues 2 numtxqueues 2",
            ends[0], ends[1]
        ));
        let namespaces = [server, client];
        for ((end, namespace), [ipv4, ipv6]) in ends.iter().zip(namespaces).zip(addresses) {
            ip(&format!("-n {namespace} addr add {ipv4}/24 dev {end}"));
            ip(&format!(
                "-n {namespace} addr add {ipv6}/64 dev {end} nodad"
            ));
            ip(&format!("-n {namespace} link set {end} up"));
        }
    }

    /// Adds a VLAN to an interface, number 7; false where the kernel has none.
    pub fn add_vlan(&self, namespace: &str, end: &str) -> bool {
        let command = format!("-n {namespace} link add link {end} name {end}.7 type vlan id 7");
        let mut ip = Command::new("ip");
        let output = ip.args(command.split_whitespace()).output().unwrap();
        if !output.status.success() {
            crate::support::running::skip("this kernel has no VLANs");
        }
        output.status.success()
    }

    /// Does something with the server's end as its network.
    pub fn at_server<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.server, work)
    }

    /// Does something with the client's end as its network.
    pub fn at_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.client, work)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
            let _ = Command::new("ip")
                .args(["netns", "del", namespace])
                .status();
        }
    }
}

fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    let work = move || {
        enter_network(&file).unwrap();
        work()
    };
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `ip`, which says nothing where all is well, and returns what it says else.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
