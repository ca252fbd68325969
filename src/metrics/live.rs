//! Figures of a run that has no end: read at any time, while counting goes on, and saved over a restart.
//!
//! A live system counts with the same [`Metrics`] as a simulation. What differs is that nobody ends the run: levels are read as of
//! now, and histograms are also asked how many values lie below a fixed limit, which is how Prometheus wants them.

use super::{Activity, EndpointMetrics, Metrics};
use crate::scheduler::PublicState;
use crate::units::{EndpointId, Time};

impl Metrics {
    /// The figures of an endpoint as of `now`, the time of the last event or later; `None` for an endpoint not seen yet. Jobs that
    /// wait or run are no part of `unfinished`: see `queue` and `in_service`.
    pub fn so_far(&self, endpoint: EndpointId, now: Time) -> Option<EndpointMetrics> {
        let mut figures = self.endpoint(endpoint)?.clone();
        self.look(&mut figures, now);
        Some(figures)
    }

    /// The figures of all endpoints together as of `now`.
    pub fn total_so_far(&self, now: Time) -> EndpointMetrics {
        let mut figures = self.total();
        self.look(&mut figures, now);
        figures
    }

    fn look(&self, figures: &mut EndpointMetrics, now: Time) {
        figures.end = self.window.clamp(now);
        figures.observed = figures.end.since(self.window.from);
    }
}

impl EndpointMetrics {
    /// Worker-seconds spent in an activity up to the end of the observed time.
    pub fn activity_s(&self, activity: Activity) -> f64 {
        self.activities[activity as usize].integral(self.end) as f64 / 1e6
    }

    /// Worker-seconds in a public state up to the end of the observed time.
    pub fn state_s(&self, state: PublicState) -> f64 {
        self.state_micros()[state as usize] as f64 / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;
    use crate::scheduler::follow::Follower;
    use crate::scheduler::script::Line;
    use crate::scheduler::script::Script;
    use crate::scheduler::{JobOutcome, Recorder, WorkerKind};
    use crate::units::Span;

    fn script() -> Script {
        let mut script = Script::with_endpoints(1);
        script.at(1.0).place(0, 0, 0, WorkerKind::Flex).submit(0, 0).start(0, 1);
        script.at(3.0).ready(0, 1).assign(0, 0, 1, 1).at(4.25).complete(0, 0, 1, 1);
        script.at(5.0).submit(1, 0).assign(1, 0, 1, 1);
        script
    }

    #[test]
    fn figures_are_read_while_counting_goes_on() {
        let mut follower = Metrics::recorder();
        script().play(&mut follower);
        let at = |seconds: f64| follower.watcher().so_far(EndpointId(0), Time::from_secs(seconds)).unwrap();
        let figures = at(7.0);
        assert_eq!((figures.jobs.submitted, figures.jobs.of(JobOutcome::Completed)), (2, 1));
        assert_eq!((figures.activity_s(Activity::Starting), figures.activity_s(Activity::Busy)), (2.0, 1.25 + 2.0));
        assert_eq!(at(9.0).activity_s(Activity::Busy), 1.25 + 4.0);
        assert_eq!(figures.lengths.wait.quantile(0.5), Some(Span(0)));
        assert_eq!(figures.lengths.cold_start.mean_s(), Some(2.0));
        assert_eq!(follower.watcher().total_so_far(Time::from_secs(7.0)), figures);
    }

    #[test]
    fn counting_goes_on_from_what_was_saved() {
        let mut unbroken = Metrics::recorder();
        let mut broken = Metrics::recorder();
        for (time, line) in &script().lines {
            let text = serde_json::to_string(&broken).unwrap();
            broken = serde_json::from_str::<Follower<Metrics>>(&text).unwrap();
            match line {
                Line::Fact(event) => {
                    unbroken.event(*time, event);
                    broken.event(*time, event);
                }
                Line::Wish(command) => {
                    unbroken.command(*time, command);
                    broken.command(*time, command);
                }
            }
        }
        assert_eq!(serde_json::to_string(&broken).unwrap(), serde_json::to_string(&unbroken).unwrap());
        let now = Time::from_secs(8.0);
        assert_eq!(broken.finish(now).total(), unbroken.finish(now).total());
    }

    #[test]
    fn a_histogram_tells_how_many_lie_below_a_limit() {
        let mut histogram = Histogram::new();
        for ms in [0, 1, 2, 5, 10, 100, 1_000] {
            histogram.record(Span::from_millis(ms));
        }
        let up_to = |ms| histogram.up_to(Span::from_millis(ms));
        assert_eq!([up_to(0), up_to(1), up_to(4), up_to(50), up_to(1_000), up_to(9_999)], [1, 2, 3, 5, 7, 7]);
        assert_eq!(Histogram::new().up_to(Span::MAX), 0);
    }
}
