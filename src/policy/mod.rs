//! Policies advise, the scheduler decides.
//!
//! Five small decisions, a trait each: how many workers ([`ScalingPolicy`]), how long an idle one stays ([`KeepAlivePolicy`]),
//! which idle worker gets a job ([`DispatchPolicy`]), which host a worker ([`PlacementPolicy`]), which image leaves a full disk
//! ([`EvictionPolicy`]). A policy is a pure function of its own state and what it is shown: no clock, no randomness, no
//! I/O. Bounds, drains, rollout shares, backoff and victims are the scheduler's, so a daring policy can be slow or dear but
//! never illegal. The list of all of them, with parameters, is [`registry`].

pub mod dispatch;
pub mod eviction;
pub mod fixed;
pub mod forecast_floor;
pub mod greedy_dual;
mod hash;
pub mod histogram;
pub mod hpa;
pub mod keep_alive;
pub mod knative;
mod levels;
pub mod newsvendor;
pub mod params;
pub mod per_job;
pub mod placement;
#[cfg(test)]
mod properties;
pub mod proportional;
pub mod queue_delay;
pub mod ray;
pub mod registry;
pub mod request_count;
pub mod schedule;
mod signal;
pub mod ski;
pub mod slo_cost;
pub mod staffing;
pub mod starlark;
#[cfg(test)]
mod testing;
pub mod vocabulary;
pub mod wrap;

pub use params::{ParamError, ParamSpec, ParamValue, Params, PolicyChoice};
pub use vocabulary::{Phase, ScaleReason, WorkerKind};

use serde_json::Value;

use crate::units::{HostId, Span, Time, UsdPerSecond, WorkerId};

/// What made the scheduler ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The policy's own tick, or the time it asked for.
    Tick,
    /// A job arrived and no idle worker could take it at once.
    JobWaits,
    /// A job arrived and was handed out at once.
    JobTaken,
    /// A job left a worker.
    JobEnded,
    /// A worker became ready.
    WorkerReady,
    /// A worker failed, was lost or went to sleep.
    WorkerGone,
}

/// When a scaling policy wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedAt {
    /// Every so often while the endpoint has jobs or more workers than its active ones.
    Ticks(Span),
    /// At every trigger: theory's clean mode.
    Events,
    /// At `JobWaits` and `WorkerGone` only.
    WaitingJobs,
}

/// One worker as a policy sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerView {
    /// Which.
    pub id: WorkerId,
    /// Active, flex, extra.
    pub kind: WorkerKind,
    /// Fine phase.
    pub phase: Phase,
    /// Since when it is in it.
    pub since: Time,
    /// Jobs in hand.
    pub in_hand: u32,
    /// When its current (or last) start was asked for.
    pub started: Time,
    /// When it last became idle or got a job.
    pub last_used: Time,
    /// Release.
    pub version: u32,
    /// Current release is another one.
    pub outdated: bool,
    /// Where it is.
    pub host: Option<HostId>,
    /// GPUs that it occupies.
    pub gpus: u32,
    /// Its price while it bills.
    pub price: UsdPerSecond,
}

/// Access to the rows behind the counts, for policies that look at single workers or jobs.
pub trait Details {
    /// Jobs of normal priority that have waited for longer than `span`.
    fn waiting_longer_than(&self, span: Span) -> u32;
    /// The endpoint's workers, in order of creation.
    fn workers(&self) -> Vec<WorkerView>;
}

/// Everything that a scaling policy may know. Low-priority jobs are not in `queued` and never raise the target (contract §1.2).
pub struct Observation<'a> {
    /// The time.
    pub now: Time,
    /// Why the policy is asked.
    pub trigger: Trigger,
    /// Jobs of normal priority that wait.
    pub queued: u32,
    /// Jobs of low priority that wait.
    pub queued_low: u32,
    /// Jobs in progress.
    pub in_progress: u32,
    /// How long the oldest job of normal priority has waited.
    pub oldest_wait: Option<Span>,
    /// Jobs that arrived in all, so that rates can be formed.
    pub arrived: u64,
    /// Jobs whose attempt ended in all.
    pub ended: u64,
    /// Summed run time of those.
    pub service_total: Span,
    /// Workers up without a job.
    pub idle: u32,
    /// Workers up with a job.
    pub busy: u32,
    /// Workers wanted and on their way (placing, pulling, starting).
    pub starting: u32,
    /// Workers wanted whose host is full.
    pub throttled: u32,
    /// Workers waiting for their backoff.
    pub unhealthy: u32,
    /// Placed and asleep or frozen.
    pub asleep: u32,
    /// Length of the last start that became ready.
    pub last_start: Option<Span>,
    /// Mean length of the starts that became ready, the latest counting most (each new one weighs an eighth).
    pub mean_start: Option<Span>,
    /// Mean length of the stops, likewise: paid as well, so that a restart costs a start and a stop; none before the first.
    pub mean_stop: Option<Span>,
    /// Lower bound.
    pub active: u32,
    /// Upper bound, extra not counted.
    pub max: u32,
    /// Extra workers.
    pub extra: u32,
    /// Jobs per worker at once.
    pub concurrency: u32,
    /// Flex price per worker.
    pub flex_price: UsdPerSecond,
    /// Active price per worker.
    pub active_price: UsdPerSecond,
    /// Single workers and jobs.
    pub details: &'a dyn Details,
}

impl Observation<'_> {
    /// Workers up or coming: the N of the platform's rules.
    pub fn up_or_coming(&self) -> u32 {
        self.idle + self.busy + self.starting + self.throttled
    }

    /// Seconds that a stop is taken to last: nothing before one was measured.
    pub fn stop_s(&self) -> f64 {
        self.mean_stop.map_or(0.0, Span::as_secs)
    }
}

/// What happens to workers beyond the wanted number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surplus {
    /// They leave when their idle timeout ends.
    KeepAlive,
    /// As before, and starts beyond the number are called off, youngest first.
    CancelStarts,
    /// Idle ones stop at once (no idle timeout applies); starts beyond the number are called off.
    StopIdle,
}

/// How many workers are wanted, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Workers up or coming that are wanted; clamped by the scheduler.
    pub workers: u32,
    /// What to do with more.
    pub surplus: Surplus,
    /// Why.
    pub reason: ScaleReason,
    /// Ask again after this long, whatever happens.
    pub ask_again: Option<Span>,
}

/// How many workers are wanted.
pub trait ScalingPolicy: Send {
    /// When to be asked.
    fn asked_at(&self) -> AskedAt;
    /// The number of workers wanted now. Called in order of time.
    fn advise(&mut self, seen: &Observation<'_>) -> Advice;
    /// False when the rule brings workers down itself and no idle timeout applies.
    fn uses_idle_timeout(&self) -> bool {
        true
    }
    /// Calls that failed and were answered by another policy, if there were any.
    fn faults(&self) -> Option<&starlark::Faults> {
        None
    }
    /// Workers up or coming that no idle timeout may go below, as of the last advice. For rules that hold workers ahead of
    /// demand; the endpoint's active workers are held in any case.
    fn floor(&self) -> u32 {
        0
    }
    /// Asked for the first time this long after the endpoint came to be or got new settings, whether jobs come or not;
    /// `None` = when the first job does. For rules that want workers without jobs.
    fn first_ask(&self) -> Option<Span> {
        None
    }
    /// What it has learned, for a restart; null for a rule that looks at the present alone.
    fn save(&self) -> Value {
        Value::Null
    }
    /// Takes up what [`Self::save`] of a policy of the same name and parameters gave.
    ///
    /// # Errors
    /// If that is not what this policy saves.
    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        nothing_to_load(state)
    }
}

/// A worker that has become idle (or whose idle timer starts anew), and what a keep-alive policy may know.
#[derive(Clone, Copy, Debug)]
pub struct IdleStart<'a> {
    /// The time.
    pub now: Time,
    /// The worker.
    pub worker: &'a WorkerView,
    /// Counts the endpoint's idle periods.
    pub ordinal: u64,
    /// Its rank, from 1: workers with a job, starting or throttled, and this one. With last-in-first-out dispatch it is used
    /// again when so many workers are needed at once, whatever happens at the ranks above.
    pub rank: u32,
    /// Mean length of the endpoint's starts, the latest counting most; none before the first.
    pub mean_start: Option<Span>,
    /// Mean length of its stops, likewise.
    pub mean_stop: Option<Span>,
    /// Flex price per worker.
    pub flex_price: UsdPerSecond,
    /// Active price per worker.
    pub active_price: UsdPerSecond,
}

impl IdleStart<'_> {
    /// Seconds that the next start is taken to last; `unknown_s` before one was measured.
    pub fn start_s(&self, unknown_s: f64) -> f64 {
        self.mean_start.map_or(unknown_s, Span::as_secs)
    }

    /// Seconds that a stop is taken to last: nothing before one was measured.
    pub fn stop_s(&self) -> f64 {
        self.mean_stop.map_or(0.0, Span::as_secs)
    }
}

/// How an idle period ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleEnd {
    /// The worker got a job.
    Job,
    /// Its idle timeout ended.
    TimedOut,
    /// It stopped for another reason: settings, a release, a failure, room for another worker.
    Stopped,
}

/// How long an idle worker stays up.
pub trait KeepAlivePolicy: Send {
    /// Asked when a worker becomes idle; `None` = for ever.
    fn idle_timeout(&mut self, idle: &IdleStart<'_>) -> Option<Span>;
    /// True for policies that want to be told what follows ([`Self::idle_ended`], [`Self::needed`]).
    fn learns(&self) -> bool {
        false
    }
    /// `worker` was idle for `lasted`.
    fn idle_ended(&mut self, _now: Time, _worker: &WorkerView, _lasted: Span, _end: IdleEnd) {}
    /// So many workers of the endpoint are needed now: they have a job, start or are throttled. Told whenever a worker becomes
    /// idle, leaves idleness or is asked to start; the same number may be told twice.
    fn needed(&mut self, _now: Time, _workers: u32) {}
    /// What the idle `worker` is worth in relation to others, for policies under which an idle worker leaves when its GPUs are
    /// wanted: the least worthy leaves first. `None` = it does not make room.
    fn worth(&self, _worker: &WorkerView) -> Option<f64> {
        None
    }
    /// An idle worker of this worth, of this or another endpoint, made room.
    fn made_room(&mut self, _worth: f64) {}
    /// As [`ScalingPolicy::faults`].
    fn faults(&self) -> Option<&starlark::Faults> {
        None
    }
    /// As [`ScalingPolicy::save`].
    fn save(&self) -> Value {
        Value::Null
    }
    /// As [`ScalingPolicy::load`].
    ///
    /// # Errors
    /// If that is not what this policy saves.
    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        nothing_to_load(state)
    }
}

/// What a policy is said to have learned is nothing that it can have learned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what its policy has learned cannot be read: {0}")]
pub struct BadPolicyState(pub String);

fn nothing_to_load(state: &Value) -> Result<(), BadPolicyState> {
    if state.is_null() { Ok(()) } else { Err(BadPolicyState("the policy learns nothing".to_owned())) }
}

/// Which of the workers with a free place gets the next job. Active workers always come before flex, flex before extra.
pub trait DispatchPolicy: Send {
    /// The smallest key is picked; ties go to the older worker. Asked whenever the worker becomes available or its load changes.
    fn key(&self, worker: &WorkerView) -> u64;
}

/// A host on which a worker could be put; all hard needs are already met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostView {
    /// Which.
    pub id: HostId,
    /// Rank of its GPU class in the endpoint's list, 0 = most wanted.
    pub class_rank: u32,
    /// Its own priority, higher is better.
    pub priority: i32,
    /// GPUs in all.
    pub gpus: u32,
    /// GPUs free now.
    pub gpus_free: u32,
    /// Slots of this endpoint already there.
    pub own_slots: u32,
    /// Slots of any endpoint there.
    pub slots: u32,
    /// Bytes to fetch before a worker can start; 0 = all there.
    pub missing_bytes: u64,
    /// Pulls under way there.
    pub pulls: u32,
    /// Nominal pull bandwidth in bytes per second.
    pub pull_bytes_per_s: u64,
    /// Bytes of the whole image, as a pull would transfer them.
    pub image_bytes: u64,
}

/// Which host gets a worker.
pub trait PlacementPolicy: Send {
    /// The smallest score is picked; ties go to the older host.
    fn score(&self, host: &HostView, gpus_wanted: u32) -> [i64; 4];
}

/// An image that could be dropped: complete, not in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CachedImageView {
    /// When it was last needed by a start or a pull.
    pub last_used: Time,
    /// How often it was needed since it came.
    pub uses: u64,
    /// When it came.
    pub cached_at: Time,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes that a pull would transfer.
    pub pull_bytes: u64,
}

/// Which image leaves a full disk.
pub trait EvictionPolicy: Send {
    /// The smallest key leaves first; ties go to the older image id.
    fn key(&self, image: &CachedImageView) -> u64;
}
