//! The port of a queue. A frame goes round: free, with a request, with the reply to
//! it, sent, free. The reply is written behind its request in the same frame, and
//! leaves from there.
//!
//! ```text
//! 0     256        270  290   298            a multiple of 64
//! | room | Ethernet | IP | UDP | request | … | Ethernet | IP | UDP | reply | … |
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::addresses::Strangers;
use super::frame::{self, Headers, IPV6_HEADERS};
use super::memory::Frames;
use super::queue::{self, Queue, Rings};
use crate::sys::port::{MAX_WIDTH, Port, Wait};

/// Octets that the kernel leaves free before what it writes into a frame
/// (`XDP_PACKET_HEADROOM`).
const ROOM: usize = 256;
/// Replies begin at a cache line of their own.
const LINE: usize = 64;
/// Calls to send one batch, where the kernel takes part of it each time. What is
/// left then is sent with the next batch.
const CALLS: usize = 8;

/// Frames of a queue, and entries of each of its rings.
pub(super) const FRAMES: u32 = 2048;

/// Octets of a frame in which a request of usual length has room and a reply of up to
/// `reply` octets, or as long as a frame of the interface or of ours can have it; and
/// how long an IP datagram with a request may be for that.
pub(super) fn frame_size((reply, mtu): (usize, usize)) -> (usize, u16) {
    // The kernel takes no larger frames than pages.
    let reply = (IPV6_HEADERS + reply).min(14 + mtu).min(3072);
    let size = if reply <= 1300 { 2048 } else { 4096 };
    let longest = (size - reply) / LINE * LINE - ROOM - 14;
    (size, longest as u16)
}

/// What all ports of an interface go by.
#[derive(Debug)]
pub(super) struct Common {
    pub strangers: Strangers,
    /// Octets of the longest IP datagram that leaves. Written by the control thread,
    /// read by each worker once a batch; `Relaxed`, since a batch that is too long is
    /// lost whether it was made before the change or just after.
    pub mtu: AtomicUsize,
}

/// A queue with its frames and the batch that is under way.
pub struct QueuePort {
    queue: Arc<Queue>,
    rings: Rings,
    frames: Frames,
    batch: Box<[Slot]>,
    received: usize,
    /// Frames that had been free when the kernel was last asked about them.
    shown: u32,
    /// The number of the interface.
    interface: u32,
    /// Octets of the longest reply, and for this batch of the longest frame that leaves.
    limits: (usize, usize),
    common: Arc<Common>,
}

/// Where things are, in octets from the beginning of all frames.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// The frame, as the kernel knows it.
    start: usize,
    /// Its octets.
    frame: usize,
    /// From `frame` on: octets of headers, 0 where it is no request, and of these
    /// with the request.
    headers: usize,
    end: usize,
    is_from_stranger: bool,
    /// The frame of the reply, and the octets of its payload.
    reply: usize,
    length: usize,
}

/// A port that has everything but its queue.
pub(super) struct Unbound {
    socket: queue::Unbound,
    frames: Frames,
    width: usize,
    /// Octets of the longest reply.
    reply: usize,
    common: Arc<Common>,
}

impl Unbound {
    /// Makes what a queue needs, for batches of `width`, with replies of up to `reply`
    /// octets.
    pub fn new(width: usize, reply: usize, common: Arc<Common>) -> io::Result<Unbound> {
        let mtu = common.mtu.load(Ordering::Relaxed);
        let frames = Frames::new(frame_size((reply, mtu)).0, FRAMES)?;
        Ok(Unbound {
            socket: queue::prepare(&frames)?,
            frames,
            width,
            reply,
            common,
        })
    }

    /// False where the kernel has not taken the frames yet, which are too much beside
    /// those of another process.
    pub fn is_registered(&self) -> bool {
        self.socket.is_registered
    }

    /// Binds it to a queue, waiting until then for whoever has it. `native` where the
    /// program runs in the driver.
    pub fn bind(
        mut self,
        place: (u32, u32),
        native: bool,
        until: Instant,
    ) -> io::Result<QueuePort> {
        // Before the driver looks for the first time.
        for frame in 0..u64::from(self.frames.count) {
            self.socket.rings.free.put(frame * self.frames.size as u64);
        }
        self.socket.rings.free.publish();
        let mut bind = |copy| self.socket.bind(&self.frames, place, copy, until);
        // A driver may run programs and have no zero copy of its own, or none that
        // works as it is set up.
        match bind(!native) {
            Err(error) if native && !queue::is_busy(&error) => bind(true)?,
            bound => bound?,
        }
        let (queue, rings) = self.socket.bound(place.1)?;
        Ok(QueuePort {
            queue: Arc::new(queue),
            rings,
            frames: self.frames,
            batch: vec![Slot::default(); self.width.clamp(1, MAX_WIDTH)].into(),
            received: 0,
            shown: 0,
            interface: place.0,
            limits: (self.reply, 14 + self.common.mtu.load(Ordering::Relaxed)),
            common: self.common,
        })
    }
}

impl QueuePort {
    /// The queue.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// True where datagrams wait.
    #[inline]
    pub fn has_waiting(&self) -> bool {
        self.rings.received.waiting() > 0
    }

    /// Frames whose replies have been sent are free again.
    fn free_sent(&mut self) {
        let sent = self.rings.sent.waiting();
        for _ in 0..sent {
            let place = self.rings.sent.take();
            self.rings.free.put(self.frames.start_of(place));
        }
        if sent > 0 {
            self.rings.sent.release();
            self.rings.free.publish();
        }
        self.show_free();
    }

    /// Has the kernel look at frames that were free again since this was called before.
    fn show_free(&mut self) {
        let free = self.rings.free.own();
        if free != self.shown && self.rings.free.needs_call() {
            self.queue.call_to_fill();
        }
        self.shown = free;
    }

    /// Calls once more for replies that the kernel has not taken, and for frames: it had
    /// no room for them when it was called, or was not called because it was busy then.
    /// To be called where there is nothing else to do.
    pub fn push_rest(&mut self) {
        self.push(&mut drop);
        if self.rings.free.needs_call() {
            self.queue.call_to_fill();
        }
    }

    /// True where replies are on their way that this would take back if it were closed.
    pub fn is_sending(&mut self) -> bool {
        self.push(&mut drop);
        self.free_sent();
        self.rings.to_send.own() != self.rings.sent.own()
    }

    /// What lies in a frame that came in.
    fn slot(&self, place: u64, length: usize) -> Slot {
        let start = self.frames.start_of(place) as usize;
        let mut slot = Slot {
            start,
            frame: place as usize,
            ..Slot::default()
        };
        let octets = self.frames.octets(slot.frame..slot.frame + length);
        let Some(payload) = frame::payload(octets) else {
            return slot;
        };
        if let Some(headers) = Headers::new(&octets[..payload.start]) {
            slot.headers = payload.start;
            slot.end = payload.end;
            // Nor is it for us where it went to an address that is not ours any more.
            let strangers = &self.common.strangers;
            slot.is_from_stranger = strangers.contain(headers.peer(0).ip())
                || strangers.have_lost(headers.local().ip());
            slot.reply = (slot.frame + slot.end).next_multiple_of(LINE);
        }
        slot
    }

    fn headers(&self, index: usize) -> Option<Headers<'_>> {
        let slot = &self.batch[index];
        let octets = slot.frame..slot.frame + slot.headers;
        Headers::new(self.frames.octets(octets))
    }

    /// Octets that a reply in this slot may have.
    fn room(&self, slot: &Slot) -> usize {
        let (reply, frame) = self.limits;
        let left = (slot.start + self.frames.size).saturating_sub(slot.reply);
        left.min(frame).saturating_sub(slot.headers).min(reply)
    }

    /// Calls until the kernel has taken all that there is to send, or takes no more.
    fn push(&mut self, failed: &mut impl FnMut(io::Error)) {
        for _ in 0..CALLS {
            let before = self.rings.to_send.left();
            if before == 0 || !self.rings.to_send.needs_call() {
                return;
            }
            let called = self.queue.call_to_send();
            let is_moving = self.rings.to_send.left() < before;
            match called {
                Err(error) if !is_moving && will_pass(&error) => {
                    return queue::count(&self.queue.busy, 1);
                }
                Err(error) if !is_moving => return failed(error),
                _ => {}
            }
        }
    }
}

impl Drop for QueuePort {
    /// What nobody reads any more is counted as lost.
    fn drop(&mut self) {
        let unread = self.rings.received.waiting();
        self.queue.unread.store(unread.into(), Ordering::Relaxed);
    }
}

/// That the card is busy is no fault: it goes on by itself, or with the next call.
fn will_pass(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR)
    )
}

impl AsRawFd for QueuePort {
    fn as_raw_fd(&self) -> RawFd {
        self.queue.as_raw_fd()
    }
}

impl Port for QueuePort {
    fn width(&self) -> usize {
        self.batch.len()
    }

    /// Takes what is there; it never waits.
    fn receive(&mut self, _wait: Wait) -> io::Result<usize> {
        self.received = 0;
        self.limits.1 = 14 + self.common.mtu.load(Ordering::Relaxed);
        // What the kernel would not take before.
        self.push(&mut drop);
        self.free_sent();
        let waiting = self.rings.received.waiting() as usize;
        let received = waiting.min(self.width());
        for index in 0..received {
            let entry = self.rings.received.take();
            self.batch[index] = self.slot(entry.addr, entry.len as usize);
        }
        if received > 0 {
            self.rings.received.release();
            queue::count(&self.queue.received, received as u64);
        }
        self.received = received;
        Ok(received)
    }

    #[inline]
    fn request(&self, index: usize) -> &[u8] {
        let slot = &self.batch[index];
        self.frames
            .octets(slot.frame + slot.headers..slot.frame + slot.end)
    }

    #[inline]
    fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8]) {
        let slot = self.batch[index];
        let request = slot.frame + slot.headers..slot.frame + slot.end;
        let reply = slot.reply + slot.headers;
        let room = self.room(&slot);
        self.frames.split(request, reply..reply + room)
    }

    #[inline]
    fn peer(&self, index: usize) -> SocketAddr {
        let headers = self.headers(index);
        headers.map_or(NOBODY, |headers| headers.peer(self.interface))
    }

    #[inline]
    fn is_from_stranger(&self, index: usize) -> bool {
        self.batch[index].is_from_stranger
    }

    #[inline]
    fn flow(&self, index: usize) -> [u64; 2] {
        self.headers(index).map_or([0; 2], Headers::flow)
    }

    #[inline]
    fn local(&self, index: usize) -> IpAddr {
        self.headers(index).map_or(NOBODY, Headers::local).ip()
    }

    fn local_port(&self, index: usize) -> u16 {
        self.headers(index).map_or(NOBODY, Headers::local).port()
    }

    #[inline]
    fn set_reply(&mut self, index: usize, length: usize) {
        debug_assert!(length <= self.room(&self.batch[index]));
        let slot = &mut self.batch[index];
        slot.length = length;
        if length == 0 {
            return;
        }
        let headers = slot.frame..slot.frame + slot.headers;
        let reply = slot.reply..slot.reply + slot.headers + length;
        let (headers, reply) = self.frames.split(headers, reply);
        if let Some(headers) = Headers::new(headers) {
            headers.write_reply(reply);
        }
    }

    fn reply(&self, index: usize) -> &[u8] {
        let slot = &self.batch[index];
        let start = slot.reply + slot.headers;
        self.frames.octets(start..start + slot.length)
    }

    fn send(&mut self, mut failed: impl FnMut(io::Error)) {
        let mut sent = 0;
        for slot in &self.batch[..self.received] {
            if slot.length == 0 {
                self.rings.free.put(slot.start as u64);
                continue;
            }
            sent += 1;
            self.rings.to_send.put(libc::xdp_desc {
                addr: slot.reply as u64,
                len: (slot.headers + slot.length) as u32,
                options: 0,
            });
        }
        self.received = 0;
        self.rings.free.publish();
        self.rings.to_send.publish();
        queue::count(&self.queue.sent, sent);
        self.push(&mut failed);
    }
}

/// Who sent what is no request: it is not answered.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

#[cfg(test)]
mod tests {
    use super::*;

    /// A reply has room behind the longest request, wherever that begins.
    #[test]
    fn a_request_and_its_reply_fit_a_frame() {
        for (reply, mtu) in [512, 1232, 1238, 1239, 4096]
            .into_iter()
            .flat_map(|reply| [1280, 1500, 9000].map(|mtu| (reply, mtu)))
        {
            let (size, longest) = frame_size((reply, mtu));
            let end = (ROOM + 14 + usize::from(longest)).next_multiple_of(LINE);
            let reply = (IPV6_HEADERS + reply).min(14 + mtu).min(3072);
            assert!(end + reply <= size && size <= 4096, "{reply}");
            assert!(longest >= 400, "{reply}: {longest}");
        }
    }
}
