//! One run: the simulation with ledger, metrics and transcript hash listening, wired statically, and its summary.

use crate::experiment::summarize;
use crate::ledger::{Ledger, Profile, Rounding};
use crate::metrics::{Metrics, SloTarget};
use crate::results::{SUMMARY_VERSION, Summary};
use crate::scheduler::follow::Follower;
use crate::scheduler::transcript_hash::TranscriptHash;
use crate::scheduler::watch::{Watcher, Window};
use crate::scheduler::{EndpointSpec, Recorder};
use crate::sim::plan::Plan;
use crate::sim::{EndReason, Progress, RunEnd, SimError, Simulation};
use crate::units::{EndpointId, Time};

/// What does not change the run, only how it is evaluated.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Name of the scenario, for the summary.
    pub name: String,
    /// Which bill is shown first; both are computed.
    pub profile: Profile,
    /// Billed sessions are rounded up to seconds, or not (clean mode).
    pub rounding: Rounding,
    /// Part of the run in which figures count. `None`: from the plan's warm-up on; a plan with a warm-up and a duration also
    /// stops counting at its duration, unless the drain counts ([`Plan::counts_drain`]).
    pub window: Option<Window>,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions { name: String::new(), profile: Profile::Seed, rounding: Rounding::UpToSeconds, window: None }
    }
}

/// What came out of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The document; `wall_s` is 0 until the caller, who owns a clock, sets it.
    pub summary: Summary,
    /// How the run ended.
    pub end: RunEnd,
    /// Exact figures behind the summary.
    pub metrics: Metrics,
    /// Exact books behind the summary.
    pub ledger: Ledger,
}

/// Why a run has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be run.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The results cannot be written.
    #[error(transparent)]
    Output(#[from] crate::results::OutputError),
}

/// Runs `plan` to its end. `progress` is called now and then.
///
/// # Errors
/// If the plan is not consistent or a trace turns out to be unreadable.
pub fn run(plan: &Plan, options: &RunOptions, progress: &mut dyn FnMut(&Progress)) -> Result<Outcome, RunError> {
    run_with(plan, options, (), &mut (), progress).map(|(outcome, ())| outcome)
}

/// As [`run`], with further listeners: `watcher` is told changes of workers and jobs, `recorder` the bare transcript.
///
/// # Errors
/// As [`run`].
pub fn run_with<W: Watcher, R: Recorder>(
    plan: &Plan,
    options: &RunOptions,
    watcher: W,
    recorder: &mut R,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(Outcome, W), RunError> {
    let window = options.window.unwrap_or_else(|| window_of(plan));
    let targets =
        plan.endpoints.iter().map(|endpoint| SloTarget { wait: endpoint.slo_wait, response: endpoint.slo_response });
    let metrics = Metrics::new(targets.collect(), window);
    let ledger = Ledger::new(&plan.scheduler.gpu_classes, options.rounding, window);
    let follower = Follower::new(((ledger, metrics), (Specs::default(), watcher)));
    let mut recorders = ((TranscriptHash::new(), follower), recorder);
    let mut simulation = Simulation::new(plan)?;
    let end = simulation.run(&mut recorders, progress)?;
    let ((hash, follower), _) = recorders;
    let ((ledger, metrics), (specs, watcher)) = follower.finish(end.now);
    let mut summary = summary(plan, options, window, &end, &hash, (&ledger, &metrics, &specs));
    summarize::policy_faults(&mut summary.endpoints, simulation.scheduler());
    Ok((Outcome { summary, end, metrics, ledger }, watcher))
}

fn window_of(plan: &Plan) -> Window {
    if plan.warm_up.is_zero() {
        return Window::ALL;
    }
    let until = plan.duration.filter(|_| !plan.counts_drain).map_or(Time::MAX, |duration| Time::ZERO + duration);
    Window { from: Time::ZERO + plan.warm_up, until }
}

fn summary(
    plan: &Plan,
    options: &RunOptions,
    window: Window,
    end: &RunEnd,
    hash: &TranscriptHash,
    (ledger, metrics, specs): (&Ledger, &Metrics, &Specs),
) -> Summary {
    let classes = &plan.scheduler.gpu_classes;
    Summary {
        version: SUMMARY_VERSION,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        scenario: options.name.clone(),
        seed: plan.seed,
        transcript_hash: hash.hex(),
        profile: options.profile.as_str().to_owned(),
        round_up: options.rounding == Rounding::UpToSeconds,
        simulated_s: end.now.as_secs(),
        observed_from_s: window.from.as_secs(),
        observed_s: metrics.observed_s(),
        events: end.events,
        commands: hash.commands(),
        wall_s: 0.0,
        ended: end.reason.to_string(),
        complete: !matches!(end.reason, EndReason::JobsWaiting { .. } | EndReason::DrainLimit { jobs: 1.. }),
        total: summarize::figures(&metrics.total(), &ledger.total()),
        endpoints: summarize::endpoints(&specs.0, classes, metrics, ledger),
        gpu_classes: summarize::gpu_classes(classes, ledger),
        pulls: summarize::pulls(metrics),
    }
}

/// Keeps the settings that the endpoints have at the end.
#[derive(Default)]
struct Specs(Vec<EndpointSpec>);

impl Watcher for Specs {
    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, spec: &EndpointSpec) {
        match self.0.get_mut(endpoint.index()) {
            Some(kept) => kept.clone_from(spec),
            None => self.0.push(spec.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::PolicyChoice;
    use crate::sim::Clean;
    use crate::units::Span;

    fn outcome(plan: &Plan) -> Outcome {
        run(plan, &RunOptions::default(), &mut |_| {}).unwrap()
    }

    #[test]
    fn a_run_accounts_for_every_job_and_repeats_itself() {
        let plan = Plan::clean(Clean { jobs: 3_000, ..Clean::default() });
        let outcome_1 = outcome(&plan);
        let jobs = &outcome_1.summary.total.jobs;
        assert_eq!((jobs.submitted, jobs.completed, jobs.unfinished), (3_000, 3_000, 0));
        assert_eq!(outcome(&plan).summary, outcome_1.summary);
        let other = Plan { seed: 2, ..plan };
        assert_ne!(outcome(&other).summary.transcript_hash, outcome_1.summary.transcript_hash);
    }

    #[test]
    fn the_total_is_the_sum_of_the_endpoints_and_both_bills_make_sense() {
        let plan = Plan::clean(Clean { jobs: 3_000, ..Clean::default() });
        let summary = outcome(&plan).summary;
        assert_eq!(summary.endpoints.len(), 1);
        assert_eq!(summary.endpoints[0].figures, summary.total);
        let costs = &summary.total.cost_usd;
        assert!(costs.seed.total > 0.0 && costs.documented.total > costs.seed.total);
        assert_eq!(costs.seed.by_phase.warm_idle, 0.0);
        assert!(summary.total.cold_start_s.p50 == Some(10.0) && summary.complete);
    }

    #[test]
    fn a_warm_up_cuts_both_ends() {
        let plan = Plan::clean(Clean { jobs: 3_000, ..Clean::default() });
        let plan = Plan { warm_up: Span::from_whole_secs(20), duration: Some(Span::from_whole_secs(50)), ..plan };
        let outcome = outcome(&plan);
        let submitted = outcome.summary.total.jobs.submitted;
        assert!(submitted > 1_000 && submitted < 2_000, "{submitted}");
        assert_eq!((outcome.summary.observed_from_s, outcome.summary.observed_s), (20.0, 30.0));
        // Where what is put off has to be paid for, the jobs are the same and the bill goes on.
        let drained = run(&Plan { counts_drain: true, ..plan }, &RunOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(drained.summary.total.jobs.submitted, submitted);
        assert!(drained.summary.observed_s > 30.0, "{}", drained.summary.observed_s);
        let cost = |of: &Outcome| of.summary.total.cost_usd.documented.total;
        assert!(cost(&drained) > cost(&outcome));
    }

    /// The platform's request-count scaler brings workers down itself: to advise another idle timeout would be in vain.
    #[test]
    fn a_scaler_that_does_not_use_the_idle_timeout_has_none() {
        let timeout = |scaler: &str| {
            let mut plan = Plan::clean(Clean { jobs: 10, ..Clean::default() });
            plan.endpoints[0].spec.policies.scaling = PolicyChoice::named(scaler);
            outcome(&plan).summary.endpoints[0].settings.idle_timeout_s
        };
        assert!(timeout("queue_delay").is_some());
        assert_eq!(timeout("request_count"), None);
    }

    #[test]
    fn a_plan_that_cannot_run_is_an_error() {
        let mut plan = Plan::clean(Clean::default());
        plan.endpoints[0].spec.policies.scaling.name = "magic".to_owned();
        assert!(matches!(run(&plan, &RunOptions::default(), &mut |_| {}), Err(RunError::Sim(SimError::Policy(_)))));
    }
}
