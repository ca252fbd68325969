//! What nobody can beat: the cost of somebody who knows the future, and how far each policy is from it.
//!
//! - `levels`: the cheapest workers for given start times, exact;
//! - `rent`, `crowd`, `lp`, `stretches`, `certificate`: a lower bound with free start times, proven without trusting the solver;
//! - `cover`: another one, for workers that run many jobs at once: when must any worker be up at all;
//! - `quiet`: another one, for traffic with pauses: each ends with a start, or has to be bridged;
//! - `upper`: a schedule that is reached, so that the yardstick's own uncertainty is known;
//! - `served`: a policy's own start times, which split its regret in two: *provisioning* (the workers that its start times would
//!   have needed were cheaper) and *timing* (other start times would have been cheaper).
//!
//! **Which bill.** The bound is for the `documented` bill: a flex worker costs its price from the wake signal to the end of its stop, so
//! that a start costs price times the length of itself and of the stop that follows it (of those workers that may still be up at the
//! end, no stop is counted). Rounding up to seconds, image pulls, queues on hosts, throttling, crashes and repeated attempts only add to
//! it. In the `seed` bill idle and starting flex workers are free: there never stopping a worker is optimal, and the
//! bound is the work itself ([`Bounds::seed_usd`]).
//!
//! **What is assumed.** A job needs at least the time that it takes alone on the fastest host; a start takes the mean of the quickest
//! way to a ready worker (where starts are drawn at random the bound holds on average: nobody knows how long a start will take); the
//! lowest price of the classes allowed counts. Source: Lu, Chen, arXiv 1112.0442 for the levels; own derivation for the rest.

pub mod certificate;
pub mod cover;
pub mod crowd;
pub mod levels;
pub mod lp;
pub mod quiet;
pub mod regret;
pub mod rent;
pub mod served;
pub mod stretches;
#[cfg(test)]
mod tests;
pub mod upper;

use serde::Serialize;

use crate::scheduler::{EndpointSpec, GpuClassId};
use crate::sim::SimError;
use crate::sim::plan::{ActionKind, EndpointPlan, Plan};
use crate::sim::requests::{Request, Requests, requests, sharing, start_seconds, stop_seconds};
use crate::units::{EndpointId, Time};
use certificate::{Certificate, Proof};
use cover::Cover;
use crowd::Crowd;
use levels::{Held, Levels, at_once};
use quiet::Quiet;
pub use regret::Regret;
use rent::{Rent, Waiting, Wish};
pub use served::{Served, ServedJobs};
use stretches::{Full, Problem};
use upper::{Come, Terms};

/// How hard to try. More effort makes the bound higher, never wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effort {
    /// Seconds for a hundred thousand jobs; for comparisons over many seeds.
    Quick,
    /// The usual.
    #[default]
    Normal,
    /// Minutes.
    Thorough,
}

/// What is asked of the one who knows the future.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Longest wait in seconds; none: each endpoint's own `slo.wait_s`, or else no limit.
    pub slo_wait_s: Option<f64>,
    /// Price of a second of waiting of one job, in USD; 0 = only the limit counts.
    pub wait_usd_per_s: f64,
    /// The bound is to hold for any number of always-on workers, not only for none.
    pub any_active: bool,
    /// How hard to try.
    pub effort: Effort,
    /// Each start is billed up to a whole second: what is reached pays a second more for it. The bound does not count on it.
    pub round_up: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { slo_wait_s: None, wait_usd_per_s: 0.0, any_active: true, effort: Effort::Normal, round_up: false }
    }
}

/// Bounds of one endpoint. All costs are of the `documented` bill unless said otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointBounds {
    /// Whose.
    pub endpoint: String,
    /// Why there are none, where its requests depend on what the policy does. All figures are zero then.
    pub unbounded: Option<String>,
    /// Jobs that can be completed.
    pub jobs: u64,
    /// Seconds that they need.
    pub work_s: f64,
    /// Seconds from the beginning to the end of what is billed.
    pub span_s: f64,
    /// Flex price of a worker.
    pub flex_usd_per_s: f64,
    /// Active price of a worker.
    pub active_usd_per_s: f64,
    /// Seconds of a start.
    pub start_s: f64,
    /// Seconds of a stop, as far as nobody can go without one.
    pub stop_s: f64,
    /// Every start takes that long; else it is a mean.
    pub start_is_constant: bool,
    /// Longest wait allowed; none = no limit.
    pub slo_wait_s: Option<f64>,
    /// Proven: nobody can do it for less, every job within the wait allowed.
    pub lb_usd: f64,
    /// Reached by a schedule that is known: the truth lies between.
    pub ub_usd: f64,
    /// The work alone, at the flex price.
    pub work_usd: f64,
    /// Cheapest workers if no job waits at all, flex workers only.
    pub zero_wait_flex_usd: f64,
    /// The same with the best number of always-on workers.
    pub zero_wait_usd: f64,
    /// That number.
    pub zero_wait_active: u64,
    /// Starts in that schedule without always-on workers.
    pub zero_wait_starts: u64,
    /// Bridged idle seconds in it.
    pub zero_wait_idle_s: f64,
    /// The bound in the `seed` bill: idle and starting flex workers are free, so only the work has to be paid for.
    pub seed_lb_usd: f64,
    /// What the bound does not know, for people.
    pub caveats: Vec<String>,
    #[serde(skip)]
    pub(super) state: State,
}

/// What regrets are computed from.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub proof: Proof,
    pub places: u32,
    pub wait_price: f64,
    pub span: (f64, f64),
    pub begun: bool,
    /// What is done after the span is paid by nobody.
    pub closed: bool,
}

/// Bounds of a plan.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Of each endpoint, in the order of the plan.
    pub endpoints: Vec<EndpointBounds>,
    /// Sum of the proven bounds.
    pub lb_usd: f64,
    /// Sum of what is known to be reached.
    pub ub_usd: f64,
    /// Sum of the cheapest workers if no job waits.
    pub zero_wait_usd: f64,
    /// Sum of the bounds in the `seed` bill.
    pub seed_usd: f64,
    /// Everything is paid up to the end of the run.
    #[serde(skip)]
    pub to_the_end: bool,
}

/// The requests of every endpoint of `plan`: when each comes and the least time that it holds a worker.
///
/// # Errors
/// If the plan is not consistent or a trace cannot be read.
pub fn jobs_of(plan: &Plan) -> Result<Vec<Requests>, SimError> {
    requests(plan)
}

/// The bounds of `plan`, whatever its policies are. A plan with a warm-up is bounded in the part that counts.
///
/// # Errors
/// As [`jobs_of`].
pub fn for_plan(plan: &Plan, options: &Options) -> Result<Bounds, SimError> {
    let requests = jobs_of(plan)?;
    let endpoints: Vec<EndpointBounds> =
        (0..).map(EndpointId).zip(&requests).map(|(id, requests)| endpoint(plan, id, requests, options)).collect();
    let sum = |of: fn(&EndpointBounds) -> f64| endpoints.iter().map(of).sum();
    Ok(Bounds {
        lb_usd: sum(|bounds| bounds.lb_usd),
        ub_usd: sum(|bounds| bounds.ub_usd),
        zero_wait_usd: sum(|bounds| bounds.zero_wait_usd),
        seed_usd: sum(|bounds| bounds.seed_lb_usd),
        to_the_end: closes(plan).is_none(),
        endpoints,
    })
}

/// Prices of a worker: the lowest of the classes that it may run on and that some host has.
fn prices(plan: &Plan, spec: &EndpointSpec) -> (f64, f64) {
    let there = |class: &GpuClassId| plan.hosts.iter().any(|host| host.spec.gpu_class == *class);
    let mut allowed: Vec<GpuClassId> = spec.gpu_classes.iter().copied().filter(there).collect();
    if allowed.is_empty() {
        allowed.clone_from(&spec.gpu_classes);
    }
    let gpus = f64::from(spec.gpus_per_worker);
    let classes = allowed.iter().filter_map(|class| plan.scheduler.gpu_classes.get(usize::from(class.0)));
    let least = |of: fn(&crate::scheduler::GpuClass) -> f64| classes.clone().map(of).fold(f64::INFINITY, f64::min);
    let (flex, active) = (least(|class| class.flex.as_usd()), least(|class| class.active.as_usd()));
    if flex.is_finite() { (flex * gpus, active * gpus) } else { (0.0, 0.0) }
}

/// The settings that the endpoint begins with, and all that come later.
fn specs(plan: &Plan, id: EndpointId) -> impl Iterator<Item = &EndpointSpec> {
    std::iter::once(&plan.endpoints[id.index()].spec).chain(plan.updates(id).map(|(spec, _)| spec))
}

/// An always-on worker is up, and paid, from the beginning to the end: its settings hold, and nothing takes it down or keeps it from
/// starting.
fn is_steady(plan: &Plan, id: EndpointId) -> bool {
    let changes = |kind: &ActionKind| match kind {
        ActionKind::Update { endpoint, .. } | ActionKind::Delete { endpoint } => *endpoint == id,
        _ => true,
    };
    let faults = &plan.faults;
    let facts = [faults.lost_fact_probability, faults.duplicate_fact_probability, faults.late_fact_probability];
    plan.deployed
        && !plan.actions.iter().any(|action| changes(&action.kind))
        && faults.host_uptime.is_none()
        && facts == [0.0; 3]
        && plan.endpoints[id.index()].release.faults == Default::default()
        && plan.hosts.iter().all(|host| host.tenants.is_none())
        && has_room(plan, id)
}

/// Every worker that any endpoint may have finds a host, whatever the others have: each host gives up what does not make a worker.
fn has_room(plan: &Plan, id: EndpointId) -> bool {
    let spec = &plan.endpoints[id.index()].spec;
    let hosts = plan.hosts.iter().filter(|host| spec.gpu_classes.contains(&host.spec.gpu_class));
    let room: u64 = hosts.map(|host| u64::from(host.spec.gpus.saturating_sub(spec.gpus_per_worker - 1))).sum();
    let all = plan.endpoints.iter().map(|endpoint| &endpoint.spec);
    let wanted = all.map(|spec| u64::from(spec.max + spec.extra) * u64::from(spec.gpus_per_worker)).sum::<u64>();
    wanted <= room
}

fn caveats(plan: &Plan, own: &EndpointPlan, constant: bool, left_out: usize) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut say = |text: &str| caveats.push(text.to_owned());
    if !constant {
        say(
            "starts take a random time: the bound holds on average, for all who cannot foresee how long a start will take",
        );
    }
    if own.spec.concurrency > 1 {
        say(
            "several jobs share a worker: the bound takes workers to be full, or their jobs to run at full speed, whichever costs more, so it may be far below",
        );
    }
    if left_out > 0 {
        say(&format!("{left_out} jobs need longer than their execution timeout and are left out"));
    }
    if plan.actions.iter().any(|action| matches!(action.kind, ActionKind::Update { .. })) {
        say(
            "settings change on the way: each job is taken to meet the quickest release, on a worker with the most places, at the lowest price",
        );
    }
    caveats
}

fn endpoint(plan: &Plan, id: EndpointId, requests: &Requests, options: &Options) -> EndpointBounds {
    let own = &plan.endpoints[id.index()];
    let (start_s, constant) = start_seconds(plan, id);
    let stop_s = stop_seconds(plan, id);
    let restart_s = start_s + stop_s;
    let least = |all: (f64, f64), one: (f64, f64)| (all.0.min(one.0), all.1.min(one.1));
    let (flex, active) = specs(plan, id).map(|spec| prices(plan, spec)).reduce(least).unwrap_or_default();
    // An always-on worker is billed for the whole time only where it is there from the beginning and stays; else the lower price
    // has to stand for both.
    let flex = if options.any_active && !is_steady(plan, id) { flex.min(active) } else { flex };
    let limit = options.slo_wait_s.or_else(|| own.slo_wait.map(|wait| wait.as_secs()));
    let most = specs(plan, id).map(|spec| spec.concurrency).max().unwrap_or(1);
    let places = most.max(1);
    let counted = |at: Time| at.since(Time::ZERO) >= plan.warm_up;
    // What is done after the end of what counts is paid by nobody: only jobs that must have ended by then prove something.
    let closes = closes(plan);
    let in_time = |job: &Request| {
        closes.is_none_or(|end| {
            limit.is_some_and(|limit| (job.at + job.service).as_secs() + limit <= end.since(Time::ZERO).as_secs())
        })
    };
    let counts = |job: &&Request| job.can_end && counted(job.at) && in_time(job) && !job.service.is_zero();
    let jobs: Vec<Come> =
        requests.jobs.iter().filter(counts).map(|job| Come { at: job.at, service: job.service }).collect();
    let sharing = sharing(plan, id, places);
    // Jobs that slow each other down may be in hand at the end for any time.
    let full = (sharing.shared > 1.0 && closes.is_none()).then(|| Full {
        shared: requests.jobs.iter().filter(counts).map(|job| job.shared.as_secs()).collect(),
        sharing,
    });
    let span = span(plan, &jobs);
    let price = if flex > 0.0 { options.wait_usd_per_s / flex } else { 0.0 };
    let waiting = Waiting { limit: limit.unwrap_or(f64::INFINITY), price };
    // Seconds of rent; an always-on worker is one of these only where it is cheaper.
    let ratio = if flex > 0.0 { active / flex } else { 1.0 };
    let always_on = (options.any_active && ratio < 1.0).then_some((span.1 - span.0, ratio));
    let held: Vec<Held> = jobs.iter().map(|job| at_once(job.at, job.service)).collect();
    let begun = !plan.warm_up.is_zero();
    let levels = Levels::of(&held, restart_s, places);
    let levels = if begun { levels.begun() } else { levels };
    let best = always_on.map_or(0, |(billed_s, ratio)| levels.best_active(billed_s, ratio));
    let work_s: f64 = jobs.iter().map(|job| job.service.as_secs()).sum();
    let problem = Problem {
        wishes: jobs.iter().map(|job| Wish { at: job.at.as_secs(), service: job.service.as_secs() }).collect(),
        full,
        start_s: restart_s,
        waiting,
        places,
        crowd: None,
        span,
        begun,
        after: if closes.is_some() { 0.0 } else { always_on.map_or(1.0, |(_, ratio)| ratio) },
    };
    let problem = Problem { crowd: Crowd::of(&problem.wishes, waiting, places), ..problem };
    let mut proof = prove(&problem, always_on, best, &levels, options.effort, stop_s * most_workers(plan, id));
    let last_at = jobs.last().map_or(0.0, |job| job.at.as_secs()).max(span.0);
    proof.last_job = always_on.map_or(0.0, |(_, ratio)| ratio * (span.1 - last_at).max(0.0));
    let terms = Terms { start_s: restart_s + f64::from(options.round_up), waiting, always_on };
    let lb = proof.bound(0, 0).0;
    let zero_wait = levels.cost_s(best, span.1 - span.0, ratio);
    let ub = upper::best(&jobs, &terms).max(lb);
    let takes =
        |full: &Full| -> f64 { problem.wishes.iter().enumerate().map(|(place, wish)| full.takes(place, wish)).sum() };
    let work = problem.full.as_ref().map_or(work_s, |full| takes(full).max(work_s)) / f64::from(places);
    let left_out = requests.jobs.iter().filter(|job| !job.can_end).count();
    EndpointBounds {
        endpoint: own.spec.name.clone(),
        unbounded: requests.depends.map(str::to_owned),
        jobs: jobs.len() as u64,
        work_s,
        span_s: span.1 - span.0,
        flex_usd_per_s: flex,
        active_usd_per_s: active,
        start_s,
        stop_s,
        start_is_constant: constant,
        slo_wait_s: limit,
        lb_usd: lb * flex,
        ub_usd: ub * flex,
        work_usd: work * flex,
        zero_wait_flex_usd: levels.flex_s() * flex,
        zero_wait_usd: zero_wait * flex,
        zero_wait_active: best as u64,
        zero_wait_starts: levels.starts(),
        zero_wait_idle_s: levels.idle_s(),
        seed_lb_usd: work * flex * always_on.map_or(1.0, |(_, ratio)| ratio),
        caveats: caveats(plan, own, constant, left_out),
        state: State { proof, places, wait_price: options.wait_usd_per_s, span, begun, closed: closes.is_some() },
    }
}

/// Workers that may be up at the end.
fn most_workers(plan: &Plan, id: EndpointId) -> f64 {
    specs(plan, id).map(|spec| spec.max + spec.extra).max().map_or(0.0, f64::from)
}

/// When figures stop counting although the run goes on.
fn closes(plan: &Plan) -> Option<Time> {
    let duration = plan.duration.filter(|_| !plan.warm_up.is_zero() && !plan.counts_drain)?;
    Some(Time::ZERO + duration)
}

/// What is surely billed: from the beginning of what counts up to the earliest end of the last job.
fn span(plan: &Plan, jobs: &[Come]) -> (f64, f64) {
    let last = jobs.iter().map(|job| job.at + job.service).max().unwrap_or(Time::ZERO);
    let from = plan.warm_up.as_secs();
    (from, last.as_secs().max(from))
}

/// Certificates: of rent itself, of an always-on worker's price, of the zero-wait levels where nobody may wait, and of the dual
/// solution for the numbers of always-on workers that matter. `left_up_s`: stops of workers that may still be up at the end.
fn prove(
    problem: &Problem,
    always_on: Option<(f64, f64)>,
    best: usize,
    levels: &Levels,
    effort: Effort,
    left_up_s: f64,
) -> Proof {
    let mut proof = Proof { always_on: always_on.map(|(billed_s, ratio)| billed_s * ratio), ..Proof::default() };
    // What a start before the part that counts, and stops after the end, can have saved.
    let unpaid_s = if problem.begun { problem.start_s } else { 0.0 } + left_up_s;
    let (wishes, limit, restart_s) = (&problem.wishes, problem.waiting.limit, problem.start_s);
    proof.quiet = Quiet::of(wishes, problem.places, limit, restart_s, unpaid_s);
    if problem.places > 1 {
        proof.cover = Cover::of(wishes, limit, restart_s, unpaid_s);
    }
    let flat = stretches::flat(problem);
    let add = |proof: &mut Proof, rent: &Rent, unpaid_s: f64| {
        let crowded = problem.crowd.as_ref().map(|crowd| Certificate::crowded(problem, rent, crowd));
        let both = std::iter::once(Certificate::of(problem, rent)).chain(crowded);
        proof.certificates.extend(both.map(|one| one.less(unpaid_s)));
    };
    let even = always_on.map(|(_, ratio)| flat.scaled(ratio));
    for rent in std::iter::once(&flat).chain(&even) {
        add(&mut proof, rent, 0.0);
        proof.certificates.extend(problem.full.as_ref().map(|full| Certificate::full(problem, full, rent)));
    }
    let free = problem.waiting.price == 0.0 && problem.waiting.limit.is_infinite();
    if problem.wishes.is_empty() || free || problem.start_s <= 0.0 && always_on.is_none() {
        return proof;
    }
    // The largest of the lines is lowest at some number of always-on workers; solve there until that number stays.
    let mut solved = Vec::new();
    let mut active = best;
    let rounds = if effort == Effort::Quick { 2 } else { 4 };
    while solved.len() < rounds && !solved.contains(&active) {
        let rent = stretches::rent(problem, active as f64, effort);
        add(&mut proof, &rent, left_up_s);
        solved.push(active);
        active = proof.bound(0, 0).1.min(levels.levels.len() + 1);
    }
    proof
}
