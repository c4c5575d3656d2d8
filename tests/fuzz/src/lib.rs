//! What hostile input meets: requests, zone files, connections, the control socket
//! and the configuration, each with a model of what must hold whatever comes.
//!
//! ```text
//! cargo install cargo-fuzz --locked
//! FUZZ_SEEDS=/tmp/seeds cargo test --test corpora -- --ignored seeds
//! cd tests/fuzz
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . -s none respond corpus/respond /tmp/seeds/respond
//! ```
//!
//! What was found on the way, made small, is in `corpus`; `tests/corpora.rs` has
//! each of these through the same functions in every `cargo test`.

#[path = "../../support/mod.rs"]
pub mod support;

pub mod targets;
