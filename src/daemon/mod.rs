//! Keeping a server running: what an operator does to it while it answers, and
//! what it tells of itself. Nothing here is on the way of a datagram.

pub mod status;
