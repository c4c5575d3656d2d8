//! The map holds: layers name only what they may, `unsafe` and the kernel's
//! crates stay where they belong, and what README and the crate's page name
//! exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root().join("src")).unwrap().into(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src"), &mut found);
    assert!(found.len() > 30);
    found
}

/// Lines of code, without comments.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(|line| line.split("//").next().unwrap())
}

fn layer(path: &Path) -> String {
    path.components()
        .next()
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned()
}

/// The lines `layer -> layers` of the crate's page.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let page = read("src/lib.rs");
    let lines = page
        .lines()
        .filter_map(|line| line.strip_prefix("//! ")?.split_once("->"));
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    lines
        .map(|(layer, below)| (layer.trim().to_owned(), words(below)))
        .collect()
}

#[test]
fn layers_name_only_what_is_below_them() {
    let arrows = arrows();
    let modules: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        // `core` only gathers layers into a package.
        .filter(|path| path.join("mod.rs").exists())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        arrows.keys().cloned().collect::<BTreeSet<_>>(),
        modules,
        "the crate's page lists the layers"
    );
    for (path, text) in sources() {
        let own = layer(&path);
        let Some(below) = arrows.get(&own) else {
            continue;
        };
        for line in code(&text) {
            for named in line.split("crate::").skip(1) {
                let named: String = named
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let allowed = named == own || below.contains(&named) || !modules.contains(&named);
                assert!(allowed, "{}: {own} names {named}: {line}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_and_the_kernels_crates_stay_in_sys() {
    for (path, text) in sources() {
        if layer(&path) == "sys" {
            continue;
        }
        for line in code(&text) {
            for word in [
                "unsafe ",
                "unsafe{",
                "libc::",
                "socket2::",
                "allow(unsafe_code)",
            ] {
                assert!(!line.contains(word), "{}: {line}", path.display());
            }
        }
    }
    assert!(read("Cargo.toml").contains("unsafe_code = \"deny\""));
}

#[test]
fn every_source_file_says_what_it_owns() {
    for (path, text) in sources() {
        assert!(
            text.starts_with("//! "),
            "{} does not begin with what it owns",
            path.display()
        );
    }
}

/// Words that look like paths of the repository.
fn paths(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    let words = text
        .split(|c| !is_part(c))
        .map(|word| word.trim_end_matches('.'));
    let folders = ["src/", "tests/", "zones/", "benches/", ".ci/"];
    words
        .filter(|word| folders.iter().any(|folder| word.starts_with(folder)))
        .map(str::to_owned)
        .collect()
}

#[test]
fn what_the_pages_name_exists() {
    for page in ["README.md", "src/lib.rs"] {
        let named = paths(&read(page));
        assert!(named.len() > 5, "{page} names {named:?}");
        for path in named {
            assert!(
                root().join(&path).exists(),
                "{page} names {path}, which is not there"
            );
        }
    }
}

/// Words such as `--listen`.
fn options(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c == '-';
    let words = text.split(|c| !is_part(c));
    words
        .filter(|word| word.starts_with("--") && word.len() > 3 && !word.starts_with("---"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_readme_tells_of_every_option_and_of_no_other() {
    let mut helped = BTreeSet::new();
    let commands = "serve, check, queries, lab, lab answer, lab explain, lab play, ctl, ctl status, ctl queries, top, dashboard, \
        alerts, completions, man, unit";
    for command in commands.split(", ") {
        let output = Command::new(env!("CARGO_BIN_EXE_shardns"))
            .args(command.split(' ').chain(["--help"]))
            .output()
            .unwrap();
        helped.extend(options(&String::from_utf8(output.stdout).unwrap()));
    }
    assert!(helped.len() > 15, "{helped:?}");
    let told = options(&read("README.md"));
    let silent: Vec<_> = helped
        .difference(&told)
        .filter(|option| *option != "--help")
        .collect();
    assert!(silent.is_empty(), "the README says nothing of {silent:?}");
    // Options of cargo and of the program as a whole.
    let others = [
        "--release",
        "--version",
        "--help",
        "--test",
        "--lib",
        "--all-targets",
        "--bench",
        "--ignored",
    ]
    .map(str::to_owned);
    let invented: Vec<_> = told
        .difference(&helped)
        .filter(|option| !others.contains(option))
        .collect();
    assert!(
        invented.is_empty(),
        "the README tells of {invented:?}, which there is not"
    );
}

/// The words of a sentence that is read at a glance.
const GLANCE: usize = 25;

/// A finding stands here as it does in the report: an experiment's command, then
/// sentences.
#[test]
fn findings_are_sentences_that_are_read_at_a_glance() {
    let readme = read("README.md");
    let (_, findings) = readme.split_once("\n## Findings\n").unwrap();
    let (findings, _) = findings.split_once("\n## ").unwrap();
    let items: Vec<String> = findings
        .split("\n- `shardns lab ")
        .skip(1)
        .map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(items.len(), shardns::lab::EXPERIMENTS.len());
    for (item, experiment) in items.iter().zip(shardns::lab::EXPERIMENTS) {
        let (name, told) = item.split_once("`: ").unwrap();
        assert_eq!(name, experiment.name);
        for sentence in told.split_inclusive(". ") {
            assert!(
                shardns::lab::result::words(sentence) <= GLANCE,
                "{sentence}"
            );
        }
    }
}

/// The longest file, tests of its own included.
const MAX_FILE: usize = 600;
/// The longest function that fits a screen.
const MAX_FUNCTION: usize = 70;
/// What someone new reads in one sitting (README's list of files, and the port).
const MAX_WAY: usize = 1400;
const WAY: [&str; 8] = [
    "src/server/worker.rs",
    "src/server/answerer.rs",
    "src/answer/mod.rs",
    "src/answer/query.rs",
    "src/zone/lookup.rs",
    "src/answer/reply.rs",
    "src/sys/port/mod.rs",
    "src/sys/port/socket.rs",
];

/// Functions and how many lines they take, told by their indentation, which is
/// rustfmt's.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut open: Option<(String, usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let indentation = &line[..line.len() - line.trim_start().len()];
        if let Some((name, start, end)) = &open {
            // What a trait only declares ends with its parentheses.
            let is_declared = line.ends_with(';') && line.starts_with(&end.replace('}', ")"));
            if line == end {
                found.push((name.clone(), number + 1 - start));
            }
            if line == end || is_declared {
                open = None;
            }
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_function = words.iter().take(5).any(|word| *word == "fn");
        let is_code = !line.trim_start().starts_with("//");
        if open.is_none() && is_function && is_code && !line.ends_with(';') && !line.ends_with('}')
        {
            open = Some((line.trim().into(), number, format!("{indentation}}}")));
        }
    }
    found
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut seen = 0;
    for (path, text) in sources() {
        // Tests have tables, which are read line by line.
        if path.ends_with("tests.rs") || path.iter().any(|part| part == "tests") {
            continue;
        }
        let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (function, lines) in functions(own) {
            seen += 1;
            assert!(
                lines <= MAX_FUNCTION,
                "{}: {function} takes {lines} lines",
                path.display()
            );
        }
    }
    assert!(seen > 1000, "only {seen} functions were found");
}

#[test]
fn no_file_is_longer_than_can_be_kept_in_mind() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MAX_FILE, "{} has {lines} lines", path.display());
    }
}

#[test]
fn the_way_of_a_datagram_is_read_in_one_sitting() {
    let lines: usize = WAY
        .iter()
        .map(|path| {
            let text = read(path);
            let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            code(own).filter(|line| !line.trim().is_empty()).count()
        })
        .sum();
    assert!(lines <= MAX_WAY, "{lines} lines of code");
    let readme = read("README.md");
    for path in &WAY[..6] {
        assert!(readme.contains(path), "README does not lead to {path}");
    }
}
