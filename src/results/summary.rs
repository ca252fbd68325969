//! The document of a finished run: what `--json` prints and `summary.json` holds. Nothing but data.
//!
//! Amounts are US dollars, times seconds, both the nearest floating-point number to an exact integer. A figure that does not
//! exist (a mean of nothing) is null. Quantiles are `sorted[ceil(q n) - 1]` within 0.2 %.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};

/// Version of the document; changes when a field changes its meaning or goes.
pub const SUMMARY_VERSION: u32 = 1;

/// A finished run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Version of this document.
    pub version: u32,
    /// Version of the program.
    pub program: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Master seed.
    pub seed: u64,
    /// XXH3-128 of the transcript: equal for equal runs on every machine (format 1).
    pub transcript_hash: String,
    /// Billing profile that is shown first, `seed` or `documented`.
    pub profile: String,
    /// Billed sessions are rounded up to whole seconds.
    pub round_up: bool,
    /// Length of the run in simulated seconds.
    pub simulated_s: f64,
    /// Figures count from this time on, in seconds; jobs that came before are not in them.
    pub observed_from_s: f64,
    /// Figures count for this long, in seconds.
    pub observed_s: f64,
    /// Events that the scheduler handled.
    pub events: u64,
    /// Wishes and notices of the scheduler.
    pub commands: u64,
    /// Seconds of real time that the run took, for whoever sets it; absent otherwise. The only field that differs between equal
    /// runs, so files of results leave it out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_s: f64,
    /// Why the run ended.
    pub ended: String,
    /// False when jobs were left that could never finish.
    pub complete: bool,
    /// All endpoints together.
    pub total: Figures,
    /// Each endpoint.
    pub endpoints: Vec<EndpointSummary>,
    /// What each GPU class earned.
    pub gpu_classes: Vec<GpuClassSummary>,
    /// Image pulls of all hosts.
    pub pulls: Pulls,
}

impl Summary {
    /// The document without what differs between equal runs.
    pub fn comparable(&self) -> Summary {
        Summary { wall_s: 0.0, ..self.clone() }
    }
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// One endpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointSummary {
    /// Its name.
    pub name: String,
    /// Settings at the end of the run that explain its figures.
    pub settings: EndpointSettings,
    /// Its policies that failed at times and were answered by the platform's default; absent if none did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_faults: Vec<PolicyFault>,
    /// Its figures.
    #[serde(flatten, deserialize_with = "in_between")]
    pub figures: Figures,
}

/// Reads what stands between other fields by way of a JSON value: where numbers are kept in full precision, a float gets there
/// as a map.
fn in_between<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    serde_json::from_value(serde_json::Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// A policy that failed during a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyFault {
    /// `scaler` or `keep_alive`.
    pub kind: String,
    /// How many of its answers could not be used.
    pub count: u64,
    /// Place and message of the first.
    pub first: String,
}

/// Settings that explain figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointSettings {
    /// Active workers.
    pub active: u32,
    /// Most workers, extra ones not counted.
    pub max: u32,
    /// Extra workers.
    pub extra: u32,
    /// Jobs per worker at once.
    pub concurrency: u32,
    /// GPUs per worker.
    pub gpus_per_worker: u32,
    /// Scaling policy by name.
    pub scaling: String,
    /// Idle timeout in seconds, where the keep-alive policy has one and the scaler does not bring workers down itself.
    pub idle_timeout_s: Option<f64>,
    /// Flex price of a worker on its most wanted GPU class, dollars per second.
    pub flex_usd_per_s: f64,
    /// Active price of a worker there, dollars per second.
    pub active_usd_per_s: f64,
    /// When a waiting job gets its worker: `late` to the first that is free, `early` to the one that its arrival started.
    pub binding: String,
    /// Which idle worker gets a job: dispatch policy by name.
    pub dispatch: String,
}

/// What a GPU class earned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuClassSummary {
    /// Its name.
    pub name: String,
    /// Dollars under the profile `seed`.
    pub seed_usd: f64,
    /// Dollars under the profile `documented`.
    pub documented_usd: f64,
}

/// Image pulls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pulls {
    /// Asked for.
    pub asked: u64,
    /// Ended without an image.
    pub failed: u64,
    /// Images dropped from full disks.
    pub evicted: u64,
    /// Length of those that brought an image, seconds.
    pub length_s: Quantiles,
}

/// The figures of an endpoint, or of all together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// Jobs by what became of them.
    pub jobs: Jobs,
    /// Submission to the start of the first attempt, seconds; jobs that were started.
    pub wait_s: Quantiles,
    /// Submission to the result, seconds; jobs with a result.
    pub response_s: Quantiles,
    /// Start of the last attempt to the result, seconds.
    pub service_s: Quantiles,
    /// Submission to the start of the last attempt, seconds; only jobs that had lost an attempt.
    pub retry_delay_s: Quantiles,
    /// Start asked for to ready, seconds; starts that took no time are not counted.
    pub cold_start_s: Quantiles,
    /// Stages of those starts, seconds.
    pub cold_start_stages_s: BTreeMap<String, Quantiles>,
    /// Share of started jobs whose first worker became ready only after their submission.
    pub cold_start_share: Option<f64>,
    /// Share of started jobs that waited at all.
    pub p_wait: Option<f64>,
    /// Share of jobs that met the endpoint's targets; refused, timed-out and lost jobs missed them, cancelled ones do not
    /// count. Null without targets.
    pub slo_attainment: Option<f64>,
    /// Jobs that wait.
    pub queue: MeanMax,
    /// Mean number of jobs that wait or run.
    pub in_system_mean: f64,
    /// Workers up, from the start to the end of the stop, by type.
    pub workers: Workers,
    /// Worker-seconds by public state.
    pub state_seconds: StateSeconds,
    /// Worker-seconds by what they did, finer than the public state.
    pub activity_seconds: BTreeMap<String, f64>,
    /// Busy worker-seconds over worker-seconds up.
    pub utilization: Option<f64>,
    /// Job-seconds over places for jobs on ready workers.
    pub slot_utilization: Option<f64>,
    /// Starts, failures and decisions.
    pub starts: Starts,
    /// Share of placements and wakes that found the image on the host.
    pub image_cache_hit_rate: Option<f64>,
    /// Dollars, under both billing profiles.
    pub cost_usd: Costs,
}

/// Jobs by what became of them: submitted = completed + failed + timed_out + cancelled + rejected + unfinished.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jobs {
    /// Submitted, refused ones included.
    pub submitted: u64,
    /// With an output.
    pub completed: u64,
    /// Handler error, or attempts used up.
    pub failed: u64,
    /// Time to live or execution timeout over.
    pub timed_out: u64,
    /// Cancelled, purged, or their endpoint deleted.
    pub cancelled: u64,
    /// Jobs that lost at least one attempt.
    pub retried: u64,
    /// Refused at submission.
    pub rejected: u64,
    /// Without an outcome at the end.
    pub unfinished: u64,
    /// Attempts lost.
    pub attempts_lost: u64,
    /// Jobs by what ended them.
    pub by_cause: BTreeMap<String, u64>,
    /// Lost attempts by cause.
    pub lost_by_cause: BTreeMap<String, u64>,
    /// Refused jobs by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
}

/// Mean and quantiles; null without values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Mean, exact.
    pub mean: Option<f64>,
    /// Standard deviation of the values.
    pub sd: Option<f64>,
    /// Median.
    pub p50: Option<f64>,
    /// 90 % are at most this.
    pub p90: Option<f64>,
    /// 95 %.
    pub p95: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// Largest, exact.
    pub max: Option<f64>,
}

/// Mean over time and maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MeanMax {
    /// Mean over the observed time.
    pub mean: f64,
    /// Largest value.
    pub max: u64,
}

/// Workers up by type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// Always-on workers.
    pub active: MeanMax,
    /// Workers that come and go with traffic.
    pub flex: MeanMax,
    /// Workers beyond max.
    pub extra: MeanMax,
    /// All types together.
    pub all: MeanMax,
}

/// Worker-seconds by public state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateSeconds {
    /// Placing, pulling, starting.
    pub initializing: f64,
    /// Ready or asleep, without a job.
    pub idle: f64,
    /// With a job.
    pub running: f64,
    /// Wants to run, its host is full.
    pub throttled: f64,
    /// Marked for replacement.
    pub outdated: f64,
    /// Failed, waits for its backoff.
    pub unhealthy: f64,
}

/// Starts, failures and decisions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Starts {
    /// Asked for.
    pub asked: u64,
    /// Of those, thaws of a frozen worker.
    pub resumed: u64,
    /// Became ready.
    pub ready: u64,
    /// Failed before they were ready.
    pub failed: u64,
    /// Workers that failed while they served.
    pub crashes: u64,
    /// Resets that results asked for.
    pub refreshes: u64,
    /// Starts by who asked: the scaler's reason, or the worker's own.
    pub by_cause: BTreeMap<String, u64>,
    /// Failures of workers by reason.
    pub unhealthy_by_reason: BTreeMap<String, u64>,
    /// Decisions that changed the wanted number of workers, by reason.
    pub scale_decisions: BTreeMap<String, u64>,
}

/// Both bills of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Costs {
    /// Flex and extra workers pay only for work.
    pub seed: Bill,
    /// Flex and extra workers pay from the wake signal to the full stop.
    pub documented: Bill,
    /// Attempts that brought no result: lost with their worker, or stopped by a timeout.
    pub wasted_attempts: u64,
    /// Dollars for those attempts (already in both bills): their time at the price of their worker.
    pub wasted_attempts_usd: f64,
}

/// One bill, in dollars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    /// Everything.
    pub total: f64,
    /// By what the time was spent on.
    pub by_phase: ByPhase,
    /// By type of worker.
    pub by_worker_type: ByWorkerType,
    /// By who asked for the start of the worker.
    pub by_cause: BTreeMap<String, CauseCost>,
    /// Failed starts (already in the total).
    pub failed_starts: f64,
    /// Billed seconds, rounding included.
    pub billed_s: f64,
    /// Billed sessions.
    pub sessions: u64,
    /// Total per 1,000 completed jobs; null without any.
    pub per_1000_completed: Option<f64>,
    /// Share of the active workers' bill that was spent on work; null without active workers.
    pub active_work_share: Option<f64>,
}

/// Dollars by what the time was spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByPhase {
    /// Container start, loading, thaw.
    pub start: f64,
    /// Jobs.
    pub work: f64,
    /// Up without a job.
    pub warm_idle: f64,
    /// On the way down.
    pub drain: f64,
    /// Partial seconds, rounded up.
    pub rounding: f64,
}

/// Dollars by type of worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ByWorkerType {
    /// Always-on workers.
    pub active: f64,
    /// Workers that come and go with traffic.
    pub flex: f64,
    /// Workers beyond max.
    pub extra: f64,
}

/// What the workers started for one cause cost, each from that start to its next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CauseCost {
    /// Starts.
    pub starts: u64,
    /// Dollars of the starts alone.
    pub start_usd: f64,
    /// Dollars of everything up to the next start.
    pub total_usd: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_its_schema_says() {
        let json = serde_json::to_value(Summary::default()).unwrap();
        let schema = serde_json::to_value(schemars::schema_for!(Summary)).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        for field in json.as_object().unwrap().keys() {
            let described = &properties[field];
            assert!(described["description"].is_string() || described["$ref"].is_string(), "{field} is not described");
        }
        let required: Vec<&str> = schema["required"].as_array().unwrap().iter().filter_map(|x| x.as_str()).collect();
        assert!(["seed", "transcript_hash", "total", "endpoints", "events"].iter().all(|f| required.contains(f)));
    }

    #[test]
    fn it_survives_the_way_to_a_file_and_back() {
        let mut summary = Summary { seed: 7, scenario: "quick start".to_owned(), ..Summary::default() };
        summary.endpoints.push(EndpointSummary { name: "a".to_owned(), ..EndpointSummary::default() });
        summary.endpoints[0].figures.wait_s.p50 = Some(0.25);
        summary.total.cost_usd.seed.by_cause.insert("from_zero".to_owned(), CauseCost::default());
        let text = serde_json::to_string(&summary).unwrap();
        assert_eq!(crate::json::read::<Summary>(text.as_bytes()).unwrap(), summary);
    }

    #[test]
    fn wall_time_is_left_out_of_comparisons() {
        let slow = Summary { wall_s: 9.0, ..Summary::default() };
        assert_ne!(slow, Summary::default());
        assert_eq!(slow.comparable(), Summary::default().comparable());
    }
}
