//! Which worker a datagram reaches, and that none is lost on the way.

use super::*;

#[test]
fn many_flows_reach_every_worker_and_none_is_lost() {
    let mut server =
        Server::start(&config(&["127.0.0.1:0"], 4), Arc::new(support::demo())).unwrap();
    let address = server.addresses()[0];
    let clients: Vec<UdpSocket> = (0..64).map(|_| client(address)).collect();
    let request = query("worker.server", 16);
    let request = [&request[..request.len() - 1], &[3]].concat();
    let mut workers = BTreeSet::new();
    for _ in 0..20 {
        for client in &clients {
            client.send(&request).unwrap();
        }
        for client in &clients {
            let reply = receive(client);
            let text = String::from_utf8_lossy(&reply).into_owned();
            let worker = text
                .split("worker=")
                .nth(1)
                .and_then(|rest| rest.chars().next())
                .unwrap();
            assert!(text.contains("batch=") && text.contains("cpu="), "{text}");
            workers.insert(worker);
        }
    }
    assert_eq!(
        workers.len(),
        4,
        "64 flows leave a socket of four without any once in 10^8 times"
    );
    server.stop();
    let totals = server.totals();
    assert_eq!(
        totals.iter().map(|totals| totals.received).sum::<u64>(),
        64 * 20
    );
    assert!(totals[..4].iter().all(|totals| totals.received > 0));
    for totals in &totals[..4] {
        let batches: u64 = totals.batches.iter().sum();
        assert!(batches > 0 && batches <= totals.received);
    }
}

#[test]
fn one_flow_stays_with_one_worker() {
    let server = Server::start(&config(&["127.0.0.1:0"], 4), Arc::new(support::demo())).unwrap();
    let socket = client(server.addresses()[0]);
    for _ in 0..50 {
        socket.send(&query("www.example.com", 1)).unwrap();
        receive(&socket);
    }
    let received: Vec<u64> = server
        .totals()
        .iter()
        .map(|totals| totals.received)
        .filter(|&n| n > 0)
        .collect();
    assert_eq!(received, [50]);
}

#[test]
fn steering_by_query_id_spreads_one_flow_by_its_ids() {
    let mut config = config(&["127.0.0.1:0", "[::1]:0"], 3);
    config.steer = Some(Steer::QueryId);
    let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
    for address in server.addresses() {
        let socket = client(address);
        for id in 0..90u16 {
            let mut request = query("www.example.com", 1);
            request[..2].copy_from_slice(&id.to_be_bytes());
            socket.send(&request).unwrap();
            receive(&socket);
        }
    }
    server.stop();
    let received: Vec<u64> = server.totals()[..3]
        .iter()
        .map(|totals| totals.received)
        .collect();
    assert_eq!(received, [60, 60, 60]);
}

#[test]
fn steering_at_random_and_by_cpu_loses_nothing() {
    for steer in [Steer::Random, Steer::Cpu] {
        let mut config = config(&["127.0.0.1:0"], 3);
        config.steer = Some(steer);
        let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
        let socket = client(server.addresses()[0]);
        for _ in 0..200 {
            socket.send(&query("www.example.com", 1)).unwrap();
            receive(&socket);
        }
        server.stop();
        let received: Vec<u64> = server.totals()[..3]
            .iter()
            .map(|totals| totals.received)
            .collect();
        assert_eq!(received.iter().sum::<u64>(), 200);
        if steer == Steer::Random {
            // The chance that one of three sockets gets none is 3 (2/3)^200.
            assert!(received.iter().all(|&count| count > 0), "{received:?}");
        }
    }
}

#[test]
fn a_shared_socket_is_read_by_all_workers() {
    for addresses in [&["127.0.0.1:0"][..], &["127.0.0.1:0", "[::1]:0"]] {
        let mut config = config(addresses, 3);
        config.sharing = Sharing::Shared;
        let mut server = Server::start(&config, Arc::new(support::demo())).unwrap();
        for address in server.addresses() {
            let socket = client(address);
            for _ in 0..100 {
                socket.send(&query("www.example.com", 1)).unwrap();
                receive(&socket);
            }
        }
        server.stop();
        let received: u64 = server.totals().iter().map(|totals| totals.received).sum();
        assert_eq!(received, 100 * addresses.len() as u64);
    }
}

#[test]
fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
    let server = Server::start(&config(&["0.0.0.0:0"], 2), Arc::new(support::demo())).unwrap();
    let port = server.addresses()[0].port();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for host in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let asked: SocketAddr = format!("{host}:{port}").parse().unwrap();
        socket.send_to(&query("www.example.com", 1), asked).unwrap();
        let (_, from) = socket.recv_from(&mut [0; 512]).unwrap();
        assert_eq!(from, asked);
    }
}

#[test]
fn port_zero_without_tcp_and_with_every_batch_width() {
    // Where nobody else listens for connections, whatever the port.
    const ALONE: &str = "127.77.0.1:0";
    for batch in [1, 7, 128] {
        let mut config = config(&[ALONE], 2);
        config.batch = batch;
        config.tcp = None;
        let server = Server::start(&config, Arc::new(support::demo())).unwrap();
        let socket = client(server.addresses()[0]);
        for _ in 0..QUEUED {
            socket.send(&query("www.example.com", 1)).unwrap();
        }
        (0..QUEUED).for_each(|_| drop(receive(&socket)));
        assert!(TcpStream::connect(server.addresses()[0]).is_err());
    }
}

static SEEN: Mutex<Vec<(SocketAddr, IpAddr)>> = Mutex::new(Vec::new());

/// An answerer that keeps the addresses of each request.
struct Looking(Answerer);

impl Responder for Looking {
    fn answer<P: Port>(&mut self, port: &mut P, received: usize) {
        let ends = (0..received).map(|slot| (port.peer(slot), port.local(slot)));
        SEEN.lock().unwrap().extend(ends);
        self.0.answer(port, received);
    }

    fn idle(&mut self) {
        self.0.idle();
    }
}

/// Who asks, and where, is what the answer may depend on.
#[test]
fn a_request_says_who_sent_it_and_where_to() {
    for (bound, asked, from) in [
        ("127.0.0.1:0", "127.0.0.1", "127.0.0.9:0"),
        ("0.0.0.0:0", "127.0.0.7", "127.0.0.9:0"),
        ("[::1]:0", "::1", "[::1]:0"),
        ("[::]:0", "::1", "[::1]:0"),
    ] {
        let server = Server::start_with(&config(&[bound], 1), Arc::new(support::demo()), Looking);
        let server = server.unwrap();
        let asked = SocketAddr::new(asked.parse().unwrap(), server.addresses()[0].port());
        let socket = UdpSocket::bind(from).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(&query("www.example.com", 1), asked).unwrap();
        socket.recv(&mut [0; 512]).unwrap();
        let ends = (socket.local_addr().unwrap(), asked.ip());
        assert_eq!(SEEN.lock().unwrap().drain(..).collect::<Vec<_>>(), [ends]);
    }
}
