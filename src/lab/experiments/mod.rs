//! The experiments, in the order in which a reader wants them.

mod batch;
mod bind;
mod locality;
mod lookup;
mod paths;
mod resize;
mod restart;
mod rivals;
mod serve_beside;
mod spread;
mod stall;
mod wakeups;

use super::Experiment;

pub use serve_beside::PROGRAM as BESIDE;

/// All of them.
pub const EXPERIMENTS: &[Experiment] = &[
    spread::EXPERIMENT,
    rivals::EXPERIMENT,
    wakeups::EXPERIMENT,
    lookup::EXPERIMENT,
    bind::EXPERIMENT,
    resize::EXPERIMENT,
    stall::EXPERIMENT,
    restart::EXPERIMENT,
    batch::EXPERIMENT,
    paths::EXPERIMENT,
    locality::EXPERIMENT,
    serve_beside::EXPERIMENT,
];

/// The experiment of that name.
pub fn find(name: &str) -> Option<&'static Experiment> {
    EXPERIMENTS
        .iter()
        .find(|experiment| experiment.name == name)
}
