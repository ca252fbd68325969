//! A bar on stderr for runs that take a while; nothing at all when stderr is no terminal or the run is quick.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::sim;

/// Runs quicker than this show no bar: it would only flash.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// Steps of a full bar.
const STEPS: u64 = 1_000;

/// The bar of one run.
pub(super) struct Progress {
    /// `None` when stderr is no terminal.
    started: Option<Instant>,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress { started: io::stderr().is_terminal().then(Instant::now), bar: None }
    }

    pub(super) fn show(&mut self, state: &sim::Progress) {
        if self.started.is_none_or(|started| started.elapsed() < SHOWN_AFTER) {
            return;
        }
        let bar = self.bar.get_or_insert_with(bar);
        bar.set_message(format!("t={:.0} s, {} jobs", state.now.as_secs(), state.jobs));
        match share_done(state) {
            Some(share) => bar.set_position((share * STEPS as f64) as u64),
            None => bar.tick(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The bar of many runs, told from any thread.
pub(super) struct Steps(Option<ProgressBar>);

impl Steps {
    pub(super) fn new(name: &str) -> Steps {
        Steps(io::stderr().is_terminal().then(|| {
            let bar = bar();
            bar.set_message(name.to_owned());
            bar
        }))
    }

    pub(super) fn show(&self, done: usize, of: usize) {
        if let Some(bar) = &self.0 {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr_with_hz(10));
    // Without colours, so that NO_COLOR has nothing to ask for.
    let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// How much of the arrivals is behind us, whichever of the two limits is nearer; `None` when the plan names none.
fn share_done(state: &sim::Progress) -> Option<f64> {
    let time = state.arrivals_until.map(|until| state.now.as_secs() / until.as_secs().max(f64::MIN_POSITIVE));
    let jobs = state.jobs_max.map(|most| state.jobs as f64 / most.max(1) as f64);
    let share = match (time, jobs) {
        (Some(time), Some(jobs)) => time.max(jobs),
        (time, jobs) => time.or(jobs)?,
    };
    Some(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Time;

    #[test]
    fn the_nearer_limit_counts() {
        let state = |until: Option<f64>, most| sim::Progress {
            now: Time::from_secs(50.0),
            arrivals_until: until.map(Time::from_secs),
            jobs: 30,
            jobs_max: most,
            events: 0,
        };
        assert_eq!(share_done(&state(Some(100.0), Some(40))), Some(0.75));
        assert_eq!(share_done(&state(Some(100.0), None)), Some(0.5));
        assert_eq!(share_done(&state(Some(10.0), None)), Some(1.0));
        assert_eq!(share_done(&state(None, None)), None);
    }
}
