//! `serve-beside`: a program in another language gets its part of the flows.

use std::collections::BTreeMap;
use std::io::{Write, stderr};

use serde_json::Value;

use super::{measure, rows};

/// Client ports by answerer, in one phase.
fn answered(result: &Value, phase: &str) -> BTreeMap<String, u64> {
    let rows = rows(result).iter().filter(|row| row["phase"] == phase);
    let pair = |row: &Value| {
        let answerer = row["answerer"].as_str().unwrap().to_owned();
        (answerer, row["client_ports"].as_u64().unwrap())
    };
    rows.map(pair).collect()
}

#[test]
fn python_answers_part_of_the_flows() {
    let result = measure("serve-beside", &["--sockets", "2"]);
    for row in rows(&result) {
        assert_eq!(
            (&row["strayed"], &row["lost"]),
            (&0.into(), &0.into()),
            "{row}"
        );
    }
    let all = rows(&result)[0]["of"].as_u64().unwrap();
    let before = answered(&result, "before");
    assert_eq!(before.values().sum::<u64>(), all);
    assert_eq!(before["python"], 0);
    let beside = answered(&result, "beside");
    if beside.is_empty() {
        let finding = result["finding"]["sentence"].as_str().unwrap();
        assert!(finding.contains("no python3"), "{finding}");
        let _ = writeln!(stderr(), "SKIPPED: there is no python3");
        return;
    }
    assert_eq!(beside.values().sum::<u64>(), all);
    for (answerer, ports) in beside {
        assert!(
            ports > 0 && ports < all,
            "{answerer} answers {ports} of {all}"
        );
    }
    assert_eq!(answered(&result, "after")["python"], 0);
}

/// Without Python in the path there is a finding all the same.
#[test]
fn without_python_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_shardns"))
        .args(["lab", "serve-beside", "--quick"])
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && told.contains("no python3"),
        "{told}"
    );
    assert!(
        told.contains("\nimport socket, sys\n"),
        "the program is printed all the same"
    );
}
