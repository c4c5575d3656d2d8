//! Who reads the sockets: one loop, in a thread of the bench or in a process of its
//! own, which is told over a Unix socket what to do and gets the sockets that way
//! too. It answers every question with the number of the socket that it came to.
//!
//! ```text
//! bench ── order (8 octets), for Take a descriptor ──▶ loop
//!       ◀── octet `k`, for Bind a descriptor ─────────
//! ```

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{LONGEST, Serial, answer};
use crate::sys::epoll::{Epoll, Trigger};
use crate::sys::port::{Port, SocketPort, Wait};
use crate::sys::socket::{UdpOptions, UdpSocket};
use crate::sys::unix::{receive_descriptors, send_descriptors};

/// Datagrams that one call takes.
const BATCH: usize = 32;
/// A receive that waits does so no longer; none of ours waits.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that may wait on a socket; the kernel doubles them. About a thousand
/// small datagrams.
const BUFFER: usize = 512 << 10;
/// The number of a socket is never this.
const CONTROL: usize = 0;
/// How long the loop sleeps where nothing comes.
const IDLE: Duration = Duration::from_secs(60);
/// What says that an order was carried out.
const DONE: u8 = b'k';

/// What the loop is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Serve the socket that comes along.
    Take(Serial),
    /// Bind a socket of its own to that port of loopback, serve it, and hand a
    /// descriptor of it back.
    Bind(Serial, u16),
    /// Leave a socket alone for so many milliseconds.
    Stall(Serial, u16),
    /// Close it.
    Close(Serial),
}

impl Order {
    fn octets(self) -> [u8; 8] {
        let (kind, serial, number) = match self {
            Order::Take(serial) => (b't', serial, 0),
            Order::Bind(serial, port) => (b'b', serial, port),
            Order::Stall(serial, milliseconds) => (b's', serial, milliseconds),
            Order::Close(serial) => (b'c', serial, 0),
        };
        let mut octets = [0; 8];
        octets[0] = kind;
        octets[2..4].copy_from_slice(&number.to_be_bytes());
        octets[4..].copy_from_slice(&serial.to_be_bytes());
        octets
    }

    fn read(octets: [u8; 8]) -> Option<Order> {
        let [kind, _, number @ .., a, b, c, d] = octets;
        let (number, serial) = (u16::from_be_bytes(number), u32::from_be_bytes([a, b, c, d]));
        Some(match kind {
            b't' => Order::Take(serial),
            b'b' => Order::Bind(serial, number),
            b's' => Order::Stall(serial, number),
            b'c' => Order::Close(serial),
            _ => return None,
        })
    }
}

/// Binds a socket of the group.
///
/// # Errors
///
/// What the kernel says.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let options = UdpOptions {
        grouped: true,
        receive_buffer: BUFFER,
        timeout: TIMEOUT,
    };
    UdpSocket::bind(address, &options, &mut Vec::new())
}

/// Takes a descriptor of a socket, for another to read or to look at.
///
/// # Errors
///
/// What is no UDP socket.
pub fn adopt(descriptor: std::os::fd::OwnedFd) -> io::Result<UdpSocket> {
    UdpSocket::adopt(descriptor, TIMEOUT)
}

/// The other end of the control socket.
pub struct Control {
    stream: UnixStream,
    is_gone: bool,
}

impl Control {
    /// Of this end.
    pub fn new(stream: UnixStream) -> Control {
        Control {
            stream,
            is_gone: false,
        }
    }

    /// True where the loop was found to be gone.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Gives an order, and waits until it is carried out.
    ///
    /// # Errors
    ///
    /// A loop that is gone.
    pub fn give(&mut self, order: Order) -> io::Result<()> {
        self.talk(|stream| {
            stream.write_all(&order.octets())?;
            wait(stream)
        })
    }

    /// Has it serve a socket.
    ///
    /// # Errors
    ///
    /// As `give`.
    pub fn hand_over(&mut self, serial: Serial, socket: &UdpSocket) -> io::Result<()> {
        let descriptor = socket.copy_descriptor()?;
        self.talk(|stream| {
            stream.write_all(&Order::Take(serial).octets())?;
            send_descriptors(stream, &[descriptor.as_fd()])?;
            wait(stream)
        })
    }

    /// Has it bind a socket of its own, which is returned to be looked at.
    ///
    /// # Errors
    ///
    /// As `give`, or what the kernel said to `bind`.
    pub fn bind(&mut self, serial: Serial, port: u16) -> io::Result<UdpSocket> {
        self.give(Order::Bind(serial, port))?;
        let mut descriptors = self.talk(|stream| receive_descriptors(stream, 1))?;
        let descriptor = descriptors.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
        adopt(descriptor)
    }

    /// Whoever cannot be spoken to is gone: a loop ends with its first fault.
    fn talk<T>(&mut self, talk: impl FnOnce(&mut UnixStream) -> io::Result<T>) -> io::Result<T> {
        let talked = talk(&mut self.stream);
        self.is_gone |= talked.is_err();
        talked
    }
}

fn wait(stream: &mut UnixStream) -> io::Result<()> {
    stream.read_exact(&mut [0])
}

/// Serves until the other end of `control` is closed.
///
/// # Errors
///
/// What the kernel says, or an order that is none.
pub fn serve(control: UnixStream) -> io::Result<()> {
    let mut epoll = Epoll::new()?;
    epoll.add_with(&control, CONTROL, Trigger::Level)?;
    let mut serving = Serving {
        epoll: epoll.share()?,
        control,
        lanes: BTreeMap::new(),
    };
    loop {
        let ready: Vec<usize> = epoll.wait(serving.patience())?.collect();
        serving.end_stalls()?;
        for token in ready {
            match token {
                CONTROL if serving.obey()? => return Ok(()),
                CONTROL => {}
                serial => serving.answer(serial as Serial),
            }
        }
    }
}

struct Serving {
    epoll: Epoll,
    control: UnixStream,
    lanes: BTreeMap<Serial, Lane>,
}

struct Lane {
    port: SocketPort,
    /// What it answers with.
    name: String,
    /// It is left alone until then.
    stalled: Option<Instant>,
}

impl Serving {
    fn patience(&self) -> Duration {
        let ends = self.lanes.values().filter_map(|lane| lane.stalled);
        match ends.min() {
            // Waits are in whole milliseconds.
            Some(end) => end.saturating_duration_since(Instant::now()) + Duration::from_millis(1),
            None => IDLE,
        }
    }

    fn end_stalls(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for (&serial, lane) in &mut self.lanes {
            if lane.stalled.is_some_and(|end| end <= now) {
                lane.stalled = None;
                let socket = lane.port.socket();
                self.epoll
                    .add_with(&**socket, serial as usize, Trigger::Level)?;
            }
        }
        Ok(())
    }

    /// True where there is nobody any more who could order anything.
    fn obey(&mut self) -> io::Result<bool> {
        let mut octets = [0; 8];
        if let Err(error) = self.control.read_exact(&mut octets) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(true),
                _ => Err(error),
            };
        }
        let order = Order::read(octets).ok_or(io::ErrorKind::InvalidData)?;
        let mut bound = None;
        match order {
            Order::Take(serial) => {
                let mut descriptors = receive_descriptors(&self.control, 1)?;
                let descriptor = descriptors.pop().ok_or(io::ErrorKind::UnexpectedEof)?;
                self.add(serial, adopt(descriptor)?)?;
            }
            Order::Bind(serial, port) => {
                let socket = bind((Ipv4Addr::LOCALHOST, port).into())?;
                bound = Some(socket.copy_descriptor()?);
                self.add(serial, socket)?;
            }
            Order::Stall(serial, milliseconds) => {
                if let Some(lane) = self.lanes.get_mut(&serial)
                    && lane.stalled.is_none()
                {
                    self.epoll.remove(&**lane.port.socket())?;
                    let time = Duration::from_millis(milliseconds.into());
                    lane.stalled = Some(Instant::now() + time);
                }
            }
            // A socket that is closed here and open elsewhere would be watched still.
            Order::Close(serial) => {
                if let Some(lane) = self.lanes.remove(&serial)
                    && lane.stalled.is_none()
                {
                    self.epoll.remove(&**lane.port.socket())?;
                }
            }
        }
        self.control.write_all(&[DONE])?;
        if let Some(descriptor) = bound {
            send_descriptors(&self.control, &[descriptor.as_fd()])?;
        }
        Ok(false)
    }

    fn add(&mut self, serial: Serial, socket: UdpSocket) -> io::Result<()> {
        self.epoll
            .add_with(&socket, serial as usize, Trigger::Level)?;
        let lane = Lane {
            port: SocketPort::new(Arc::new(socket), BATCH, LONGEST, LONGEST),
            name: serial.to_string(),
            stalled: None,
        };
        self.lanes.insert(serial, lane);
        Ok(())
    }

    fn answer(&mut self, serial: Serial) {
        // It may have been closed or stalled since it was ready.
        let Some(lane) = self.lanes.get_mut(&serial) else {
            return;
        };
        if lane.stalled.is_some() {
            return;
        }
        // What the kernel tells of one datagram is no reason not to read the next.
        let received = lane.port.receive(Wait::No).unwrap_or(0);
        for index in 0..received {
            let (request, reply) = lane.port.exchange(index);
            let length = answer(request, &lane.name, reply);
            lane.port.set_reply(index, length);
        }
        // A client that is gone is none to answer.
        lane.port.send(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{ask, read};
    use super::*;
    use std::net::UdpSocket as Client;
    use std::thread;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn exchange(client: &Client) -> Serial {
        client.send(&ask(1, 2, 3)).unwrap();
        let mut reply = [0; LONGEST];
        let length = client.recv(&mut reply).unwrap();
        read(&reply[..length]).unwrap().from
    }

    #[test]
    fn orders_are_what_they_were() {
        for order in [
            Order::Take(1),
            Order::Bind(u32::MAX, u16::MAX),
            Order::Stall(256, 1000),
            Order::Close(65_536),
        ] {
            assert_eq!(Order::read(order.octets()), Some(order));
        }
        assert_eq!(Order::read([0; 8]), None);
    }

    #[test]
    fn a_socket_goes_from_one_loop_to_the_next() {
        let (mut controls, mut loops) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (near, far) = UnixStream::pair().unwrap();
            controls.push(Control::new(near));
            loops.push(thread::spawn(|| serve(far)));
        }
        let [first, second] = &mut controls[..] else {
            panic!()
        };
        let own = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let client = Client::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(own.local()).unwrap();
        first.hand_over(1, &own).unwrap();
        assert_eq!(exchange(&client), 1);
        second.hand_over(2, &own).unwrap();
        first.give(Order::Close(1)).unwrap();
        assert_eq!(exchange(&client), 2);

        // What waits while it is stalled is answered when it is not.
        let start = Instant::now();
        second.give(Order::Stall(2, 100)).unwrap();
        assert_eq!(exchange(&client), 2);
        assert!(start.elapsed() >= Duration::from_millis(100));

        second.give(Order::Close(2)).unwrap();
        client.send(&ask(1, 2, 3)).unwrap();
        assert!(own.waiting().unwrap() > 0, "nobody reads it");
        drop(own);
        let port = client.peer_addr().unwrap().port();
        let bound = first.bind(7, port).unwrap();
        assert_eq!(bound.local().port(), port);
        assert_eq!(exchange(&client), 7);
        drop(controls);
        for one in loops {
            one.join().unwrap().unwrap();
        }
    }
}
