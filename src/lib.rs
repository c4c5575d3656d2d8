//! placeholder
pub mod answer;
pub mod cli;
pub mod server;
pub mod sys;
pub mod wire;
pub mod zone;
