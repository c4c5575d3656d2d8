//! `respond()` allocates nothing, whatever it is asked.

mod support;

use shardns::answer::{self, Via};
use shardns::wire::LookupName;
use support::{UDP, cases};

#[test]
fn respond_allocates_nothing() {
    let settings = support::settings();
    let mut name = LookupName::new();
    let mut reply = vec![0; 65_535];
    for file in cases::all() {
        for case in &file.cases {
            let via = if case.tcp { Via::Tcp } else { UDP };
            let request = support::request(via, &case.request);
            let counted = allocation_counter::measure(|| {
                answer::respond(&file.zones, &settings, &request, &mut name, &mut reply);
            });
            assert_eq!(
                counted.count_total,
                0,
                "{}:{}: {}",
                file.path.display(),
                case.line,
                case.title
            );
        }
    }
    // The counter does see allocations.
    let counted = allocation_counter::measure(|| drop(std::hint::black_box(vec![0u8; 100])));
    assert_eq!(counted.count_total, 1);
}
