//! From ledger and metrics to the summary document: the one place where exact integers become numbers for people.

use std::collections::BTreeMap;

use crate::ledger::{Bill, CostPhase, EndpointAccount, Ledger, Profile};
use crate::metrics::{Activity, EndpointMetrics, Gauge, Histogram, Metrics};
use crate::policy::{Params, WorkerKind, registry};
use crate::results::summary as doc;
use crate::scheduler::reason::FinishCause;
use crate::scheduler::transcript_text::stage_name;
use crate::scheduler::{
    Binding, EndpointSpec, GpuClass, GpuClassId, JobOutcome, PolicySet, PublicState, Scheduler, StartStage,
};
use crate::units::EndpointId;

/// The figures of one endpoint (or of all) from its metrics and its account.
pub fn figures(metrics: &EndpointMetrics, account: &EndpointAccount) -> doc::Figures {
    let lengths = &metrics.lengths;
    let stages = StartStage::ALL.iter().zip(&lengths.stages).filter(|(_, lengths)| lengths.count() > 0);
    let seconds = |micros: u64| micros as f64 / 1e6;
    let activity_seconds = Activity::ALL.iter().map(|activity| {
        (activity_name(*activity).to_owned(), seconds(metrics.activities[*activity as usize].integral(metrics.end)))
    });
    doc::Figures {
        jobs: jobs(metrics),
        wait_s: quantiles(&lengths.wait),
        response_s: quantiles(&lengths.response),
        service_s: quantiles(&lengths.service),
        retry_delay_s: quantiles(&lengths.delay),
        cold_start_s: quantiles(&lengths.cold_start),
        cold_start_stages_s: stages.map(|(stage, length)| (stage_name(*stage).to_owned(), quantiles(length))).collect(),
        cold_start_share: metrics.cold_share(),
        p_wait: metrics.p_wait(),
        slo_attainment: metrics.slo_attainment(),
        queue: mean_max(metrics, &metrics.queue),
        in_system_mean: metrics.mean_of(metrics.in_system.integral(metrics.end)),
        workers: doc::Workers {
            active: mean_max(metrics, &metrics.up[WorkerKind::Active as usize]),
            flex: mean_max(metrics, &metrics.up[WorkerKind::Flex as usize]),
            extra: mean_max(metrics, &metrics.up[WorkerKind::Extra as usize]),
            all: mean_max(metrics, &metrics.up_all),
        },
        state_seconds: state_seconds(metrics),
        activity_seconds: activity_seconds.collect(),
        utilization: metrics.utilization(),
        slot_utilization: metrics.slot_utilization(),
        starts: starts(metrics),
        image_cache_hit_rate: metrics.image_hit_rate(),
        cost_usd: costs(account, metrics.jobs.of(JobOutcome::Completed)),
    }
}

/// Every endpoint, by the settings that it has at the end.
pub fn endpoints(
    specs: &[EndpointSpec],
    classes: &[GpuClass],
    metrics: &Metrics,
    ledger: &Ledger,
) -> Vec<doc::EndpointSummary> {
    let numbered = specs.iter().enumerate().map(|(number, spec)| (EndpointId(number as u32), spec));
    numbered
        .filter_map(|(id, spec)| {
            let figures = figures(metrics.endpoint(id)?, &ledger.endpoint(id));
            let settings = settings(spec, classes);
            Some(doc::EndpointSummary { name: spec.name.clone(), settings, policy_faults: Vec::new(), figures })
        })
        .collect()
}

/// What each GPU class earned, those left out that earned nothing.
pub fn gpu_classes(classes: &[GpuClass], ledger: &Ledger) -> Vec<doc::GpuClassSummary> {
    let earned = |place: usize, profile| ledger.gpu_class(GpuClassId(place as u16), profile).as_usd();
    let rows = classes.iter().enumerate().map(|(place, class)| doc::GpuClassSummary {
        name: class.name.clone(),
        seed_usd: earned(place, Profile::Seed),
        documented_usd: earned(place, Profile::Documented),
    });
    rows.filter(|row| row.seed_usd > 0.0 || row.documented_usd > 0.0).collect()
}

/// Image pulls.
pub fn pulls(metrics: &Metrics) -> doc::Pulls {
    let pulls = metrics.pulls();
    doc::Pulls { asked: pulls.asked, failed: pulls.failed, evicted: pulls.evicted, length_s: quantiles(&pulls.length) }
}

/// Mean and quantiles of a histogram.
pub fn quantiles(values: &Histogram) -> doc::Quantiles {
    let at = |q| values.quantile(q).map(|span| span.as_secs());
    doc::Quantiles {
        count: values.count(),
        mean: values.mean_s(),
        sd: values.sd_s(),
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        max: at(1.0),
    }
}

fn jobs(metrics: &EndpointMetrics) -> doc::Jobs {
    let jobs = &metrics.jobs;
    let causes = FinishCause::ALL.iter().zip(jobs.finish_causes).filter(|(_, count)| *count > 0);
    doc::Jobs {
        submitted: jobs.submitted,
        completed: jobs.of(JobOutcome::Completed),
        failed: jobs.of(JobOutcome::Failed),
        timed_out: jobs.of(JobOutcome::TimedOut),
        cancelled: jobs.of(JobOutcome::Cancelled),
        retried: jobs.retried,
        rejected: jobs.rejected,
        unfinished: jobs.unfinished,
        attempts_lost: jobs.retries,
        by_cause: causes.map(|(cause, count)| (cause.to_string(), count)).collect(),
        lost_by_cause: named(&jobs.requeue_causes, |cause| cause.as_str()),
        rejected_by_reason: named(&jobs.reject_reasons, |reason| reason.as_str()),
    }
}

fn starts(metrics: &EndpointMetrics) -> doc::Starts {
    let counts = &metrics.workers;
    doc::Starts {
        asked: counts.starts,
        resumed: counts.resumes,
        ready: counts.ready,
        failed: counts.failed_starts,
        crashes: counts.crashes,
        refreshes: counts.refreshes,
        by_cause: named(&counts.start_causes, |cause| cause.as_str()),
        unhealthy_by_reason: named(&counts.unhealthy_reasons, |reason| reason.as_str()),
        scale_decisions: named(&counts.scale_reasons, |reason| reason.as_str()),
    }
}

fn named<K: Copy>(counts: &BTreeMap<K, u64>, name: impl Fn(K) -> &'static str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (key, count) in counts {
        *all.entry(name(*key).to_owned()).or_default() += count;
    }
    all
}

fn mean_max(metrics: &EndpointMetrics, gauge: &Gauge) -> doc::MeanMax {
    doc::MeanMax { mean: metrics.mean_of(gauge.integral(metrics.end)), max: gauge.max() }
}

fn state_seconds(metrics: &EndpointMetrics) -> doc::StateSeconds {
    let micros = metrics.state_micros();
    let of = |state: PublicState| micros[state as usize] as f64 / 1e6;
    doc::StateSeconds {
        initializing: of(PublicState::Initializing),
        idle: of(PublicState::Idle),
        running: of(PublicState::Running),
        throttled: of(PublicState::Throttled),
        outdated: of(PublicState::Outdated),
        unhealthy: of(PublicState::Unhealthy),
    }
}

fn costs(account: &EndpointAccount, completed: u64) -> doc::Costs {
    doc::Costs {
        seed: bill(account, Profile::Seed, completed),
        documented: bill(account, Profile::Documented, completed),
        wasted_attempts: account.wasted_attempts,
        wasted_attempts_usd: account.wasted_cost.as_usd(),
    }
}

fn bill(account: &EndpointAccount, profile: Profile, completed: u64) -> doc::Bill {
    let total = account.total(profile);
    let of = |phase| total.of(phase).as_usd();
    let kind = |kind| account.bill(profile, kind).total().as_usd();
    let mut by_cause: BTreeMap<String, doc::CauseCost> = BTreeMap::new();
    for (cause, caused) in account.causes.iter().filter(|(_, caused)| caused.starts > 0 || caused.total[1].0 > 0) {
        let entry = by_cause.entry(cause.as_str().to_owned()).or_default();
        entry.starts += caused.starts;
        entry.start_usd += caused.start_cost[profile.index()].as_usd();
        entry.total_usd += caused.total[profile.index()].as_usd();
    }
    doc::Bill {
        total: total.total().as_usd(),
        by_phase: doc::ByPhase {
            start: of(CostPhase::Start),
            work: of(CostPhase::Work),
            warm_idle: of(CostPhase::WarmIdle),
            drain: of(CostPhase::Drain),
            rounding: of(CostPhase::Rounding),
        },
        by_worker_type: doc::ByWorkerType {
            active: kind(WorkerKind::Active),
            flex: kind(WorkerKind::Flex),
            extra: kind(WorkerKind::Extra),
        },
        by_cause,
        failed_starts: account.failed_start_cost[profile.index()].as_usd(),
        billed_s: total.billed_micros() as f64 / 1e6,
        sessions: total.sessions,
        per_1000_completed: (completed > 0).then(|| total.total().as_usd() * 1_000.0 / completed as f64),
        active_work_share: work_share(account.bill(profile, WorkerKind::Active)),
    }
}

fn work_share(bill: &Bill) -> Option<f64> {
    let exact = bill.exact().0;
    (exact > 0).then(|| bill.of(CostPhase::Work).0 as f64 / exact as f64)
}

fn settings(spec: &EndpointSpec, classes: &[GpuClass]) -> doc::EndpointSettings {
    let class = spec.gpu_classes.first().and_then(|class| classes.get(usize::from(class.0)));
    let gpus = f64::from(spec.gpus_per_worker);
    doc::EndpointSettings {
        active: spec.active,
        max: spec.max,
        extra: spec.extra,
        concurrency: spec.concurrency,
        gpus_per_worker: spec.gpus_per_worker,
        scaling: spec.policies.scaling.name.clone(),
        idle_timeout_s: idle_timeout_s(&spec.policies),
        flex_usd_per_s: class.map_or(0.0, |class| class.flex.as_usd() * gpus),
        active_usd_per_s: class.map_or(0.0, |class| class.active.as_usd() * gpus),
        binding: match spec.binding {
            Binding::Late => "late".to_owned(),
            Binding::Early => "early".to_owned(),
        },
        dispatch: spec.policies.dispatch.name.clone(),
    }
}

/// The idle timeout, given or default, of a keep-alive policy that has one; none where the scaler brings workers down itself.
fn idle_timeout_s(policies: &PolicySet) -> Option<f64> {
    const NAME: &str = "idle_timeout_s";
    let choice = &policies.keep_alive;
    let used = registry::scaling(&policies.scaling).map_or(true, |policy| policy.uses_idle_timeout());
    if !used {
        return None;
    }
    let entry = registry::KEEP_ALIVE.iter().find(|entry| entry.name == choice.name)?;
    let has_one = entry.params.iter().any(|param| param.name == NAME);
    let params = Params::check(choice, entry.params).ok().filter(|_| has_one)?;
    Some(params.number(NAME))
}

/// Writes the policies that failed to their endpoints.
pub fn policy_faults(endpoints: &mut [doc::EndpointSummary], scheduler: &Scheduler) {
    for (index, endpoint) in endpoints.iter_mut().enumerate() {
        let faults = scheduler.policy_faults(EndpointId(index as u32));
        endpoint.policy_faults = faults
            .into_iter()
            .map(|(kind, faults)| doc::PolicyFault {
                kind: kind.to_owned(),
                count: faults.count,
                first: faults.first.clone().unwrap_or_default(),
            })
            .collect();
    }
}

fn activity_name(activity: Activity) -> &'static str {
    match activity {
        Activity::Placing => "placing",
        Activity::Pulling => "pulling",
        Activity::Asleep => "asleep",
        Activity::Frozen => "frozen",
        Activity::Throttled => "throttled",
        Activity::Starting => "starting",
        Activity::Idle => "warm_idle",
        Activity::Busy => "busy",
        Activity::Draining => "draining",
        Activity::Stopping => "stopping",
        Activity::Unhealthy => "unhealthy",
    }
}
