//! Telling the service manager how the server is: ready, reloading, stopping,
//! alive. The socket is connected at the start, before the process may open
//! nothing any more. Where nobody listens, nothing is said and nothing fails
//! (`sd_notify(3)`).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::sys::service;

/// Who is told.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Takes `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` from the
    /// environment. To be called before there is a second thread, and before
    /// privileges are given up. The sentence, if there is one, is for the log: what
    /// was asked for and cannot be done.
    pub fn from_environment() -> (Notifier, Option<String>) {
        let variables =
            ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].map(service::take_variable);
        Notifier::new(variables, std::process::id())
    }

    fn new(variables: [Option<OsString>; 3], own: u32) -> (Notifier, Option<String>) {
        let [socket, period, process] = variables;
        let Some(name) = socket else {
            return (Notifier::default(), None);
        };
        let notifier = |socket| Notifier {
            socket,
            watchdog: watchdog(period.as_deref(), process.as_deref(), own),
        };
        match connect(&name) {
            Ok(socket) => (notifier(Some(socket)), None),
            Err(error) => {
                let note = format!(
                    "the service manager is told nothing: its socket {} (NOTIFY_SOCKET): {error}",
                    name.display()
                );
                (Notifier::default(), Some(note))
            }
        }
    }

    /// The server answers; `status` is a line for people.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// Zones or options are read again, from now on; `ready` says that it is done,
    /// whether or not it worked.
    pub fn reloading(&self) {
        let now = service::monotonic_microseconds();
        self.tell(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reading zones"
        ));
    }

    /// The server ends.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Answering what is queued");
    }

    /// A line for people.
    pub fn status(&self, status: &str) {
        self.tell(&format!("STATUS={}", line(status)));
    }

    /// Another process is the server from now on. It is for the one that lets go
    /// to say so, since a manager believes the process that it knows.
    pub fn main_process(&self, process: u32) {
        self.tell(&format!("MAINPID={process}"));
    }

    /// How often `alive` wants to be called: twice in the time after which the
    /// manager takes the server for hung.
    pub fn interval(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    /// The server is not hung.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// What cannot be said now is lost; the manager is no reason to wait.
    fn tell(&self, words: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(words.as_bytes());
        }
    }
}

/// A path, or a name behind an `@` that is in no folder.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("neither a path nor @NAME")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// How long the manager waits, where it waits for this process.
fn watchdog(period: Option<&OsStr>, process: Option<&OsStr>, own: u32) -> Option<Duration> {
    let number = |text: &OsStr| text.to_str()?.parse::<u64>().ok();
    if process.is_some_and(|process| number(process) != Some(own.into())) {
        return None;
    }
    let period = period.and_then(number).filter(|period| *period > 0)?;
    Some(Duration::from_micros(period))
}

/// A status is one line, which the protocol ends at its first.
fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notifier(socket: &str, period: &str, process: &str) -> (Notifier, Option<String>) {
        let variable = |text: &str| (!text.is_empty()).then(|| text.into());
        Notifier::new([socket, period, process].map(variable), 77)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut octets = [0; 512];
        let length = socket.recv(&mut octets).unwrap();
        String::from_utf8(octets[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_manager_hears_each_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let (notifier, note) = notifier(path.to_str().unwrap(), "", "");
        assert!(note.is_none() && notifier.socket.is_some());
        // The socket is connected; that its name goes matters no more.
        std::fs::remove_file(&path).unwrap();
        notifier.ready("4 zones\nsecond line");
        assert_eq!(heard(&manager), "READY=1\nSTATUS=4 zones");
        let before = service::monotonic_microseconds();
        notifier.reloading();
        let words = heard(&manager);
        let rest = words.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        let time: u64 = rest.lines().next().unwrap().parse().unwrap();
        assert!((before..=service::monotonic_microseconds()).contains(&time));
        notifier.alive();
        assert_eq!(heard(&manager), "WATCHDOG=1");
        notifier.main_process(12);
        assert_eq!(heard(&manager), "MAINPID=12");
        notifier.status("");
        assert_eq!(heard(&manager), "STATUS=");
        notifier.stopping();
        assert!(heard(&manager).starts_with("STOPPING=1\n"));
        // Whom nobody hears says it all the same.
        drop(manager);
        notifier.alive();
    }

    #[test]
    fn a_name_that_is_in_no_folder_is_found() {
        let name = format!("shardns-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let (notifier, _) = notifier(&format!("@{name}"), "", "");
        notifier.alive();
        assert_eq!(heard(&manager), "WATCHDOG=1");
    }

    #[test]
    fn nobody_is_told_where_nobody_asked_or_listens() {
        let (silent, note) = notifier("", "2000000", "");
        assert!(note.is_none() && silent.socket.is_none() && silent.interval().is_none());
        silent.ready("");
        for wrong in ["/nowhere/notify", "relative", "@"] {
            let (silent, note) = notifier(wrong, "", "");
            assert!(silent.socket.is_none());
            assert!(note.unwrap().contains("NOTIFY_SOCKET"), "{wrong}");
        }
    }

    #[test]
    fn the_watchdog_is_this_processs() {
        let interval = |period, process| {
            watchdog(Some(OsStr::new(period)), process, 77).map(|period| period.as_millis())
        };
        assert_eq!(interval("3000000", None), Some(3000));
        assert_eq!(interval("3000000", Some(OsStr::new("77"))), Some(3000));
        assert_eq!(interval("3000000", Some(OsStr::new("78"))), None);
        assert_eq!(interval("3000000", Some(OsStr::new(""))), None);
        assert_eq!(interval("0", None), None);
        assert_eq!(interval("soon", None), None);
        let with = Notifier {
            socket: None,
            watchdog: Some(Duration::from_secs(3)),
        };
        assert_eq!(with.interval(), Some(Duration::from_millis(1500)));
    }
}
