//! Tells the program, while it is built, which commit it is built from, and for
//! what. It
//! looks again when a commit is made or a source changes, and at nothing that
//! `git status` touches: a second build has nothing to do.

use std::path::Path;
use std::process::Command;

fn main() {
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    // What is not there would count as changed each time.
    let log = log.filter(|log| Path::new(log).exists());
    for changing in ["src", "Cargo.toml"].into_iter().chain(log.as_deref()) {
        println!("cargo::rerun-if-changed={changing}");
    }
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12"]);
    let commit = commit.as_deref().unwrap_or("unknown");
    println!("cargo::rustc-env=SHARDNS_COMMIT={commit}");
    for name in ["TARGET", "PROFILE"] {
        let value = std::env::var(name).unwrap_or_default();
        println!("cargo::rustc-env=SHARDNS_{name}={value}");
    }
}

/// What git says, or nothing where it or the clone is not there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
