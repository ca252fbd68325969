//! The settings that are tried, and a run of each: the log's requests, the workload's starts and service times.

use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::AdviseError;
use crate::experiment::{RunOptions, run};
use crate::results::Summary;
use crate::scenario::{self, Problems};
use crate::sim::plan::Plan;
use crate::units::Span;
use crate::workload::{ArrivalSpec, WorkHint};

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

/// Everything about the endpoint but its settings and its requests, as parts of an application file: what is tried is what the
/// file that is handed over says, to the letter.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// Name of the endpoint.
    pub name: String,
    /// Its lines but settings and traffic.
    pub endpoint: String,
    /// The sections after it.
    pub tail: String,
}

/// Requests: when each comes, and what is known of its work.
#[derive(Clone, Debug, PartialEq)]
pub struct Requests {
    /// Seconds, ascending.
    pub at_s: Arc<Vec<f64>>,
    /// As many.
    pub work: Arc<Vec<WorkHint>>,
}

impl Requests {
    /// Of a log; where nothing is known of any, `work` may be empty.
    pub fn new(at_s: Vec<f64>, mut work: Vec<WorkHint>) -> Requests {
        work.resize(at_s.len(), WorkHint::default());
        Requests { at_s: Arc::new(at_s), work: Arc::new(work) }
    }

    /// When the last one comes.
    pub fn last_s(&self) -> f64 {
        self.at_s.last().copied().unwrap_or(0.0)
    }

    /// Those from `first` to before `last`, in seconds since `from_s`.
    fn part(&self, first: usize, last: usize, from_s: f64) -> Requests {
        let at_s = self.at_s[first..last].iter().map(|at| at - from_s).collect();
        Requests::new(at_s, self.work[first..last].to_vec())
    }

    /// Those from `from_s` to before `until_s`, in seconds since `from_s`.
    pub fn between(&self, from_s: f64, until_s: f64) -> Requests {
        let place = |at_s: f64| self.at_s.partition_point(|at| *at < at_s);
        self.part(place(from_s), place(until_s), from_s)
    }
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
    /// The application file with these settings, but what is above and below its endpoint. `traffic`: as typed.
    pub fn text(&self, settings: &Settings, traffic: &str) -> String {
        let mut text = format!("endpoints:\n  {}:\n{}", Value::from(self.name.as_str()), self.endpoint);
        let Settings { active, max, extra, .. } = settings;
        text += &format!("    workers: {{active: {active}, max: {max}, extra: {extra}}}\n");
        text += &format!("    scaler: {}\n", settings.scaler_text());
        if let Some(idle) = settings.idle_timeout_s {
            text += &format!("    idle_timeout_s: {idle}\n");
        }
        text + &format!("    traffic: {traffic}\n") + &self.tail
    }

    /// What that file means, with these requests as its trace.
    ///
    /// # Errors
    /// If something in it is not known.
    pub fn plan(&self, settings: &Settings, requests: &Requests) -> Result<Plan, Problems> {
        let text = format!("seed: 1\n{}", self.text(settings, "{type: times, at_s: [0]}"));
        let mut plan = scenario::from_str(&text, "what was given", Path::new(""), &[])?.plan;
        let (at_s, work) = (Arc::clone(&requests.at_s), Arc::clone(&requests.work));
        plan.endpoints[0].traffic.sources[0].arrivals = ArrivalSpec::Rows { at_s, work };
        Ok(plan)
    }

    /// One run of the requests under the settings. `length_s`: always-on workers are billed up to there; to the last request unless
    /// given.
    ///
    /// # Errors
    /// If the plan cannot be made or run.
    pub fn try_out(
        &self,
        settings: &Settings,
        requests: &Requests,
        length_s: Option<f64>,
    ) -> Result<Figures, AdviseError> {
        let mut plan = self.plan(settings, requests)?;
        // Requests stop before the end: the last one may come at it.
        plan.duration = length_s.map(|length_s| Span::from_secs(length_s.max(1.0) + 1e-3));
        Ok(run(&plan, &RunOptions::default(), &mut |_| {}).map(|outcome| Figures::of(&outcome.summary))?)
    }

    /// Every one of the settings on the same requests, in the order given.
    ///
    /// # Errors
    /// The first that cannot be run.
    pub fn try_all(&self, settings: &[Settings], requests: &Requests) -> Result<Vec<Figures>, AdviseError> {
        settings.par_iter().map(|one| self.try_out(one, requests, None)).collect()
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
pub fn thinned(requests: &Requests, most: usize) -> Requests {
    let times = &requests.at_s;
    if times.len() <= most {
        return requests.clone();
    }
    let size = most / PIECES;
    let every = times.len() / PIECES;
    let (mut at_s, mut work) = (Vec::with_capacity(most), Vec::with_capacity(most));
    let mut begin = 0.0;
    for piece in 0..PIECES {
        let first = piece * every + (every - size) / 2;
        let part = &times[first..first + size];
        // A piece lasts up to the request after it, so that its pauses keep their share.
        let end = times.get(first + size).copied().unwrap_or(part[size - 1]);
        at_s.extend(part.iter().map(|time| time - part[0] + begin));
        work.extend_from_slice(&requests.work[first..first + size]);
        begin += end - part[0];
    }
    Requests::new(at_s, work)
}

/// The log at twice its rate: each request again a little later, up to a second.
pub fn doubled(requests: &Requests) -> Requests {
    let later = |number: usize| (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / u64::MAX as f64;
    let rows = requests.at_s.iter().copied().zip(requests.work.iter().copied()).enumerate();
    let mut doubled: Vec<(f64, WorkHint)> =
        rows.flat_map(|(number, (time, work))| [(time, work), (time + later(number + 1), work)]).collect();
    doubled.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (at_s, work) = doubled.into_iter().unzip();
    Requests::new(at_s, work)
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
        let work = (0..100_000).map(|n| WorkHint { output_tokens: Some(n), ..WorkHint::default() }).collect();
        let all = Requests::new(times.clone(), work);
        let Requests { at_s: thin, work } = thinned(&all, 8_000);
        assert_eq!((thin.len(), work.len()), (8_000, 8_000));
        assert_eq!(
            (work[0].output_tokens, work[1_000].output_tokens),
            (Some(5_750), Some(18_250)),
            "work goes with its time"
        );
        assert!(thin.windows(2).all(|pair| pair[0] <= pair[1]));
        let rate = |times: &[f64]| times.len() as f64 / times[times.len() - 1];
        assert!((rate(&thin) / rate(&times) - 1.0).abs() < 0.05, "{} {}", rate(&thin), rate(&times));
        let few = all.between(0.0, times[10]);
        assert_eq!((few.at_s.len(), thinned(&few, 8_000) == few), (10, true));
    }

    #[test]
    fn twice_the_traffic_is_twice_the_requests_in_the_same_time() {
        let times: Vec<f64> = (0..100).map(|number| f64::from(number) * 10.0).collect();
        let twice = doubled(&Requests::new(times, Vec::new())).at_s;
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
