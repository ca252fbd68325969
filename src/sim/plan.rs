//! What is simulated: hosts, endpoints with their traffic, faults, and things that happen at given times. Plain data; the
//! YAML of a scenario is lowered to it, and tests build it directly.

use crate::scheduler::{EndpointSpec, HostSpec, SchedulerConfig, StartStage};
use crate::units::{EndpointId, HostId, Span, Time};
use crate::workload::{Distribution, ServiceModel, Traffic};

/// A whole run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Master seed of every stream.
    pub seed: u64,
    /// Arrivals stop here.
    pub duration: Option<Span>,
    /// Arrivals stop after this many jobs in all.
    pub max_jobs: Option<u64>,
    /// After the last arrival: how long to wait for jobs in hand and for workers to go to sleep. `None` = until nothing is left.
    pub drain: Option<Span>,
    /// Endpoints and images are in place when the run begins (true), or are created at time 0 and pull first (false).
    pub deployed: bool,
    /// Figures count from here on; 0 = everything.
    pub warm_up: Span,
    /// With a warm-up: figures count up to the end of the run, so that what is put off is paid for. Otherwise they stop at `duration`,
    /// so that the drain does not blur a steady state.
    pub counts_drain: bool,
    /// Classes, prices, images, eviction.
    pub scheduler: SchedulerConfig,
    /// Hosts, in order of their ids.
    pub hosts: Vec<HostPlan>,
    /// Where images come from.
    pub registry: RegistryPlan,
    /// Endpoints, in order of their ids.
    pub endpoints: Vec<EndpointPlan>,
    /// What goes wrong.
    pub faults: FaultPlan,
    /// What happens when.
    pub actions: Vec<Action>,
}

/// A host and its surroundings.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlan {
    /// As announced to the scheduler.
    pub spec: HostSpec,
    /// Bytes per second that all its pulls share.
    pub pull_bytes_per_s: f64,
    /// Bytes per second of unpacked data when extracting; infinite = not modelled.
    pub unpack_bytes_per_s: f64,
    /// Pull times are multiplied by a lognormal of median 1 and this sigma (0.35: gpu-workloads, section 2).
    pub pull_sigma: f64,
    /// All start stages and service times on it take this many times as long (1 = normal).
    pub slowdown: f64,
    /// Most container starts at once; 0 = no limit. Further ones wait.
    pub max_starts: u32,
    /// Other tenants.
    pub tenants: Option<TenantPlan>,
}

/// Other tenants on a host: they come, take GPUs that are free, and go.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantPlan {
    /// Time between the end of one stay and the next arrival of a tenant.
    pub away: Distribution,
    /// Length of a stay.
    pub stay: Distribution,
    /// GPUs wanted per stay (rounded, at least 1); only free ones are taken.
    pub gpus: Distribution,
}

/// The registry.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryPlan {
    /// Bytes per second that all pulls of all hosts share; infinite = no limit.
    pub bytes_per_s: f64,
    /// Pulls neither start nor progress in these intervals.
    pub outages: Vec<(Time, Time)>,
    /// Share of pulls that fail at the end.
    pub failure_probability: f64,
}

/// One stage of a cold start.
#[derive(Clone, Debug, PartialEq)]
pub struct StageModel {
    /// Which stage.
    pub stage: StartStage,
    /// How long, in seconds.
    pub time: Distribution,
}

/// Cold starts, resumes and stops of an endpoint's workers.
#[derive(Clone, Debug, PartialEq)]
pub struct StartModel {
    /// Stages in order; empty = ready at once.
    pub stages: Vec<StageModel>,
    /// Thaw of a frozen worker (lognormal, median 1.1 s, sigma 0.45: gpu-workloads, section 2).
    pub resume: Distribution,
    /// Share of freezes that keep their snapshot at all.
    pub freeze_probability: f64,
    /// How long a snapshot survives on its host.
    pub snapshot_life: Option<Distribution>,
    /// From the stop command to the GPU being free.
    pub stop: Distribution,
    /// The first this many jobs after a start take `warm_up_factor` times as long.
    pub warm_up_jobs: u32,
    /// See above; 1 = no effect.
    pub warm_up_factor: f64,
}

/// How workers ask for jobs (`PickUp::Pull`).
#[derive(Clone, Debug, PartialEq)]
pub struct PacingModel {
    /// From the hand-out to the handler's start, seconds: U(0, 0.1) in SDK 1.12 (worker-protocol 3.7).
    pub latency: Distribution,
    /// A worker whose places are full asks again at whole multiples of this after the take that filled it: 1 s in SDK 1.12.
    pub period: Span,
}

/// Faults of one release of an endpoint; the defaults are "none".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReleaseFaults {
    /// Share of starts that fail (at the end of the start).
    pub start_failure_probability: f64,
    /// Share of attempts in which the worker's process dies at a uniform point of the service time.
    pub crash_probability: f64,
    /// Share of attempts that hang: no result, pings go on (`hang_silent` = false) or stop.
    pub hang_probability: f64,
    /// A hang also silences the pings, so that the lease ends.
    pub hang_silent: bool,
    /// Share of completed attempts that end in a handler error.
    pub handler_error_probability: f64,
    /// Share of results that ask for a refresh of the worker.
    pub refresh_probability: f64,
    /// Time between crashes of a worker that is up, busy or idle.
    pub uptime: Option<Distribution>,
    /// Share of stop signals for a job that are ignored.
    pub ignore_stop_probability: f64,
}

/// What one release of an endpoint does in the world: version 1 is the first entry.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleasePlan {
    /// Starts and stops.
    pub start: StartModel,
    /// Work of the jobs.
    pub service: ServiceModel,
    /// What goes wrong.
    pub faults: ReleaseFaults,
}

/// An output that becomes an input of another endpoint (pipelines).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Feed {
    /// Whose input.
    pub to: EndpointId,
    /// Share of completed jobs that go on.
    pub probability: f64,
    /// Time between.
    pub delay: Span,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointPlan {
    /// As created in the scheduler.
    pub spec: EndpointSpec,
    /// The first release; later ones come by [`ActionKind::Update`].
    pub release: ReleasePlan,
    /// Requests.
    pub traffic: Traffic,
    /// Whose random streams its arrivals and services are drawn from; `None` = its own. Endpoints of equal traffic that name
    /// the same stream meet identical requests, so that one run compares two settings.
    pub stream: Option<EndpointId>,
    /// Pick-up.
    pub pacing: PacingModel,
    /// Where its outputs go.
    pub feeds: Vec<Feed>,
    /// Target wait for SLO attainment: share of jobs that start within it, or respond within `slo_response`.
    pub slo_wait: Option<Span>,
    /// Target response time.
    pub slo_response: Option<Span>,
}

/// Faults of the platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultPlan {
    /// Time between losses of one host.
    pub host_uptime: Option<Distribution>,
    /// Time until it is back.
    pub host_downtime: Option<Distribution>,
    /// Share of lost hosts that come back.
    pub host_return_probability: f64,
    /// Share of facts from workers and hosts that never reach the scheduler.
    pub lost_fact_probability: f64,
    /// Share of facts that reach it twice.
    pub duplicate_fact_probability: f64,
    /// Share of facts that are late, by this time.
    pub late_fact_probability: f64,
    /// How late, in seconds.
    pub fact_delay: Option<Distribution>,
}

/// Something that happens at a given time.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// When.
    pub at: Time,
    /// What.
    pub kind: ActionKind,
}

impl Plan {
    /// The settings and releases that an endpoint gets after those that it begins with, in the order of the actions.
    pub fn updates(&self, id: EndpointId) -> impl Iterator<Item = (&EndpointSpec, &ReleasePlan)> {
        self.actions.iter().filter_map(move |action| match &action.kind {
            ActionKind::Update { endpoint, spec, release } if *endpoint == id => Some((&**spec, &**release)),
            _ => None,
        })
    }
}

/// What can happen.
#[allow(missing_docs, reason = "the line above each variant names its fields")]
#[derive(Clone, Debug, PartialEq)]
pub enum ActionKind {
    /// New settings for an endpoint; `release` describes its containers if the change makes a release.
    Update { endpoint: EndpointId, spec: Box<EndpointSpec>, release: Box<ReleasePlan> },
    /// The endpoint is deleted.
    Delete { endpoint: EndpointId },
    /// Its queue is purged.
    Purge { endpoint: EndpointId },
    /// The job that has waited longest (or else any) of the endpoint is cancelled.
    CancelOldest { endpoint: EndpointId },
    /// A host is lost.
    LoseHost { host: HostId },
    /// It is back.
    ReturnHost { host: HostId },
    /// Other tenants leave this many of its GPUs to us.
    SetCapacity { host: HostId, gpus: u32 },
}
