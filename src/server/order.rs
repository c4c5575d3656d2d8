//! What a running thread is told to do. One word, written by the control thread
//! and read by the thread it is for.

use std::sync::atomic::{AtomicU8, Ordering};

/// What a thread shall do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    Serve,
    /// Answer what is queued, close the sockets, and end.
    Stop,
    /// End at once: somebody else has the sockets too, and what is queued on
    /// them is theirs.
    LetGo,
    /// Go on over the sockets alone: queues that are read past them are answered
    /// to their end and closed.
    LeaveQueues,
}

impl Order {
    /// True where threads go on serving.
    pub fn is_to_serve(self) -> bool {
        matches!(self, Order::Serve | Order::LeaveQueues)
    }
}

/// The order that holds for a thread.
#[derive(Debug, Default)]
pub struct Orders(AtomicU8);

impl Orders {
    /// Gives an order, which holds until the next one.
    pub fn give(&self, order: Order) {
        // Relaxed: nothing is read on the strength of the order but itself.
        self.0.store(order as u8, Ordering::Relaxed);
    }

    /// The order that holds now.
    #[inline]
    pub fn current(&self) -> Order {
        // Relaxed: nothing is read on the strength of the order but itself.
        match self.0.load(Ordering::Relaxed) {
            0 => Order::Serve,
            1 => Order::Stop,
            2 => Order::LetGo,
            _ => Order::LeaveQueues,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_was_given() {
        let orders = Orders::default();
        assert_eq!(orders.current(), Order::Serve);
        for order in [Order::Stop, Order::LetGo, Order::LeaveQueues, Order::Serve] {
            orders.give(order);
            assert_eq!(orders.current(), order);
        }
    }
}
