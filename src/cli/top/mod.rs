//! `shardns top`: a running server, drawn on the terminal and drawn again as
//! news of it comes. The server is asked on a thread of its own, so that one that
//! does not answer does not keep keys from being read.

mod draw;
mod queues;
mod screen;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::value_parser;
use crossbeam_channel::{Receiver, Sender};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::daemon::status::Status;
use draw::Look;
use screen::Screen;

/// How long a key or news may wait to be seen.
const TICK: Duration = Duration::from_millis(100);

/// The arguments of `shardns top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// Seconds between two looks at the server
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 1,
        value_parser = value_parser!(u16).range(1..=3600)
    )]
    interval: u16,
    /// Draw without colours, as with NO_COLOR set
    #[arg(long)]
    no_color: bool,
}

impl Top {
    /// Draws what `poll` says of a server, until a key ends it.
    ///
    /// # Errors
    ///
    /// A terminal that there is not, or that breaks. That the server cannot be
    /// asked is shown, and tried again.
    pub fn run(
        &self,
        poll: impl FnMut() -> anyhow::Result<Status> + Send + 'static,
    ) -> anyhow::Result<()> {
        if !io::stdout().is_terminal() {
            bail!("top draws on a terminal, and stdout is none; shardns ctl status prints");
        }
        let news = ask(poll, Duration::from_secs(self.interval.into()))?;
        let ended = watch_signals().context("cannot watch for signals")?;
        let mut screen = Screen::new(Look::of_terminal(self.no_color));
        let mut drawn = Drawn::begin().context("cannot draw on this terminal")?;
        show(&mut drawn.terminal, &mut screen, &news, &ended).context("the terminal is lost")
    }
}

/// What is heard of the server, one after another.
type News = anyhow::Result<Status>;

/// Asks on a thread of its own, and ends when nobody listens any more.
fn ask(
    mut poll: impl FnMut() -> News + Send + 'static,
    interval: Duration,
) -> anyhow::Result<Receiver<News>> {
    let (send, receive): (Sender<News>, _) = crossbeam_channel::bounded(1);
    let thread = thread::Builder::new().name("shardns-ask".into());
    let run = move || {
        while send.send(poll()).is_ok() {
            thread::sleep(interval);
        }
    };
    thread.spawn(run).context("cannot start a thread")?;
    Ok(receive)
}

/// In raw mode Ctrl-C is a key; what others send ends it as `q` does.
fn watch_signals() -> io::Result<Arc<AtomicBool>> {
    let ended = Arc::<AtomicBool>::default();
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, ended.clone())?;
    }
    Ok(ended)
}

/// A terminal that is drawn on. What was there before comes back when this is
/// dropped, and before the words of a panic.
struct Drawn {
    terminal: DefaultTerminal,
}

impl Drawn {
    fn begin() -> io::Result<Drawn> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Drawn { terminal }),
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    screen: &mut Screen,
    news: &Receiver<News>,
    ended: &AtomicBool,
) -> io::Result<()> {
    // Relaxed: a flag, and nothing is read on the strength of it.
    while !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| screen.draw(frame))?;
        loop {
            if event::poll(TICK)? {
                match event::read()? {
                    Event::Key(key) if screen.is_end(key) => return Ok(()),
                    Event::Key(key) => screen.scroll(key),
                    // The next drawing takes the new size.
                    _ => {}
                }
                break;
            }
            if let Ok(news) = news.try_recv() {
                screen.hear(news);
                break;
            }
            if ended.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}
