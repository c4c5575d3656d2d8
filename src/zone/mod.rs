//! Zones: read from master files, checked, composed into answers, and found.
//! Immutable once built; what workers answer from is one `Zones` snapshot.

pub mod build;
pub mod canonical;
pub mod collection;
pub mod denial;
pub mod load;
pub mod lookup;
pub mod names;
pub mod proof;
pub mod records;
pub mod sources;
pub mod store;
pub mod text;
pub mod told;
pub mod zones;

mod ahead;
mod check;
mod compose;
mod hashes;
mod keys;
mod memory;
mod pieces;
mod sorted;
mod verify;

pub use check::{SOON, Scrutiny};
pub use load::{LoadError, Loaded, load};
pub use lookup::{Alias, Encloser, End, Found, Zone};
pub use verify::Verified;
pub use zones::Zones;
