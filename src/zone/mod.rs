//! Zones: read from master files, checked, composed into answers, and found.
//! Immutable once built; what workers answer from is one `Zones` snapshot.

pub mod build;
pub mod lookup;
pub mod memory;
pub mod names;
pub mod store;
pub mod text;
pub mod zones;

mod check;
mod compose;
mod sorted;

pub use build::{Loaded, load};
pub use lookup::{Found, Zone};
pub use zones::Zones;
