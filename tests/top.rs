//! `shardns top` on a real terminal, which tmux is: what it draws, that it
//! follows the terminal's size, and that it leaves the terminal as it was.

use std::io::{Write, stderr};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use clap::Parser;
use shardns::cli::top::Top;
use shardns::daemon::status::{Status, ThreadStatus};

/// Long enough for any machine; what takes as long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that answers for three readings, is gone for two, and is back.
fn made_up() -> impl FnMut() -> anyhow::Result<Status> {
    let mut reading = 0u64;
    move || {
        reading += 1;
        let since = match reading {
            4 | 5 => anyhow::bail!("connecting to /run/shardns.sock: nobody is there"),
            reading => reading % 6,
        };
        let worker = |number: u64| {
            let received = since * [61_000, 54_000, 57_500, 76_000][number as usize];
            ThreadStatus {
                name: number.to_string(),
                cpu: Some(number as usize),
                received,
                batches: vec![(4, received / 3)],
                rcodes: vec![
                    ("NOERROR".into(), received - received / 10),
                    ("NXDOMAIN".into(), received / 10),
                ],
                kernel_drops: if number == 3 { since * 120 } else { 0 },
                ..ThreadStatus::default()
            }
        };
        Ok(Status {
            version: "0.1.0".into(),
            pid: 4711,
            uptime_seconds: 3600.0 + since as f64,
            counting_seconds: since as f64,
            addresses: vec!["127.0.0.1:5300".into(), "[::1]:5300".into()],
            workers: (0..4).map(worker).collect(),
            tcp: Some(ThreadStatus {
                name: "tcp".into(),
                received: since * 20,
                connections: since * 15,
                ..ThreadStatus::default()
            }),
            ..Status::default()
        })
    }
}

#[derive(clap::Parser)]
struct Arguments {
    #[command(flatten)]
    top: Top,
}

/// What runs inside of tmux; by hand: `cargo test --test top -- --ignored
/// --nocapture` in a terminal.
#[test]
#[ignore = "draws on the terminal until q is pressed"]
fn draw() {
    let arguments = Arguments::parse_from(["top"]);
    if let Err(error) = arguments.top.run(made_up()) {
        panic!("{error:#}");
    }
}

/// A server of tmux that is the test's own.
struct Tmux(String);

impl Tmux {
    /// A window in which top draws, and then the words of who has it.
    fn start(environment: &str) -> Option<Tmux> {
        if Command::new("tmux").arg("-V").output().is_err() {
            // Where the test runner does not hide it.
            let _ = writeln!(stderr(), "SKIPPED: tmux is not installed");
            return None;
        }
        let name = format!("shardns-{}-{}", std::process::id(), environment.len());
        let tmux = Tmux(name);
        let this = std::env::current_exe().unwrap();
        let run = format!(
            "echo before; {environment} {} --ignored --exact draw --nocapture; echo after; exec cat",
            this.display()
        );
        let size = ["new-session", "-d", "-x", "80", "-y", "24"];
        let started = tmux.run(&[&size[..], &[&run]].concat());
        assert!(started.status.success(), "{started:?}");
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let tmux = Command::new("tmux")
            .args(["-L", &self.0, "-f", "/dev/null"])
            .args(arguments)
            .output();
        tmux.unwrap()
    }

    fn await_screen(&self, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.run(&["capture-pane", "-p", "-e"]).stdout;
            let screen = String::from_utf8_lossy(&screen).into_owned();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "it is not shown:\n{screen}");
            // Each look is a process; the drawing may need the CPU.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn it_draws_follows_the_size_and_leaves_the_terminal() {
    let Some(tmux) = Tmux::start("LC_ALL=C.UTF-8 NO_COLOR=") else {
        return;
    };
    let screen = tmux.await_screen(|screen| screen.contains("queries/s"));
    assert!(screen.contains("127.0.0.1:5300 [::1]:5300"), "{screen}");
    assert!(
        screen.contains("\x1b[38;5;2m█"),
        "bars are green:\n{screen}"
    );
    tmux.run(&["resize-window", "-x", "40", "-y", "8"]);
    tmux.await_screen(|screen| screen.contains("share") && !screen.contains("batch"));
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.await_screen(|screen| screen.contains("batch"));
    tmux.await_screen(|screen| screen.contains("the server is gone, still trying: connecting"));
    tmux.run(&["send-keys", "q"]);
    let screen = tmux.await_screen(|screen| screen.contains("after"));
    assert!(screen.contains("before") && !screen.contains("queries/s"));
    // The terminal shows what is typed again.
    tmux.run(&["send-keys", "typed"]);
    tmux.await_screen(|screen| screen.contains("typed"));
}

#[test]
fn control_c_leaves_and_no_color_has_none() {
    let Some(tmux) = Tmux::start("LC_ALL=C NO_COLOR=1") else {
        return;
    };
    let screen = tmux.await_screen(|screen| screen.contains("queries/s"));
    assert!(screen.contains("####"), "{screen}");
    let colors = [30, 31, 32, 33, 34, 35, 36, 37, 38].map(|number| format!("\x1b[{number}"));
    assert!(
        !colors.iter().any(|color| screen.contains(color)),
        "{screen}"
    );
    tmux.run(&["send-keys", "C-c"]);
    tmux.await_screen(|screen| screen.contains("after"));
}

#[test]
fn without_a_terminal_it_says_so() {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args(["--ignored", "--exact", "draw", "--nocapture"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("top draws on a terminal"), "{text}");
}
