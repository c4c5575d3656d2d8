//! What the screen shows: the last that was heard of the server, and which of its
//! workers.

use ratatui::Frame;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::draw::{self, Look};
use crate::daemon::rates::Rates;
use crate::daemon::status::Status;

/// What is shown.
pub struct Screen {
    pub(super) look: Look,
    /// The last reading, and the rates up to it.
    pub(super) heard: Option<(Status, Rates)>,
    /// Why there is no newer one.
    pub(super) trouble: Option<String>,
    /// Workers above the first that is shown.
    pub(super) above: usize,
    /// Workers that found room when it was drawn last.
    pub(super) room: usize,
}

impl Screen {
    /// A screen on which nothing has been heard yet.
    pub fn new(look: Look) -> Screen {
        Screen {
            look,
            heard: None,
            trouble: None,
            above: 0,
            room: 1,
        }
    }

    /// Takes what was heard of the server.
    pub fn hear(&mut self, news: anyhow::Result<Status>) {
        match news {
            Ok(status) => {
                let before = self.heard.as_ref().map(|(before, _)| before);
                let rates = Rates::between(before, &status);
                self.heard = Some((status, rates));
                self.trouble = None;
            }
            Err(error) => self.trouble = Some(format!("{error:#}")),
        }
    }

    /// True for the keys that end it.
    pub fn is_end(&self, key: KeyEvent) -> bool {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c' | 'd') => control,
            _ => false,
        }
    }

    /// Moves the window over the workers.
    pub fn scroll(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        self.above = match key.code {
            KeyCode::Up | KeyCode::Char('k') => self.above.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.above + 1,
            KeyCode::PageUp => self.above.saturating_sub(self.room),
            KeyCode::PageDown => self.above + self.room,
            KeyCode::Home => 0,
            KeyCode::End => usize::MAX - self.room,
            _ => self.above,
        };
    }

    /// Draws all of it.
    pub fn draw(&mut self, frame: &mut Frame<'_>) {
        draw::draw(self, frame);
    }
}
