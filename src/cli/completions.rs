//! `shardns completions`: what a shell needs to complete this command line.

use clap::CommandFactory;
use clap_complete::Shell;

/// The arguments of `shardns completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Prints them.
    ///
    /// # Errors
    ///
    /// Where nobody reads.
    pub fn run(self) -> anyhow::Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "shardns", &mut text);
        Ok(std::io::Write::write_all(&mut std::io::stdout(), &text)?)
    }
}
