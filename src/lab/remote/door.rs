//! Who has come and not proven yet that it knows the token. Many may stand there at
//! once, so that whoever says nothing keeps nobody out; how many is limited, and
//! whoever has stood there longest makes room.
//!
//! One thread does it all: one that came and went would be taken for one of a server
//! that is started meanwhile.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::lines::Lines;
use super::message::{Admission, Greeting, MAX_REQUEST, Proof, VERSION};
use super::token::{Nonce, Token};
use crate::sys::epoll::Epoll;

/// How long a source may take to prove that it knows the token.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// How many may be about it at a time.
const MOST: usize = 64;
/// How many of one address: a source needs one.
const MOST_OF_ADDRESS: usize = 8;
/// What the listener is called among those who have something to say.
const LISTENER: usize = 0;

/// The listener, and who stands before it.
pub(super) struct Door {
    listener: TcpListener,
    token: Token,
    epoll: Epoll,
    /// The first has stood there longest.
    knocking: Vec<Knock>,
    /// The number of the last.
    last: usize,
}

struct Knock {
    number: usize,
    peer: SocketAddr,
    lines: Lines,
    nonce: Nonce,
    since: Instant,
}

/// A source that knows the token, or one that is sent away.
pub(super) struct Came {
    pub(super) peer: SocketAddr,
    /// Its connection, or why it is sent away.
    pub(super) outcome: anyhow::Result<Lines>,
}

impl Door {
    pub(super) fn new(listener: TcpListener, token: Token) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new()?;
        epoll.add(&listener, LISTENER)?;
        Ok(Door {
            listener,
            token,
            epoll,
            knocking: Vec::new(),
            last: LISTENER,
        })
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits so long at most, and says who has come and who is sent away.
    pub(super) fn wait(&mut self, limit: Duration) -> io::Result<Vec<Came>> {
        let ready: Vec<usize> = self.epoll.wait(limit)?.collect();
        let mut came = Vec::new();
        for number in ready {
            match number {
                LISTENER => self.let_knock(limit, &mut came),
                _ => came.extend(self.hear(number)),
            }
        }
        while self.knocking.first().is_some_and(Knock::is_late) {
            came.push(self.send_away(0, "it did not say the token in time"));
        }
        Ok(came)
    }

    fn let_knock(&mut self, pause: Duration, came: &mut Vec<Came>) {
        let (stream, peer) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {
                // Without a descriptor left, who waits goes on waiting.
                thread::sleep(pause);
                return;
            }
        };
        if let Some(index) = longest(self.knocking.iter().map(|it| it.peer.ip()), peer.ip()) {
            came.push(self.send_away(index, "others have come"));
        }
        self.last += 1;
        let greeted = stream.set_nonblocking(false).map_err(Into::into);
        let greeted = greeted.and_then(|()| greet(Lines::new(stream, MAX_REQUEST)?));
        let watched = greeted.and_then(|(lines, nonce)| {
            self.epoll.add(lines.stream(), self.last)?;
            Ok((lines, nonce))
        });
        match watched {
            Ok((lines, nonce)) => self.knocking.push(Knock {
                number: self.last,
                peer,
                lines,
                nonce,
                since: Instant::now(),
            }),
            Err(why) => came.push(Came {
                peer,
                outcome: Err(why),
            }),
        }
    }

    /// Reads what one of them says; nobody where that is not all yet.
    fn hear(&mut self, number: usize) -> Option<Came> {
        let index = self.knocking.iter().position(|it| it.number == number)?;
        // What it said is not repeated: it may not be fit for a terminal.
        let heard = self.knocking[index]
            .lines
            .receive_some()
            .map_err(unrepeated);
        let proof: Proof = match heard {
            Ok(None) => return None,
            Ok(Some(proof)) => proof,
            Err(why) => return Some(self.send_away(index, why)),
        };
        let knock = self.knocking.remove(index);
        let peer = knock.peer;
        let outcome = self.check(knock, &proof);
        Some(Came { peer, outcome })
    }

    fn check(&self, knock: Knock, proof: &Proof) -> anyhow::Result<Lines> {
        let mut lines = knock.lines;
        // The session has a second descriptor of it, which would go on being watched.
        self.epoll.remove(lines.stream())?;
        if !self.token.is_proven(&knock.nonce, &proof.proof) {
            lines.send(&Admission::Refused("that is not the token".into()))?;
            bail!("it does not know the token");
        }
        Ok(lines)
    }

    fn send_away(&mut self, index: usize, why: impl Into<String>) -> Came {
        let knock = self.knocking.remove(index);
        Came {
            peer: knock.peer,
            outcome: Err(anyhow::Error::msg(why.into())),
        }
    }
}

impl Knock {
    fn is_late(&self) -> bool {
        self.since.elapsed() >= HANDSHAKE
    }
}

fn greet(mut lines: Lines) -> anyhow::Result<(Lines, Nonce)> {
    let nonce = Token::random().context("no nonce")?;
    lines.send(&Greeting {
        version: VERSION,
        nonce: nonce.to_string(),
    })?;
    Ok((lines, nonce))
}

/// Who has to make room for one more of this address: the first of its own, else
/// the first of all.
fn longest(mut standing: impl Iterator<Item = IpAddr> + Clone, peer: IpAddr) -> Option<usize> {
    let own = standing.clone().filter(|it| *it == peer).count();
    if own >= MOST_OF_ADDRESS {
        return standing.position(|it| it == peer);
    }
    (standing.count() >= MOST).then_some(0)
}

fn unrepeated(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it hung up".into(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpStream};

    /// A source that speaks by hand, and the door's side of what it says.
    fn knock(door: &Door) -> Lines {
        let stream = TcpStream::connect(door.address().unwrap()).unwrap();
        Lines::new(stream, 1 << 16).unwrap()
    }

    fn wait_for<T>(door: &mut Door, mut found: impl FnMut(&mut Door, Vec<Came>) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let came = door.wait(Duration::from_millis(10)).unwrap();
            if let Some(found) = found(door, came) {
                return found;
            }
        }
        panic!("nobody came");
    }

    #[test]
    fn those_who_say_nothing_keep_nobody_out() {
        let token = Token::random().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut door = Door::new(listener, token).unwrap();
        let begun = Instant::now();
        let _silent: Vec<Lines> = (0..60).map(|_| knock(&door)).collect();
        let mut source = knock(&door);
        wait_for(&mut door, |door, _| (door.last == 61).then_some(()));
        assert!(door.knocking.len() <= MOST_OF_ADDRESS);
        let greeting: Option<Greeting> = source.receive(Duration::from_secs(60)).unwrap();
        let nonce: Nonce = greeting.unwrap().nonce.parse().unwrap();
        let proof = token.proof(&nonce);
        source.send(&Proof { proof }).unwrap();
        let own = source.stream().local_addr().unwrap();
        wait_for(&mut door, |_, came| {
            let mut let_in = came.into_iter().filter(|it| it.outcome.is_ok());
            let_in.find(|it| it.peer == own)
        });
        // One after the other, they would have had two seconds each.
        assert!(begun.elapsed() < 60 * HANDSHAKE / 2);
        // The others do not stay.
        wait_for(&mut door, |door, _| door.knocking.is_empty().then_some(()));
    }

    #[test]
    fn room_is_made_by_ones_own_address_first() {
        let address = |number| IpAddr::from(Ipv4Addr::new(192, 0, 2, number));
        let (one, other) = (address(1), address(2));
        let standing = [vec![other], vec![one; MOST_OF_ADDRESS]].concat();
        let longest_of = |standing: &[IpAddr], peer| longest(standing.iter().copied(), peer);
        assert_eq!(longest_of(&standing, one), Some(1));
        assert_eq!(longest_of(&standing, other), None);
        let many: Vec<IpAddr> = (0..MOST as u8).map(address).collect();
        assert_eq!(longest_of(&many, address(200)), Some(0));
        assert_eq!(longest_of(&many[1..], address(200)), None);
    }
}
