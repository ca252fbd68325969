//! The settings that are tried, and a run of each: the log's requests, the workload's starts and service times.

use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;

use crate::experiment::{RunError, RunOptions, run};
use crate::policy::PolicyChoice;
use crate::results::Summary;
use crate::sim::plan::Plan;
use crate::units::{Span, Time};
use crate::workload::{ArrivalSpec, Traffic, TrafficSource};

/// Requests on which the grid is searched; a longer log is thinned to pieces of it.
pub const SEARCHED: usize = 8_000;
/// Pieces of a thinned log.
const PIECES: usize = 8;

/// What an endpoint is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// `queue_delay` or `request_count`.
    pub scaler: &'static str,
    /// Seconds of queue delay, or requests per worker.
    pub value: f64,
    /// Seconds that an idle worker stays up; none where the scaler stops workers itself.
    pub idle_timeout_s: Option<f64>,
    /// Always-on workers.
    pub active: u32,
    /// Most workers.
    pub max: u32,
    /// Extra workers for spikes.
    pub extra: u32,
}

impl Settings {
    /// What the platform gives a new endpoint (RunPod docs, endpoint configurations).
    pub fn platform() -> Settings {
        Settings { scaler: "queue_delay", value: 4.0, idle_timeout_s: Some(5.0), active: 0, max: 3, extra: 2 }
    }

    /// As they are typed in an application file.
    pub fn scaler_text(&self) -> String {
        let key = if self.scaler == "queue_delay" { "delay_s" } else { "requests_per_worker" };
        format!("{{type: {}, {key}: {}}}", self.scaler, self.value)
    }
}

/// Everything about the endpoint but its settings and its requests.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// One endpoint; its traffic is replaced.
    pub plan: Plan,
}

/// What a run says about settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Bill of the documented profile.
    pub documented_usd: f64,
    /// Bill of the seed profile.
    pub seed_usd: f64,
    /// Waits; none without a job that started.
    pub wait_p50_s: f64,
    /// 95th percentile.
    pub wait_p95_s: f64,
    /// 99th percentile.
    pub wait_p99_s: f64,
    /// Share of jobs that waited for a start.
    pub cold_share: f64,
    /// Jobs completed.
    pub completed: u64,
    /// Jobs without a result.
    pub lost: u64,
}

impl Figures {
    fn of(summary: &Summary) -> Figures {
        let (total, jobs) = (&summary.total, &summary.total.jobs);
        Figures {
            documented_usd: total.cost_usd.documented.total,
            seed_usd: total.cost_usd.seed.total,
            wait_p50_s: total.wait_s.p50.unwrap_or(0.0),
            wait_p95_s: total.wait_s.p95.unwrap_or(0.0),
            wait_p99_s: total.wait_s.p99.unwrap_or(0.0),
            cold_share: total.cold_start_share.unwrap_or(0.0),
            completed: jobs.completed,
            lost: jobs.submitted - jobs.completed,
        }
    }
}

impl Workload {
    /// The plan with these requests, which lasts `length_s` (always-on workers are billed up to there).
    pub fn with_times(&self, times: Arc<Vec<f64>>, length_s: f64) -> Plan {
        let mut plan = self.plan.clone();
        let source = TrafficSource {
            arrivals: ArrivalSpec::Times { at_s: times },
            from: Time::ZERO,
            until: None,
            low_priority_share: 0.0,
            ttl: None,
            execution_timeout: None,
        };
        // Requests stop before the end: the last one may come at it.
        plan.duration = Some(Span::from_secs(length_s.max(1.0) + 1e-3));
        plan.max_jobs = None;
        plan.endpoints[0].traffic = Traffic { sources: vec![source] };
        plan
    }

    /// One run of the requests under the settings.
    ///
    /// # Errors
    /// If the plan cannot be run.
    pub fn try_out(&self, settings: &Settings, times: Arc<Vec<f64>>, length_s: f64) -> Result<Figures, RunError> {
        let mut plan = self.with_times(times, length_s);
        let spec = &mut plan.endpoints[0].spec;
        let value = if settings.scaler == "queue_delay" { "delay_s" } else { "requests_per_worker" };
        spec.policies.scaling = PolicyChoice::named(settings.scaler).with(value, settings.value);
        if let Some(seconds) = settings.idle_timeout_s {
            spec.policies.keep_alive = PolicyChoice::named("fixed").with("idle_timeout_s", seconds);
        }
        (spec.active, spec.max, spec.extra) = (settings.active, settings.max, settings.extra);
        run(&plan, &RunOptions::default(), &mut |_| {}).map(|outcome| Figures::of(&outcome.summary))
    }

    /// Every one of the settings on the same requests, in the order given.
    ///
    /// # Errors
    /// The first that cannot be run.
    pub fn try_all(&self, settings: &[Settings], times: &Arc<Vec<f64>>) -> Result<Vec<Figures>, RunError> {
        let length_s = times.last().copied().unwrap_or(0.0);
        settings.par_iter().map(|one| self.try_out(one, Arc::clone(times), length_s)).collect()
    }
}

/// The settings that are tried: scalers and their values, idle timeouts, numbers of always-on workers around `best_active`.
pub fn grid(max: u32, best_active: u32) -> Vec<Settings> {
    let mut actives = vec![0, 1, best_active / 2, best_active.saturating_sub(1), best_active, best_active + 1];
    actives.retain(|active| *active <= max);
    actives.sort_unstable();
    actives.dedup();
    let mut grid = Vec::new();
    for active in actives {
        let mut add = |scaler, value, idle_timeout_s| {
            grid.push(Settings { scaler, value, idle_timeout_s, active, max: max.max(active), extra: 0 });
        };
        for delay in [1.0, 4.0, 10.0] {
            for idle in [1.0, 5.0, 15.0, 45.0, 120.0, 300.0, 900.0] {
                add("queue_delay", delay, Some(idle));
            }
        }
        for requests in [1.0, 2.0, 4.0] {
            add("request_count", requests, None);
        }
    }
    grid
}

/// The requests in as many pieces as make about `most` of them, evenly over the log, one piece after the other.
pub fn thinned(times: &[f64], most: usize) -> Vec<f64> {
    if times.len() <= most {
        return times.to_vec();
    }
    let size = most / PIECES;
    let every = times.len() / PIECES;
    let mut thinned = Vec::with_capacity(most);
    let mut begin = 0.0;
    for piece in 0..PIECES {
        let first = piece * every + (every - size) / 2;
        let part = &times[first..first + size];
        // A piece lasts up to the request after it, so that its pauses keep their share.
        let end = times.get(first + size).copied().unwrap_or(part[size - 1]);
        thinned.extend(part.iter().map(|time| time - part[0] + begin));
        begin += end - part[0];
    }
    thinned
}

/// The log at twice its rate: each request again a little later, up to a second.
pub fn doubled(times: &[f64]) -> Vec<f64> {
    let later = |number: usize| (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / u64::MAX as f64;
    let mut doubled: Vec<f64> =
        times.iter().enumerate().flat_map(|(number, time)| [*time, time + later(number + 1)]).collect();
    doubled.sort_by(f64::total_cmp);
    doubled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_order_rate_and_pauses() {
        let mut at = 0.0;
        let times: Vec<f64> = (0..100_000)
            .map(|number| {
                at += if number % 50 == 0 { 30.0 } else { 1.0 };
                at
            })
            .collect();
        let thin = thinned(&times, 8_000);
        assert_eq!(thin.len(), 8_000);
        assert!(thin.windows(2).all(|pair| pair[0] <= pair[1]));
        let rate = |times: &[f64]| times.len() as f64 / times[times.len() - 1];
        assert!((rate(&thin) / rate(&times) - 1.0).abs() < 0.05, "{} {}", rate(&thin), rate(&times));
        assert_eq!(thinned(&times[..10], 8_000), &times[..10]);
    }

    #[test]
    fn twice_the_traffic_is_twice_the_requests_in_the_same_time() {
        let times: Vec<f64> = (0..100).map(|number| f64::from(number) * 10.0).collect();
        let twice = doubled(&times);
        assert_eq!(twice.len(), 200);
        assert!(twice.windows(2).all(|pair| pair[0] <= pair[1]) && twice[199] <= 991.0);
        assert!(twice.windows(2).filter(|pair| pair[0] == pair[1]).count() < 5);
    }

    #[test]
    fn the_grid_holds_the_platforms_scalers_and_only_possible_numbers_of_workers() {
        let grid = grid(4, 6);
        assert!(grid.iter().all(|settings| settings.active <= settings.max && settings.max == 4));
        assert!(grid.iter().any(|settings| settings.active == 3));
        assert!(grid.iter().any(|settings| settings.scaler == "request_count"));
    }
}
