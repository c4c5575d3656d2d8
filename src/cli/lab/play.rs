//! `shardns lab play`: a page on loopback to play at with sockets of the kernel.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use crossbeam_channel::{RecvTimeoutError, bounded};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::lab::play::{self, Setup};
use crate::sys::limits::raise_open_files;

/// The arguments of `shardns lab play`.
#[derive(Debug, clap::Args)]
pub struct Play {
    /// Port of loopback for the page; the kernel chooses one if it is 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// How it is set up at first, as in the page's address
    #[arg(long, value_name = "SETUP", default_value_t = Setup::default())]
    setup: Setup,
    /// End after a time such as `10m`, rather than when it is told to
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
    /// Serve the sockets that a bench hands over
    #[arg(long, hide = true)]
    serve_stdin: bool,
}

impl Play {
    /// Serves the page until a signal comes.
    ///
    /// # Errors
    ///
    /// What the kernel would not give.
    pub fn run(self) -> anyhow::Result<()> {
        if self.serve_stdin {
            return Ok(play::serve_stdin()?);
        }
        raise_open_files();
        // Before there is anything that a signal should end in good order.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])?;
        let bench = play::Play::start(self.port, self.setup)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{}", bench.url())
            .and_then(|()| out.flush())
            .context("cannot print the page's address")?;
        let (send, ended) = bounded::<()>(1);
        thread::spawn(move || drop((signals.forever().next(), send)));
        match self.time {
            Some(time) => match ended.recv_timeout(time) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            },
            None => drop(ended.recv()),
        }
        Ok(())
    }
}
