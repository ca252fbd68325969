//! From samples to the document: figures with intervals, paired differences, who may be the cheapest, the Pareto front.

use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

use super::{Entrant, Floor, Options, Replications, Sample, Samples, varies};
use crate::lab::stats::{
    LEAST, Paired, holm, jackknife_ratio, may_be_best, mean_interval, relative_change, variance_reduction,
};
use crate::ledger::Profile;
use crate::results::Interval;
use crate::results::comparison::{Against, Difference, PolicyFigures, PolicyRow, Regret, ScenarioComparison};
use crate::scenario::Scenario;
use crate::workload::ArrivalSpec;

/// Chance of a false claim that is accepted in a family of comparisons.
const LEVEL: f64 = 0.05;

/// The quantities that policies are compared by.
type Quantity = fn(&Sample, Profile) -> f64;
const COST: Quantity = |sample, profile| sample.cost(profile);
const WAIT_MEAN: Quantity = |sample, _| sample.wait_mean_s;
const WAIT_P95: Quantity = |sample, _| sample.wait_p95_s;

/// The document of one scenario. `floors` are those of the first replications.
pub fn judge(
    plain: &Scenario,
    entrants: &[Entrant],
    options: &Options,
    samples: &Samples,
    floors: Option<&[Box<dyn Floor>]>,
) -> ScenarioComparison {
    let columns = Columns { samples, profile: options.profile };
    let costs = columns.all(COST);
    let waits = columns.all(WAIT_P95);
    let cheapest = may_be_best(&costs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let against = against(&columns, options.baseline);
    let mut rows: Vec<PolicyRow> = (0..entrants.len())
        .map(|place| PolicyRow {
            policy: entrants[place].name.clone(),
            summary: entrants[place].summary.clone(),
            figures: figures(&samples.of[place]),
            against: against[place].clone(),
            may_be_cheapest: cheapest[place],
            dominated_by: dominated_by(place, &costs, &waits).map(|other| entrants[other].name.clone()),
            regret: floors.map(|floors| regret(&samples.of[place], floors, options.profile)),
        })
        .collect();
    rows.sort_by(|a, b| {
        cost_of(a, options.profile).total_cmp(&cost_of(b, options.profile)).then(a.policy.cmp(&b.policy))
    });
    let named = |keep: &dyn Fn(&PolicyRow) -> bool| -> Vec<String> {
        rows.iter().filter(|row| keep(row)).map(|row| row.policy.clone()).collect()
    };
    let (precision, cap) = match options.replications {
        Replications::UntilPrecise { precision, cap, .. } => (Some(precision), cap),
        _ => (None, samples.replications.len()),
    };
    ScenarioComparison {
        scenario: plain.settings.name.clone(),
        description: plain.settings.description.clone(),
        hash: hash(plain),
        seeds: samples.replications.iter().map(|replication| replication.seed).collect(),
        windows: samples.replications.iter().filter_map(|replication| replication.window).collect(),
        varies: varies(&plain.plan, &options.replications),
        warm_up_s: plain.plan.warm_up.as_secs(),
        precision,
        cap: cap as u64,
        cap_hit: samples.cap_hit,
        baseline: entrants[options.baseline].name.clone(),
        bound_usd: floors.map(|floors| {
            mean_interval(&floors.iter().map(|floor| floor.least_usd(options.profile, &[])).collect::<Vec<_>>())
        }),
        may_be_cheapest: named(&|row| row.may_be_cheapest),
        front: named(&|row| row.dominated_by.is_none()),
        notes: notes(entrants, samples, options.profile),
        policies: rows,
    }
}

/// XXH3-128 of the settings that a scenario has, wherever they come from, and of the traces and policy files that they name.
pub fn hash(scenario: &Scenario) -> String {
    let mut text = scenario.effective.tree.to_json().to_string();
    let mut traces: Vec<&Path> = Vec::new();
    for endpoint in &scenario.plan.endpoints {
        let policies = &endpoint.spec.policies;
        let sources =
            [&policies.scaling, &policies.keep_alive].into_iter().filter_map(|choice| choice.source.as_deref());
        sources.for_each(|source| text.push_str(source));
        for source in &endpoint.traffic.sources {
            if let ArrivalSpec::Trace(trace) = &source.arrivals
                && !traces.contains(&trace.path.as_path())
            {
                traces.push(&trace.path);
            }
        }
    }
    // A file that cannot be read has stopped every run of the scenario.
    let contents = traces.into_iter().filter_map(|path| std::fs::read(path).ok());
    contents.for_each(|bytes| text.push_str(&format!("{:032x}", xxh3_128(&bytes))));
    format!("{:032x}", xxh3_128(text.as_bytes()))
}

struct Columns<'a> {
    samples: &'a Samples,
    profile: Profile,
}

impl Columns<'_> {
    fn one(&self, policy: usize, quantity: Quantity) -> Vec<f64> {
        self.samples.of[policy].iter().map(|sample| quantity(sample, self.profile)).collect()
    }

    fn all(&self, quantity: Quantity) -> Vec<Vec<f64>> {
        (0..self.samples.of.len()).map(|policy| self.one(policy, quantity)).collect()
    }
}

fn cost_of(row: &PolicyRow, profile: Profile) -> f64 {
    match profile {
        Profile::Seed => row.figures.cost_seed_usd.mean,
        Profile::Documented => row.figures.cost_documented_usd.mean,
    }
}

fn figures(samples: &[Sample]) -> PolicyFigures {
    let column = |value: &dyn Fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<f64>>();
    let of = |value: &dyn Fn(&Sample) -> f64| mean_interval(&column(value));
    let shares = |value: &dyn Fn(&Sample) -> Option<f64>| {
        let known: Vec<f64> = samples.iter().filter_map(value).collect();
        // The mean of a share may come with an interval that leaves 0..1.
        (!known.is_empty()).then(|| {
            let interval = mean_interval(&known);
            Interval {
                low: interval.low.map(|low| low.max(0.0)),
                high: interval.high.map(|high| high.min(1.0)),
                ..interval
            }
        })
    };
    let completed = column(&|sample| sample.completed as f64);
    let per_1000 = |profile: Profile| {
        let ratio = jackknife_ratio(&column(&|sample| sample.cost(profile)), &completed);
        ratio.map(|ratio| ratio.map(|usd| usd * 1_000.0))
    };
    PolicyFigures {
        cost_documented_usd: of(&|sample| sample.cost(Profile::Documented)),
        cost_seed_usd: of(&|sample| sample.cost(Profile::Seed)),
        per_1000_documented_usd: per_1000(Profile::Documented),
        per_1000_seed_usd: per_1000(Profile::Seed),
        wait_mean_s: of(&|sample| sample.wait_mean_s),
        wait_p50_s: of(&|sample| sample.wait_p50_s),
        wait_p95_s: of(&|sample| sample.wait_p95_s),
        wait_p99_s: of(&|sample| sample.wait_p99_s),
        slo_attainment: shares(&|sample| sample.slo_attainment),
        cold_start_share: shares(&|sample| sample.cold_start_share),
        changes_per_hour: of(&Sample::changes_per_hour),
        lost_jobs: of(&|sample| sample.lost as f64),
        completed_jobs: of(&|sample| sample.completed as f64),
    }
}

/// Every policy against the baseline; each quantity is a family of its own for Holm's correction.
fn against(columns: &Columns<'_>, baseline: usize) -> Vec<Option<Against>> {
    let [cost, wait_mean, wait_p95] =
        [COST, WAIT_MEAN, WAIT_P95].map(|quantity| differences(columns, baseline, quantity));
    let all = cost.into_iter().zip(wait_mean).zip(wait_p95);
    all.map(|((cost, wait_mean), wait_p95)| Some(Against { cost: cost?, wait_mean: wait_mean?, wait_p95: wait_p95? }))
        .collect()
}

fn differences(columns: &Columns<'_>, baseline: usize, quantity: Quantity) -> Vec<Option<Difference>> {
    let reference = columns.one(baseline, quantity);
    let policies = columns.samples.of.len();
    let others: Vec<usize> = (0..policies).filter(|place| *place != baseline).collect();
    let pairs: Vec<Paired> =
        others.iter().map(|place| Paired::of(&columns.one(*place, quantity), &reference)).collect();
    let p_values: Option<Vec<f64>> = pairs.iter().map(|pair| pair.p).collect();
    let adjusted = p_values.map(|p_values| holm(&p_values));
    let mut all = vec![None; policies];
    for (number, place) in others.into_iter().enumerate() {
        let (own, pair) = (columns.one(place, quantity), &pairs[number]);
        let p_holm = adjusted.as_ref().map(|adjusted| adjusted[number]);
        let claimed = p_holm.is_some_and(|p| p < LEVEL);
        all[place] = Some(Difference {
            difference: pair.difference,
            relative: relative_change(&own, &reference),
            p: pair.p,
            p_holm,
            variance_reduction: variance_reduction(&own, &reference),
            below_in: pair.below as u64,
            bootstrap: pair.bootstrap,
            verdict: if claimed { pair.difference.side() } else { 0 },
        });
    }
    all
}

/// A policy that is both cheaper and quicker than `place`: both paired intervals lie below zero (statistics 3), or one does and the other
/// quantity is the same in every replication. Below 10 replications, where there are no intervals, both means.
fn dominated_by(place: usize, costs: &[Vec<f64>], waits: &[Vec<f64>]) -> Option<usize> {
    let below = |values: &[Vec<f64>], other: usize| {
        let difference = Paired::of(&values[other], &values[place]).difference;
        if values[place].len() < LEAST { difference.mean < 0.0 } else { difference.side() < 0 }
    };
    let same = |values: &[Vec<f64>], other: usize| values[other] == values[place];
    let dominates = |other: usize| match (below(costs, other), below(waits, other)) {
        (true, true) => true,
        (true, false) => same(waits, other),
        (false, true) => same(costs, other),
        (false, false) => false,
    };
    // The cheapest of those that dominate is the one to name.
    let mean = |other: &usize| costs[*other].iter().sum::<f64>();
    let mut dominating: Vec<usize> = (0..costs.len()).filter(|other| *other != place && dominates(*other)).collect();
    dominating.sort_by(|a, b| mean(a).total_cmp(&mean(b)));
    dominating.first().copied()
}

/// Cost beyond the floor of somebody who misses as much.
fn regret(samples: &[Sample], floors: &[Box<dyn Floor>], profile: Profile) -> Regret {
    let pairs = || samples.iter().zip(floors).map(|(sample, floor)| (sample, floor.least_usd(profile, &sample.missed)));
    let beyond: Vec<f64> = pairs().map(|(sample, least)| sample.cost(profile) - least).collect();
    let (cost, least) =
        pairs().fold((0.0, 0.0), |(cost, all), (sample, least)| (cost + sample.cost(profile), all + least));
    Regret { usd: mean_interval(&beyond), ratio: (least > 0.0).then(|| cost / least) }
}

/// What the figures must not be read without.
fn notes(entrants: &[Entrant], samples: &Samples, profile: Profile) -> Vec<String> {
    let mut notes = Vec::new();
    let n = samples.replications.len();
    if n < LEAST {
        notes.push(format!(
            "{n} replications carry no intervals and no claims (10 are needed): ranks and front are by the means alone"
        ));
    }
    if profile == Profile::Seed {
        notes.push(
            "ranked by the seed profile, where idle flex workers are free: never stopping a worker is then optimal"
                .to_owned(),
        );
    }
    let least_lost = samples.of.iter().map(|of| lost(of)).min().unwrap_or(0);
    for (entrant, of) in entrants.iter().zip(&samples.of) {
        if lost(of) > least_lost {
            let per_run = lost(of) as f64 / n as f64;
            notes.push(format!("{} loses {per_run:.1} jobs per run: its cost is not for the same work", entrant.name));
        }
        let stuck = of.iter().filter(|sample| !sample.complete).count();
        if stuck > 0 {
            notes.push(format!("{}: jobs that can never finish were left in {stuck} of {n} runs", entrant.name));
        }
    }
    notes
}

fn lost(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| sample.lost).sum()
}
