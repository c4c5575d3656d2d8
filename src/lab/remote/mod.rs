//! An experiment whose sockets are on another host than what sends to them, so that a
//! real network card is between. `shardns lab answer` runs where the sockets are to
//! be; the source, `shardns lab NAME --to`, tells it over TCP what to open and asks
//! what came of it. Datagrams go straight from one to the other.
//!
//! ```text
//! source                                        answer
//!   connect ------------------------------------> several may knock at once
//!           <------- greeting: version, nonce ---
//!   --- proof: the nonce under the token -------> or it hangs up
//!           <------- welcome: machine, CPUs, card
//!   --- request, a line of JSON ----------------> opens, counts, closes
//!           <------- reply, a line of JSON ------
//!   === datagrams ==============================> sockets that take them from the
//!                                                 source's address alone
//!   hang up ------------------------------------> closes all that was opened
//! ```
//!
//! It is made for a network whose hosts are trusted. The token keeps others from
//! using it and is never sent; but nothing is encrypted, whoever can change what is
//! on the wire can speak in the source's place, and whoever can forge the source's
//! address can have replies sent to the source.

mod answer;
mod door;
mod far;
mod lines;
mod message;
mod session;
mod token;

pub use answer::Answer;
pub use far::{Far, FarSubject};
pub use message::{ContenderKind, Counted};
pub use token::Token;

/// The experiments that can be run this way; the others are about what one machine
/// does alone.
pub const EXPERIMENTS: [&str; 4] = ["spread", "rivals", "batch", "locality"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::experiments::find;

    #[test]
    fn they_are_experiments() {
        assert!(EXPERIMENTS.iter().all(|name| find(name).is_some()));
    }
}
