//! Zones -> files that servers read: signed, where they are to be, by one of three
//! signers with a key made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::generate::{Denial, Signer, ZoneText};

/// Writes the zone into the folder, which it gets for itself; returns the file.
pub fn write(zone: &ZoneText, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).unwrap();
    let plain = folder.join("plain");
    fs::write(&plain, zone.text(origin)).unwrap();
    if zone.denial == Denial::Unsigned {
        return Ok(plain);
    }
    match zone.signer {
        Signer::Bind => bind(zone.denial, origin, folder),
        Signer::Ldns => ldns(zone.denial, origin, folder),
        Signer::Knot => knot(zone.denial, origin, folder),
    }
}

pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("-h").output().is_ok()
}

fn run(folder: &Path, command: &str) -> Result<String, String> {
    let mut words = command.split(' ').filter(|word| !word.is_empty());
    let output = Command::new(words.next().unwrap())
        .args(words)
        .current_dir(folder)
        .output()
        .map_err(|error| format!("{command}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said.trim().into()),
        false => Err(format!(
            "{command}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn bind(denial: Denial, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let denial = match denial {
        Denial::Nsec | Denial::Unsigned => "",
        Denial::Nsec3 => "-3 - -H 0",
        Denial::OptOut => "-3 - -H 0 -A",
    };
    run(
        folder,
        &format!("dnssec-keygen -q -a ECDSAP256SHA256 -f KSK {origin}"),
    )?;
    run(
        folder,
        &format!("dnssec-signzone -S -z -P {denial} -o {origin} -f signed plain"),
    )?;
    Ok(folder.join("signed"))
}

fn ldns(denial: Denial, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let denial = match denial {
        Denial::Nsec | Denial::Unsigned => "",
        Denial::Nsec3 => "-n -t 0 -a 1",
        Denial::OptOut => "-n -t 0 -a 1 -p",
    };
    let key = run(
        folder,
        &format!("ldns-keygen -k -a ECDSAP256SHA256 {origin}"),
    )?;
    run(
        folder,
        &format!("ldns-signzone {denial} -o {origin} -f signed plain {key}"),
    )?;
    Ok(folder.join("signed"))
}

fn knot(denial: Denial, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let denial = match denial {
        Denial::Nsec | Denial::Unsigned => "nsec3: off",
        Denial::Nsec3 => "nsec3: on\n    nsec3-iterations: 0\n    nsec3-salt-length: 0",
        Denial::OptOut => {
            "nsec3: on\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n    nsec3-opt-out: on"
        }
    };
    let storage = folder.display();
    let configuration = format!(
        "database:\n  storage: {storage}\n\
         policy:\n  - id: test\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    {denial}\n\
         template:\n  - id: default\n    storage: {storage}\n    file: plain\n\
         zone:\n  - domain: {origin}\n    dnssec-signing: on\n    dnssec-policy: test\n"
    );
    fs::write(folder.join("kzonesign.conf"), configuration).unwrap();
    fs::create_dir_all(folder.join("out")).unwrap();
    run(
        folder,
        &format!("kzonesign -r -c kzonesign.conf -o out {origin}"),
    )?;
    let mut files = fs::read_dir(folder.join("out")).unwrap();
    let file = files.next().ok_or("kzonesign wrote nothing")?.unwrap();
    Ok(file.path())
}
