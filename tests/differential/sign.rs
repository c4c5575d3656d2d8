//! Zones -> files that servers read: signed, where they are to be, by one of three
//! signers with keys made for the purpose.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::generate::{Denial, Hashing, Role, Signer, ZoneText};

/// Writes the zone into the folder, which it gets for itself; returns the file.
pub fn write(zone: &ZoneText, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    fs::create_dir_all(folder).unwrap();
    let plain = folder.join("plain");
    fs::write(&plain, zone.text(origin)).unwrap();
    if zone.denial == Denial::Unsigned {
        return Ok(plain);
    }
    match zone.signer {
        Signer::Bind => bind(zone, origin, folder),
        Signer::Ldns => ldns(zone, origin, folder),
        Signer::Knot => knot(zone, origin, folder),
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

/// Octets of a salt in hexadecimal, or the sign for none.
fn salt(hashing: Hashing, none: &str) -> String {
    match hashing.salt {
        0 => none.into(),
        octets => "a5".repeat(octets),
    }
}

/// As BIND and ldns want to hear it for an algorithm that has keys of any length.
fn bits(algorithm: &str) -> &'static str {
    if algorithm == "RSASHA256" {
        "-b 2048"
    } else {
        ""
    }
}

fn bind(zone: &ZoneText, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let opt_out = if zone.denial == Denial::OptOut {
        "-A"
    } else {
        ""
    };
    let denial = match zone.denial {
        Denial::Nsec | Denial::Unsigned => String::new(),
        Denial::Nsec3 | Denial::OptOut => {
            let (salt, iterations) = (salt(zone.hashing, "-"), zone.hashing.iterations);
            format!("-3 {salt} -H {iterations} {opt_out}")
        }
    };
    let mut one_for_all = "";
    for (algorithm, role) in zone.keys.each() {
        let bits = bits(algorithm);
        let flag = if *role == Role::Records { "" } else { "-f KSK" };
        if *role == Role::Both {
            one_for_all = "-z";
        }
        run(
            folder,
            &format!("dnssec-keygen -q -a {algorithm} {bits} {flag} {origin}"),
        )?;
    }
    run(
        folder,
        &format!("dnssec-signzone -S {one_for_all} -P {denial} -o {origin} -f signed plain"),
    )?;
    Ok(folder.join("signed"))
}

fn ldns(zone: &ZoneText, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let opt_out = if zone.denial == Denial::OptOut {
        "-p"
    } else {
        ""
    };
    let denial = match zone.denial {
        Denial::Nsec | Denial::Unsigned => String::new(),
        Denial::Nsec3 | Denial::OptOut => {
            let iterations = zone.hashing.iterations;
            let salt = match zone.hashing.salt {
                0 => String::new(),
                _ => format!("-s {}", salt(zone.hashing, "")),
            };
            format!("-n -t {iterations} -a 1 {salt} {opt_out}")
        }
    };
    let mut keys = Vec::new();
    for (algorithm, role) in zone.keys.each() {
        let bits = bits(algorithm);
        let flag = if *role == Role::Records { "" } else { "-k" };
        let key = run(
            folder,
            &format!("ldns-keygen {flag} -a {algorithm} {bits} {origin}"),
        )?;
        keys.push(key);
    }
    let keys = keys.join(" ");
    run(
        folder,
        &format!("ldns-signzone {denial} -o {origin} -f signed plain {keys}"),
    )?;
    Ok(folder.join("signed"))
}

fn knot(zone: &ZoneText, origin: &str, folder: &Path) -> Result<PathBuf, String> {
    let switch = |on| if on { "on" } else { "off" };
    let nsec3 = switch(!matches!(zone.denial, Denial::Nsec | Denial::Unsigned));
    let opt_out = switch(zone.denial == Denial::OptOut);
    let keys = zone.keys.each();
    let single = switch(keys.iter().any(|(_, role)| *role == Role::Both));
    let Hashing { iterations, salt } = zone.hashing;
    let storage = folder.display();
    let configuration = format!(
        "database:\n  storage: {storage}\n\
         policy:\n  - id: test\n    manual: on\n    single-type-signing: {single}\n    \
         nsec3: {nsec3}\n    nsec3-iterations: {iterations}\n    nsec3-salt-length: {salt}\n    \
         nsec3-opt-out: {opt_out}\n\
         template:\n  - id: default\n    storage: {storage}\n    file: plain\n\
         zone:\n  - domain: {origin}\n    dnssec-signing: on\n    dnssec-policy: test\n"
    );
    fs::write(folder.join("kzonesign.conf"), configuration).unwrap();
    fs::create_dir_all(folder.join("out")).unwrap();
    for (algorithm, role) in keys {
        let yes = |is| if is { "yes" } else { "no" };
        let (ksk, zsk) = (yes(*role != Role::Records), yes(*role != Role::Keys));
        let algorithm = algorithm.to_lowercase();
        run(
            folder,
            &format!(
                "keymgr -c kzonesign.conf {origin} generate algorithm={algorithm} ksk={ksk} zsk={zsk}"
            ),
        )?;
    }
    run(
        folder,
        &format!("kzonesign -c kzonesign.conf -o out {origin}"),
    )?;
    let mut files = fs::read_dir(folder.join("out")).unwrap();
    let file = files.next().ok_or("kzonesign wrote nothing")?.unwrap();
    Ok(file.path())
}
