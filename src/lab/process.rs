//! Servers in processes of their own: how they start, what they write, and that
//! they end. They end with the thread that starts them, and what they write is
//! read all the time, so that none of them waits for a full pipe.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, unbounded};

use super::load::{APEX, ZONE};
use crate::sys::lab::process::{end_with_parent, signal, unnamed_file};
use crate::sys::user;

/// How long a process may take for the next thing that it is to write, its end
/// included: much longer than any does, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs, until it is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// This program as a server of the laboratory's zone over UDP, whose workers are
/// not pinned and sleep at once; further options are to be added.
///
/// # Errors
///
/// A program whose file is gone.
pub fn this_program() -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--no-pin", "--no-tcp", "--busy-poll", "0"])
        .args(own_user())
        .arg(format!("{APEX}=/proc/self/fd/0"))
        .stdin(zone_file()?);
    Ok(command)
}

fn zone_file() -> std::io::Result<File> {
    unnamed_file(ZONE.as_bytes())
}

/// What has a server that root starts stay root: a process that becomes another
/// user no longer ends with the one that started it (prctl(2), PR_SET_PDEATHSIG).
pub fn own_user() -> &'static [&'static str] {
    match user::effective() {
        0 => &["--user", "0"],
        _ => &[],
    }
}

impl Process {
    /// Starts a server. What it writes to stderr is kept until it is asked for.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start(command: &mut Command) -> anyhow::Result<Process> {
        Process::spawn(command.stdout(Stdio::null()))
    }

    /// Starts this program on a socket that is bound, as a service manager would
    /// (`sd_listen_fds(3)`). It is told its own number, which only a program in its
    /// place knows before: a shell, which then gives way to it.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn start_on(program: Command, socket: OwnedFd) -> anyhow::Result<Process> {
        const HAND_OVER: &str =
            "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3>&1 >/dev/null; exec \"$@\"";
        let mut shell = Command::new("sh");
        shell
            .args(["-c", HAND_OVER, "sh"])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(zone_file()?)
            .stdout(socket);
        Process::spawn(&mut shell)
    }

    fn spawn(command: &mut Command) -> anyhow::Result<Process> {
        command.stderr(Stdio::piped());
        let mut child = end_with_parent(command)
            .spawn()
            .context("cannot start one more process")?;
        let log = child.stderr.take().context("a process without a log")?;
        let (send, lines) = unbounded();
        let read = move || {
            let lines = BufReader::new(log).lines().map_while(Result::ok);
            // Whoever no longer asks is no reason to stop reading.
            lines.for_each(|line| drop(send.send(line)));
        };
        let process = Process { child, lines };
        let name = "shardns-log".to_owned();
        thread::Builder::new().name(name).spawn(read)?;
        Ok(process)
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it says that it is ready; returns the first address that it
    /// listens on.
    ///
    /// # Errors
    ///
    /// A process that ends instead, with the last that it said.
    pub fn ready(&mut self) -> anyhow::Result<SocketAddr> {
        let line = self.wait_for(|line| line.contains("listening on "))?;
        let address = line.split("listening on ").nth(1).unwrap_or_default();
        let address = address.split(',').next().unwrap_or_default().parse();
        self.wait_for(|line| line.ends_with("ready"))?;
        address.with_context(|| format!("no address in `{line}`"))
    }

    /// Reads what it writes up to a certain line, which is returned.
    ///
    /// # Errors
    ///
    /// A process that ends before, with the last that it said.
    pub fn wait_for(&mut self, is_it: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let mut last = String::new();
        loop {
            match self.next_line()? {
                Some(line) if is_it(line.trim()) => return Ok(line.trim().to_owned()),
                Some(line) => last = line,
                None => bail!("a process has ended: {}", last.trim()),
            }
        }
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn signal(&self, number: i32) -> anyhow::Result<()> {
        Ok(signal(&self.child, number)?)
    }

    /// Waits until it ends of its own accord; returns what it wrote meanwhile.
    ///
    /// # Errors
    ///
    /// An end that is not a good one, or none.
    pub fn end(mut self) -> anyhow::Result<Vec<String>> {
        let mut said = Vec::new();
        while let Some(line) = self.next_line()? {
            said.push(line);
        }
        let status = self.child.wait()?;
        if !status.success() {
            let last = said.last().map_or("", |line| line.trim());
            bail!("a process has failed, {status}: {last}");
        }
        Ok(said)
    }

    /// `None` where there will be no more.
    fn next_line(&self) -> anyhow::Result<Option<String>> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("process {} neither goes on nor ends", self.id())
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
