//! The configuration: any text is options, or faults with their places.

use std::path::Path;

use shardns::cli;

use crate::support;

/// Reads the text as a file is read, and as many options as it has.
pub fn run(input: &[u8]) {
    // A file that is no UTF-8 is not read.
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let Err(faults) = cli::read_config(Path::new("a.toml"), text) else {
        return;
    };
    let lines = text.split('\n').count();
    for fault in faults.lines().filter(|line| line.starts_with("a.toml:")) {
        let mut parts = fault.split(':').skip(1);
        let mut number = || -> usize { parts.next().unwrap().parse().unwrap() };
        let (line, column) = (number(), number());
        assert!((1..=lines).contains(&line) && column >= 1, "{fault}");
    }
}

/// The file of the package, and one for each of its lines.
pub fn seeds() -> Vec<Vec<u8>> {
    let path = support::repository("src/cli/package/shardns.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut seeds = vec![text.clone().into_bytes()];
    for line in text.lines() {
        let line = line.trim_start_matches(['#', ' ']);
        if line.contains('=') {
            seeds.push(line.into());
        }
    }
    let others = [
        "zones = [\"a.zone\", \"example.com=b.zone\"]\nworkers = 2\n",
        "listen = [\"127.0.0.1:53\", \"[::1]:53\"]",
        "listen = \"127.0.0.1:53\"",
        "workers = 1_0",
        "workers = 0x10",
        "workers = [1]",
        "wrokers = 1",
        "batch = 1.5",
        "edns-size = 512\nedns-size = 1232",
        "[section]\nworkers = 1",
        "a.b.c = 1",
        "identity = '''\nx'''",
        "identity = \"\\u00e9\"",
        "cookies = false",
        "version = true",
        "help = true",
        "config = \"a\"",
        "zones = {}",
        "zones = [[1]]",
        "x = 1979-05-27T07:32:00Z",
        "= 1",
        "\u{feff}workers = 1",
    ];
    seeds.extend(others.map(|text| text.as_bytes().to_vec()));
    seeds
}
