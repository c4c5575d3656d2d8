//! DNS over TCP: octets cut anywhere get the replies that their messages get alone.
//! An octet says how, four say where it is cut, and the octets follow.

use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use shardns::answer::{self, MAX_MESSAGE, Outcome, Request, Settings, Via};
use shardns::server::snapshot::Snapshot;
use shardns::server::tcp::{Conversation, Ends};
use shardns::wire::LookupName;
use shardns::zone::Zones;

use crate::support::{self, cases};

/// The client reads between what it sends.
const EAGER: u8 = 1;
/// An octet before each message says how long it is, instead of two.
const SHORT: u8 = 2;
/// Each message is sent this often.
const TIMES: [usize; 4] = [1, 3, 40, 400];

/// A zone with a set that fills a message, and all that a request may meet.
static ZONES: LazyLock<Arc<Zones>> = LazyLock::new(|| {
    let mut text = "@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n*.w TXT w\n".to_owned();
    for record in 0..245 {
        let length = if record < 244 { 255 } else { 90 };
        text += &format!("big TXT \"{record:0length$}\"\n");
    }
    let zone = support::zone("example.", &format!("$TTL 60\n{text}"));
    Arc::new(Zones::new(vec![zone]))
});

/// Without cookies, which have the time in them.
fn settings() -> Settings {
    Settings {
        cookies: None,
        ..support::settings()
    }
}

fn ends() -> Ends {
    Ends {
        peer: (Ipv4Addr::LOCALHOST, 5353).into(),
        local: (Ipv4Addr::LOCALHOST, 53).into(),
    }
}

thread_local! {
    static CONVERSATION: RefCell<Conversation> = RefCell::new(Conversation::new(
        Snapshot { zones: ZONES.clone(), settings: settings() },
        ends(),
    ));
}

/// Holds a conversation, and compares it with what is to come of it.
pub fn run(input: &[u8]) {
    let Some(([way, cuts @ ..], rest)) = input.split_first_chunk::<5>() else {
        return;
    };
    let sent = match way & SHORT {
        0 => rest.to_vec(),
        _ => messages(rest).repeat(TIMES[usize::from(way >> 2 & 3)]),
    };
    let mut parts = Vec::new();
    let mut left = &sent[..];
    for cut in cuts.iter().cycle() {
        // Some parts of an octet, and some that are longer than what is read at once.
        let length = match cut {
            0..200 => 1 + usize::from(*cut),
            200.. => usize::from(cut - 199) << 10,
        };
        let (part, behind) = left.split_at(length.min(left.len()));
        parts.push(part);
        left = behind;
        if left.is_empty() {
            break;
        }
    }
    let replies = CONVERSATION.with_borrow_mut(|it| it.hold(&parts, way & EAGER != 0).unwrap());
    let expected = expected(&sent);
    assert!(
        replies == expected,
        "{} octets for {sent:02x?}",
        replies.len()
    );
}

/// Messages as they are sent, from ones with an octet before them.
fn messages(mut rest: &[u8]) -> Vec<u8> {
    let mut sent = Vec::new();
    while let [length, behind @ ..] = rest {
        let (message, next) = behind.split_at(behind.len().min((*length).into()));
        sent.extend((message.len() as u16).to_be_bytes());
        sent.extend_from_slice(message);
        rest = next;
    }
    sent
}

/// The replies to whole messages up to the first that gets none.
fn expected(mut sent: &[u8]) -> Vec<u8> {
    let (settings, Ends { peer, local }) = (settings(), ends());
    let (mut name, mut reply) = (LookupName::new(), vec![0; MAX_MESSAGE]);
    let mut replies = Vec::new();
    while let Some((length, behind)) = sent.split_first_chunk()
        && let Some((octets, next)) = behind.split_at_checked(u16::from_be_bytes(*length).into())
    {
        let request = Request {
            octets,
            peer,
            local: local.ip(),
            via: Via::Tcp,
            now: Duration::ZERO,
        };
        let outcome = answer::respond(&ZONES, &settings, &request, &mut name, &mut reply);
        let Outcome::Replied { length, .. } = outcome else {
            break;
        };
        replies.extend((length as u16).to_be_bytes());
        replies.extend_from_slice(&reply[..length]);
        sent = next;
    }
    replies
}

/// Messages of the text cases, two or three in a row, cut in many ways.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut requests: Vec<Vec<u8>> = vec![
        support::query("big.example.", 16),
        support::query("x.w.example.", 16),
        support::query("ns.example.", 1),
    ];
    let cases = cases::all();
    let all = cases.iter().flat_map(|file| &file.cases);
    requests.extend(all.map(|case| case.request.clone()).step_by(7));
    requests.retain(|request| request.len() < 200);
    let mut seeds = Vec::new();
    for (number, request) in requests.iter().enumerate() {
        let cuts = [number as u8, (number * 7) as u8, 3, (number * 31) as u8];
        let way = (number as u8) & 15 | SHORT;
        let mut seed = [&[way][..], &cuts].concat();
        for message in [&requests[number % 3], request, &requests[(number + 1) % 3]] {
            seed.push(message.len() as u8);
            seed.extend_from_slice(message);
        }
        seeds.push(seed);
    }
    seeds
}
