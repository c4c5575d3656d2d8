//! Damaged requests through `respond()`: nothing panics, no reply is longer
//! than the client takes, no response is ever answered, and whatever does come
//! back can be read by others.

mod support;

use std::collections::BTreeSet;

use proptest::prelude::*;
use shardns::answer::{self, Outcome, Via};
use shardns::wire::LookupName;
use shardns::zone::Zones;
use support::decode::decode;
use support::{UDP, cases, oracle};

struct Bench {
    zones: Zones,
    name: LookupName,
    reply: Vec<u8>,
    asked: usize,
}

impl Bench {
    fn new(zones: Zones) -> Bench {
        Bench {
            zones,
            name: LookupName::new(),
            reply: vec![0; 65_535],
            asked: 0,
        }
    }

    fn ask(&mut self, request: &[u8]) {
        let settings = support::settings();
        for (via, room) in [(UDP, settings.edns_size.into()), (Via::Tcp, 65_535)] {
            let outcome = answer::respond(
                &self.zones,
                &settings,
                &support::request(via, request),
                &mut self.name,
                &mut self.reply[..room],
            );
            self.asked += 1;
            let is_response = request.len() > 2 && request[2] & 0x80 != 0;
            let Outcome::Replied { length, .. } = outcome else {
                assert!(
                    is_response || request.len() < 12,
                    "silence for {request:02x?}"
                );
                continue;
            };
            assert!(!is_response, "an answer to the response {request:02x?}");
            let reply = &self.reply[..length];
            let message = decode(reply)
                .unwrap_or_else(|error| panic!("{error}: {request:02x?} -> {reply:02x?}"));
            let opt = decode(request).ok().and_then(|request| request.opt);
            let size = opt
                .as_ref()
                .map_or(1232, |opt| usize::from(opt.size).clamp(512, 1232));
            assert!(
                via == Via::Tcp || length <= size,
                "{length} octets for {request:02x?}"
            );
            assert!(message.flags & 0x8000 != 0);
            assert_eq!(reply[..2], request[..2]);
            // The oracle is slow; a seventh of the replies will do.
            if self.asked.is_multiple_of(7) {
                oracle::compare(reply, &message)
                    .unwrap_or_else(|error| panic!("{error}: {request:02x?}"));
            }
        }
    }
}

#[test]
fn every_prefix_and_every_flipped_bit() {
    let (mut seen, mut asked) = (BTreeSet::new(), 0);
    for file in cases::all() {
        let mut bench = Bench::new(file.zones);
        for case in &file.cases {
            if !seen.insert(case.request.clone()) {
                continue;
            }
            for end in 0..case.request.len() {
                bench.ask(&case.request[..end]);
            }
            let mut request = case.request.clone();
            for bit in 0..8 * request.len() {
                request[bit / 8] ^= 1 << (bit % 8);
                bench.ask(&request);
                request[bit / 8] ^= 1 << (bit % 8);
            }
        }
        asked += bench.asked;
    }
    assert!(asked > 100_000, "{asked}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Octets that only begin like a query.
    #[test]
    fn anything_behind_a_header(tail in proptest::collection::vec(any::<u8>(), 0..80), counts in any::<[u8; 4]>()) {
        let mut request = vec![0, 7, 0, 0, 0, 1, 0, counts[0] & 1, 0, counts[1] & 1, 0, counts[2] & 3];
        request.extend(tail);
        Bench::new(support::demo()).ask(&request);
    }
}
