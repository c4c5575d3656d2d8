//! `shardns alerts`: rules for Prometheus that tell when a server needs somebody.

/// The rules, with the reason of each beside it.
const RULES: &str = include_str!("alerts.yaml");

/// The arguments of `shardns alerts`.
#[derive(Debug, clap::Args)]
pub struct Alerts {}

impl Alerts {
    /// Prints the rules.
    ///
    /// # Errors
    ///
    /// What keeps them from being written.
    pub fn run(self) -> anyhow::Result<()> {
        super::dashboard::print(RULES)
    }
}
