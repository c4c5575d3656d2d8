//! Another snapshot while the server runs.

use std::fs;

use shardns::answer::Settings;
use shardns::server::snapshot::Snapshot;

use super::*;

/// A zone in which `www.example.com.` has this address.
fn zones(address: &str) -> Arc<Zones> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("zone");
    let text = format!(
        "$ORIGIN example.com.\n$TTL 60\n@ SOA ns.test. h 1 2 3 4 5\n@ NS ns.test.\nwww A {address}\n"
    );
    fs::write(&path, text).unwrap();
    Arc::new(Zones::new(vec![support::load(&path, None)]))
}

fn address(reply: &[u8]) -> [u8; 4] {
    *reply.last_chunk().unwrap()
}

#[test]
fn every_thread_answers_from_the_snapshot_that_holds_and_none_frees_the_one_before() {
    let mut server = Server::start(&config(&["127.0.0.1:0"], 3), zones("192.0.2.0")).unwrap();
    let asked = server.addresses()[0];
    let clients: Vec<UdpSocket> = (0..32).map(|_| client(asked)).collect();
    let mut connected = TcpStream::connect(asked).unwrap();
    let request = query("www.example.com", 1);
    for number in 1..=20u8 {
        let before = Arc::downgrade(&server.snapshot().zones);
        server.replace(Snapshot {
            zones: zones(&format!("192.0.2.{number}")),
            settings: Settings::default(),
        });
        for client in &clients {
            client.send(&request).unwrap();
            assert_eq!(address(&receive(client)), [192, 0, 2, number]);
        }
        let reply = ask_on(&mut connected, &request).unwrap();
        assert_eq!(address(&reply), [192, 0, 2, number]);
        // Threads that have nothing to answer let go of it, too.
        assert!(before.upgrade().is_some(), "a thread that answers frees it");
        let end = Instant::now() + PATIENCE;
        while server.free_replaced() > 0 {
            assert!(Instant::now() < end, "a thread keeps an old snapshot");
            std::thread::yield_now();
        }
        assert!(before.upgrade().is_none());
    }
}

/// Whatever is queued while the snapshot changes is answered from one of the two.
#[test]
fn nothing_is_lost_while_snapshots_change() {
    let mut server = Server::start(&config(&["127.0.0.1:0"], 2), zones("192.0.2.0")).unwrap();
    let client = client(server.addresses()[0]);
    let (mut odd, mut even) = (zones("192.0.2.1"), zones("192.0.2.2"));
    let mut last = 0;
    for round in 0..200u16 {
        let mut request = query("www.example.com", 1);
        for id in 0..QUEUED as u16 {
            let id = (round % 256) << 8 | id;
            request[..2].copy_from_slice(&id.to_be_bytes());
            client.send(&request).unwrap();
            if id % 7 == 0 {
                let zones = odd.clone();
                std::mem::swap(&mut odd, &mut even);
                server.replace(Snapshot {
                    zones,
                    settings: Settings::default(),
                });
            }
        }
        for _ in 0..QUEUED {
            let reply = receive(&client);
            assert!([0, 1, 2].contains(&address(&reply)[3]));
            last += 1;
        }
        server.free_replaced();
    }
    assert_eq!(last, 200 * QUEUED);
}
