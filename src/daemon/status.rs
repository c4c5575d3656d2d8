//! What a running server says of itself: gathered by the control thread, sent
//! over the control socket, shown by `ctl` and `top`, turned into metrics. All of
//! it are plain numbers, so that whoever shows them computes rates and shares.

use serde::{Deserialize, Serialize};

/// The state of a server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The process.
    pub pid: u32,
    /// Seconds since the process began to serve.
    pub uptime_seconds: f64,
    /// Seconds since counting began: longer than `uptime_seconds` where the sockets,
    /// and the counters with them, were taken over.
    pub counting_seconds: f64,
    /// `ADDR:PORT` of what is served, with the ports that the kernel chose.
    pub addresses: Vec<String>,
    /// The workers, in the order of their sockets.
    pub workers: Vec<ThreadStatus>,
    /// The thread that serves TCP, if there is one.
    pub tcp: Option<ThreadStatus>,
    /// The zones, in canonical order of their names.
    pub zones: Vec<ZoneStatus>,
}

/// What one thread has counted. Numbers only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadStatus {
    /// The worker's number, or `tcp`.
    pub name: String,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// Requests.
    pub received: u64,
    /// Requests that got no reply because they deserve none.
    pub ignored: u64,
    /// Requests that the answering code broke on.
    pub panicked: u64,
    /// Replies with TC set.
    pub truncated: u64,
    /// Replies by response code, as (mnemonic, number), all codes that there are.
    pub rcodes: Vec<(String, u64)>,
    /// Replies that could not be sent by reason, as (reason, number).
    pub send_failures: Vec<(String, u64)>,
    /// Receives that failed.
    pub receive_failures: u64,
    /// Batches by size, as (largest size of the class, number).
    pub batches: Vec<(usize, u64)>,
    /// Waits that ended with nothing to read.
    pub idle_wakeups: u64,
    /// Datagrams that the kernel dropped because the socket's buffer was full.
    pub kernel_drops: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Connections turned away or cut off because of a limit.
    pub connections_refused: u64,
}

/// A zone that is served, or one that cannot be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ZoneStatus {
    /// Its name; that of its file where it has never been read.
    pub name: String,
    /// The file.
    pub path: String,
    /// The serial of its SOA record; `None` where it is not served.
    pub serial: Option<u32>,
    /// Names that can be asked for.
    pub names: usize,
    /// Records.
    pub records: usize,
    /// Octets of memory in the store.
    pub octets: usize,
    /// Seconds that reading and building it took.
    pub load_seconds: f64,
    /// Seconds since it was read.
    pub age_seconds: f64,
    /// Why the newest version of its file is not served; `None` where it is.
    pub error: Option<String>,
}

impl ThreadStatus {
    /// Replies made.
    pub fn answered(&self) -> u64 {
        self.rcodes.iter().map(|(_, count)| count).sum()
    }
}
