//! Figures of transcripts written by hand, where every value can be counted on the fingers, and identities of random ones.

use proptest::prelude::*;

use super::*;
use crate::policy::WorkerKind;
use crate::scheduler::WorkerReason;
use crate::scheduler::script::{Script, job, worker};
use crate::units::{Span, UsdPerSecond};

fn figures(script: &Script) -> EndpointMetrics {
    script.fold(Metrics::new(Vec::new(), Window::ALL)).total()
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// One flex worker, started at 10 by job 0, ready at 12; job 1 comes at 11, job 2 at 20 when the worker is idle.
fn three_jobs() -> Script {
    let mut script = Script::with_endpoints(1);
    script.at(0.0).place(0, 0, 0, WorkerKind::Flex).phase(0, Phase::Asleep, WorkerReason::Precache);
    script.at(10.0).submit(0, 0).start(0, 1).at(11.0).submit(1, 0);
    script.at(12.0).ready(0, 1).assign(0, 0, 1, 1).at(13.0).complete(0, 0, 1, 1).assign(1, 0, 1, 1);
    script.at(15.0).complete(1, 0, 1, 1).at(20.0).submit(2, 0).assign(2, 0, 1, 1).at(21.0).complete(2, 0, 1, 1);
    script.at(25.0).phase(0, Phase::Stopping, WorkerReason::IdleTimeout);
    script.at(26.0).phase(0, Phase::Asleep, WorkerReason::NoDemand).at(40.0);
    script
}

#[test]
fn waits_and_cold_starts_of_three_jobs() {
    let figures = figures(&three_jobs());
    assert_eq!((figures.jobs.submitted, figures.jobs.of(JobOutcome::Completed)), (3, 3));
    assert_eq!((figures.lengths.wait.sum(), figures.lengths.wait.max()), (4_000_000, Span::from_whole_secs(2)));
    assert_eq!(figures.p_wait(), Some(2.0 / 3.0));
    assert_eq!(figures.lengths.response.sum(), 3_000_000 + 4_000_000 + 1_000_000);
    assert_eq!((figures.jobs.cold, figures.jobs.started), (2, 3), "jobs 0 and 1 waited for the start");
    assert_eq!((figures.lengths.cold_start.count(), figures.lengths.cold_start.sum()), (1, 2_000_000));
}

#[test]
fn time_is_shared_out_among_states_without_a_gap() {
    let figures = figures(&three_jobs());
    let of = |activity: Activity| seconds(figures.activities[activity as usize].integral(figures.end));
    assert_eq!((of(Activity::Asleep), of(Activity::Starting), of(Activity::Busy)), (24.0, 2.0, 4.0));
    assert_eq!((of(Activity::Idle), of(Activity::Stopping)), (9.0, 1.0));
    assert_eq!(Activity::ALL.map(of).iter().sum::<f64>(), 40.0);
    let states = figures.state_micros().map(seconds);
    assert_eq!(states, [2.0, 34.0, 4.0, 0.0, 0.0, 0.0]);
    assert_eq!(figures.utilization(), Some(4.0 / 16.0));
    assert_eq!(figures.slot_utilization(), Some(4.0 / 13.0));
    assert_eq!((figures.up[1].max(), seconds(figures.up[1].integral(figures.end))), (1, 16.0));
    assert_eq!((figures.workers.image_hits, figures.workers.image_misses), (2, 0));
}

#[test]
fn activities_and_the_contract_agree_on_public_states() {
    use crate::scheduler::PublicState;
    let mut member = Script::with_endpoints(1).place(0, 0, 0, WorkerKind::Flex).fold(Keep::default()).0.unwrap();
    for phase in Phase::ALL {
        for (in_hand, outdated) in [(0, false), (1, false), (0, true), (1, true)] {
            (member.phase, member.in_hand, member.outdated) = (phase, in_hand, outdated);
            let public = Activity::of(&member).map(|activity| activity.public(outdated));
            assert_eq!(public, PublicState::of(phase, in_hand, outdated), "{member:?}");
        }
    }
}

#[derive(Default)]
struct Keep(Option<Member>);

impl Watcher for Keep {
    fn worker_left(&mut self, _: Time, worker: &Member) {
        self.0 = Some(worker.clone());
    }
}

#[test]
fn a_start_that_takes_no_time_is_not_cold() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).at(5.0).submit(0, 0).at(6.0).start(0, 1).ready(0, 1).assign(0, 0, 1, 1);
    script.at(7.0).complete(0, 0, 1, 1);
    let figures = figures(&script);
    assert_eq!((figures.jobs.cold, figures.lengths.cold_start.count(), figures.workers.starts), (0, 0, 1));
}

#[test]
fn a_lost_attempt_keeps_the_wait_and_lengthens_the_delay() {
    let mut script = Script::with_endpoints(1);
    script.place(0, 0, 0, WorkerKind::Flex).start(0, 1).ready(0, 1);
    script.at(1.0).submit(0, 0).assign(0, 0, 1, 1);
    script.at(4.0).phase(0, Phase::Unhealthy, WorkerReason::Crashed);
    script.asked(Command::RequeueJob { job: job(0), worker: worker(0), cause: RequeueCause::WorkerCrashed });
    script.at(14.0).start(0, 2).at(15.0).ready(0, 2).assign(0, 0, 2, 2).at(18.0).complete(0, 0, 2, 2);
    let figures = figures(&script);
    assert_eq!((figures.jobs.retried, figures.jobs.retries, figures.workers.crashes), (1, 1, 1));
    assert_eq!((figures.lengths.wait.sum(), figures.lengths.delay.sum()), (0, 14_000_000));
    assert_eq!((figures.lengths.service.sum(), figures.lengths.response.sum()), (3_000_000, 17_000_000));
    assert_eq!((figures.queue.max(), seconds(figures.queue.integral(figures.end))), (1, 11.0));
}

#[test]
fn late_and_doubled_facts_change_nothing() {
    let script = three_jobs();
    let mut doubled = Script::default();
    for (time, line) in &script.lines {
        doubled.at(time.as_secs());
        doubled.lines.push((*time, line.clone()));
        if let crate::scheduler::script::Line::Fact(event @ Event::JobFinished { .. }) = line {
            doubled.told(event.clone()).told(event.clone());
        }
    }
    doubled.at(40.0);
    assert_eq!(figures(&doubled), figures(&script));
}

#[test]
fn targets_judge_served_refused_and_timed_out_jobs_but_no_cancelled_ones() {
    let mut script = three_jobs();
    script.submit(3, 0).at(41.0).finish(3, JobOutcome::TimedOut, FinishCause::TtlInQueue);
    script.submit(4, 0).finish(4, JobOutcome::Cancelled, FinishCause::Cancelled);
    script.told(Event::JobSubmitted { endpoint: EndpointId(0), client_ref: 5, policy: Default::default() });
    script.asked(Command::RejectJob { endpoint: EndpointId(0), client_ref: 5, reason: RejectReason::QueueFull });
    let target = SloTarget { wait: Some(Span::ZERO), response: Some(Span::from_whole_secs(3)) };
    let total = script.fold(Metrics::new(vec![target], Window::ALL)).total();
    assert_eq!((total.jobs.slo_met, total.jobs.slo_judged), (1, 5));
    assert_eq!((total.jobs.rejected, total.jobs.submitted), (1, 6));
}

#[test]
fn jobs_and_time_before_the_window_do_not_count() {
    let window = Window { from: Time::from_secs(14.0), until: Time::from_secs(22.0) };
    let total = three_jobs().fold(Metrics::new(Vec::new(), window)).total();
    assert_eq!((total.jobs.submitted, total.lengths.wait.count(), total.lengths.response.count()), (1, 1, 1));
    assert_eq!(total.utilization(), Some(2.0 / 8.0));
    assert_eq!(total.mean_of(total.in_system.integral(total.end)), 2.0 / 8.0);
}

#[test]
fn a_job_for_nobody_is_counted_in_the_total() {
    let mut script = Script::with_endpoints(1);
    let endpoint = EndpointId(9);
    script.told(Event::JobSubmitted { endpoint, client_ref: 0, policy: Default::default() });
    script.asked(Command::RejectJob { endpoint, client_ref: 0, reason: RejectReason::UnknownEndpoint });
    let total = figures(&script);
    assert_eq!((total.jobs.submitted, total.jobs.rejected), (1, 1));
}

#[test]
fn stages_and_pulls_are_measured() {
    let mut script = Script::with_endpoints(1);
    let (host, image) = (HostId(0), ImageId(0));
    script.place(0, 0, 0, WorkerKind::Flex).asked(Command::PullImage { host, image });
    script.phase(0, Phase::Pulling, WorkerReason::ImagePull);
    script.at(30.0).told(Event::ImagePulled { host, image }).told(Event::ImagePulled { host, image }).start(0, 1);
    for (end, stage) in [(31.0, StartStage::Container), (35.0, StartStage::Weights)] {
        script.at(end).told(Event::StageEnded { worker: worker(0), epoch: 1, stage });
        script.told(Event::StageEnded { worker: worker(0), epoch: 0, stage });
    }
    script.ready(0, 1);
    let metrics = script.fold(Metrics::new(Vec::new(), Window::ALL));
    let total = metrics.total();
    assert_eq!(
        (metrics.pulls().asked, metrics.pulls().length.count(), metrics.pulls().length.sum()),
        (1, 1, 30_000_000)
    );
    assert_eq!((total.workers.image_hits, total.workers.image_misses), (0, 1));
    let stage = |stage: StartStage| total.lengths.stages[stage as usize].sum();
    assert_eq!((stage(StartStage::Container), stage(StartStage::Weights)), (1_000_000, 4_000_000));
}

proptest! {
    /// Little's law and the conservation of jobs and of worker time hold exactly on every run that ends empty.
    #[test]
    fn identities_hold_exactly(gaps in prop::collection::vec((0..3_000_000_u64, 0..3_000_000_u64), 1..60)) {
        let mut script = Script::with_endpoints(2);
        script.place(0, 1, 0, WorkerKind::Flex).start(0, 1).after(Span(700_000)).ready(0, 1);
        let (mut waiting, mut next) = (0, 0_u64);
        for (gap, service) in &gaps {
            script.after(Span(*gap)).submit(next, 1).after(Span(*service));
            next += 1;
            if service % 3 > 0 {
                script.assign(waiting, 0, 1, 1).after(Span(*service)).complete(waiting, 0, 1, 1);
                waiting += 1;
            }
        }
        for job in waiting..next {
            script.assign(job, 0, 1, 1).after(Span(1_000)).complete(job, 0, 1, 1);
        }
        let total = figures(&script);
        let (end, lengths) = (total.end, &total.lengths);
        prop_assert_eq!(u128::from(total.in_system.integral(end)), lengths.response.sum());
        prop_assert_eq!(u128::from(total.queue.integral(end)), lengths.wait.sum());
        prop_assert_eq!(u128::from(total.in_service.integral(end)), lengths.service.sum());
        prop_assert_eq!(total.jobs.outcomes.iter().sum::<u64>(), total.jobs.submitted);
        let states: u64 = total.state_micros().iter().sum();
        let activities: u64 = total.activities.iter().map(|level| level.integral(end)).sum();
        prop_assert_eq!((states, activities), (end.0, end.0));
        let price = UsdPerSecond(1);
        prop_assert_eq!(price.cost(Span(total.up_micros())).0, i128::from(end.0));
    }
}
