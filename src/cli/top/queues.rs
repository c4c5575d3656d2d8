//! The queues that are read past the sockets, drawn below the threads.

use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

use super::draw::{Look, clean, number};
use crate::daemon::rates::InterfaceRates;
use crate::sys::xdp::QueueTotals;

/// The narrowest column of numbers.
const MIN_WIDTH: usize = 8;

/// Lines for an interface: an empty one, headings, a line for each queue, and what went
/// on to the kernel.
pub(super) fn lines(rates: &InterfaceRates, look: Look) -> Vec<Line<'static>> {
    let underlined = Style::new().add_modifier(Modifier::UNDERLINED);
    let headings = QueueTotals::HEADINGS.map(|heading| pad(heading, heading));
    let mut lines = vec![
        Line::default(),
        Line::raw(clean(&format!(
            "{}, past the sockets, a second",
            rates.interface
        ))),
        Line::raw(format!("queue  worker{}", headings.concat())).style(underlined),
    ];
    for (queue, worker, numbers) in &rates.queues {
        let mut spans = vec![Span::raw(format!("{queue:<5}  {worker:>6}"))];
        let named = QueueTotals::HEADINGS.iter().zip(numbers);
        let told = named.zip(QueueTotals::ARE_LOSSES);
        spans.extend(told.map(|((heading, rate), is_loss)| {
            let text = pad(heading, &number(*rate));
            match is_loss && *rate > 0.0 {
                true => Span::styled(text, look.alarm()),
                false => text.into(),
            }
        }));
        lines.push(Line::from(spans));
    }
    let passed = rates.passed.iter().filter(|(_, rate)| *rate > 0.0);
    let passed: Vec<String> = passed
        .map(|(reason, rate)| format!("{} {}", number(*rate), reason.replace('_', " ")))
        .collect();
    let passed = match passed.is_empty() {
        true => "nothing".into(),
        false => passed.join(", "),
    };
    lines.push(Line::raw(clean(&format!(
        "passed on to the kernel: {passed}"
    ))));
    lines
}

fn pad(heading: &str, text: &str) -> String {
    format!("  {text:>width$}", width = heading.len().max(MIN_WIDTH))
}
