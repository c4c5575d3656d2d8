//! Zones change while they are served.

use std::io::Write;
use std::process::{Command, Stdio};

use super::support::running::{PROGRAM, is_root, run};
use super::*;

#[test]
fn what_has_changed_is_served_from_then_on() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    folder.zone("b.test.", 1, 1);
    let mut running = serve(folder.0.path(), &[]);
    let client = running.client();
    assert_eq!(ask(&client, "a.test."), Ok(1));
    folder.zone("a.test.", 2, 2);
    folder.zone("c.test.", 1, 3);
    fs::remove_file(folder.path("b.test.zone")).unwrap();
    assert_eq!(ask(&client, "a.test."), Ok(1), "nobody said so");
    let said = hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(2));
    assert_eq!(ask(&client, "b.test."), REFUSED);
    assert_eq!(ask(&client, "c.test."), Ok(3));
    for words in [
        "serial 2 after 1",
        "serial 1, new",
        "gone, and served no more",
        "2 loaded, 0 unchanged, 1 removed, 0 failed",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    let said = hang_up(&mut running);
    assert!(said.contains("0 loaded, 2 unchanged"), "{said}");
    assert!(!said.contains("serial"), "{said}");
}

#[test]
fn a_zone_with_an_error_keeps_its_old_version_and_the_others_change() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    folder.zone("b.test.", 1, 1);
    let mut running = serve(folder.0.path(), &[]);
    let client = running.client();
    let bad = [
        ("half of it", zone("a.test.", 2, 2)[..40].to_owned()),
        ("nothing", String::new()),
        ("a mistake", zone("a.test.", 2, 2) + "x A 1.2.3\n"),
    ];
    for (number, (what, text)) in bad.into_iter().enumerate() {
        let number = number as u8 + 2;
        // As `cat >` does, into the same file.
        fs::write(folder.path("a.test.zone"), text).unwrap();
        folder.zone("b.test.", number.into(), number);
        let said = hang_up(&mut running);
        assert_eq!(ask(&client, "a.test."), Ok(1), "{what}");
        assert_eq!(ask(&client, "b.test."), Ok(number), "{what}");
        assert!(
            said.contains("its last good version is served still"),
            "{said}"
        );
        assert!(
            said.contains("1 loaded, 0 unchanged, 0 removed, 1 failed"),
            "{said}"
        );
        assert!(said.contains("a.test.zone:"), "{said}");
    }
    folder.zone("a.test.", 9, 9);
    hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(9));
}

#[test]
fn what_cannot_be_read_any_more_is_served_still() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let file = folder.path("a.test.zone");
    let mut running = Running::start(&[file.to_str().unwrap()]);
    let client = running.client();
    fs::remove_file(&file).unwrap();
    let said = hang_up(&mut running);
    assert!(said.contains("cannot read"), "{said}");
    assert_eq!(ask(&client, "a.test."), Ok(1));
    fs::create_dir(&file).unwrap();
    hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(1));
    // The whole folder, as where a file system is not mounted.
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = serve(folder.0.path(), &[]);
    let client = running.client();
    fs::rename(folder.0.path(), format!("{}-away", folder.argument())).unwrap();
    let said = hang_up(&mut running);
    assert!(said.contains("cannot read"), "{said}");
    assert_eq!(ask(&client, "a.test."), Ok(1));
    fs::rename(format!("{}-away", folder.argument()), folder.0.path()).unwrap();
    folder.zone("a.test.", 2, 2);
    hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(2));
}

/// RFC 4035 §5.2: resolvers know the keys from the parent, and keep them for a time.
#[test]
fn keys_that_are_gone_are_warned_about() {
    let folder = Folder::new();
    let write = |serial: u32, keys: &[&str]| {
        let keys = keys.iter().map(|key| format!("@ DNSKEY {key}\n"));
        let text = zone("a.test.", serial, 1) + &keys.collect::<String>();
        fs::write(folder.path("a.test.zone"), text).unwrap();
    };
    let [old, new, third] = ["257 3 13 AQID", "257 3 13 AQIE", "257 3 13 AQIF"];
    let signs_the_rest = "256 3 13 AQIG";
    write(1, &[old]);
    let mut running = serve(folder.0.path(), &[]);
    let others = Some("none of the keys by which it was entered");
    for (number, (keys, told)) in (2..).zip([
        (&[old, new][..], None),
        (&[new, signs_the_rest], None),
        // The parent knows nothing of the one that stays.
        (&[third, signs_the_rest], others),
        (&[third], None),
        (&[], Some("it was signed and is not any more")),
        (&[signs_the_rest], None),
        (&[third], others),
    ]) {
        write(number, keys);
        let said = hang_up(&mut running);
        assert!(said.contains(&format!("serial {number} after")), "{said}");
        let warnings = said.lines().filter(|line| line.contains("zone a.test.: "));
        let warnings: Vec<&str> = warnings.collect();
        assert_eq!(warnings.len(), usize::from(told.is_some()), "{said}");
        assert!(told.is_none_or(|told| warnings[0].contains(told)), "{said}");
    }
}

#[test]
fn a_serial_that_goes_back_is_warned_about() {
    let folder = Folder::new();
    let mut before = 5;
    folder.zone("a.test.", before, 1);
    let mut running = serve(folder.0.path(), &[]);
    // RFC 1982 §3.2: half of the numbers are behind.
    for (serial, back) in [
        (4, true),
        (3 + (1 << 31), false),
        (3, true),
        (u32::MAX, true),
        (0, false),
    ] {
        folder.zone("a.test.", serial, 1);
        let said = hang_up(&mut running);
        let warned = said.contains(&format!("serial {serial} comes before {before}"));
        assert_eq!(warned, back, "{serial} after {before}: {said}");
        before = serial;
    }
}

#[test]
fn an_included_file_counts_as_the_zones_own() {
    let folder = Folder::new();
    let zone = zone("a.test.", 1, 1).replace("www A 192.0.2.1", "$INCLUDE hosts");
    fs::write(folder.path("a.test.zone"), zone).unwrap();
    fs::write(folder.path("hosts"), "www A 192.0.2.1\n").unwrap();
    let mut running = serve(folder.0.path(), &[]);
    let client = running.client();
    assert_eq!(ask(&client, "a.test."), Ok(1));
    fs::write(folder.path("hosts"), "www A 192.0.2.2\n").unwrap();
    hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(2));
}

/// What a terminal sends when it is closed, on Ctrl-\, and what means nothing here.
#[test]
fn no_signal_ends_it_without_draining() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    for end in ["INT", "QUIT", "TERM"] {
        let mut running = serve(folder.0.path(), &[]);
        let client = running.client();
        for harmless in ["HUP", "USR2", "XFSZ", "PIPE", "WINCH"] {
            running.signal(harmless);
        }
        running.until("reload: ");
        assert_eq!(ask(&client, "a.test."), Ok(1));
        running.signal(end);
        let (code, rest) = running.end();
        assert_eq!(code, Some(0), "{end}: {rest}");
        assert!(rest.contains("kernel drops"), "{end}: {rest}");
    }
}

#[test]
fn good_zones_are_served_beside_bad_ones_unless_strictly() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    fs::write(folder.path("b.zone"), "x A\n").unwrap();
    let running = serve(folder.0.path(), &[]);
    assert_eq!(ask(&running.client(), "a.test."), Ok(1));
    let named = |line: &&str| line.contains("b.zone)") && line.contains("it is not served");
    assert_eq!(
        running.log.lines().filter(named).count(),
        1,
        "{}",
        running.log
    );
    let folder = folder.argument();
    let strict = run(&["serve", "--listen", "127.0.0.1:0", "--strict", folder]);
    assert_eq!(strict.status.code(), Some(1));
    let only_bad = format!("{folder}/b.zone");
    let none = run(&["serve", "--listen", "127.0.0.1:0", &only_bad]);
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn what_is_said_stays_readable() {
    let folder = Folder::new();
    for number in 0..25 {
        folder.zone(&format!("z{number}.test."), 1, 1);
    }
    fs::write(folder.path("b.zone"), "x A 1.2\n".repeat(30)).unwrap();
    let running = serve(folder.0.path(), &[]);
    let count = |log: &str, words: &str| log.matches(words).count();
    assert_eq!(count(&running.log, "b.zone:"), 21, "{}", running.log);
    assert!(
        running.log.contains("b.zone: and 12 more") || running.log.contains("b.zone: and 11 more"),
        "{}",
        running.log
    );
    assert!(
        running.log.contains("25 zones: 50 names"),
        "{}",
        running.log
    );
    let all = serve(folder.0.path(), &["--all"]);
    assert!(count(&all.log, "b.zone:") >= 31, "{}", all.log);
    let quiet = Command::new(PROGRAM)
        .args(["serve", "--quiet", "--strict", "--listen", "127.0.0.1:0"])
        .arg(folder.0.path())
        .output()
        .unwrap();
    let said = String::from_utf8(quiet.stderr).unwrap();
    assert!(!said.contains("b.zone:"), "{said}");
}

#[test]
fn a_log_for_programs_is_json_in_every_line() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--log", "json", "--listen", "127.0.0.1:0"])
        .arg(folder.0.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    loop {
        let mut line = String::new();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0);
        let parsed: serde_json::Value = serde_json::from_str(&line).unwrap();
        if parsed["message"] == "ready" {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn zones_come_from_pipes_patterns_and_subfolders() {
    let mut child = Command::new(PROGRAM)
        .args(["check", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(zone("a.test.", 1, 1).as_bytes()).unwrap();
    drop(stdin);
    let checked = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(checked.contains("a.test.: 2 names"), "{checked}");

    let folder = Folder::new();
    fs::create_dir_all(folder.path("deep/er")).unwrap();
    fs::create_dir_all(folder.path(".git")).unwrap();
    std::os::unix::fs::symlink("..", folder.path("deep/round")).unwrap();
    fs::write(folder.path("deep/er/db.a"), zone("a.test.", 1, 1)).unwrap();
    fs::write(folder.path("deep/er/.db.b"), zone("b.test.", 1, 1)).unwrap();
    fs::write(folder.path(".git/db.c"), zone("c.test.", 1, 1)).unwrap();
    folder.zone("d.test.", 1, 1);
    let checked = run(&["check", "--zone-pattern", "db.*", folder.argument()]);
    let said = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("a.test.: 2 names"), "{said}");
}

/// Each zone whose files have not changed is the very zone that was served before.
#[test]
fn unchanged_zones_are_shared() {
    use shardns::zone::collection::Collection;
    use shardns::zone::sources::FileNames;
    let folder = Folder::new();
    for number in 0..10 {
        folder.zone(&format!("z{number}.test."), 1, 1);
    }
    let mut collection = Collection::new(FileNames::default());
    let arguments = [folder.argument().to_owned()];
    assert_eq!(collection.refresh(&arguments).changes.len(), 10);
    let before = collection.zones();
    folder.zone("z3.test.", 2, 2);
    let report = collection.refresh(&arguments);
    assert_eq!((report.changes.len(), report.unchanged), (1, 9));
    let after = collection.zones();
    let pairs = before.iter().zip(after.iter());
    let shared = pairs.filter(|(before, after)| std::sync::Arc::ptr_eq(before, after));
    assert_eq!(shared.count(), 9);
}

/// As the `lost+found` of a file system that holds nothing but zones.
#[test]
fn a_subfolder_that_cannot_be_read_takes_no_other_with_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    fs::create_dir(folder.path("sub")).unwrap();
    fs::write(folder.path("sub/b.zone"), zone("b.test.", 1, 1)).unwrap();
    let mode = |name: &str, mode| {
        let mode = PermissionsExt::from_mode(mode);
        fs::set_permissions(folder.path(name), mode).unwrap();
    };
    // Root reads every folder, until it is somebody else.
    mode("", 0o755);
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    if is_root() {
        command.args(["--user", "nobody"]);
    }
    let mut running = Running::spawn(command.arg(folder.0.path()));
    let client = running.client();
    mode("sub", 0);
    folder.zone("a.test.", 2, 2);
    hang_up(&mut running);
    assert_eq!(ask(&client, "a.test."), Ok(2));
    assert_eq!(ask(&client, "b.test."), Ok(1), "what was there stays");
    let other = serve(folder.0.path(), &[]);
    assert_eq!(ask(&other.client(), "a.test."), Ok(2));
    mode("sub", 0o700);
}

#[test]
fn a_zone_whose_file_has_another_name_is_not_gone() {
    let folder = Folder::new();
    folder.zone("a.test.", 1, 1);
    let mut running = serve(folder.0.path(), &[]);
    fs::remove_file(folder.path("a.test.zone")).unwrap();
    fs::write(folder.path("other.zone"), zone("a.test.", 2, 2)).unwrap();
    let said = hang_up(&mut running);
    assert!(said.contains("other.zone): serial 2 after 1"), "{said}");
    assert!(said.contains("1 loaded, 0 unchanged, 0 removed"), "{said}");
    assert_eq!(ask(&running.client(), "a.test."), Ok(2));
}
