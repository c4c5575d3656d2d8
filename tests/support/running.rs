//! The program in a process of its own, and what it says.

use std::io::{BufRead, BufReader, Read, Write, stderr};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

pub use shardns::lab::process::own_user;

/// Another package that uses these files has no program.
pub const PROGRAM: &str = match option_env!("CARGO_BIN_EXE_shardns") {
    Some(program) => program,
    None => "no program",
};
pub const NOBODY: u32 = 65_534;

/// Runs what ends by itself; a server that starts after all is ended.
pub fn run(arguments: &[&str]) -> Output {
    Command::new("timeout")
        .args(["20", PROGRAM])
        .args(arguments)
        .output()
        .unwrap()
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Says that something was left out where the test runner does not hide it.
pub fn skip(what: &str) {
    let _ = writeln!(stderr(), "SKIPPED: {what}");
}

/// A server in its own process, on a port that the kernel chose.
pub struct Running {
    pub child: Child,
    pub address: SocketAddr,
    pub log: String,
    pub stderr: BufReader<ChildStderr>,
}

impl Running {
    /// Starts `shardns serve`.
    pub fn start(arguments: &[&str]) -> Running {
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(own_user())
            .args(arguments);
        Running::spawn(&mut command)
    }

    /// Starts it and waits until it says that it is ready.
    pub fn spawn(command: &mut Command) -> Running {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        while !log.trim_end().ends_with("ready") {
            assert!(
                stderr.read_line(&mut log).unwrap() > 0,
                "it did not start: {log}"
            );
        }
        let address = log
            .split("listening on ")
            .nth(1)
            .and_then(|rest| rest.split(',').next());
        let address = address.unwrap().parse().unwrap();
        Running {
            child,
            address,
            log,
            stderr,
        }
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.unwrap().success());
    }

    /// Reads the log on until there is a line with these words; returns what was
    /// read since.
    pub fn until(&mut self, words: &str) -> String {
        let mut read = String::new();
        while !read.lines().any(|line| line.contains(words)) {
            let more = self.stderr.read_line(&mut read).unwrap();
            assert!(more > 0, "it ended without `{words}`: {read}");
        }
        read
    }

    /// Waits for the end; returns the exit code and what was printed since.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stderr.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    pub fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
