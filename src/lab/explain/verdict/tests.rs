//! What the verdict makes of facts that are made by hand.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::lab::explain::chance::Chance;
use crate::lab::explain::facts::Heaviest;
use crate::lab::explain::members::Members;
use crate::lab::explain::told::{json, tables};
use crate::lab::explain::window::Queue;
use crate::sys::lab::diag::Described;

/// A queue that was empty whenever it was looked at.
fn empty() -> Queue {
    queue(&[(0, 0), (0, 0)])
}

fn queue(looks: &[(u32, u32)]) -> Queue {
    let mut queue = Queue::default();
    for (waiting, drops) in looks {
        queue.look(*waiting, *drops);
    }
    queue
}

/// Sockets that took what is given, of one flow for each weight, where the hash has
/// all of it.
fn facts(evidence: Evidence, took: &[u64], flows: &[u64]) -> Facts {
    let address: SocketAddr = "127.0.0.1:53".parse().unwrap();
    let sockets = took.len() as f64;
    let member = |(number, took): (u64, &u64)| Member {
        socket: Described {
            local: address,
            peer: None,
            interface: 0,
            cookie: number,
            inode: number as u32,
            user: 0,
            only_v6: false,
            mark: None,
            waiting: 0,
            room: 1 << 20,
            leaving: 0,
            drops: 0,
        },
        holders: Vec::new(),
        options: None,
        asked: 1.0 / sockets,
        flows: 0,
        by_hash: *took,
        received: Some(*took),
        readers: Vec::new(),
        queue: empty(),
    };
    Facts {
        protocol: match evidence {
            Evidence::Connections => Protocol::Tcp,
            _ => Protocol::Udp,
        },
        address,
        lasted: Duration::from_secs(2),
        members: (1..).zip(took).map(member).collect(),
        evidence,
        flows: flows.len(),
        datagrams: flows.iter().sum(),
        heaviest: None,
        chance: Chance::of(flows, took.len(), 1),
        parties: Vec::new(),
        unknown: Vec::new(),
    }
}

/// What is the matter, and in which words.
fn told(facts: &Facts) -> (Diagnosis, String) {
    let Verdict {
        diagnosis,
        sentence,
        notes,
    } = Verdict::of(facts);
    assert!(sentence.split(' ').count() <= 25, "{sentence}");
    assert!(notes.len() <= NOTES, "{notes:?}");
    (diagnosis, sentence)
}

#[test]
fn few_flows_come_out_unevenly() {
    let facts = facts(Evidence::Datagrams, &[300, 0, 100, 0], &[100; 4]);
    let words = "Socket 1 of 4 gets, by the hash, 75 % of 400 datagrams in 2 s: with 4 flows, \
        chance gives the busiest 25–75 %.";
    assert_eq!(told(&facts), (Diagnosis::FewFlows, words.into()));
}

#[test]
fn one_client_is_told_in_the_singular() {
    let facts = facts(Evidence::Clients, &[0, 1], &[1]);
    let words = "Socket 2 of 2 has, by the hash, 100 % of 1 client on this machine: with 1 flow, \
        chance gives the busiest 100 %.";
    assert_eq!(told(&facts), (Diagnosis::FewFlows, words.into()));
}

#[test]
fn a_heavy_flow_is_told_from_few() {
    let mut facts = facts(Evidence::Datagrams, &[910, 30, 30, 30], &[10; 100]);
    facts.heaviest = Some(Heaviest {
        peer: "127.0.0.1:5353".parse().unwrap(),
        datagrams: 900,
    });
    let words = "Socket 1 of 4 gets, by the hash, 91 % of 1,000 datagrams in 2 s: one flow \
        carries 90 %.";
    assert_eq!(told(&facts), (Diagnosis::HeavyFlow, words.into()));
}

#[test]
fn more_than_chance_is_no_matter_of_few_flows() {
    let many = [1; 4000];
    let (diagnosis, words) = told(&facts(Evidence::Receives, &[1200, 900, 950, 950], &many));
    assert_eq!(diagnosis, Diagnosis::MoreThanChance, "{words}");
    let beginning = "Socket 1 of 4 took 30 % of 4,000 datagrams in 2 s; of 4,000 flows chance \
        alone gives 2";
    assert!(words.starts_with(beginning), "{words}");
    let (diagnosis, words) = told(&facts(Evidence::Connections, &[700, 100, 100, 100], &many));
    assert_eq!(diagnosis, Diagnosis::MoreThanChance, "{words}");
    assert!(words.starts_with("Listener 1 of 4 has 70 % of 1,000 connections; "));
    let (diagnosis, words) = told(&facts(Evidence::Receives, &[1010, 1000, 1000, 990], &many));
    assert_eq!(diagnosis, Diagnosis::Even, "{words}");
}

#[test]
fn sockets_that_drop_are_overloaded() {
    let many = [1; 4000];
    let mut facts = facts(Evidence::Receives, &[1000, 1000, 950, 1000], &many);
    let busy = [(9, 10), (0, 20), (9, 60)];
    facts.members[2].queue = queue(&busy);
    let words = "Socket 3 of 4 dropped 50 datagrams in 2 s: it cannot keep up.";
    // Evenly loaded all the same: what was dropped counts too.
    assert_eq!(told(&facts), (Diagnosis::Overloaded, words.into()));
    facts.members[0].queue = queue(&[(9, 10), (0, 11)]);
    let words = "Socket 3 of 4 dropped 50 datagrams in 2 s, and another one dropped some: it \
        cannot keep up.";
    assert_eq!(told(&facts), (Diagnosis::Overloaded, words.into()));
}

#[test]
fn nothing_and_next_to_nothing_are_quiet() {
    let quiet = facts(Evidence::Receives, &[0, 0], &[]);
    let words = "Nothing came in 2 s; the hash gives each of 2 sockets about 50 % of all flows.";
    assert_eq!(told(&quiet), (Diagnosis::Quiet, words.into()));
    let one = facts(Evidence::Datagrams, &[1, 0], &[1]);
    let words = "No more than 1 datagram came in 2 s; the hash gives each of 2 sockets about 50 % \
        of all flows.";
    assert_eq!(told(&one), (Diagnosis::Quiet, words.into()));
    let few = facts(Evidence::Datagrams, &[FEW - 1, 0], &[FEW - 1]);
    assert_eq!(told(&few).0, Diagnosis::Quiet);
    let enough = facts(Evidence::Datagrams, &[FEW, 0], &[FEW]);
    assert_eq!(told(&enough).0, Diagnosis::FewFlows);
    let mut unseen = facts(Evidence::Nothing, &[0, 0], &[]);
    unseen.lasted = Duration::from_millis(30);
    assert_eq!(told(&unseen).0, Diagnosis::Unseen);
}

#[test]
fn all_sockets_that_nobody_reads_are_named() {
    let left = |which: &[usize], all: usize| {
        let mut facts = facts(Evidence::Nothing, &vec![0; all], &[]);
        for index in which {
            facts.members[*index].queue = queue(&[(500, 0), (1000, 2)]);
        }
        facts
    };
    for (which, all, words) in [
        (&[0][..], 1, "the only socket: 1,000 octets wait, 2"),
        (&[2], 3, "socket 3 of 3: 1,000 octets wait, 2"),
        (&[0, 2], 4, "sockets 1 and 3 of 4: 2,000 octets wait, 4"),
        (
            &[0, 1, 3],
            4,
            "sockets 1, 2 and 4 of 4: 3,000 octets wait, 6",
        ),
        (&[0, 1, 2], 3, "any of 3 sockets: 3,000 octets wait, 6"),
        (
            &[0, 1, 2, 3, 4, 5, 6, 7],
            9,
            "sockets 1, 2, 3, 4, 5, 6 and 2 more of 9: 8,000 octets wait, 16",
        ),
    ] {
        let sentence = format!("Nobody reads {words} were dropped in 2 s.");
        let facts = left(which, all);
        assert_eq!(told(&facts), (Diagnosis::NotRead, sentence));
    }
    let notes = Verdict::of(&left(&[0, 2], 4)).notes;
    assert!(notes[0].contains("has them open"), "{notes:?}");
    assert!(
        notes[1].contains("gives them 50 % of all flows"),
        "{notes:?}"
    );
    // What is received, however slowly, is read.
    let mut read = left(&[1], 3);
    read.members[1].received = Some(1);
    assert_ne!(told(&read).0, Diagnosis::NotRead);
}

#[test]
fn clients_are_not_told_as_datagrams() {
    let members = Members {
        address: "127.0.0.1:53".parse().unwrap(),
        protocol: Protocol::Udp,
        sockets: Vec::new(),
        behind: Vec::new(),
        elsewhere: Vec::new(),
        connected: Vec::new(),
    };
    let told = |evidence| {
        let mut facts = facts(evidence, &[5, 3], &[1; 8]);
        facts.members[0].flows = 5;
        let load = tables(&members, &facts).remove(1);
        let json = json(&members, &facts, &Verdict::of(&facts));
        let told = ["took", "datagrams_by_hash"].map(|name| json["sockets"][0][name].as_u64());
        (load.header[4].clone(), load.rows[0][1..5].join(" "), told)
    };
    assert_eq!(
        told(Evidence::Clients),
        ("clients".into(), "- - 62 % 5".into(), [None; 2])
    );
    assert_eq!(
        told(Evidence::Datagrams),
        ("flows".into(), "5 62 % 62 % 5".into(), [Some(5); 2])
    );
}
