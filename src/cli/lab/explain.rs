//! `shardns lab explain`: what loads the sockets of a running group.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{for_people, say, stop_on_signals};
use crate::lab::explain::members::parse_address;
use crate::lab::explain::{Explanation, Inquiry, explain};
use crate::sys::proc_net::Protocol;

/// In less, nothing is seen.
const LEAST: Duration = Duration::from_millis(10);
/// The longest that anybody would wait.
const MOST: Duration = Duration::from_secs(3600);

/// The arguments of `shardns lab explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// Where datagrams are sent to: 127.0.0.1:53, [::1]:53, or :53 for all addresses
    #[arg(value_name = "ADDR:PORT", value_parser = parse_address)]
    address: SocketAddr,
    /// Listeners of TCP rather than UDP sockets
    #[arg(long)]
    tcp: bool,
    /// How long to watch
    #[arg(long = "for", value_name = "DURATION", default_value = "2s", value_parser = parse_window)]
    window: Duration,
    /// Write everything as JSON instead
    #[arg(long)]
    json: bool,
    /// The same seed gives the same chances
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
}

fn parse_window(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(window) if window < LEAST => Err("10ms is the shortest".into()),
        Ok(window) if window > MOST => Err("an hour is the longest".into()),
        Ok(window) => Ok(window),
        Err(error) => Err(format!("{error}; such as 2s or 500ms")),
    }
}

impl Explain {
    /// Watches, and tells what it comes to.
    ///
    /// # Errors
    ///
    /// No socket at that address, what the kernel would not give.
    pub fn run(self) -> anyhow::Result<()> {
        let stop: std::sync::Arc<AtomicBool> = stop_on_signals()?;
        let inquiry = Inquiry {
            address: self.address,
            protocol: match self.tcp {
                true => Protocol::Tcp,
                false => Protocol::Udp,
            },
            window: self.window,
            seed: self.seed,
        };
        let explanation = explain(&inquiry, &stop)?;
        match self.json {
            true => say(&serde_json::to_string_pretty(&explanation.json)?),
            false => tell(&explanation),
        }
    }
}

fn tell(explanation: &Explanation) -> anyhow::Result<()> {
    say(&for_people(&explanation.verdict.sentence))?;
    for note in &explanation.verdict.notes {
        say(&for_people(&format!("- {note}")))?;
    }
    for table in &explanation.tables {
        say(&format!("\n{table}"))?;
    }
    say(&for_people(&format!(
        "\nTold from: {}.",
        explanation.evidence
    )))?;
    if !explanation.unknown.is_empty() {
        say("Not told:")?;
    }
    for unknown in &explanation.unknown {
        say(&for_people(&format!("- {unknown}")))?;
    }
    Ok(())
}
