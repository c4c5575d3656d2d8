//! What only the laboratory needs of the kernel: clients, sockets with any
//! options, programs on a group that are tables, filters on a socket, routes and
//! cards, namespaces, processes.

pub mod bind;
pub mod buckets;
pub mod client;
pub mod cpu;
pub mod ethtool;
pub mod namespace;
pub mod process;
pub mod route;
pub mod source;
