//! Every text case through `respond()`, without a socket.

mod support;

use shardns::answer::Via;
use support::{UDP, ask, cases};

#[test]
fn every_case_is_answered_as_it_says() {
    let mut failures = Vec::new();
    let mut count = 0;
    for file in cases::all() {
        for case in &file.cases {
            count += 1;
            let via = if case.tcp { Via::Tcp } else { UDP };
            let reply = ask(&file.zones, via, &case.request);
            if let Err(error) = case.check(reply.as_deref()) {
                failures.push(format!(
                    "{}:{}: {}\n  {error}",
                    file.path.display(),
                    case.line,
                    case.title
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {count} cases\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(count > 400, "only {count} cases were found");
}
