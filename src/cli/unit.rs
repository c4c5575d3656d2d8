//! `shardns unit`: units for systemd, printed for the operator to look at, change
//! and put where they belong.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;

use super::ctl::DEFAULT_PATH;

const SERVICE: &str = include_str!("unit/shardns.service");
const SOCKET: &str = include_str!("unit/shardns.socket");
/// What stands in the service for the path of the program.
const PROGRAM: &str = "@PROGRAM@";
/// What stands there for where its options and zones are.
const ARGUMENTS: &str = "@ARGUMENTS@";
/// What stands there for how the server tells that it is ready, and is told to
/// read its zones again.
const TYPE: &str = "@TYPE@";
/// The first systemd that sends the signal and waits for the answer by itself.
const NOTIFY_RELOAD: u32 = 253;

/// The arguments of `shardns unit`.
#[derive(Debug, clap::Args)]
pub struct Unit {
    /// Print shardns.socket rather than shardns.service: systemd binds the sockets
    /// and keeps them while the server is started anew
    #[arg(long)]
    socket: bool,
    /// The folder of zones to serve
    #[arg(long, value_name = "FOLDER", default_value = "/etc/shardns/zones")]
    zones: PathBuf,
    /// A file that has the zones and all options, in place of those in the unit
    // It is named, not read, as what is called `config` would be.
    #[arg(long = "config", value_name = "FILE", conflicts_with = "zones")]
    file: Option<PathBuf>,
}

impl Unit {
    /// Prints the unit.
    ///
    /// # Errors
    ///
    /// A path that no unit can name, or a reader that has gone.
    pub fn run(self) -> anyhow::Result<()> {
        let text = if self.socket {
            SOCKET.to_owned()
        } else {
            let program = std::env::current_exe().context("cannot tell where the program is")?;
            let program = program.canonicalize().unwrap_or(program);
            SERVICE
                .replace(PROGRAM, &word(&program)?)
                .replace(ARGUMENTS, &self.arguments()?)
                .replace(TYPE, kind(systemd()))
        };
        io::stdout().write_all(text.as_bytes())?;
        Ok(())
    }

    /// What `shardns serve` is told.
    fn arguments(&self) -> anyhow::Result<String> {
        if let Some(file) = &self.file {
            return Ok(format!("--config {}", word(file)?));
        }
        Ok(format!(
            "--listen 0.0.0.0:53 --listen [::]:53 --control {DEFAULT_PATH} {}",
            word(&self.zones)?
        ))
    }
}

/// The version of the machine's systemd, if it has one.
fn systemd() -> Option<u32> {
    let output = Command::new("systemctl").arg("--version").output().ok()?;
    version(&String::from_utf8_lossy(&output.stdout))
}

/// `systemd 252 (252.38-1~deb12u1)`, and more lines.
fn version(text: &str) -> Option<u32> {
    text.split_whitespace().nth(1)?.parse().ok()
}

/// Where there is no systemd to ask, what each of them understands.
fn kind(systemd: Option<u32>) -> &'static str {
    match systemd {
        Some(NOTIFY_RELOAD..) => "Type=notify-reload",
        _ => {
            "# From systemd 253 on, Type=notify-reload is in the place of these two lines.\n\
                Type=notify\nExecReload=/bin/kill -HUP $MAINPID"
        }
    }
}

/// A path as a word of `ExecStart=`: quoted where it has to be, with what systemd
/// would replace written twice (`systemd.service(5)`, "Command lines").
fn word(path: &std::path::Path) -> anyhow::Result<String> {
    let text = path
        .to_str()
        .with_context(|| format!("{} cannot be written into a unit", path.display()))?;
    let mut word = text.replace('%', "%%").replace('$', "$$");
    if word.contains([' ', '\t', '\n', '"', '\'', '\\', ';']) {
        word = format!(
            "\"{}\"",
            word.replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n")
        );
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn paths_are_written_as_systemd_reads_them() {
        let written = |path| word(Path::new(path)).unwrap();
        assert_eq!(written("/usr/bin/shardns"), "/usr/bin/shardns");
        assert_eq!(written("/a b/100%"), "\"/a b/100%%\"");
        assert_eq!(written("/a$b"), "/a$$b");
        assert_eq!(written("/a\"b\\"), "\"/a\\\"b\\\\\"");
    }

    #[test]
    fn an_old_systemd_is_told_how_to_reload() {
        let old = version("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT");
        assert_eq!(old, Some(252));
        for unsure in [old, None] {
            assert!(kind(unsure).contains("\nType=notify\nExecReload="));
        }
        assert_eq!(kind(Some(253)), "Type=notify-reload");
        assert_eq!(version(""), None);
    }

    #[test]
    fn the_service_names_what_it_is_to_serve() {
        for placeholder in [PROGRAM, ARGUMENTS, TYPE] {
            assert_eq!(SERVICE.matches(placeholder).count(), 1);
        }
    }
}
