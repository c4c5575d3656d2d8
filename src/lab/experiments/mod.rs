//! The experiments, in the order in which a reader wants them.

mod batch;
mod locality;
mod lookup;
mod resize;
mod restart;
mod rivals;
mod bind;
mod serve_beside;
mod spread;
mod stall;
mod wakeups;

use super::Experiment;

/// All of them.
pub const EXPERIMENTS: &[Experiment] = &[
    spread::EXPERIMENT,
    rivals::EXPERIMENT,
    wakeups::EXPERIMENT,
    lookup::EXPERIMENT,
    resize::EXPERIMENT,
    stall::EXPERIMENT,
    restart::EXPERIMENT,
    batch::EXPERIMENT,
    locality::EXPERIMENT,
];
pub const EXPERIMENTS: &[Experiment] = &[spread::EXPERIMENT, bind::EXPERIMENT];
    bind::EXPERIMENT,
    serve_beside::EXPERIMENT,
];

/// The experiment of that name.
pub fn find(name: &str) -> Option<&'static Experiment> {
    EXPERIMENTS
        .iter()
        .find(|experiment| experiment.name == name)
}
