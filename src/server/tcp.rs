//! stub
use super::counters::Counters;
use crate::{answer::Settings, zone::Zones};
use std::{
    io,
    net::TcpListener,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
#[derive(Clone, Copy, Debug)]
/// .
pub struct Limits {
    pub connections: usize,
    pub per_client: usize,
    pub idle: Duration,
}
impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            per_client: 64,
            idle: Duration::from_secs(10),
        }
    }
}
/// .
pub struct TcpServer {}
impl TcpServer {
    /// .
    pub fn new(
        _: Vec<TcpListener>,
        _: Arc<Zones>,
        _: Arc<Settings>,
        _: Limits,
        _: Arc<Counters>,
        _: Arc<AtomicBool>,
    ) -> io::Result<(TcpServer, mio::Waker)> {
        let p = mio::Poll::new()?;
        Ok((TcpServer {}, mio::Waker::new(p.registry(), mio::Token(0))?))
    }
    /// .
    pub fn run(&mut self) {}
}
