//! What is drawn of made-up servers, on terminals of several sizes.

use anyhow::anyhow;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::*;
use crate::daemon::status::{ThreadStatus, ZoneStatus};
use crate::server::queues::{InterfaceTotals, QueueCounts};
use crate::sys::xdp::QueueTotals;

const PLAIN: Look = Look {
    color: false,
    unicode: false,
};

fn worker(number: usize, received: u64) -> ThreadStatus {
    ThreadStatus {
        name: number.to_string(),
        cpu: Some(number),
        received,
        batches: vec![(1, received / 4)],
        rcodes: vec![
            ("NOERROR".into(), received - received / 4),
            ("NXDOMAIN".into(), received / 4),
            ("REFUSED".into(), 0),
        ],
        ..ThreadStatus::default()
    }
}

/// A server after so many seconds, its workers with so many queries each.
fn status(seconds: f64, received: &[u64]) -> Status {
    Status {
        version: "0.1.0".into(),
        commit: "1c6ca3742d".into(),
        pid: 4711,
        uptime_seconds: seconds,
        counting_seconds: seconds,
        addresses: vec!["127.0.0.1:5300".into(), "[::1]:5300".into()],
        workers: (0..).zip(received).map(|(n, &r)| worker(n, r)).collect(),
        tcp: Some(ThreadStatus {
            name: "tcp".into(),
            ..ThreadStatus::default()
        }),
        zones: vec![ZoneStatus::default(); 3],
        ..Status::default()
    }
}

fn screen(look: Look, readings: impl IntoIterator<Item = News>) -> Screen {
    let mut screen = Screen::new(look);
    readings.into_iter().for_each(|news| screen.hear(news));
    screen
}

fn two_workers(look: Look) -> Screen {
    screen(
        look,
        [
            Ok(status(90_061.0, &[0, 0])),
            Ok(status(90_063.0, &[6000, 2000])),
        ],
    )
}

fn buffer(screen: &mut Screen, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn lines(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
    let buffer = buffer(screen, width, height);
    let line = |y| {
        let cells = (0..width).map(|x| buffer[(x, y)].symbol());
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..height).map(line).collect()
}

#[test]
fn eighty_columns_show_all() {
    assert_eq!(
        lines(&mut two_workers(PLAIN), 80, 9),
        [
            "shardns 0.1.0 (1c6ca3742)  pid 4711  up 1 d 01:01:03  127.0.0.1:5300 [::1]:5300",
            "4,000 queries/s  0 drops/s  3 zones  0 TCP connections/s",
            "NOERROR 3,000/s 75 %  NXDOMAIN 1,000/s 25 %",
            "",
            "worker  cpu  queries/s | an equal share                    share  drops/s  batch",
            "0         0      3,000 ######################|##########  75.0 %        0    4.0",
            "1         1      1,000 ###########           |            25.0 %        0    4.0",
            "tcp       -          0",
            "q leaves",
        ]
    );
}

#[test]
fn queues_stand_below_the_threads() {
    let reading = |seconds: f64, received: u64| {
        let queue = |number: u32, received| QueueCounts {
            queue: number,
            worker: number,
            zero_copy: false,
            totals: QueueTotals {
                received,
                sent: received,
                no_frame: u64::from(number) * received / 1000,
                ..QueueTotals::default()
            },
        };
        Status {
            interfaces: vec![InterfaceTotals {
                interface: "eth0".into(),
                native: true,
                queues: vec![queue(0, 3 * received), queue(1, received)],
                passed: vec![("not_udp".into(), received / 100), ("source".into(), 0)],
                gone: 0,
            }],
            ..status(seconds, &[3 * received, received])
        }
    };
    let screen = &mut screen(PLAIN, [Ok(reading(10.0, 0)), Ok(reading(12.0, 2000))]);
    let shown = lines(screen, 80, 14);
    assert!(
        shown[1].contains(" 4,000 past the sockets/s "),
        "{}",
        shown[1]
    );
    assert_eq!(
        shown[8..],
        [
            "",
            "eth0, past the sockets, a second",
            "queue  worker  received      sent  no frame  ring empty  ring full   invalid",
            "0           0     3,000     3,000         0           0          0         0",
            "1           1     1,000     1,000       1.0           0          0         0",
            "q leaves  arrows scroll  lines 1 to 8 of 9",
        ]
    );
    screen.scroll(KeyEvent::new(KeyCode::End, KeyModifiers::NONE));
    assert_eq!(
        lines(screen, 80, 14)[12],
        "passed on to the kernel: 10 not udp"
    );
}

/// That the kernel was busy, or looked for a frame in vain, costs nobody an answer.
#[test]
fn of_queues_only_what_is_lost_is_an_alarm() {
    let reading = |seconds: f64, [sent, no_frame, ring_empty, ring_full]: [u64; 4]| Status {
        interfaces: vec![InterfaceTotals {
            interface: "eth0".into(),
            queues: vec![QueueCounts {
                totals: QueueTotals {
                    received: 10 * sent,
                    sent,
                    no_frame,
                    ring_empty,
                    ring_full,
                    invalid: 5 * ring_full,
                    busy: 3 * ring_empty,
                    unread: 7 * ring_full,
                },
                ..QueueCounts::default()
            }],
            ..InterfaceTotals::default()
        }],
        ..status(seconds, &[sent])
    };
    let later = reading(11.0, [1000, 2000, 3000, 4000]);
    let screen = &mut screen(PLAIN, [Ok(reading(10.0, [0; 4])), Ok(later)]);
    let buffer = buffer(screen, 100, 12);
    let bold = |cell: &&ratatui::buffer::Cell| cell.modifier.contains(Modifier::BOLD);
    let row: Vec<_> = (0..100).map(|x| &buffer[(x, 10)]).collect();
    let all: String = row.iter().map(|cell| cell.symbol()).collect();
    let numbers = "10,000 1,000 2,000 3,000 4,000 20,000 9,000 28,000";
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(&all), format!("0 0 {numbers}"));
    let loud = row.iter().copied().filter(bold);
    let loud: String = loud.map(|cell| cell.symbol()).collect();
    assert_eq!(words(&loud), "2,000 4,000 20,000 28,000");
}

#[test]
fn what_says_least_goes_first_where_there_is_little_room() {
    let screen = &mut two_workers(PLAIN);
    let narrow = lines(screen, 34, 9);
    assert_eq!(narrow[4], "worker  queries/s   share  drops/s");
    assert_eq!(narrow[5], "0           3,000  75.0 %        0");
    assert_eq!(
        lines(screen, 17, 3),
        [
            "shardns 0.1.0 (1c",
            "worker  queries/s",
            "0           3,000"
        ]
    );
    for width in 1..100 {
        for height in 1..12 {
            lines(screen, width, height);
        }
    }
}

#[test]
fn addresses_that_do_not_fit_are_counted() {
    let mut many = status(1.0, &[1]);
    many.addresses = (1..=9).map(|n| format!("192.0.2.{n}:53")).collect();
    let screen = &mut screen(PLAIN, [Ok(many)]);
    assert!(lines(screen, 80, 9)[0].ends_with(" 192.0.2.1:53 and 8 more"));
    assert!(lines(screen, 200, 9)[0].ends_with(" 192.0.2.9:53"));
}

#[test]
fn many_workers_scroll() {
    let received: Vec<u64> = (0..64).map(|number| 1000 + number).collect();
    let screen = &mut screen(PLAIN, [Ok(status(1.0, &received))]);
    let rows = |screen: &mut Screen| {
        let lines = lines(screen, 80, 24);
        let names = lines[5..23].iter().map(|line| line[..6].trim().to_owned());
        (names.collect::<Vec<_>>(), lines[23].clone())
    };
    let press = |screen: &mut Screen, code| screen.scroll(KeyEvent::new(code, KeyModifiers::NONE));
    let (names, foot) = rows(screen);
    assert_eq!((names[0].as_str(), names[17].as_str()), ("0", "17"));
    assert!(foot.ends_with("threads 1 to 18 of 65"), "{foot}");
    for (code, first) in [
        (KeyCode::Up, "0"),
        (KeyCode::Down, "1"),
        (KeyCode::PageDown, "19"),
        (KeyCode::End, "47"),
        (KeyCode::Down, "47"),
        (KeyCode::PageUp, "29"),
        (KeyCode::Home, "0"),
    ] {
        press(screen, code);
        assert_eq!(rows(screen).0[0], first, "{code:?}");
    }
    press(screen, KeyCode::End);
    assert_eq!(rows(screen).0[17], "tcp");
}

#[test]
fn a_server_that_is_gone_is_said_to_be() {
    let gone = || Err(anyhow!("connect: no\nsuch\x1b[2J file"));
    let early = &mut screen(PLAIN, [gone()]);
    assert_eq!(
        lines(early, 80, 2)[0],
        "no answer yet, still trying: connect: no such [2J file"
    );
    let screen = &mut two_workers(PLAIN);
    screen.hear(gone());
    let shown = lines(screen, 80, 9);
    assert!(shown[1].starts_with("the server is gone, still trying: connect"));
    assert!(shown[5].contains("3,000"), "the last that was heard stays");
    screen.hear(Ok(status(90_064.0, &[7000, 2000])));
    assert!(lines(screen, 80, 9)[1].starts_with("1,000 queries/s"));
    screen.hear(Ok(status(2.0, &[10, 10])));
    assert!(lines(screen, 80, 9)[1].starts_with("restarted  10 queries/s"));
}

#[test]
fn without_colours_there_are_none() {
    let mut troubled = status(2.0, &[6000, 2000]);
    troubled.workers[0].kernel_drops = 50;
    troubled.zones[0].error = Some("broken".into());
    for color in [false, true] {
        let look = Look {
            color,
            unicode: true,
        };
        let screen = &mut screen(look, [Ok(troubled.clone())]);
        let buffer = buffer(screen, 80, 9);
        let colored = buffer.content.iter().any(|cell| cell.fg != Color::Reset);
        assert_eq!(colored, color);
        let bold = |cell: &&ratatui::buffer::Cell| cell.modifier.contains(Modifier::BOLD);
        let loud = buffer.content.iter().filter(bold);
        let loud: String = loud.map(|cell| cell.symbol()).collect();
        assert!(loud.contains("25 drops/s"), "{loud}");
        assert!(loud.contains("1 not up to date"), "{loud}");
    }
}

#[test]
fn bars_have_eighths_and_a_band() {
    let look = Look {
        color: false,
        unicode: true,
    };
    let screen = &mut two_workers(look);
    assert!(lines(screen, 80, 9)[6].contains("███████████  "));
    screen.heard.as_mut().unwrap().1.band = Some((0.375, 0.625));
    let shown = lines(screen, 80, 9);
    assert!(shown[4].contains("chance: 38 to 62 %"), "{}", shown[4]);
    assert!(shown[5].contains("█▓▓▓▓▓▓▓▓▓▓▓▓█"), "{}", shown[5]);
    assert!(shown[6].contains("█     ░░░░░░░░░░░░   "), "{}", shown[6]);
}

#[test]
fn keys_end_it() {
    let screen = Screen::new(PLAIN);
    let key = |code, modifiers| screen.is_end(KeyEvent::new(code, modifiers));
    assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
    assert!(key(KeyCode::Esc, KeyModifiers::NONE));
    assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
    assert!(!key(KeyCode::Down, KeyModifiers::NONE));
}
