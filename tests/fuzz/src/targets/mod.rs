//! One file a target: `run` takes an input and panics where something does not
//! hold, `seeds` makes inputs to begin with.

pub mod config;
pub mod control;
pub mod respond;
pub mod tcp;
pub mod zone;

/// What takes an input.
pub type Run = fn(&[u8]);
/// What makes inputs.
pub type Seeds = fn() -> Vec<Vec<u8>>;

/// All of them, by their names.
pub const ALL: [(&str, Run, Seeds); 5] = [
    ("respond", respond::run, respond::seeds),
    ("zone", zone::run, zone::seeds),
    ("tcp", tcp::run, tcp::seeds),
    ("control", control::run, control::seeds),
    ("config", config::run, config::seeds),
];
