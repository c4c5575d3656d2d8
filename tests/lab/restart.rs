//! `restart`: nothing is lost that has a socket to wait on.

use super::{measure, rows};

#[test]
fn handing_over_loses_nothing() {
    let result = measure("restart", &[]);
    let mut ways = Vec::new();
    for row in rows(&result) {
        let figure = |name: &str| row[name].as_u64().unwrap();
        let kept_up = row["kept_up"].as_bool().unwrap();
        assert!(figure("answered") > 0 || !kept_up, "{row}");
        assert_eq!(figure("sent"), figure("answered") + figure("lost"), "{row}");
        let way = row["way"].as_str().unwrap();
        if ["handed over", "process takes over"].contains(&way) {
            assert_eq!((figure("lost"), figure("errors_told")), (0, 0), "{row}");
        }
        ways.push(way);
    }
    ways.dedup();
    assert_eq!(ways.len(), 7, "{ways:?}");
    let is_told = |way: &str| {
        let mut rows = rows(&result).iter();
        rows.any(|row| row["way"] == way && row["kept_up"] == true)
    };
    let ending = match is_told("closed, reopened") && is_told("process takes over") {
        true => "a process that takes over the open sockets loses none.",
        false => "too noisy to tell.",
    };
    let sentence = result["finding"]["sentence"].as_str().unwrap();
    assert!(sentence.ends_with(ending), "{sentence}");
}
