//! Sockets that leave a group of which others stay. What the kernel queues on a socket
//! between the last look at it and its end is lost, and it goes on choosing it until
//! then: so it is made to choose among the others before.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::inherited::{self, Sockets, Taken};
use crate::sys::socket::UdpSocket;
use crate::sys::steer::{self, Steer};

/// How long a datagram may be on its way to a socket that was chosen for it, where the
/// kernel does not tell.
const ON_ITS_WAY: Duration = Duration::from_millis(100);

/// Groups whose last sockets get nothing any more, so that they can be closed when what
/// is queued on them is answered. Dropped, it leaves the choice to the kernel's hash
/// again, which is for when they are closed.
pub struct Leaving {
    narrowed: Vec<Arc<UdpSocket>>,
}

impl Leaving {
    /// Has the kernel choose among the sockets that were taken alone, at random, unless
    /// whoever took them chooses among them already. Waits until nothing is on its way to
    /// the others. Groups of which nothing was taken are left as they are.
    ///
    /// # Errors
    ///
    /// What the kernel says to descriptors or a program.
    pub fn begin(all: Sockets, taken: &Taken) -> io::Result<Leaving> {
        let groups = inherited::hold(all)?.groups;
        let mut leaving = Leaving {
            narrowed: Vec::new(),
        };
        for (mut group, stay) in groups.into_iter().zip(taken.groups.iter().copied()) {
            if stay > 0 && stay < group.len() && taken.hashed {
                // They keep their numbers when others behind them are closed.
                steer::attach(&group[0], Steer::Random, &vec![0; stay])?;
                leaving.narrowed.push(group.swap_remove(0));
            }
        }
        if steer::settle().is_err() {
            thread::sleep(ON_ITS_WAY);
        }
        Ok(leaving)
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.narrowed
            .iter()
            .for_each(|socket| steer::detach(socket));
    }
}
