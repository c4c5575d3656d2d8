//! Drawing: a head of three lines, a row for each worker with its bar, a foot.
//! Where there is little room, what says least goes first.

use std::borrow::Cow;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};

use super::queues;
use super::screen::Screen;
use crate::cli::sources::plural;
use crate::daemon::rates::{Rates, ThreadRates};
use crate::daemon::status::Status;
use crate::lab::figure::grouped;

/// The narrowest bar that says anything.
const MIN_BAR: usize = 8;

/// What the terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Colours are wanted.
    pub color: bool,
    /// It shows more than ASCII.
    pub unicode: bool,
}

impl Look {
    /// That of this process's terminal. <https://no-color.org> says when there
    /// shall be no colours.
    pub fn of_terminal(no_color: bool) -> Look {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let locale = locale.unwrap_or_default().to_ascii_uppercase();
        Look {
            color: !no_color && set("NO_COLOR").is_none(),
            unicode: locale.contains("UTF-8") || locale.contains("UTF8"),
        }
    }

    fn paint(self, color: Color) -> Style {
        match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    /// For what needs to be seen, with colours or without.
    pub(super) fn alarm(self) -> Style {
        self.paint(Color::Red).add_modifier(Modifier::BOLD)
    }
}

/// Draws the screen, as much of it as there is room for.
pub fn draw(screen: &mut Screen, frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let mut lines = head(screen, width);
    let Some((_, rates)) = &screen.heard else {
        return print(frame, area, lines);
    };
    // Head, a space, headings, a row, the foot.
    let spacious = height >= lines.len() + 4;
    if spacious {
        lines.push(Line::default());
    }
    // The rows and the line above them come before the codes.
    while height < lines.len() + 2 && lines.len() > 1 {
        lines.pop();
    }
    let rows = rates.workers.len() + usize::from(rates.tcp.is_some());
    let below: Vec<Line<'static>> = rates
        .interfaces
        .iter()
        .flat_map(|interface| queues::lines(interface, screen.look))
        .collect();
    let rows = rows + below.len();
    screen.room = height.saturating_sub(lines.len() + 1 + usize::from(spacious));
    screen.room = screen.room.max(1);
    screen.above = screen.above.min(rows.saturating_sub(screen.room));
    lines.extend(table(screen, width, below));
    if spacious {
        lines.resize(height - 1, Line::default());
        lines.push(foot(screen, rows));
    }
    print(frame, area, lines);
}

fn print(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    for (line, row) in lines.iter().zip(area.rows()) {
        frame.render_widget(line, row);
    }
}

fn head(screen: &Screen, width: usize) -> Vec<Line<'static>> {
    let look = screen.look;
    let trouble = screen.trouble.as_ref();
    let Some((status, rates)) = &screen.heard else {
        let text = match trouble {
            Some(trouble) => format!("no answer yet, still trying: {trouble}"),
            None => "waiting for the server".into(),
        };
        let style = trouble.map_or(Style::new(), |_| look.alarm());
        return vec![Line::styled(clean(&text), style), Line::raw("q leaves")];
    };
    let news = if let Some(trouble) = trouble {
        let text = format!("the server is gone, still trying: {trouble}");
        Line::styled(clean(&text), look.alarm())
    } else {
        totals(status, rates, look)
    };
    vec![server(status, width), news, codes(rates)]
}

/// Nobody's words shall move the cursor.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(visible).collect()
}

/// Who the server is: version, process, age, and as many addresses as fit.
fn server(status: &Status, width: usize) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut name = format!("shardns {}", status.version);
    if !status.commit.is_empty() {
        name += &format!(" ({:.9})", status.commit);
    }
    let age = age(status.uptime_seconds);
    let mut text = format!("  pid {}  up {age} ", status.pid);
    for (at, address) in status.addresses.iter().enumerate() {
        let left = status.addresses.len() - at;
        let more = format!(" and {left} more");
        let used = name.chars().count() + text.chars().count();
        let needed = address.len() + if left > 1 { more.len() } else { 0 };
        if used + 1 + needed > width && at > 0 {
            text += &more;
            break;
        }
        text += &format!(" {address}");
    }
    Line::from(vec![Span::styled(clean(&name), bold), clean(&text).into()])
}

fn totals(status: &Status, rates: &Rates, look: Look) -> Line<'static> {
    let total = &rates.total;
    let mut parts = Vec::new();
    if rates.restarted {
        parts.push(Span::styled("restarted  ", look.alarm()));
    }
    let bold = Style::new().add_modifier(Modifier::BOLD);
    parts.push(Span::styled(number(total.queries), bold));
    parts.push(Span::raw(" queries/s  "));
    if let Some(rate) = rates.past_sockets() {
        parts.push(format!("{} past the sockets/s  ", number(rate)).into());
    }
    parts.push(alarming(total.drops, "drops/s", look));
    if total.send_failures > 0.0 {
        parts.push(alarming(total.send_failures, "not sent/s", look));
    }
    let zones = status.zones.len();
    parts.push(format!("{zones} {}  ", plural(zones, "zone")).into());
    let broken = status.zones.iter().filter(|zone| zone.error.is_some());
    match broken.count() {
        0 => {}
        broken => parts.push(Span::styled(
            format!("{broken} not up to date  "),
            look.alarm(),
        )),
    }
    if status.tcp.is_some() {
        parts.push(format!("{} TCP connections/s  ", number(total.connections)).into());
    }
    if total.connections_refused > 0.0 {
        parts.push(alarming(total.connections_refused, "refused/s", look));
    }
    Line::from(parts)
}

fn alarming(rate: f64, of: &str, look: Look) -> Span<'static> {
    let text = format!("{} {of}  ", number(rate));
    match rate > 0.0 {
        true => Span::styled(text, look.alarm()),
        false => text.into(),
    }
}

/// The response codes that there are, with their parts of all.
fn codes(rates: &Rates) -> Line<'static> {
    let all: f64 = rates.total.rcodes.iter().map(|(_, rate)| rate).sum();
    let seen = rates.total.rcodes.iter().filter(|(_, rate)| *rate > 0.0);
    let parts: Vec<String> = seen
        .map(|(name, rate)| {
            let percent = 100.0 * rate / all;
            format!("{name} {}/s {percent:.0} %", number(*rate))
        })
        .collect();
    match parts.is_empty() {
        true => Line::raw("no replies"),
        false => Line::raw(clean(&parts.join("  "))),
    }
}

/// A column, in the order in which they stand; those that say least go first
/// where the line is short.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Name,
    Cpu,
    Queries,
    Bar,
    Share,
    Drops,
    Batch,
}

impl Column {
    const ALL: [Column; 7] = [
        Column::Name,
        Column::Cpu,
        Column::Queries,
        Column::Bar,
        Column::Share,
        Column::Drops,
        Column::Batch,
    ];
    const EXPENDABLE: [Column; 6] = [
        Column::Cpu,
        Column::Batch,
        Column::Bar,
        Column::Share,
        Column::Drops,
        Column::Name,
    ];

    fn heading(self) -> &'static str {
        match self {
            Column::Name => "worker",
            Column::Cpu => "cpu",
            Column::Queries => "queries/s",
            Column::Bar => "",
            Column::Share => "share",
            Column::Drops => "drops/s",
            Column::Batch => "batch",
        }
    }

    /// With the space before it; a bar's least.
    fn width(self) -> usize {
        match self {
            Column::Name => 6,
            Column::Cpu => 5,
            Column::Queries => 11,
            Column::Bar => 1 + MIN_BAR,
            Column::Share => 8,
            Column::Drops => 9,
            Column::Batch => 7,
        }
    }

    fn cell(self, thread: &ThreadRates, is_worker: bool) -> String {
        match self {
            Column::Name => clean(&thread.name),
            Column::Cpu => thread.cpu.map_or("-".into(), |cpu| cpu.to_string()),
            Column::Queries => number(thread.queries),
            Column::Bar => String::new(),
            Column::Share if is_worker => format!("{:.1} %", 100.0 * thread.share),
            Column::Share => String::new(),
            Column::Drops if is_worker => number(thread.drops),
            Column::Drops => String::new(),
            Column::Batch => thread.batch.map_or("".into(), |mean| format!("{mean:.1}")),
        }
    }
}

fn columns(width: usize) -> Vec<Column> {
    let mut columns = Column::ALL.to_vec();
    for expendable in Column::EXPENDABLE {
        let needed: usize = columns.iter().map(|column| column.width()).sum();
        if needed <= width {
            break;
        }
        columns.retain(|column| *column != expendable);
    }
    columns
}

/// The threads, and what stands below them.
fn table(screen: &Screen, width: usize, below: Vec<Line<'static>>) -> Vec<Line<'static>> {
    let Some((_, rates)) = &screen.heard else {
        return Vec::new();
    };
    let columns = columns(width);
    let fixed = columns.iter().filter(|column| **column != Column::Bar);
    let bar = width.saturating_sub(1 + fixed.map(|column| column.width()).sum::<usize>());
    let headings = columns.iter().map(|&column| match column {
        Column::Bar => Span::raw(pad(column, &legend(rates, bar), bar)),
        _ => Span::raw(pad(column, column.heading(), bar)),
    });
    let underlined = Style::new().add_modifier(Modifier::UNDERLINED);
    let mut lines = vec![Line::from_iter(headings).style(underlined)];
    let rows = rates.workers.iter().map(|worker| (worker, true));
    let rows = rows.chain(rates.tcp.iter().map(|tcp| (tcp, false)));
    let row = |(thread, is_worker): (&ThreadRates, bool)| {
        let mut spans = Vec::new();
        for &column in &columns {
            match column {
                Column::Bar if is_worker => {
                    spans.push(Span::raw(" "));
                    spans.extend(bar_of(thread.share, rates, bar, screen.look));
                }
                Column::Drops if thread.drops > 0.0 => {
                    let text = pad(column, &column.cell(thread, is_worker), bar);
                    spans.push(Span::styled(text, screen.look.alarm()));
                }
                _ => spans.push(pad(column, &column.cell(thread, is_worker), bar).into()),
            }
        }
        Line::from(spans)
    };
    let rows = rows.map(row).chain(below);
    lines.extend(rows.skip(screen.above).take(screen.room));
    lines
}

fn pad(column: Column, text: &str, bar: usize) -> String {
    match column {
        Column::Name => format!("{text:<6}"),
        Column::Bar => format!(" {text:<bar$}"),
        other => format!(" {text:>width$}", width = other.width() - 1),
    }
}

/// What the bars' marks mean, where there is room to say it.
fn legend(rates: &Rates, bar: usize) -> String {
    if rates.workers.len() < 2 {
        return String::new();
    }
    let text = match rates.band {
        Some((low, high)) => format!("chance: {:.0} to {:.0} %", 100.0 * low, 100.0 * high),
        None => "| an equal share".into(),
    };
    if text.len() <= bar {
        text
    } else {
        String::new()
    }
}

/// A worker's share as a bar, on a scale on which the largest fills the line. It
/// has a mark at an equal share, or where it is known shows the band in which
/// chance leaves shares.
fn bar_of(share: f64, rates: &Rates, width: usize, look: Look) -> Vec<Span<'static>> {
    let shares = rates.workers.iter().map(|worker| worker.share);
    let (low, high) = rates.band.unwrap_or_default();
    let equal = 1.0 / rates.workers.len().max(1) as f64;
    let scale = shares.fold(high.max(equal), f64::max);
    let place = |share: f64| share / scale * width as f64;
    let filled = place(share);
    let mark = (place(equal) as usize).min(width.saturating_sub(1));
    let outside = rates.band.is_some() && (share < low || share > high);
    let style = match outside {
        true => look.paint(Color::Yellow),
        false => look.paint(Color::Green),
    };
    let cell = |at: usize| {
        let part = (filled - at as f64).clamp(0.0, 1.0);
        let block = block(part, look.unicode);
        let (within, beyond) = match look.unicode {
            true => ("▓", "░"),
            false => ("=", "."),
        };
        match (block, rates.band) {
            (block, None) if at == mark && rates.workers.len() > 1 => {
                let over = block.map_or(Style::new(), |_| style.add_modifier(Modifier::REVERSED));
                Span::styled("|", over)
            }
            (block, Some(_)) if at >= place(low) as usize && (at as f64) < place(high) => {
                let shown = if part >= 0.5 { within } else { beyond };
                Span::styled(shown, block.map_or(Style::new(), |_| style))
            }
            (Some(block), _) => Span::styled(block, style),
            (None, _) => Span::raw(" "),
        }
    };
    (0..width).map(cell).collect()
}

/// A cell that is filled to a part, in eighths where the terminal has them.
fn block(part: f64, unicode: bool) -> Option<&'static str> {
    if !unicode {
        return (part >= 0.5).then_some("#");
    }
    let eighths = ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];
    let index = (part * 8.0).round() as usize;
    eighths.get(index.checked_sub(1)?).copied()
}

fn foot(screen: &Screen, rows: usize) -> Line<'static> {
    let keys: Cow<'static, str> = if rows > screen.room {
        let last = (screen.above + screen.room).min(rows);
        let first = screen.above + 1;
        let heard = screen.heard.as_ref();
        let has_queues = heard.is_some_and(|(_, rates)| !rates.interfaces.is_empty());
        let what = if has_queues { "lines" } else { "threads" };
        format!("q leaves  arrows scroll  {what} {first} to {last} of {rows}").into()
    } else {
        "q leaves".into()
    };
    Line::styled(keys, Style::new().add_modifier(Modifier::DIM))
}

/// A rate: with a decimal where it is small, and thousands set apart.
pub(super) fn number(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 {
        return format!("{rate:.1}");
    }
    grouped(&format!("{rate:.0}"))
}

/// `3 d 04:05:06`.
fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        days => format!("{days} d {clock}"),
    }
}
