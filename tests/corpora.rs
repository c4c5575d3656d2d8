//! What fuzzing has found or begins with, through the functions that it puts its
//! inputs to: nothing panics, and all that they look at holds.

mod support;
#[path = "fuzz/src/targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::PathBuf;

use targets::Run;

/// Puts all inputs to a target, whatever is said of those before.
fn run_all(name: &str, run: Run, inputs: &[Vec<u8>]) {
    assert!(inputs.len() > 20, "{name} has {} inputs", inputs.len());
    let broken = inputs
        .iter()
        .filter(|input| catch_unwind(|| run(input)).is_err());
    let broken = broken.count();
    assert!(
        broken == 0,
        "{name}: {broken} of {} do not hold",
        inputs.len()
    );
}

#[test]
fn every_input_of_the_corpora_holds() {
    for (name, run, _) in targets::ALL {
        let folder = support::repository("tests/fuzz/corpus").join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{name}: {error}"));
        let inputs = files.map(|file| fs::read(file.unwrap().path()).unwrap());
        run_all(name, run, &inputs.collect::<Vec<_>>());
    }
}

#[test]
fn every_seed_holds() {
    for (name, run, seeds) in targets::ALL {
        run_all(name, run, &seeds());
    }
}

/// Writes what fuzzing begins with into the folder that `FUZZ_SEEDS` names.
#[test]
#[ignore = "writes files"]
fn seeds() {
    let folder = PathBuf::from(std::env::var_os("FUZZ_SEEDS").expect("FUZZ_SEEDS names a folder"));
    for (name, _, seeds) in targets::ALL {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds().iter().enumerate() {
            fs::write(folder.join(format!("{number:05}")), seed).unwrap();
        }
    }
}
