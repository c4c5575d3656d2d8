//! Sockets that a service manager has bound before the server was started
//! (`sd_listen_fds(3)`): UDP sockets and TCP listeners to be served, and by their
//! names a UNIX listener for control and TCP listeners for metrics. They are
//! sorted here and given to whoever serves them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use crate::server::Sockets;
use crate::sys::service::{self, Kind};

/// `FileDescriptorName=` of the socket that `shardns ctl` speaks to.
const CONTROL: &str = "control";
/// `FileDescriptorName=` of sockets that metrics are read from.
const METRICS: &str = "metrics";
/// More than this many descriptors is a mistake.
const MAX_DESCRIPTORS: usize = 65_536;

/// What a service manager has handed in.
#[derive(Debug, Default)]
pub struct Handed {
    /// What is served. How many workers there are is for the server to say.
    pub sockets: Sockets,
    /// Where `shardns ctl` speaks to the server.
    pub control: Option<UnixListener>,
    /// Where metrics are read.
    pub metrics: Vec<TcpListener>,
}

/// Why what was handed in is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// Words that are no numbers.
    #[error("LISTEN_FDS is `{0}`, which is no number of sockets")]
    Count(String),
    /// Descriptors that are not there.
    #[error(
        "the service manager says that it hands in {count} sockets, and they are not open: {error}"
    )]
    NotOpen {
        /// How many.
        count: usize,
        /// What the kernel said.
        error: io::Error,
    },
    /// A descriptor that has no place here.
    #[error(
        "socket {number} that the service manager hands in (`{name}`) is {what}; shardns takes \
            ListenDatagram=ADDR:PORT and ListenStream=ADDR:PORT, with \
            FileDescriptorName=control a path to ListenStream= on, and with \
            FileDescriptorName=metrics ADDR:PORT to ListenStream= on"
    )]
    Kind {
        /// Which, from 1 on.
        number: usize,
        /// Its name.
        name: String,
        /// What it is.
        what: String,
    },
}

/// Takes what `LISTEN_FDS` announces, if that is for this process. To be called
/// once, before there is a second thread.
///
/// # Errors
///
/// A sentence for the first thing that is of no use.
pub fn from_environment() -> Result<Option<Handed>, ActivationError> {
    let [process, count, names] =
        ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(service::take_variable);
    let Some(count) = announced(process, count, std::process::id())? else {
        return Ok(None);
    };
    let descriptors = service::take_descriptors(count)
        .map_err(|error| ActivationError::NotOpen { count, error })?;
    let names = names.unwrap_or_default().to_string_lossy().into_owned();
    sort(descriptors, &names).map(Some)
}

/// How many descriptors there are for this process.
fn announced(
    process: Option<OsString>,
    count: Option<OsString>,
    own: u32,
) -> Result<Option<usize>, ActivationError> {
    let (Some(process), Some(count)) = (process, count) else {
        return Ok(None);
    };
    // Variables meant for a parent are left to whoever starts others.
    if process.to_str().and_then(|text| text.parse().ok()) != Some(own) {
        return Ok(None);
    }
    let number = count.to_str().and_then(|text| text.parse().ok());
    match number.filter(|number| *number <= MAX_DESCRIPTORS) {
        Some(number) => Ok((number > 0).then_some(number)),
        None => Err(ActivationError::Count(count.to_string_lossy().into_owned())),
    }
}

/// Sorts descriptors by what they are; `names` are theirs, between colons. Those
/// of one address stay in the order in which they were bound, which is the one
/// that the kernel counts them in.
fn sort(descriptors: Vec<OwnedFd>, names: &str) -> Result<Handed, ActivationError> {
    let mut handed = Handed::default();
    let mut groups: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let names = names.split(':').chain(std::iter::repeat(""));
    for (at, (descriptor, name)) in descriptors.into_iter().zip(names).enumerate() {
        let wrong = |what: &str| ActivationError::Kind {
            number: at + 1,
            name: name.into(),
            what: what.into(),
        };
        match (service::kind(&descriptor), name) {
            (Kind::UnixListener(_), CONTROL) if handed.control.is_none() => {
                handed.control = Some(descriptor.into());
            }
            (Kind::UnixListener(_), CONTROL) => return Err(wrong("a second one of that name")),
            (Kind::UnixListener(_), _) => return Err(wrong("a UNIX socket of another name")),
            (_, CONTROL) => return Err(wrong("no UNIX socket that listens")),
            (Kind::TcpListener(_), METRICS) => handed.metrics.push(descriptor.into()),
            (_, METRICS) => return Err(wrong("no TCP socket that listens")),
            (Kind::TcpListener(_), _) => handed.sockets.listeners.push(descriptor),
            (Kind::Udp { both: true, .. }, _) => {
                return Err(wrong(
                    "of both IPv6 and IPv4; BindIPv6Only=ipv6-only keeps it to one",
                ));
            }
            (Kind::Udp { address, .. }, _) => {
                let all = &mut handed.sockets.groups;
                let group = *groups.entry(address).or_insert_with(|| {
                    all.push(Vec::new());
                    all.len() - 1
                });
                all[group].push(descriptor);
            }
            (Kind::Other(what), _) => return Err(wrong(what)),
        }
    }
    Ok(handed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    fn udp(address: &str) -> OwnedFd {
        UdpSocket::bind(address).unwrap().into()
    }

    fn tcp() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn unix(folder: &tempfile::TempDir, name: &str) -> OwnedFd {
        UnixListener::bind(folder.path().join(name)).unwrap().into()
    }

    #[test]
    fn sockets_are_sorted_by_kind_name_and_address() {
        let folder = tempfile::tempdir().unwrap();
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let again = first.try_clone().unwrap();
        let descriptors = vec![
            first.into(),
            unix(&folder, "control"),
            udp("[::1]:0"),
            tcp(),
            again.into(),
            tcp(),
        ];
        let handed = sort(descriptors, "dns:control:dns:metrics:dns").unwrap();
        let lengths: Vec<usize> = handed.sockets.groups.iter().map(Vec::len).collect();
        assert_eq!(lengths, [2, 1]);
        assert_eq!(handed.sockets.listeners.len(), 1);
        assert!(handed.control.is_some());
        assert_eq!(handed.metrics.len(), 1);
    }

    #[test]
    fn what_has_no_place_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let wrong = |descriptor: OwnedFd, name: &str| {
            let error = sort(vec![descriptor], name).unwrap_err().to_string();
            assert!(error.starts_with("socket 1 ") && error.contains(&format!("`{name}`")));
            error
        };
        wrong(unix(&folder, "1"), "shardns.socket");
        wrong(udp("127.0.0.1:0"), CONTROL);
        wrong(tcp(), CONTROL);
        wrong(udp("127.0.0.1:0"), METRICS);
        wrong(unix(&folder, "2"), METRICS);
        wrong(UnixDatagram::unbound().unwrap().into(), "");
        assert!(wrong(udp("[::]:0"), "").contains("BindIPv6Only"));
        let two = vec![unix(&folder, "3"), unix(&folder, "4")];
        assert!(sort(two, "control:control").is_err());
    }

    #[test]
    fn only_what_is_for_this_process_is_taken() {
        let word = |text: &str| Some(OsString::from(text));
        assert_eq!(announced(word("7"), word("2"), 7).unwrap(), Some(2));
        assert_eq!(announced(word("7"), word("0"), 7).unwrap(), None);
        assert_eq!(announced(word("8"), word("2"), 7).unwrap(), None);
        assert_eq!(announced(None, word("2"), 7).unwrap(), None);
        assert_eq!(announced(word("7"), None, 7).unwrap(), None);
        for count in ["two", "-1", "65537", ""] {
            assert!(announced(word("7"), word(count), 7).is_err(), "{count}");
        }
    }
}
