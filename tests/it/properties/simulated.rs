//! Random plans through the simulator, judged by the checker, the ledger and the metrics at once.

use proptest::test_runner::{TestCaseError, TestCaseResult};
use thermocline::ledger::{Ledger, Rounding};
use thermocline::metrics::Metrics;
use thermocline::policy::PolicyChoice;
use thermocline::scheduler::GpuClassId;
use thermocline::scheduler::follow::Follower;
use thermocline::sim::plan::Plan;
use thermocline::sim::{EndReason, RunEnd, Simulation};
use thermocline::units::Span;

use super::plans::{Knobs, Switch, knobs, plan};
use super::{check, fail};
use crate::checker::{Checker, audit};

/// A run and what was seen of it.
pub struct Judged {
    pub end: RunEnd,
    pub checker: Checker,
    pub ledger: Ledger,
    pub metrics: Metrics,
}

/// Runs a plan; fails on the first broken promise.
pub fn judged(plan: &Plan) -> Result<Judged, TestCaseError> {
    let books: Follower<Ledger> = Ledger::recorder(&plan.scheduler.gpu_classes, Rounding::UpToSeconds);
    let mut recorder = (Checker::new(&plan.scheduler), (books, Metrics::recorder()));
    let mut simulation = Simulation::new(plan).or_else(|error| fail(format!("the plan is refused: {error}")))?;
    let end = simulation.run(&mut recorder, &mut |_| {}).or_else(|error| fail(format!("the run stops: {error}")))?;
    let (mut checker, (books, metrics)) = recorder;
    checker.finish();
    let (ledger, metrics) = (books.finish(end.now), metrics.finish(end.now));
    let complaint = checker.complaint() + &audit(&checker, &ledger, end.now);
    if complaint.is_empty() { Ok(Judged { end, checker, ledger, metrics }) } else { fail(complaint) }
}

#[test]
fn no_promise_is_broken_whatever_goes_wrong() {
    check("tests/testdata/properties-simulated.txt", 120, &knobs(20..300), |knobs| {
        let run = judged(&plan(&knobs))?;
        counts_agree(&run)?;
        worker_time_is_conserved(&run)
    });
}

#[test]
fn once_faults_stop_every_job_gets_its_outcome_and_every_worker_rests() {
    check("tests/testdata/properties-liveness.txt", 60, &knobs(20..150), |knobs| {
        let plan = lively(knobs);
        let run = judged(&plan)?;
        if run.end.reason != EndReason::Finished {
            return fail(format!("{}; waiting: {:?}", run.end, run.checker.model().jobs));
        }
        let awake = run.checker.model().workers.values().filter(|worker| worker.holds_gpus()).count() as u32;
        let always_on: u32 = run.checker.model().endpoints.iter().map(|endpoint| endpoint.active).sum();
        if awake > always_on {
            return fail(format!("{awake} workers are up at the end, {always_on} are always on"));
        }
        Ok(())
    });
}

/// Only what heals: a host for everybody, starts that succeed in the end, nothing that takes workers or jobs away for good.
fn lively(knobs: Knobs) -> Plan {
    use Switch::*;
    let mut knobs = knobs.calm();
    let lasting = [BadRelease, Updates, Releases, Deletion, Suspension, Dormancy, LowPriority, ManyGpus, SmallDisk];
    lasting.into_iter().for_each(|switch| knobs.switches[switch as usize] = false);
    knobs.switches[SharedImage as usize] = true;
    let mut plan = plan(&knobs);
    // Every host suits every endpoint, and has room for all active workers and one more.
    plan.hosts.iter_mut().for_each(|host| host.spec.gpus = 4);
    plan.endpoints.iter_mut().for_each(|endpoint| {
        endpoint.spec.active = endpoint.spec.active.min(1);
        endpoint.spec.gpu_classes = vec![GpuClassId(0), GpuClassId(1)];
        endpoint.spec.data_centers.clear();
        endpoint.spec.backoff.give_up_after = Span::from_whole_secs(7 * 24 * 3_600);
        endpoint.spec.policies.scaling = PolicyChoice::named("queue_delay");
    });
    plan
}

/// The metrics count what the checker counted.
fn counts_agree(run: &Judged) -> TestCaseResult {
    let total = run.metrics.total().jobs;
    let model = run.checker.model();
    let accepted: u64 = model.endpoints.iter().map(|endpoint| endpoint.accepted).sum();
    let outcomes: u64 = model.endpoints.iter().map(|endpoint| endpoint.outcomes).sum();
    let waiting = model.jobs.len() as u64;
    let counted = (total.submitted, total.outcomes.iter().sum::<u64>(), total.unfinished);
    let expected = (accepted + total.rejected, outcomes, waiting);
    if counted != expected || accepted != outcomes + waiting {
        return fail(format!(
            "submitted, outcomes, unfinished: {counted:?} in the metrics, {expected:?} by the checker"
        ));
    }
    Ok(())
}

/// Every worker is in one activity from its creation to its removal, and no time is lost between them.
fn worker_time_is_conserved(run: &Judged) -> TestCaseResult {
    for (endpoint, lifetime) in run.checker.lifetimes(run.end.now) {
        let Some(figures) = run.metrics.endpoint(endpoint) else { return fail(format!("{endpoint} has no figures")) };
        let counted: u64 = figures.activities.iter().map(|level| level.integral(run.end.now)).sum();
        let by_state: u64 = figures.state_micros().iter().sum();
        if (counted, by_state) != (lifetime, lifetime) {
            return fail(format!("{endpoint}: workers existed {lifetime} us, activities {counted}, states {by_state}"));
        }
    }
    Ok(())
}
