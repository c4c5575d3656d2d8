//! What is not about serving: the configuration file, completions, manual pages.

mod support;

use std::fs;
use std::process::Command;

use support::query;
use support::running::{PROGRAM, Running, own_user, run, skip};

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Files {
        let files = Files(tempfile::tempdir().unwrap());
        files.write(
            "a.zone",
            "$ORIGIN a.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns.b.test.\n@ 60 NS ns2.b.test.\n",
        );
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }
}

#[test]
fn a_file_has_options_and_zones_and_the_command_line_has_the_last_word() {
    let files = Files::new();
    let text = format!(
        "listen = [\"127.0.0.1:0\", \"[::1]:0\"] # both\nworkers = 3\nno-pin = true\nidentity = 'from the file'\nhide-version = false\nzones = [\"{}\"]\n",
        files.path("a.zone")
    );
    files.write("shardns.toml", &text);
    let config = files.path("shardns.toml");
    let start = |more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        Running::spawn(
            command
                .args(["serve", "--config", &config])
                .args(own_user())
                .args(more),
        )
    };
    let file_alone = start(&[]);
    for words in ["3 workers not pinned", "zone a.test.", "[::1]:"] {
        assert!(
            file_alone.log.contains(words),
            "{words}: {}",
            file_alone.log
        );
    }
    let other = start(&["--workers", "2", "--listen", "127.0.0.1:0"]);
    assert!(other.log.contains("2 workers not pinned"), "{}", other.log);
    assert!(!other.log.contains("[::1]:"), "{}", other.log);
    let checked = run(&["check", "--config", &config]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(
        checked.status.success() && said.contains("a.test.: 1 name"),
        "{said}"
    );
}

/// An option may need another one that only the file has, or nobody.
#[test]
fn an_option_is_there_whose_other_half_is_in_the_file() {
    let files = Files::new();
    let (control, zone) = (files.path("control"), files.path("a.zone"));
    files.write("shardns.toml", &format!("control = \"{control}\"\n"));
    files.write("bare.toml", "workers = 1\n");
    let serve = ["serve", "--takeover", "--listen", "127.0.0.1:0"];
    let mut command = Command::new(PROGRAM);
    command.args(serve).args(own_user());
    command.args(["--config", &files.path("shardns.toml"), &zone]);
    let running = Running::spawn(&mut command);
    assert!(running.log.contains("zone a.test."), "{}", running.log);
    let bare = files.path("bare.toml");
    for (more, code) in [(&["--config", &bare][..], 1), (&[], 2)] {
        let output = run(&[&serve[..], more, &[&zone]].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains("--control <PATH>"), "{said}");
    }
}

#[test]
fn faults_of_the_file_have_their_places() {
    let files = Files::new();
    let cases = [
        (
            "workres = 2\n",
            "1:1: unknown key `workres`; did you mean `workers`?",
        ),
        ("workers = 2\nzebra = 1\n", "2:1: unknown key `zebra`"),
        ("workers = 0\n", "1:11: invalid value '0'"),
        ("\nworkers = \"many\"\n", "2:11: invalid value 'many'"),
        ("workers = [1, 2]\n", "1:11: workers: it has one value"),
        ("no-pin = 1\n", "1:10: no-pin: write true or false"),
        ("batch = 1.5\n", "1:9: batch: float where"),
        ("workers = \n", "1:11:"),
        ("workers = 1\nworkers = 2\n", "2:1: duplicate key"),
        ("takeover = true\n", "1:1: unknown key `takeover`"),
        (
            "\"a\\n\\u001b[2J\" = 1\n",
            "1:1: unknown key `a\u{fffd}\u{fffd}[2J`\n",
        ),
    ];
    for (text, place) in cases {
        files.write("x.toml", text);
        for command in ["serve", "check"] {
            let output = run(&[command, "--config", &files.path("x.toml")]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{text}: {said}");
            assert!(said.contains(&format!("x.toml:{place}")), "{text}: {said}");
        }
    }
    // What an option needs may be on the command line.
    files.write("x.toml", "workers = 2\nxdp-mode = \"native\"\n");
    for (more, said) in [
        (
            &[][..],
            "x.toml:2:1: xdp-mode: the following required arguments were not provided: --xdp",
        ),
        (
            &["--xdp", "no-such"],
            "there is no interface `no-such`; `ip link` lists them",
        ),
    ] {
        let config = files.path("x.toml");
        let listen = ["--listen", "127.0.0.1:0"];
        let output = run(&[&["serve", "--config", &config], &listen[..], more].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    // What two are wrong with alike, or with each other, is said of one of them.
    for (text, said) in [
        (
            "workers = 2\nrate-limit-slip = 2\nrate-limit-entries = 1024\n",
            "x.toml:2:1: rate-limit-slip: the following required arguments were not provided: ",
        ),
        (
            "version-text = \"x\"\nhide-version = true\n",
            "x.toml:2:1: hide-version: the argument '",
        ),
        (
            "hide-version = true\nversion-text = \"x\"\n",
            "x.toml:2:1: version-text: the argument '",
        ),
    ] {
        files.write("x.toml", text);
        let output = run(&["serve", "--config", &files.path("x.toml")]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
    let missing = run(&["check", "--config", &files.path("none.toml")]);
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("cannot read the configuration"), "{said}");
}

#[test]
fn a_reload_reads_the_file_again() {
    let files = Files::new();
    let config = files.path("shardns.toml");
    files.write(
        "b.zone",
        "$ORIGIN b.test.\n@ 60 SOA a. b. 1 2 3 4 5\n@ 60 NS ns.c.test.\n",
    );
    let write = |zones: &[&str], identity: &str| {
        let zones: Vec<String> = zones.iter().map(|zone| files.path(zone)).collect();
        let text = format!("listen = '127.0.0.1:0'\nzones = {zones:?}\nidentity = {identity:?}\n");
        files.write("shardns.toml", &text);
    };
    write(&["a.zone"], "one");
    let mut command = Command::new(PROGRAM);
    let mut running = Running::spawn(
        command
            .args(["serve", "--config", &config])
            .args(own_user()),
    );
    let client = running.client();
    let ask = |name: &str, rtype: u16, class: u8| {
        let mut request = query(name, rtype);
        *request.last_mut().unwrap() = class;
        client.send(&request).unwrap();
        let mut reply = [0; 512];
        let length = client.recv(&mut reply).unwrap();
        reply[..length].to_vec()
    };
    let rcode = |reply: &[u8]| reply[3] & 15;
    assert_eq!(rcode(&ask("b.test", 2, 1)), 5);
    write(&["b.zone"], "two");
    running.signal("HUP");
    running.until("reload: ");
    assert_eq!(rcode(&ask("b.test", 2, 1)), 0);
    assert_eq!(rcode(&ask("a.test", 2, 1)), 5);
    assert!(ask("id.server", 16, 3).ends_with(b"two"));
    files.write("shardns.toml", "listen = '127.0.0.1:0'\n");
    running.signal("HUP");
    let said = running.until("reload: ");
    assert!(said.contains("names no zone any more"), "{said}");
    assert_eq!(rcode(&ask("b.test", 2, 1)), 0);
    files.write("shardns.toml", "zones = []\nnonsense = 1\n");
    running.signal("HUP");
    let said = running.until("reload: ");
    assert!(said.contains("shardns.toml:2:1: unknown key"), "{said}");
    assert_eq!(rcode(&ask("b.test", 2, 1)), 0);
}

#[test]
fn the_version_is_told_as_it_is_to_be() {
    let files = Files::new();
    let version = |more: &[&str]| {
        let running = Running::start(&[more, &[&files.path("a.zone")]].concat());
        let client = running.client();
        let mut request = query("version.bind", 16);
        *request.last_mut().unwrap() = 3;
        client.send(&request).unwrap();
        let mut reply = [0; 512];
        let length = client.recv(&mut reply).unwrap();
        (reply[3] & 15, reply[..length].to_vec())
    };
    assert!(version(&[]).1.windows(8).any(|words| words == b"shardns "));
    assert!(
        version(&["--version-text", "none"])
            .1
            .ends_with(b"\x04none")
    );
    assert_eq!(version(&["--hide-version"]).0, 5);
    let said = run(&["--version"]).stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("(commit "), "{said}");
}

#[test]
fn shells_accept_their_completions() {
    for (shell, option) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1000);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("completions");
        fs::write(&path, output.stdout).unwrap();
        let Ok(accepted) = Command::new(shell).arg(option).arg(&path).output() else {
            skip(&format!("completions for {shell}: it is not installed"));
            continue;
        };
        assert!(accepted.status.success(), "{shell}: {accepted:?}");
    }
}

#[test]
fn man_accepts_the_pages() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().to_str().unwrap();
    assert!(run(&["man", "--out", out]).status.success());
    let pages: Vec<_> = fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(pages.len() > 8, "{pages:?}");
    let one = run(&["man", "serve"]);
    assert!(
        String::from_utf8(one.stdout)
            .unwrap()
            .contains("\\-\\-listen")
    );
    assert_eq!(run(&["man", "nothing"]).status.code(), Some(1));
    for page in pages {
        let mut command = Command::new("man");
        command
            .env("MANWIDTH", "80")
            .args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]);
        let Ok(shown) = command.arg(&page).output() else {
            return skip("manual pages: man is not installed");
        };
        let warnings = String::from_utf8_lossy(&shown.stderr);
        assert!(
            shown.status.success() && warnings.is_empty(),
            "{page:?}: {warnings}"
        );
    }
}
