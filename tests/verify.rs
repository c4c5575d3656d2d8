//! `shardns check --dnssec`: zones signed with others' tools are right, and whatever is
//! changed of them is named. What is not installed is skipped, and says so.

mod support;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{cases, ldns_keys, running::skip};

const ZONE: &str = "\
$ORIGIN signed.test.
$TTL 3600
@ SOA ns hostmaster 1 7200 3600 1209600 300
@ NS ns
@ NS NS2
@ MX 10 Mail
ns A 127.0.0.1
ns2 A 127.0.0.2
Mail A 192.0.2.25
mail A 192.0.2.3
*.w A 192.0.2.1
a.b.c TXT \"below names without data\"
srv SRV 1 2 3 MAIL
secure NS ns
secure DS 1 13 2 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
insecure NS ns.insecure
ns.insecure A 192.0.2.4
";

/// Runs a tool in the folder; `None` where there is no such tool.
fn run(folder: &Path, tool: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("timeout");
    command
        .args(["60", tool])
        .args(arguments)
        .current_dir(folder);
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    // What `timeout` says of what it cannot find.
    if status.code() == Some(127) {
        return None;
    }
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{tool} {arguments:?}: {said}");
    Some(String::from_utf8(stdout).unwrap().trim().into())
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("zone"), ZONE).unwrap();
    folder
}

fn ldns(folder: &Path, algorithm: &str, options: &[&str]) -> Option<PathBuf> {
    let bits: &[&str] = if algorithm.starts_with("RSA") {
        &["-b", "1024"]
    } else {
        &[]
    };
    let arguments = [&["-a", algorithm], bits, &["signed.test"]].concat();
    let keys = ldns_keys(|| Some(vec![run(folder, "ldns-keygen", &arguments)?]))?;
    let arguments = [options, &["-f", "signed", "zone", &keys[0]]].concat();
    run(folder, "ldns-signzone", &arguments)?;
    Some(folder.join("signed"))
}

fn two_ldns_keys(folder: &Path) -> Option<[String; 2]> {
    let arguments = ["-a", "ECDSAP256SHA256", "signed.test"];
    let make = || (0..2).map(|_| run(folder, "ldns-keygen", &arguments));
    let keys = ldns_keys(|| make().collect())?;
    Some(keys.try_into().unwrap())
}

fn bind(folder: &Path, options: &[&str]) -> Option<PathBuf> {
    for flags in [&["-f", "KSK"][..], &[]] {
        let arguments = [&["-q", "-a", "ECDSAP256SHA256"], flags, &["signed.test"]].concat();
        run(folder, "dnssec-keygen", &arguments)?;
    }
    let output = ["-o", "signed.test", "-f", "signed"];
    let arguments = [&["-S"], &output[..], options, &["zone"]].concat();
    run(folder, "dnssec-signzone", &arguments)?;
    Some(folder.join("signed"))
}

fn knot(folder: &Path) -> Option<PathBuf> {
    let here = folder.display();
    let configuration = format!(
        "server:\n  rundir: {here}\ndatabase:\n  storage: {here}\npolicy:\n  - id: p\n    \
        algorithm: ed25519\n    nsec3: on\n    nsec3-iterations: 0\nzone:\n  \
        - domain: signed.test\n    file: {here}/zone\n    dnssec-signing: on\n    \
        dnssec-policy: p\n    zonemd-generate: zonemd-sha384\n"
    );
    fs::write(folder.join("knot.conf"), configuration).unwrap();
    fs::create_dir(folder.join("out")).unwrap();
    let arguments = ["-c", "knot.conf", "-o", "out", "signed.test"];
    run(folder, "kzonesign", &arguments)?;
    Some(folder.join("out/zone"))
}

/// The exit code, and what was said.
fn check(file: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["check", "--dnssec", "--all"])
        .arg(file)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said)
}

/// Nothing is wrong, and all signatures were looked at.
fn assert_right(file: Option<PathBuf>, tool: &str, words: &str) {
    let Some(file) = file else {
        return skip(&format!("no {tool} to sign zones with"));
    };
    let (code, said) = check(&file);
    assert_eq!(code, Some(0), "{tool}: {said}");
    // Of old algorithms, and of those that are not known here, there is one.
    let warnings = said.lines().filter(|line| line.contains(": warning: "));
    let of_algorithms = |line: &str| {
        line.contains("no key is of an algorithm that is fit for use")
            || line.contains("a signature that is not verified here: algorithm 16 (Ed448); 20 in")
    };
    assert!(warnings.clone().count() <= 1, "{tool}: {said}");
    assert!(warnings.clone().all(of_algorithms), "{tool}: {said}");
    assert!(said.contains(words), "{tool}: {said}");
    assert!(said.contains(": 0 wrong"), "{tool}: {said}");
}

#[test]
fn what_others_sign_is_right() {
    for (algorithm, options) in [
        ("RSASHA1-NSEC3-SHA1", &["-n", "-t", "0"][..]),
        ("RSASHA256", &[]),
        ("RSASHA512", &["-n", "-p", "-t", "0", "-s", "aabb"]),
        ("ECDSAP256SHA256", &["-z", "1:1", "-z", "1:2"]),
        ("ECDSAP384SHA384", &["-z", "1:2"]),
        ("ED25519", &[]),
    ] {
        let folder = folder();
        let signed = ldns(folder.path(), algorithm, options);
        assert_right(signed, "ldns-signzone", " signatures of 1 key verified");
    }
    for options in [
        &["-z"][..],
        &[],
        &["-3", "-", "-H", "0"],
        &["-3", "ab", "-H", "0", "-A"],
    ] {
        let folder = folder();
        let signed = bind(folder.path(), options);
        assert_right(signed, "dnssec-signzone", " verified");
    }
    let folder = folder();
    assert_right(
        knot(folder.path()),
        "kzonesign",
        " signatures of 2 keys verified",
    );
}

#[test]
fn an_algorithm_that_is_not_known_is_said_to_be_so() {
    let folder = folder();
    let signed = ldns(folder.path(), "ED448", &[]);
    let words = "0 signatures of 0 keys verified";
    assert_right(signed.clone(), "ldns-signzone", words);
    if let Some(file) = signed {
        let (_, said) = check(&file);
        assert!(
            said.contains(" not verified: algorithm 16 (Ed448)"),
            "{said}"
        );
        // Nobody has seen whether it is right.
        let strict = Command::new(env!("CARGO_BIN_EXE_shardns"))
            .args(["check", "--dnssec", "--strict", "--quiet"])
            .arg(&file)
            .status();
        assert_eq!(strict.unwrap().code(), Some(1));
    }
}

/// A zone as lines, each as words.
type Lines = Vec<Vec<String>>;

/// The place of a record, by its owner below the zone, type, and what its data begins
/// with.
fn find(lines: &Lines, owner: &str, rtype: &str, data: &str) -> usize {
    let owner = match owner {
        "@" => "signed.test.".into(),
        below => format!("{below}.signed.test."),
    };
    let is_it = |line: &Vec<String>| {
        line[0].eq_ignore_ascii_case(&owner) && line[3] == rtype && line[4].starts_with(data)
    };
    lines
        .iter()
        .position(is_it)
        .unwrap_or_else(|| panic!("no {owner} {rtype} {data}"))
}

/// Makes a word of the record another; returns its line.
fn change(lines: &mut Lines, record: (&str, &str, &str), word: usize, to: &str) -> usize {
    let at = find(lines, record.0, record.1, record.2);
    assert_ne!(lines[at][word], to);
    lines[at][word] = to.into();
    at
}

/// Exchanges the first character of a word, which is base64.
fn corrupt(lines: &mut Lines, record: (&str, &str, &str), word: usize) -> usize {
    let at = find(lines, record.0, record.1, record.2);
    let to = if lines[at][word].starts_with('A') {
        "B"
    } else {
        "A"
    };
    lines[at][word].replace_range(..1, to);
    at
}

fn remove(lines: &mut Lines, record: (&str, &str, &str)) {
    let at = find(lines, record.0, record.1, record.2);
    lines.remove(at);
}

/// What is changed, the line at which that must be told, and how.
type Corruption = (fn(&mut Lines) -> usize, &'static str);

/// Fields of RRSIG, as words of its line.
const LABELS: usize = 6;
const ORIGINAL_TTL: usize = 7;
const EXPIRATION: usize = 8;
const TAG: usize = 10;
const SIGNER: usize = 11;
const SIGNATURE: usize = 12;

const MAIL: (&str, &str, &str) = ("mail", "RRSIG", "A");

const CORRUPTIONS: [Corruption; 20] = [
    (
        |lines| {
            change(lines, ("mail", "A", "192.0.2.25"), 4, "192.0.2.26");
            find(lines, "mail", "RRSIG", "A")
        },
        "the signature of A at mail.signed.test. by key ",
    ),
    (
        |lines| {
            remove(lines, ("mail", "A", "192.0.2.25"));
            find(lines, "mail", "RRSIG", "A")
        },
        " is wrong: the records are not those that the key has signed",
    ),
    (
        |lines| {
            change(lines, ("secure", "DS", "1"), 4, "2");
            find(lines, "secure", "RRSIG", "DS")
        },
        "the signature of DS at secure.signed.test. by key ",
    ),
    (
        |lines| {
            change(lines, ("*.w", "A", ""), 4, "192.0.2.2");
            find(lines, "*.w", "RRSIG", "A")
        },
        "the signature of A at *.w.signed.test. by key ",
    ),
    (
        |lines| corrupt(lines, MAIL, SIGNATURE),
        "the signature of A at mail.signed.test. by key ",
    ),
    (
        |lines| change(lines, MAIL, SIGNATURE, "AQID"),
        " is wrong: it has 3 octets, not 64",
    ),
    (
        |lines| change(lines, MAIL, ORIGINAL_TTL, "3601"),
        "the signature of A at mail.signed.test. by key ",
    ),
    (
        |lines| change(lines, MAIL, LABELS, "2"),
        "counts 2 of its labels, of which there are 3",
    ),
    (
        |lines| change(lines, MAIL, LABELS, "4"),
        " is wrong: it is for more labels than the name has",
    ),
    (
        |lines| change(lines, MAIL, EXPIRATION, "20200101000000"),
        "has expired: that of A at mail.signed.test. ",
    ),
    (
        |lines| change(lines, MAIL, EXPIRATION + 1, "20500101000000"),
        "is not valid yet: that of A at mail.signed.test. ",
    ),
    (
        |lines| change(lines, MAIL, TAG, "1"),
        "the signature of A at mail.signed.test. is by key 1 of algorithm 13, which",
    ),
    (
        |lines| change(lines, MAIL, SIGNER, "test."),
        "the signature of A at mail.signed.test. is by test., which is not this zone",
    ),
    (
        |lines| {
            remove(lines, MAIL);
            find(lines, "mail", "A", "")
        },
        "A at mail.signed.test. has no signature",
    ),
    (
        |lines| {
            remove(lines, ("mail", "A", ""));
            remove(lines, ("mail", "A", ""));
            find(lines, "mail", "RRSIG", "A")
        },
        "a signature of A at mail.signed.test., which has no A",
    ),
    (
        |lines| {
            let record = "new.signed.test. 3600 IN A 192.0.2.5".split(' ');
            lines.push(record.map(str::to_owned).collect());
            lines.len() - 1
        },
        "new.signed.test. has no NSEC",
    ),
    (
        |lines| change(lines, ("mail", "NSEC", ""), 4, "ns2.signed.test."),
        "the NSEC of mail.signed.test. leads to ns2.signed.test.; the next name is ns.signed.test.",
    ),
    (
        |lines| change(lines, ("mail", "NSEC", ""), 5, "AAAA"),
        "the NSEC of mail.signed.test. tells of AAAA, not there, and does not tell of A",
    ),
    (
        |lines| {
            remove(lines, ("mail", "NSEC", ""));
            remove(lines, ("mail", "RRSIG", "NSEC"));
            find(lines, "insecure", "NSEC", "")
        },
        "the NSEC of insecure.signed.test. leads to Mail.signed.test.; the next name is ns.",
    ),
    (
        |lines| {
            corrupt(lines, ("@", "DNSKEY", ""), 7);
            find(lines, "@", "RRSIG", "NS")
        },
        "which the zone does not have; and ",
    ),
];

#[test]
fn whatever_is_changed_is_named() {
    let folder = folder();
    let Some(signed) = ldns(folder.path(), "ECDSAP256SHA256", &[]) else {
        return skip("no ldns-signzone to sign zones with");
    };
    let text = fs::read_to_string(signed).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let lines: Lines = text.lines().map(words).collect();
    let path = folder.path().join("changed");
    for (at, (change, sentence)) in CORRUPTIONS.into_iter().enumerate() {
        let mut lines = lines.clone();
        let line = change(&mut lines) + 1;
        let text: Vec<String> = lines.iter().map(|line| line.join(" ")).collect();
        fs::write(&path, text.join("\n") + "\n").unwrap();
        let (code, said) = check(&path);
        assert_eq!(code, Some(1), "{at}: {said}");
        let place = format!("{}:{line}:", path.display());
        // Some of it is a warning, beside an error that says what follows.
        let is_told = |told: &str| told.starts_with(&place) && told.contains(sentence);
        assert!(
            said.lines().any(is_told),
            "{at}: {place} … {sentence}\n{said}"
        );
    }
}

/// What is wrong with a chain of NSEC3 is an error where signatures are verified, and
/// what only costs room is not.
#[test]
fn each_chain_of_hashes_is_whole_and_has_no_record_twice() {
    let folder = folder();
    let Some(signed) = ldns(folder.path(), "ECDSAP256SHA256", &["-n", "-t", "0"]) else {
        return skip("no ldns-signzone to sign zones with");
    };
    let text = fs::read_to_string(signed).unwrap();
    let mut nsec3 = text.lines().filter(|line| line.contains("\tNSEC3\t"));
    let record = nsec3.find(|line| line.contains(" A RRSIG")).unwrap();
    let path = folder.path().join("changed");
    for (more, told) in [
        (
            record.replace(" A RRSIG", " TXT RRSIG"),
            "error: a second NSEC3 of the same parameters at ",
        ),
        (
            "signed.test. 3600 IN NSEC3PARAM 1 0 0 aa".into(),
            "error: there is no whole chain of NSEC3 with these parameters (RFC 5155 §4): ",
        ),
        (
            record.replace("1 0 0 -", "1 0 0 aa"),
            "warning: the NSEC3 of ",
        ),
        (
            "signed.test. 300 IN NSEC mail.signed.test. A".into(),
            "warning: the chain of NSEC is not whole, and not proved with",
        ),
        (
            parameters_of(1..=8),
            "error: more than 8 NSEC3PARAM; of chains, only the one that is proved with ",
        ),
    ] {
        let text = format!("{text}{more}\n");
        fs::write(&path, &text).unwrap();
        let (_, said) = check(&path);
        let place = format!("{}:{}:", path.display(), text.lines().count());
        let is_told = |line: &str| line.starts_with(&place) && line.contains(told);
        assert!(said.lines().any(is_told), "{place} … {told}\n{said}");
    }
}

/// Records that tell of chains, each with a salt of its own.
fn parameters_of(salts: RangeInclusive<u8>) -> String {
    let records = salts.map(|salt| format!("signed.test. 3600 IN NSEC3PARAM 1 0 0 {salt:02x}"));
    records.collect::<Vec<_>>().join("\n")
}

/// Signed by two keys of an algorithm, which make up for each other: nothing that is
/// wrong with one is an error, until something is wrong with both.
#[test]
fn one_good_signature_of_a_set_is_enough() {
    let folder = folder();
    let Some([first, second]) = two_ldns_keys(folder.path()) else {
        return skip("no ldns-signzone to sign zones with");
    };
    run(
        folder.path(),
        "ldns-signzone",
        &["-f", "signed", "zone", &first, &second],
    );
    let text = fs::read_to_string(folder.path().join("signed")).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let lines: Lines = text.lines().map(words).collect();
    let tags = [first, second].map(|key| {
        let tag = key.rsplit('+').next().unwrap();
        tag.trim_start_matches('0').to_owned()
    });
    let path = folder.path().join("changed");
    let told = |lines: &Lines| {
        let text: Vec<String> = lines.iter().map(|line| line.join(" ")).collect();
        fs::write(&path, text.join("\n") + "\n").unwrap();
        check(&path)
    };
    let of_mail = |line: &Vec<String>, tag: &String| {
        line[3] == "RRSIG" && line[4] == "A" && line[0].starts_with("mail") && line[TAG] == *tag
    };
    for (word, to, sentence) in [
        (SIGNATURE, "AQID", "is wrong: it has 3 octets"),
        (EXPIRATION, "20200101000000", "have expired"),
        (EXPIRATION + 1, "20500101000000", "are not valid yet"),
        (LABELS, "2", "counts 2 of its labels"),
        (TAG, "1", "which the zone does not have"),
        (SIGNER, "test.", "is by test., which is not this zone"),
    ] {
        let mut lines = lines.clone();
        for (at, tag) in tags.iter().enumerate() {
            let mut meant = lines.iter_mut().filter(|line| of_mail(line, tag));
            meant.next().unwrap()[word] = to.into();
            let (code, said) = told(&lines);
            // Words for one and for many differ.
            let sentence = match at {
                0 => sentence.replace("have ", "has ").replace("are ", "is "),
                _ => sentence.into(),
            };
            assert!(said.contains(&sentence), "{sentence}: {said}");
            assert_eq!(code, Some(at as i32), "{sentence}: {said}");
        }
    }
    // RFC 6781 §4.1.4: signatures of a new key are there before the key is.
    let mut early = lines.clone();
    let key = early.iter().position(|line| line[3] == "DNSKEY");
    early.remove(key.unwrap());
    let (code, said) = told(&early);
    assert!(said.contains("the signature of DNSKEY at"), "{said}");
    assert!(said.contains(" is wrong: "), "{said}");
    assert_eq!(code, Some(1), "what signs the keys is signed: {said}");
    early.retain(|line| !(line[3] == "RRSIG" && line[4] == "DNSKEY"));
    let (_, said) = told(&early);
    assert!(
        said.contains("DNSKEY at signed.test. has no signature"),
        "{said}"
    );
    let errors = said.lines().filter(|line| line.contains(": error: "));
    assert_eq!(errors.count(), 1, "{said}");
}

/// The zone signed by two keys, of which the second is revoked.
#[test]
fn a_revoked_key_makes_up_for_nothing() {
    let folder = folder();
    let path = folder.path();
    let Some([good, revoked]) = two_ldns_keys(path) else {
        return skip("no ldns-signzone to sign zones with");
    };
    let file = path.join(format!("{revoked}.key"));
    let key = fs::read_to_string(&file).unwrap();
    assert!(
        key.contains(" 256 3 13 ") || key.contains("\t256 3 13 "),
        "{key}"
    );
    fs::write(&file, key.replacen("256 3 13", "384 3 13", 1)).unwrap();
    run(
        path,
        "ldns-signzone",
        &["-f", "signed", "zone", &good, &revoked],
    );
    let signed = path.join("signed");
    let (code, said) = check(&signed);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("which is revoked"), "{said}");
    let text = fs::read_to_string(&signed).unwrap();
    let tag = good.rsplit('+').next().unwrap().trim_start_matches('0');
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let mut lines: Lines = text.lines().map(words).collect();
    let of_mail = |line: &&mut Vec<String>| {
        line[0].starts_with("mail") && line[4] == "A" && line.get(TAG).is_some_and(|it| it == tag)
    };
    lines.iter_mut().find(of_mail).unwrap()[SIGNATURE] = "AQID".into();
    let text: Vec<String> = lines.iter().map(|line| line.join(" ")).collect();
    fs::write(&signed, text.join("\n") + "\n").unwrap();
    let (code, said) = check(&signed);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is wrong: it has 3 octets"), "{said}");
}

/// A zone is entered by a key that its parent may know.
#[test]
fn the_key_that_signs_the_keys_has_done_so() {
    let folder = folder();
    let Some(signed) = bind(folder.path(), &["-O", "full"]) else {
        return skip("no dnssec-signzone to sign zones with");
    };
    let text = fs::read_to_string(&signed).unwrap();
    let is_by = |line: &&str, covered: &str| line.contains(&format!("RRSIG\t{covered} "));
    let tag = |line: &str| line.split_whitespace().nth(TAG).unwrap().to_owned();
    let of_zone = tag(text.lines().find(|line| is_by(line, "SOA")).unwrap());
    let by_entry = |line: &&str| is_by(line, "DNSKEY") && tag(line) != of_zone;
    assert_eq!(text.lines().filter(by_entry).count(), 1, "{text}");
    let rest: Vec<&str> = text.lines().filter(|line| !by_entry(line)).collect();
    fs::write(&signed, rest.join("\n") + "\n").unwrap();
    let (code, said) = check(&signed);
    assert_eq!(code, Some(1), "{said}");
    let sentence = "DNSKEY at signed.test. has no signature by a key that its parent";
    assert!(said.contains(sentence), "{said}");
}

/// The same with a digest of the whole zone: any change is one that it shows.
#[test]
fn a_digest_shows_any_change() {
    let folder = folder();
    let Some(signed) = ldns(folder.path(), "ED25519", &["-z", "1:1"]) else {
        return skip("no ldns-signzone to sign zones with");
    };
    let text = fs::read_to_string(signed).unwrap();
    let path = folder.path().join("changed");
    fs::write(
        &path,
        text.replace(
            "ns.insecure.signed.test.\t3600\tIN\tA\t192.0.2.4",
            "ns.insecure.signed.test.\t3600\tIN\tA\t192.0.2.5",
        ),
    )
    .unwrap();
    let (code, said) = check(&path);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("ZONEMD is not the digest of this zone"),
        "{said}"
    );
    // Glue is not signed.
    assert!(said.contains(": 0 wrong"), "{said}");
}

/// Writes the zone of a text case as a file.
fn zone_of_case(name: &str, folder: &Path) -> PathBuf {
    let files = cases::all();
    let file = files.iter().find(|file| file.path.ends_with(name)).unwrap();
    let (origin, text) = &file.texts[0];
    let path = folder.join("zone");
    fs::write(&path, format!("$ORIGIN {origin}\n{text}")).unwrap();
    path
}

/// The records of RFC 4035, whose signatures were good in April 2004, are taken over
/// without a mistake.
#[test]
fn the_signatures_of_rfc_4035_are_those_of_its_keys() {
    let folder = folder();
    let path = zone_of_case("rfc4035.txt", folder.path());
    let (code, said) = check(&path);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("27 of 27 signatures have expired"), "{said}");
    let verified = "27 signatures of 2 keys verified";
    assert!(said.contains(verified), "{said}");
    assert!(said.contains(": 0 wrong"), "{said}");
    verify_then("20040420000000", folder.path());
}

/// Those of RFC 5155 too. Its keys have 512 bits, which is too few for `check`.
#[test]
fn the_signatures_of_rfc_5155_are_those_of_its_keys() {
    let folder = folder();
    let path = zone_of_case("rfc5155.txt", folder.path());
    let (_, said) = check(&path);
    let not_verified = "30 not verified: keys of RSA of other than 1,024 to 8,192 bits";
    assert!(said.contains(not_verified), "{said}");
    verify_then("20080420000000", folder.path());
}

/// Has ldns verify the folder's zone as if it were some time ago.
fn verify_then(time: &str, folder: &Path) {
    if run(folder, "ldns-verify-zone", &["-t", time, "zone"]).is_none() {
        skip("no ldns-verify-zone to verify zones of another time with");
    }
}
