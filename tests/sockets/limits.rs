//! The limits of TCP, and that no address starves another.

use super::*;

#[test]
fn limits_of_tcp_are_those_of_the_configuration() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp = Some(tcp::Limits {
        connections: 2,
        per_client: 2,
        idle: PATIENCE,
    });
    let server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let request = query("www.example.com", 1);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let connect = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed).unwrap();
        let mut reply = [0; 2];
        stream.read_exact(&mut reply).unwrap();
        stream
            .read_exact(&mut vec![0; u16::from_be_bytes(reply).into()])
            .unwrap();
        stream
    };
    let mut first = connect();
    let mut second = connect();
    let _third = connect();
    // The one that has been idle longest has made room.
    assert_eq!(first.read(&mut [0; 1]).unwrap_or(0), 0);
    second.write_all(&framed).unwrap();
    assert_eq!(second.read(&mut [0; 2]).unwrap(), 2);
}

#[test]
fn a_flooded_address_starves_no_other() {
    let mut server = Server::start(
        &config(&["127.0.0.1:0", "[::1]:0"], 1),
        Arc::new(support::demo()),
    )
    .unwrap();
    let addresses = server.addresses();
    let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flood = {
        let (socket, over) = (client(addresses[0]), over.clone());
        std::thread::spawn(move || {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                // A full socket is what the flood is for.
                let _ = socket.send(&query("www.example.com", 1));
            }
        })
    };
    let socket = client(addresses[1]);
    for _ in 0..20 {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    flood.join().unwrap();
    server.stop();
}

#[test]
fn connections_that_get_nowhere_give_way_to_new_ones() {
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp = Some(tcp::Limits {
        connections: 4,
        per_client: 8,
        idle: PATIENCE,
    });
    let server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let stalled: Vec<TcpStream> = (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[0]).unwrap();
            stream
        })
        .collect();
    // Refused at first, served as soon as the others have stalled long enough.
    let request = query("www.example.com", 1);
    let framed = [&(request.len() as u16).to_be_bytes()[..], &request].concat();
    let started = Instant::now();
    let served = || {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed).ok()?;
        stream.read_exact(&mut [0; 2]).ok()
    };
    while served().is_none() {
        assert!(started.elapsed() < PATIENCE / 2, "still locked out");
    }
    drop(stalled);
}

#[test]
fn clients_are_told_how_long_their_connection_may_be_idle() {
    const OPTION: &[u8] = b"\0\x0b\0\x02\0\x14";
    let mut config = config(&["127.0.0.1:0"], 1);
    config.tcp = Some(tcp::Limits {
        idle: Duration::from_secs(2),
        ..tcp::Limits::default()
    });
    // Whatever is in the settings, the limit is what holds.
    config.settings.tcp_idle = None;
    let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
    let mut request = query("www.example.com", 1);
    request[11] = 1;
    request.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0");
    let mut stream = TcpStream::connect(server.addresses()[0]).unwrap();
    let reply = ask_on(&mut stream, &request).unwrap();
    assert!(reply.ends_with(OPTION), "{reply:02x?}");
    let begun = Instant::now();
    server.replace(shardns::server::snapshot::Snapshot::default());
    let reply = ask_on(&mut stream, &request).unwrap();
    assert_eq!(reply[3] & 15, 5, "from no zone");
    assert!(
        reply.windows(6).any(|octets| octets == OPTION),
        "{reply:02x?}"
    );
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(begun.elapsed() >= Duration::from_millis(1900));
}
