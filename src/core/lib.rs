//! The layers from the wire to the server. They lie beside this folder; `src/lib.rs`
//! is their map, and gives them the names that they have everywhere.

#[path = "../answer/mod.rs"]
pub mod answer;
#[path = "../server/mod.rs"]
pub mod server;
#[path = "../sys/mod.rs"]
pub mod sys;
#[path = "../wire/mod.rs"]
pub mod wire;
#[path = "../zone/mod.rs"]
pub mod zone;
