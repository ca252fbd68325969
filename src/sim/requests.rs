//! The requests of a plan without a run: when each comes, and the least time that it can hold a worker. Both are the same
//! whatever the policy does (common random numbers), so a bound for all policies can be computed from them.

use super::arrivals::Arrivals;
use super::check;
use super::endpoints::{Endpoint, attempt_index};
use super::engine::SimError;
use super::plan::{ActionKind, Plan, ReleasePlan};
use super::streams::Streams;
use crate::scheduler::STOP_ANSWER_TIMEOUT;
use crate::units::{EndpointId, Span, Time};
use crate::workload::{ArrivalSpec, Distribution, WorkHint};

/// Shared work is counted in floating point and rounded to microseconds: at most this much is lost.
const ROUNDING: Span = Span(2);

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it comes.
    pub at: Time,
    /// Least time from its hand-out to its result: alone on a worker of the fastest host, past its first jobs, pick-up included.
    pub service: Span,
    /// Of `service`, what others on the same worker slow down.
    pub shared: Span,
    /// Its execution timeout lets it end at all.
    pub can_end: bool,
}

/// The requests of one endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Requests {
    /// In order of time.
    pub jobs: Vec<Request>,
    /// Why they depend on what a policy does, if they do: then `jobs` is empty.
    pub depends: Option<&'static str>,
}

/// The requests of every endpoint of `plan`, in the order of its endpoints.
///
/// # Errors
/// If the plan is not consistent or a trace cannot be read.
pub fn requests(plan: &Plan) -> Result<Vec<Requests>, SimError> {
    check::check(plan)?;
    let streams = Streams::new(plan.seed);
    let mut arrivals = Arrivals::open(plan, &streams)?;
    let mut found: Vec<Requests> = plan.endpoints.iter().map(|_| Requests::default()).collect();
    let mut works: Vec<Work> = Vec::new();
    for (number, endpoint) in (0..).zip(&plan.endpoints) {
        let fed = plan.endpoints.iter().any(|other| other.feeds.iter().any(|feed| feed.to.0 == number));
        let closed = endpoint.traffic.sources.iter();
        let closed = closed.into_iter().any(|source| matches!(source.arrivals, ArrivalSpec::ClosedLoop { .. }));
        found[number as usize].depends = match (fed, closed) {
            (true, _) => Some("its requests are outputs of another endpoint"),
            (_, true) => Some("its clients wait for an answer before they ask again"),
            _ => None,
        };
        works.push(Work::new(plan, EndpointId(number), &streams));
    }
    while arrivals.next_time() < Time::MAX {
        let Some((endpoint, arrival)) = arrivals.take()? else { break };
        let (found, work) = (&mut found[endpoint.index()], &works[endpoint.index()]);
        let index = found.jobs.len() as u64;
        let (service, shared) = work.least(&arrival.work, index);
        let own = arrival.execution_timeout.map(|timeout| timeout.span());
        let can_end = own.or(work.timeout).is_none_or(|timeout| service <= timeout);
        found.jobs.push(Request { at: arrival.at, service, shared, can_end });
    }
    for requests in found.iter_mut().filter(|requests| requests.depends.is_some()) {
        requests.jobs.clear();
    }
    Ok(found)
}

/// Seconds from the wish for a worker of endpoint `id` to its being ready: the mean of the quickest way, and whether every start
/// takes exactly that long. Image pulls, queues on a host and slow hosts only add to it.
pub fn start_seconds(plan: &Plan, id: EndpointId) -> (f64, bool) {
    let endpoint = &plan.endpoints[id.index()];
    let mut least = (f64::INFINITY, true);
    let mut consider = |times: &[&Distribution]| {
        let mean: f64 = times.iter().map(|time| time.mean()).sum();
        if mean < least.0 {
            least = (mean, times.iter().all(|time| time.scv().is_none_or(|scv| scv == 0.0)));
        }
    };
    for release in releases(plan, id) {
        let start = &release.start;
        consider(&start.stages.iter().map(|stage| &stage.time).collect::<Vec<_>>());
        if endpoint.spec.flashboot && start.freeze_probability > 0.0 {
            consider(&[&start.resume]);
        }
    }
    (least.0 * least_slowdown(plan), least.1)
}

/// The longest stop that can be counted upon, in seconds of endpoint `id`: the least mean among its releases; zero where a worker may
/// be gone without one (crashes, hosts that are lost, kills of workers that hang) or where a stop may last until it is cut short.
pub fn stop_seconds(plan: &Plan, id: EndpointId) -> f64 {
    let hosts_stay = plan.faults.host_uptime.is_none()
        && !plan.actions.iter().any(|action| matches!(action.kind, ActionKind::LoseHost { .. }));
    let least = |release: &ReleasePlan| {
        let faults = &release.faults;
        let stays = faults.uptime.is_none()
            && [faults.crash_probability, faults.hang_probability, faults.ignore_stop_probability] == [0.0; 3];
        let stop = &release.start.stop;
        let longest = match stop {
            Distribution::Uniform { max, .. } => *max,
            constant if constant.scv() == Some(0.0) => constant.mean(),
            _ => f64::INFINITY,
        };
        if stays && longest < STOP_ANSWER_TIMEOUT.as_secs() { stop.mean() } else { 0.0 }
    };
    if hosts_stay { releases(plan, id).map(least).fold(f64::INFINITY, f64::min) } else { 0.0 }
}

/// The release that the endpoint begins with, and all that come later.
fn releases(plan: &Plan, id: EndpointId) -> impl Iterator<Item = &ReleasePlan> {
    std::iter::once(&plan.endpoints[id.index()].release).chain(plan.updates(id).map(|(_, release)| release))
}

fn least_slowdown(plan: &Plan) -> f64 {
    plan.hosts.iter().map(|host| host.slowdown).fold(1.0, f64::min)
}

/// How the work of an endpoint's jobs is drawn.
struct Work {
    endpoint: Endpoint,
    attempts: u32,
    factor: f64,
    timeout: Option<Span>,
}

impl Work {
    fn new(plan: &Plan, id: EndpointId, streams: &Streams) -> Work {
        let own = &plan.endpoints[id.index()];
        let mut endpoint = Endpoint::new(id, own, streams);
        let mut timeout = own.spec.execution_timeout;
        for action in &plan.actions {
            if let ActionKind::Update { endpoint: of, spec, release } = &action.kind
                && *of == id
            {
                endpoint.update(spec, release);
                timeout = [timeout, spec.execution_timeout].into_iter().flatten().min();
            }
        }
        // A job that lost a worker draws its next attempt anew.
        // (What becomes of lost hosts matters only where hosts are lost.)
        let faults = &plan.faults;
        let facts = [faults.lost_fact_probability, faults.duplicate_fact_probability, faults.late_fact_probability];
        let safe = own.release.faults == Default::default()
            && faults.host_uptime.is_none()
            && facts == [0.0; 3]
            && plan.actions.is_empty()
            && plan.hosts.iter().all(|host| host.tenants.is_none());
        let attempts = if safe { 1 } else { own.spec.max_attempts.clamp(1, 10) };
        let warm = releases(plan, id).map(|release| release.start.warm_up_factor).fold(1.0, f64::min);
        Work { endpoint, attempts, factor: least_slowdown(plan) * warm, timeout }
    }

    /// The least time alone, and the least of its slowed part over all ways.
    fn least(&self, hint: &WorkHint, index: u64) -> (Span, Span) {
        let streams = &self.endpoint.streams;
        let mut least = (Span::MAX, Span::MAX);
        for attempt in 1..=self.attempts {
            let index = attempt_index(index, attempt);
            let latency =
                self.endpoint.latency.as_ref().map_or(Span::ZERO, |time| time.span(&mut streams.pick_up.at(index)));
            for release in &self.endpoint.releases {
                let demand = release.service.demand(hint, &mut streams.service.at(index));
                let shared = demand.shared / release.speed.rate(1);
                let alone = Span::from_secs((demand.fixed.as_secs() + shared) * self.factor);
                least = (least.0.min(latency + alone), least.1.min(Span::from_secs(shared * self.factor)));
            }
        }
        let sure = |span: Span| if span == Span::MAX { Span::ZERO } else { Span(span.0.saturating_sub(ROUNDING.0)) };
        (sure(least.0), sure(least.1))
    }
}

/// How much of a worker of `c` places a job takes at least, in seconds of one of its places. Source: own derivation.
///
/// A second of a worker is divided so that a job in its fixed part gets `a` and each of `m` in their shared part `(1 - a (c - m)) / m`:
/// never more than the second itself, whoever else is there. A unit of shared work then takes `(1 - a (c - m)) / (m rate(m))`. `a` is the
/// largest at which that is never less than what it is where the worker is quickest, `1 / M` with `M = max over m of m rate(m)`.
/// Work that is shared and time in a place cannot both be counted in full: while some jobs only take places, few others may have all of
/// the worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sharing {
    /// For a second of the fixed part: at most 1.
    pub fixed: f64,
    /// For a second that the shared part takes alone: 1 where nobody slows anybody.
    pub shared: f64,
}

/// What jobs of endpoint `id` take of its workers, at least, where these do up to `places` of them at once.
pub fn sharing(plan: &Plan, id: EndpointId, places: u32) -> Sharing {
    let of = |release: &ReleasePlan| {
        let (speed, all) = (release.service.speed(), f64::from(places));
        let total = |jobs: u32| f64::from(jobs) * speed.rate(jobs);
        let highest = (1..=places).map(total).fold(0.0, f64::max);
        let fixed = (1..places).map(|jobs| (1.0 - total(jobs) / highest) / f64::from(places - jobs));
        Sharing {
            fixed: fixed.fold(1.0 / all, f64::min).max(0.0) * all,
            shared: (all * speed.rate(1) / highest).max(1.0),
        }
    };
    let least = |a: Sharing, b: Sharing| Sharing { fixed: a.fixed.min(b.fixed), shared: a.shared.min(b.shared) };
    releases(plan, id).map(of).reduce(least).unwrap_or(Sharing { fixed: 1.0, shared: 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::follow::Follower;
    use crate::scheduler::watch::{LiveJob, Watcher};
    use crate::scheduler::{FinishCause, JobOutcome};
    use crate::sim::{Clean, Simulation};
    use crate::workload::SharedSpeed;

    #[derive(Default)]
    struct Seen(Vec<(Time, Span)>);

    impl Watcher for Seen {
        fn job_finished(&mut self, now: Time, job: &LiveJob, _: JobOutcome, _: FinishCause) {
            self.0.push((job.accepted, now.since(job.assigned)));
        }
    }

    fn held_against_a_run(clean: Clean) -> u64 {
        let plan = Plan::clean(clean);
        let mut follower = Follower::new(Seen::default());
        let end = Simulation::new(&plan).unwrap().run(&mut follower, &mut |_| {}).unwrap();
        let mut seen = follower.finish(end.now).0;
        seen.sort();
        let mut known: Vec<(Time, Span)> =
            requests(&plan).unwrap()[0].jobs.iter().map(|job| (job.at, job.service)).collect();
        known.sort();
        assert_eq!(seen.len(), known.len());
        let mut more = 0;
        for ((at, took), (known_at, least)) in seen.iter().zip(&known) {
            assert_eq!(at, known_at);
            assert!(took.0 >= least.0, "{took} < {least}");
            more += took.0 - least.0;
        }
        more
    }

    #[test]
    fn requests_are_those_of_a_run_and_no_job_is_ever_quicker() {
        let more = held_against_a_run(Clean { jobs: 2_000, ..Clean::default() });
        assert!(more <= 2_000 * ROUNDING.0, "alone on its worker a job takes exactly its time: {more} us more");
        let shared = Clean {
            jobs: 2_000,
            concurrency: 4,
            speed: SharedSpeed::Power { exponent: 0.5 },
            max: 20,
            ..Clean::default()
        };
        assert!(held_against_a_run(shared) > 1_000_000);
    }

    #[test]
    fn the_work_of_a_file_without_faults_is_what_its_run_does() {
        // Everything but the faults as files have it: lost hosts would come back, if any were lost.
        let mut plan = Plan::clean(Clean { jobs: 1_000, ..Clean::default() });
        plan.endpoints[0].spec.max_attempts = 3;
        let work =
            |plan: &Plan| -> f64 { requests(plan).unwrap()[0].jobs.iter().map(|job| job.service.as_secs()).sum() };
        let alone = work(&plan);
        plan.faults.host_return_probability = 0.8;
        assert_eq!(work(&plan), alone);
        plan.faults.host_uptime = Some(Distribution::Exponential { mean: 1e9 });
        assert!(work(&plan) < alone, "whoever loses a worker draws anew, so the least of all attempts counts");
    }

    #[test]
    fn shared_work_grows_by_what_the_worker_slows_down() {
        let plan = |speed| Plan::clean(Clean { jobs: 50, concurrency: 4, speed, ..Clean::default() });
        let of = |speed| sharing(&plan(speed), EndpointId(0), 4);
        assert_eq!(of(SharedSpeed::Independent), Sharing { fixed: 1.0, shared: 1.0 });
        let power = |exponent| of(SharedSpeed::Power { exponent });
        assert_eq!(power(0.0), Sharing { fixed: 0.0, shared: 4.0 }, "four at once are no quicker than one by one");
        // Of 4 places 3 bring 0.866 of the whole.
        assert!((power(0.5).shared - 2.0).abs() < 1e-9 && (power(0.5).fixed - 4.0 * 0.133_974).abs() < 1e-5);
        let batch = |step_s, per_job_s| of(SharedSpeed::Batch { step_s, per_job_s });
        assert!((batch(0.02, 0.01).shared - 2.5).abs() < 1e-9);
        assert_eq!(batch(0.01, 0.03), Sharing { fixed: 0.0, shared: 4.0 }, "alone is quickest");
        let jobs = |speed| requests(&plan(speed)).unwrap().remove(0).jobs;
        let half = jobs(SharedSpeed::Power { exponent: 0.5 });
        assert!(half.iter().all(|job| job.shared == job.service && !job.shared.is_zero()));
        assert!(jobs(SharedSpeed::Independent).iter().all(|job| job.shared.is_zero()));
    }

    #[test]
    fn nobody_takes_more_of_a_worker_than_there_is() {
        for speed in [
            SharedSpeed::Independent,
            SharedSpeed::Power { exponent: 0.3 },
            SharedSpeed::Batch { step_s: 0.03, per_job_s: 0.004 },
            SharedSpeed::Batch { step_s: 0.01, per_job_s: 0.03 },
        ] {
            for places in [1, 2, 5, 16] {
                let plan = Plan::clean(Clean { jobs: 1, concurrency: places, speed, ..Clean::default() });
                let of = sharing(&plan, EndpointId(0), places);
                for shared in 0..=places {
                    for fixed in 0..=places - shared {
                        let work = f64::from(shared) * speed.rate(shared) / speed.rate(1);
                        let taken = (f64::from(fixed) * of.fixed + work * of.shared) / f64::from(places);
                        assert!(taken <= 1.0 + 1e-9, "{speed:?}, {places}: {fixed} and {shared} take {taken}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_stop_counts_where_nobody_can_go_without_one() {
        let mut plan = Plan::clean(Clean::default());
        assert_eq!(stop_seconds(&plan, EndpointId(0)), 0.0);
        let stops = |plan: &mut Plan, stop| {
            plan.endpoints[0].release.start.stop = stop;
            stop_seconds(plan, EndpointId(0))
        };
        assert_eq!(stops(&mut plan, Distribution::Constant { value: 3.0 }), 3.0);
        assert_eq!(stops(&mut plan, Distribution::Uniform { min: 1.0, max: 5.0 }), 3.0);
        assert_eq!(stops(&mut plan, Distribution::Exponential { mean: 3.0 }), 0.0, "may be cut short");
        assert_eq!(stops(&mut plan, Distribution::Constant { value: 90.0 }), 0.0, "is cut short");
        plan.endpoints[0].release.faults.crash_probability = 0.01;
        assert_eq!(stops(&mut plan, Distribution::Constant { value: 3.0 }), 0.0);
    }

    #[test]
    fn the_quickest_start_counts() {
        let mut plan = Plan::clean(Clean::default());
        assert_eq!(start_seconds(&plan, EndpointId(0)), (10.0, true));
        plan.endpoints[0].spec.flashboot = true;
        plan.endpoints[0].release.start.freeze_probability = 1.0;
        plan.endpoints[0].release.start.resume = Distribution::Uniform { min: 1.0, max: 2.0 };
        assert_eq!(start_seconds(&plan, EndpointId(0)), (1.5, false));
    }
}
