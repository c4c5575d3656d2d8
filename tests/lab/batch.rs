//! `batch`: what a worker asks of the kernel for each query.

use super::{measure, rows};

const WIDTHS: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

#[test]
fn a_wider_batch_needs_fewer_calls() {
    let result = measure("batch", &[]);
    let mut calls_at_most = Vec::new();
    for width in WIDTHS {
        let mut own = rows(&result).iter().filter(|row| row["batch"] == width);
        assert!(own.clone().any(|row| row["load"] == "50 %"));
        for row in own.clone() {
            let number = |name: &str| row[name].as_f64().unwrap();
            assert_eq!(number("sent"), number("answered") + number("lost"), "{row}");
            // What comes too late on a busy machine is lost.
            if number("answered") == 0.0 && row["load"] == "50 %" {
                continue;
            }
            let (calls, filled) = (number("receives_and_sends_per_query"), number("mean_batch"));
            assert!(filled >= 1.0 && filled <= width as f64, "{row}");
            assert!((calls * filled - 2.0).abs() < 1e-9, "{row}");
            if width == 1 {
                assert_eq!(calls, 2.0, "{row}");
            }
        }
        let most = own.find(|row| row["load"] == "most").unwrap();
        calls_at_most.push(most["receives_and_sends_per_query"].as_f64().unwrap());
    }
    // 256 queries wait at a time, so that some are taken together.
    assert!(calls_at_most[7] < 2.0, "{calls_at_most:?}");
    assert!(calls_at_most[7] < calls_at_most[1], "{calls_at_most:?}");
}
