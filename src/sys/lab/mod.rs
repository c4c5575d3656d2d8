//! What only the laboratory needs of the kernel: clients, sockets with any
//! options, programs on a group that are tables, filters on a socket, routes and
//! cards, namespaces, processes, and what can be told of sockets that somebody else
//! opened.

pub mod bind;
pub mod borrow;
pub mod buckets;
pub mod client;
pub mod cpu;
pub mod diag;
pub mod frames;
pub mod namespace;
pub mod process;
pub mod ring;
pub mod route;
pub mod source;
pub mod tap;
pub mod tracefs;
