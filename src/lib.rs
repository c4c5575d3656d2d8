//! shardns: a thread-per-core authoritative DNS responder. Each pinned thread
//! (a *worker*) owns its own `SO_REUSEPORT` UDP socket and answers from one
//! shared immutable snapshot of zones, so that the kernel hashes datagrams
//! across cores and workers share nothing that they write.
//!
//! This page is the map for whoever changes the code. The README is for whoever
//! uses the program.
//!
//! # The way of a datagram
//!
//! ```text
//!            control thread: src/server/mod.rs (start, count, stop)
//!                 │ binds all sockets, then starts
//!                 ▼
//! ┌── worker i, src/server/worker.rs ────────────────────────────────────┐
//! │  wait                                        src/server/idle.rs      │
//! │  receive a batch          recvmmsg           src/sys/port/socket.rs  │
//! │  answer it                                   src/server/answerer.rs  │
//! │      read every request       Prepared::read     src/answer/mod.rs   │
//! │          octets → query                          src/answer/query.rs │
//! │          name → zone                             src/zone/zones.rs   │
//! │      fetch what they need     Prepared::fetch    src/answer/mod.rs   │
//! │      answer every request     Prepared::finish   src/answer/mod.rs   │
//! │          name, type → found                      src/zone/lookup.rs  │
//! │          record sets → octets                    src/answer/reply.rs │
//! │          with DO: signatures, proofs            src/answer/signed.rs │
//! │      keep back what is too much     src/server/rate_limit/limited.rs │
//! │  send the batch           sendmmsg           src/sys/port/socket.rs  │
//! │  count                                       src/server/counters.rs  │
//! └──────────────────────────────────────────────────────────────────────┘
//!            Past the sockets, another port is under the same loop: src/sys/xdp.
//!            TCP takes another way in, on one thread: src/server/tcp/mod.rs
//!            respond() is read and finish in one, for one request.
//! ```
//!
//! Read it in that order, top to bottom. How zones come to be is a second
//! sitting: `src/zone/sources.rs` finds the files, `src/zone/text/mod.rs` turns
//! them into records (`src/zone/records.rs`), large files by all CPUs
//! (`src/zone/text/chunks.rs`), `src/zone/sorted.rs` sorts these,
//! `src/zone/check` names every fault, `src/zone/build.rs` and
//! `src/zone/compose.rs` compose each answer once, and `src/zone/store.rs` draws
//! how they are laid down. `src/zone/collection.rs` keeps them beside their files,
//! so that only what has changed is read again; `src/daemon/reload.rs` does that
//! while the server answers, and `src/server/snapshot.rs` has the workers take the
//! new set. What proves that something does not exist is in `src/zone/proof.rs`,
//! found by `src/zone/denial.rs`. `src/zone/hashes.rs` finds a zone's NSEC3 chain,
//! `src/zone/keys.rs` its keys, and `src/zone/verify.rs` verifies signatures, for
//! `check --dnssec` alone. `src/zone/pieces.rs` has all CPUs look at a large zone, by way
//! of `src/zone/ahead.rs`.
//!
//! What surrounds a running server is a third: `src/daemon/mod.rs` is the control
//! thread, which owns the server and waits for whatever may come,
//! `src/daemon/takeover.rs` draws how one process hands its sockets to another, and
//! `src/daemon/status.rs` is what a server tells of itself.
//!
//! # The laboratory
//!
//! A fourth sitting: `src/lab/mod.rs` says what an experiment is, and
//! `src/lab/experiments/spread` is the one to read first. Beside it lies what
//! experiments share: sockets that nobody reads (`src/lab/group.rs`), servers in
//! processes of their own (`src/lab/process.rs`) or on another host
//! (`src/lab/remote`), who asks (`src/lab/load_generator`, `src/lab/stub.rs`), what
//! is computed (`src/lab/statistics.rs`, `src/lab/rounds.rs`), and how it is told
//! (`src/lab/result.rs`, `src/lab/figure`, `src/lab/report`). Beside the experiments,
//! `src/lab/explain` looks at sockets that somebody else opened, and
//! `src/lab/play` is a group of sockets to try things with.
//!
//! # Layers
//!
//! A layer names only what is listed behind it; a test holds these lines
//! against the code.
//!
//! ```text
//! wire    ->
//! sys     ->
//! zone    -> wire sys
//! answer  -> zone wire
//! server  -> answer zone wire sys
//! daemon  -> server answer zone wire sys
//! lab     -> server answer zone wire sys
//! cli     -> daemon lab server answer zone wire sys
//! ```
//!
//! The layers from `wire` to `server` are a package of their own, `src/core`, so that
//! they are built for speed and the others for size.
//!
//! - [`wire`]: names, header, record types and their fields, a cursor.
//!   Vocabulary, no policy.
//! - [`sys`]: the kernel. The only folder with `unsafe`, and the only one that
//!   names libc and socket2. What only the laboratory needs is in `sys::lab`.
//! - [`zone`]: zones, immutable once built. It names `sys` for large pages
//!   (`memory.rs`) and to wait for pipes (`text/library.rs`) alone.
//! - [`answer`]: request octets in, reply octets out.
//! - [`server`]: the control plane, and in `worker.rs` the loop.
//! - [`daemon`]: what keeps a server running and shows what it does.
//! - [`lab`]: experiments on what the kernel does with the sockets of a group.
//! - [`cli`]: the command line, one file a command.
//!
//! # Invariants
//!
//! 1. `answer` and `zone::lookup` make no system call, read no clock and
//!    allocate nothing (`tests/allocation.rs`).
//! 2. A worker writes nothing that another worker reads or writes in its loop;
//!    its counters have cache lines of their own (`src/server/counters.rs`).
//! 3. Sockets are bound in worker order before any worker runs: worker *i* is
//!    socket *i* of the group is seat *i* of the plan (`tests/sockets`).
//! 4. Never a reply to a reply, never to port 0, never longer than the client
//!    takes (`tests/robust.rs`).
//! 5. A batch of one and a batch of many are the same code.
//! 6. A worker never blocks on sending, never logs, never waits for another
//!    thread; a send that fails is counted and dropped. One bad datagram in a
//!    batch never costs its neighbours theirs (`src/sys/port`,
//!    `src/server/answerer.rs`).
//! 7. The zones that a worker answers from are one immutable snapshot, exchanged
//!    whole between two batches and freed by the control thread
//!    (`src/server/snapshot.rs`).
//!
//! # Tests
//!
//! Behaviour is held by text cases that quote their RFC, in `tests/cases`;
//! `tests/support/cases.rs` says how they are read, `tests/answers.rs` puts
//! them to [`answer::respond`], `tests/sockets` to a running server, `tests/xdp` to one
//! past the sockets. What is read
//! of zone files, and what is said of them, is in `tests/zones`;
//! `tests/references.rs` compares it with other servers' tools. What an experiment
//! must find on any kernel is in `tests/lab`.
//!
//! ```
//! use std::net::Ipv4Addr;
//! use std::time::Duration;
//!
//! use shardns::answer::{self, Outcome, Request, Settings, Via};
//! use shardns::wire::{LookupName, Rcode};
//! use shardns::zone::Zones;
//!
//! // Without zones, everything is refused.
//! let request = Request {
//!     octets: b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01",
//!     peer: (Ipv4Addr::LOCALHOST, 5353).into(),
//!     local: Ipv4Addr::LOCALHOST.into(),
//!     via: Via::Tcp,
//!     now: Duration::ZERO,
//! };
//! let (mut name, mut reply) = (LookupName::new(), [0; 512]);
//! let zones = Zones::default();
//! let outcome = answer::respond(&zones, &Settings::default(), &request, &mut name, &mut reply);
//! assert!(matches!(outcome, Outcome::Replied { rcode: Rcode::Refused, .. }));
//! ```

pub mod cli;
pub mod daemon;
pub mod lab;

pub use shardns_core::{answer, server, sys, wire, zone};
