//! Tells the program, while it is built, which commit it is built from, and for
//! what. It
//! looks again when a commit is made or a source changes, and at nothing that
//! `git status` touches: a second build has nothing to do.

use std::path::Path;
use std::process::Command;

fn main() {
    // Of the two packages, the one below `src` has its sources beside its manifest.
    let is_core = !Path::new("src").exists();
    let sources: &[&str] = match is_core {
        true => &["../answer", "../server", "../sys", "../wire", "../zone"],
        false => &["src", "Cargo.toml"],
    };
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    // What is not there would count as changed each time.
    let log = log.filter(|log| Path::new(log).exists());
    for changing in sources.iter().copied().chain(log.as_deref()) {
        println!("cargo::rerun-if-changed={changing}");
    }
    if !is_core {
        pack_relocations();
    }
    let commit = git(&["describe", "--always", "--dirty", "--abbrev=12"]);
    let commit = commit.as_deref().unwrap_or("unknown");
    println!("cargo::rustc-env=SHARDNS_COMMIT={commit}");
    for name in ["TARGET", "PROFILE"] {
        let value = std::env::var(name).unwrap_or_default();
        println!("cargo::rustc-env=SHARDNS_{name}={value}");
    }
}

/// Relocations take a tenth of their room where the C library reads them packed
/// (DT_RELR, glibc from 2.36 on), as it does wherever this one runs.
fn pack_relocations() {
    let is_native = std::env::var("TARGET") == std::env::var("HOST");
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = said
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let minor = said
        .as_deref()
        .and_then(|said| said.trim().strip_prefix("glibc 2."))
        .and_then(|minor| minor.parse::<u32>().ok());
    if is_native && minor.is_some_and(|minor| minor >= 36) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// What git says, or nothing where it or the clone is not there.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}
