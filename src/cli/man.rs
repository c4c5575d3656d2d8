//! `shardns man`: a manual page for each command, from the same definition as its
//! `--help`.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Command, CommandFactory};
use clap_mangen::Man as Page;

/// The arguments of `shardns man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The command whose page is printed; `shardns` itself if none is named
    command: Option<String>,
    /// Write the pages of all commands into a folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out: Option<PathBuf>,
}

impl Man {
    /// Prints or writes.
    ///
    /// # Errors
    ///
    /// No such command, or a folder that cannot be written to.
    pub fn run(self) -> anyhow::Result<()> {
        let pages = pages();
        if let Some(folder) = &self.out {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            for (name, page) in pages {
                let path = folder.join(format!("{name}.1"));
                let failed = || format!("cannot write {}", path.display());
                fs::write(&path, page).with_context(failed)?;
            }
            return Ok(());
        }
        let name = match &self.command {
            Some(command) => format!("shardns-{command}"),
            None => "shardns".into(),
        };
        let Some((_, page)) = pages.into_iter().find(|(found, _)| *found == name) else {
            bail!("there is no page {name}; `shardns --help` lists the commands");
        };
        Ok(std::io::stdout().write_all(&page)?)
    }
}

/// All pages by name.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut all = super::Cli::command().disable_help_subcommand(true);
    all.build();
    let mut pages = vec![("shardns".into(), page("shardns", all.clone()))];
    for command in all.get_subcommands() {
        let name = format!("shardns-{}", command.get_name());
        pages.push((name.clone(), page(&name, command.clone())));
    }
    pages
}

fn page(name: &str, command: Command) -> Vec<u8> {
    let mut page = Vec::new();
    let name: &'static str = name.to_owned().leak();
    let command = command.name(name).display_name(name);
    Page::new(command)
        .manual("shardns")
        .render(&mut page)
        .expect("memory takes anything");
    page
}
