//! The bound at the edges of a run: backlogs after the last arrival, parts that are run in, ends that cut what is put off, workers
//! that are not there all the time.

use super::*;
use crate::units::{HostId, UsdPerSecond};

/// What makes a run one of these.
#[derive(Clone, Copy, Debug, Default)]
struct Edge {
    /// Always-on workers, and no others.
    active: Option<u32>,
    /// Figures count from 20 s on.
    warm_up: bool,
    /// Arrivals end then.
    duration_s: Option<u64>,
    /// And are paid up to the end of the run.
    counts_drain: bool,
    /// The host is away from 1 s on, for so long.
    away_s: Option<u64>,
    /// Jobs per worker at once, that slow each other down.
    concurrency: u32,
    limit_s: Option<f64>,
}

fn plan(seed: u64, rate: f64, policy: PolicyChoice, edge: Edge) -> Plan {
    let speed = SharedSpeed::Power { exponent: if seed.is_multiple_of(2) { 1.0 } else { 0.5 } };
    let clean =
        Clean { concurrency: edge.concurrency.max(1), speed, scaling: policy, ..clean(seed, "per_job", rate, 8.0) };
    let mut plan = Plan::clean(clean);
    plan.scheduler.gpu_classes[0].active = UsdPerSecond::from_usd(0.6 * plan.scheduler.gpu_classes[0].flex.as_usd());
    if let Some(active) = edge.active {
        let spec = &mut plan.endpoints[0].spec;
        (spec.active, spec.max, spec.extra) = (active, active, 0);
    }
    if edge.warm_up {
        plan.warm_up = Span::from_whole_secs(20);
    }
    if edge.duration_s.is_some() {
        (plan.duration, plan.max_jobs) = (edge.duration_s.map(Span::from_whole_secs), None);
    }
    plan.counts_drain = edge.counts_drain;
    if let Some(away_s) = edge.away_s {
        let host = HostId(0);
        let second = |second: u64| Time::ZERO + Span::from_whole_secs(second);
        plan.actions = vec![
            Action { at: second(1), kind: ActionKind::LoseHost { host } },
            Action { at: second(1 + away_s), kind: ActionKind::ReturnHost { host } },
        ];
    }
    plan
}

/// The least regret over policies and seeds, in shares of the bill, and whether the bound said anything.
fn least_regret(edge: Edge) -> (f64, bool) {
    let patient = PolicyChoice::named("slo_cost").with("patience", 1.0).with("slo_s", edge.limit_s.unwrap_or(30.0));
    let names = ["per_job", "request_count"].map(PolicyChoice::named);
    let (mut least, mut says) = (f64::INFINITY, false);
    for policy in names.into_iter().chain([patient]) {
        for (seed, rate) in [(1, 0.2), (2, 1.0), (3, 4.0)] {
            let plan = plan(seed, rate, policy.clone(), edge);
            let options = Options { slo_wait_s: edge.limit_s, effort: Effort::Quick, ..Options::default() };
            let bounds = for_plan(&plan, &options).unwrap();
            let (cost, served) = served(&plan);
            let regret = bounds.endpoints[0].regret(cost, &served);
            says |= bounds.lb_usd > 0.2 * cost;
            least = least.min(regret.regret_usd / cost.max(1e-9));
        }
    }
    (least, says)
}

#[test]
fn a_backlog_of_always_on_workers_costs_their_price_after_the_last_arrival() {
    for (active, concurrency) in [(1, 1), (2, 1), (1, 4), (3, 4)] {
        for limit_s in [None, Some(10.0), Some(3_600.0)] {
            let edge = Edge { active: Some(active), concurrency, limit_s, ..Edge::default() };
            let (least, says) = least_regret(edge);
            assert!(least >= -1e-9 && says, "{edge:?}: {least}");
        }
    }
}

#[test]
fn parts_that_are_run_in_pay_for_what_they_put_off_and_others_do_not() {
    for counts_drain in [true, false] {
        for (active, concurrency, limit_s) in [
            (None, 1, Some(60.0)),
            (None, 4, Some(60.0)),
            (Some(1), 1, Some(600.0)),
            (Some(2), 4, None),
            (None, 1, Some(5.0)),
        ] {
            let edge = Edge {
                warm_up: true,
                duration_s: Some(120),
                counts_drain,
                active,
                concurrency,
                limit_s,
                ..Edge::default()
            };
            let (least, says) = least_regret(edge);
            assert!(least >= -1e-9, "{edge:?}: {least}");
            assert!(says || !counts_drain, "{edge:?}");
        }
    }
}

#[test]
fn a_worker_that_was_away_was_not_paid_all_the_time() {
    for (active, concurrency) in [(1, 1), (2, 4)] {
        let edge =
            Edge { active: Some(active), concurrency, away_s: Some(300), limit_s: Some(1_000.0), ..Edge::default() };
        let (least, _) = least_regret(edge);
        assert!(least >= -1e-9, "{edge:?}: {least}");
    }
}
