//! The bound against exhaustive search on tiny cases, against theory's instances, and against what policies really cost.

mod edges;

use super::levels::{Held, Levels};
use super::upper::{self, Come, Terms};
use super::*;
use crate::experiment::{RunOptions, run_with};
use crate::ledger::{Profile, Rounding};
use crate::policy::PolicyChoice;
use crate::scheduler::PickUp;
use crate::scheduler::StartStage;
use crate::sim::Clean;
use crate::sim::plan::{Action, PacingModel, StageModel};
use crate::units::Span;
use crate::workload::{ArrivalSpec, Distribution, SharedSpeed};

const THEORY: &str = include_str!("../../../tests/testdata/theory.csv");

/// Whole-second jobs and prices of a tiny case.
struct Tiny {
    jobs: Vec<(u64, u64)>,
    start_s: f64,
    limit: u64,
    price: f64,
}

impl Tiny {
    fn waiting(&self) -> Waiting {
        Waiting { limit: self.limit as f64, price: self.price }
    }

    fn comes(&self) -> Vec<Come> {
        self.jobs
            .iter()
            .map(|(at, service)| Come { at: second(*at), service: second(*service).since(Time::ZERO) })
            .collect()
    }

    fn problem(&self) -> Problem {
        let wishes: Vec<Wish> =
            self.jobs.iter().map(|(at, service)| Wish { at: *at as f64, service: *service as f64 }).collect();
        let end = self.jobs.iter().map(|(at, service)| at + service).max().unwrap_or(0);
        let span = (0.0, end as f64);
        Problem {
            wishes,
            full: None,
            start_s: self.start_s,
            waiting: self.waiting(),
            places: 1,
            crowd: None,
            span,
            begun: false,
            after: 1.0,
        }
    }

    fn lower(&self) -> f64 {
        let levels = Levels::default();
        prove(&self.problem(), None, 0, &levels, Effort::Normal, 0.0).bound(0, 0).0
    }

    fn upper(&self) -> f64 {
        let terms = Terms { start_s: self.start_s, waiting: self.waiting(), always_on: None };
        upper::best(&self.comes(), &terms)
    }

    /// Every combination of whole-second waits, and for each the cheapest workers by dynamic programming over their number.
    fn exhaustive(&self) -> f64 {
        let mut waits = vec![0; self.jobs.len()];
        let mut best = f64::INFINITY;
        loop {
            let waited: u64 = waits.iter().sum();
            let held: Vec<(u64, u64)> =
                self.jobs.iter().zip(&waits).map(|((at, service), wait)| (at + wait, at + wait + service)).collect();
            best = best.min(workers_by_search(&held, self.start_s) + waited as f64 * self.price);
            let Some(place) = waits.iter().position(|wait| *wait < self.limit) else { return best };
            waits[..place].fill(0);
            waits[place] += 1;
        }
    }
}

/// The cheapest numbers of workers, second by second, that cover the jobs in service: knows nothing of levels.
fn workers_by_search(held: &[(u64, u64)], start_s: f64) -> f64 {
    let end = held.iter().map(|job| job.1).max().unwrap_or(0);
    let mut costs = vec![f64::INFINITY; held.len() + 1];
    costs[0] = 0.0;
    for at in 0..end {
        let needed = held.iter().filter(|job| job.0 <= at && at < job.1).count();
        let next = |workers: usize| {
            let from = costs.iter().enumerate().map(|(had, cost)| cost + start_s * workers.saturating_sub(had) as f64);
            from.fold(f64::INFINITY, f64::min) + workers as f64
        };
        costs = (0..costs.len()).map(|workers| if workers < needed { f64::INFINITY } else { next(workers) }).collect();
    }
    costs.into_iter().fold(f64::INFINITY, f64::min)
}

fn second(s: u64) -> Time {
    Time(s * 1_000_000)
}

/// Small numbers from a simple generator.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[test]
fn the_level_formula_is_what_an_exhaustive_search_finds() {
    let mut dice = Dice(3);
    for _ in 0..300 {
        let jobs: Vec<(u64, u64)> =
            (0..6).map(|_| (dice.roll(30), 1 + dice.roll(8))).map(|(at, s)| (at, at + s)).collect();
        let start_s = dice.roll(12) as f64;
        let held: Vec<Held> = jobs.iter().map(|job| Held { from: second(job.0), until: second(job.1) }).collect();
        assert_eq!(Levels::of(&held, start_s, 1).flex_s(), workers_by_search(&jobs, start_s), "{jobs:?} K={start_s}");
    }
}

#[test]
fn the_truth_lies_between_the_bound_and_the_schedule_that_is_reached() {
    let mut dice = Dice(11);
    let (mut lower, mut truth, mut upper) = (0.0, 0.0, 0.0);
    for round in 0..10 {
        let mut jobs: Vec<(u64, u64)> = (0..4).map(|_| (dice.roll(20), 1 + dice.roll(6))).collect();
        jobs.sort_unstable();
        let price = if round % 2 == 0 { 0.0 } else { 0.25 * (1 + dice.roll(8)) as f64 };
        let case = Tiny { jobs, start_s: 1.0 + dice.roll(15) as f64, limit: 1 + dice.roll(5), price };
        let (low, exact, high) = (case.lower(), case.exhaustive(), case.upper());
        assert!(low <= exact + 1e-6, "bound {low} above the optimum {exact}: {:?} {round}", case.jobs);
        assert!(high >= exact - 1e-6, "schedule {high} below the optimum {exact}: {:?} {round}", case.jobs);
        assert!(low > 0.4 * exact, "bound {low} far below the optimum {exact}: {:?} K={}", case.jobs, case.start_s);
        (lower, truth, upper) = (lower + low, truth + exact, upper + high);
    }
    assert!(lower > 0.8 * truth && upper < 1.08 * truth, "{lower} {truth} {upper}");
}

#[test]
fn theory_instances_are_met() {
    let mut seen = 0;
    for id in ["opt-a", "opt-b", "opt-c"] {
        let rows: Vec<Vec<String>> = csv::Reader::from_reader(THEORY.as_bytes())
            .records()
            .map(|row| row.unwrap().iter().map(str::to_owned).collect())
            .filter(|row: &Vec<String>| row[0] == id)
            .collect();
        let parameter = |name: &str| {
            let of = |part: &str| part.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
            rows[0][2].split(';').find_map(of).unwrap()
        };
        let list = |name: &str| parameter(name).split('|').map(|x| x.parse().unwrap()).collect::<Vec<u64>>();
        let number = |name: &str| parameter(name).parse::<f64>().unwrap();
        let jobs: Vec<(u64, u64)> = list("arrivals").into_iter().zip(list("services")).collect();
        let start_s = number("cold_start_s");
        let held: Vec<Held> = jobs.iter().map(|(at, s)| Held { from: second(*at), until: second(at + s) }).collect();
        let levels = Levels::of(&held, start_s, 1);
        let waiting = Tiny { jobs: jobs.clone(), start_s, limit: 10_000, price: number("waiting_cost_per_job_s") };
        let within_5 = Tiny { jobs, start_s, limit: 5, price: 0.0 };
        for row in &rows {
            let value: f64 = row[4].parse().unwrap();
            // The certified bound lies below the optimum, and close to the relaxation.
            let below = |found: f64, at_least: f64| {
                assert!(found <= value + 1e-6 && found >= at_least * value, "{id} {}: {found} of {value}", row[3]);
            };
            match row[3].as_str() {
                "opt_cost_zero_wait" => assert_eq!(levels.flex_s(), value),
                "opt_starts_zero_wait" => assert_eq!(levels.starts() as f64, value),
                "opt_idle_seconds_zero_wait" => assert_eq!(levels.idle_s(), value),
                "lp_bound_with_waiting" => below(waiting.lower(), 0.8),
                "opt_cost_with_waiting" => {
                    below(waiting.lower(), 0.75);
                    assert!(waiting.upper() >= value - 1e-6 && waiting.upper() <= 1.06 * value, "{}", waiting.upper());
                }
                "opt_cost_start_within_5s" => {
                    below(within_5.lower(), 0.7);
                    assert!(within_5.upper() >= value - 1e-6, "{}", within_5.upper());
                }
                _ => continue,
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 18, "rows of theory.csv");
}

fn clean(seed: u64, policy: &str, rate: f64, cold_start: f64) -> Clean {
    Clean {
        arrivals: ArrivalSpec::Poisson { rate },
        service: Distribution::Exponential { mean: 4.0 },
        cold_start: Distribution::Constant { value: cold_start },
        idle_timeout_s: Some(5.0),
        scaling: PolicyChoice::named(policy),
        max: 60,
        jobs: 60,
        seed,
        ..Clean::default()
    }
}

/// Runs the plan; its cost in the documented bill and what was served.
fn served(plan: &Plan) -> (f64, Served) {
    let options = RunOptions { rounding: Rounding::Exact, ..RunOptions::default() };
    let (outcome, jobs) = run_with(plan, &options, ServedJobs::default(), &mut (), &mut |_| {}).unwrap();
    (outcome.ledger.total().total(Profile::Documented).total().as_usd(), jobs.0.into_iter().next().unwrap())
}

#[test]
fn no_policy_is_below_the_bound() {
    let mut dice = Dice(5);
    for seed in 0..8 {
        let rate = [0.02, 0.2, 1.0][dice.roll(3) as usize];
        let cold_start = [3.0, 20.0][dice.roll(2) as usize];
        let policy = ["per_job", "queue_delay", "request_count"][dice.roll(3) as usize];
        let mut plan = Plan::clean(clean(seed, policy, rate, cold_start));
        plan.endpoints[0].spec.active = dice.roll(3) as u32;
        if dice.roll(2) == 0 {
            plan.endpoints[0].spec.pick_up = PickUp::Pull;
            plan.endpoints[0].pacing =
                PacingModel { latency: Distribution::Uniform { min: 0.0, max: 0.1 }, period: Span::SECOND };
        }
        let wait_usd_per_s = [0.0, 0.0002][dice.roll(2) as usize];
        let slo_wait_s = [Some(0.0), Some(8.0), None][dice.roll(3) as usize];
        let options = Options { slo_wait_s, wait_usd_per_s, effort: Effort::Quick, ..Options::default() };
        let bounds = for_plan(&plan, &options).unwrap();
        let (cost, served) = served(&plan);
        let regret = bounds.endpoints[0].regret(cost, &served);
        let told = format!("seed {seed}, {policy}, rate {rate}, cold {cold_start}, {slo_wait_s:?}: {regret:?}");
        assert_eq!((served.submitted, served.lost()), (60, 0), "{told}");
        assert!(regret.regret_usd >= -1e-9, "{told}");
        assert!(regret.provisioning_usd >= -1e-9, "{told}");
        let parts = regret.provisioning_usd + regret.timing_usd;
        assert!((parts - regret.regret_usd).abs() < 1e-9, "{told}");
        let own = &bounds.endpoints[0];
        assert!(own.lb_usd <= own.ub_usd && own.lb_at(0.05) <= own.lb_usd, "{own:?}");
    }
}

#[test]
fn settings_that_come_later_count_at_their_best() {
    let plan = |concurrency| Plan::clean(Clean { concurrency, ..clean(4, "request_count", 2.0, 10.0) });
    let lower = |plan: &Plan| for_plan(plan, &Options { any_active: false, ..Options::default() }).unwrap().lb_usd;
    let (alone, shared, mut changed) = (plan(1), plan(4), plan(1));
    let own = &changed.endpoints[0];
    let spec = Box::new(EndpointSpec { concurrency: 4, ..own.spec.clone() });
    let kind = ActionKind::Update { endpoint: EndpointId(0), spec, release: Box::new(own.release.clone()) };
    changed.actions.push(Action { at: Time::from_secs(5.0), kind });
    assert!(lower(&changed) < lower(&alone));
    assert!(lower(&changed) <= lower(&shared) + 1e-9, "{} {}", lower(&changed), lower(&shared));
}

#[test]
fn jobs_that_share_a_worker_a_warm_up_and_lost_jobs_leave_the_bound_below() {
    for (seed, rate) in [(1, 0.3), (2, 2.0), (3, 6.0)] {
        let mut plan = Plan::clean(Clean { concurrency: 4, ..clean(seed, "request_count", rate, 10.0) });
        plan.warm_up = Span::from_whole_secs(20);
        plan.duration = Some(Span::from_whole_secs(120));
        plan.max_jobs = None;
        plan.endpoints[0].spec.ttl = Span::from_whole_secs(9);
        let bounds =
            for_plan(&plan, &Options { slo_wait_s: Some(2.0), effort: Effort::Quick, ..Options::default() }).unwrap();
        let (cost, served) = served(&plan);
        let regret = bounds.endpoints[0].regret(cost, &served);
        assert!(regret.lost > 0 && regret.regret_usd >= -1e-9, "{regret:?}");
        assert!(bounds.lb_usd > 0.0);
    }
}

#[test]
fn places_that_slow_each_other_down_save_no_work() {
    let plan = |exponent| {
        let speed = SharedSpeed::Power { exponent };
        Plan::clean(Clean { concurrency: 4, speed, ..clean(3, "request_count", 2.0, 10.0) })
    };
    let options = Options { slo_wait_s: Some(2.0), any_active: false, effort: Effort::Quick, ..Options::default() };
    for (exponent, share) in [(0.0, 1.0), (0.5, 0.5), (1.0, 0.25)] {
        let own = for_plan(&plan(exponent), &options).unwrap().endpoints.remove(0);
        let work_usd = own.work_s * own.flex_usd_per_s * share;
        assert!((own.work_usd / work_usd - 1.0).abs() < 1e-3, "{exponent}: {} {work_usd}", own.work_usd);
        assert!(own.lb_usd > 0.99 * own.work_usd, "{exponent}: {} {}", own.lb_usd, own.work_usd);
        let (cost, served) = served(&plan(exponent));
        let regret = own.regret(cost, &served);
        assert!(regret.regret_usd >= -1e-9, "{exponent}: {regret:?}");
    }
}

#[test]
fn whoever_is_never_late_shows_what_can_be_reached() {
    let plan = Plan::clean(Clean { concurrency: 4, ..clean(1, "per_job", 0.5, 5.0) });
    let options = Options { slo_wait_s: Some(60.0), any_active: false, effort: Effort::Quick, ..Options::default() };
    let mut own = for_plan(&plan, &options).unwrap().endpoints.remove(0);
    let (cost, served) = served(&plan);
    let regret = own.regret(cost, &served);
    let apart = own.ub_usd;
    own.reached(&Regret { late: 1, ..regret });
    assert_eq!(own.ub_usd, apart);
    own.reached(&Regret { cost_usd: 0.5 * apart, ..regret });
    assert_eq!((regret.late, own.ub_usd), (0, 0.5 * apart));
    let rounded = for_plan(&plan, &Options { round_up: true, ..options }).unwrap().endpoints.remove(0);
    assert!(rounded.ub_usd > apart && rounded.lb_usd == own.lb_usd, "a start is billed up to a second more");
}

#[test]
fn the_zero_wait_optimum_is_proven_where_nobody_may_wait() {
    let plan = Plan::clean(clean(1, "per_job", 0.3, 12.0));
    let options = Options { slo_wait_s: Some(0.0), any_active: false, ..Options::default() };
    let own = for_plan(&plan, &options).unwrap().endpoints.remove(0);
    assert!((own.ub_usd - own.zero_wait_flex_usd).abs() < 1e-12 && own.zero_wait_usd == own.zero_wait_flex_usd);
    assert!(own.lb_usd > 0.97 * own.ub_usd, "{} of {}", own.lb_usd, own.ub_usd);
}

#[test]
fn the_same_bounds_for_any_number_of_threads() {
    let plan = Plan::clean(Clean { jobs: 200, ..clean(4, "per_job", 0.3, 12.0) });
    let options = Options { slo_wait_s: Some(5.0), effort: Effort::Quick, ..Options::default() };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        serde_json::to_string(&pool.install(|| for_plan(&plan, &options)).unwrap()).unwrap()
    };
    assert_eq!(with(1), with(2));
}

#[test]
fn what_depends_on_the_policy_is_said_to_have_no_bound() {
    let mut plan = Plan::clean(clean(1, "per_job", 0.3, 12.0));
    plan.endpoints[0]
        .release
        .start
        .stages
        .push(StageModel { stage: StartStage::Import, time: Distribution::Exponential { mean: 3.0 } });
    let own = for_plan(&plan, &Options::default()).unwrap().endpoints.remove(0);
    assert_eq!((own.start_s, own.start_is_constant, own.unbounded), (15.0, false, None));
    assert!(own.caveats[0].starts_with("starts take a random time"));
    plan.endpoints[0].traffic.sources[0].arrivals =
        ArrivalSpec::ClosedLoop { users: 3, think: Distribution::Exponential { mean: 2.0 } };
    let own = for_plan(&plan, &Options::default()).unwrap().endpoints.remove(0);
    assert_eq!((own.jobs, own.lb_usd), (0, 0.0));
    assert_eq!(own.unbounded.as_deref(), Some("its clients wait for an answer before they ask again"));
}
