//! Comparisons as a whole: the same answer on any number of threads, the same work for every policy, honest claims.

use std::path::Path;

use super::*;
use crate::lab::candidate::Candidate;
use crate::scenario;

const APP: &str =
    "max_jobs: 150\nendpoints:\n  a:\n    preset: sdxl-image\n    traffic: {type: poisson, rate_per_s: 0.02}\n";

fn entrants(typed: &[&str]) -> (Scenario, Vec<Entrant>) {
    let load = |candidate: &Candidate| {
        scenario::from_str_with(APP, "app.yaml", Path::new("."), &candidate.overlays, &[])
            .unwrap_or_else(|problems| panic!("{problems}"))
    };
    let entrant = |typed: &&str| {
        let candidate = Candidate::find(typed).unwrap_or_else(|problems| panic!("{problems}"));
        Entrant { scenario: load(&candidate), name: candidate.name, summary: candidate.summary }
    };
    (load(&Candidate::as_written()), typed.iter().map(entrant).collect())
}

fn options(replications: Replications) -> Options {
    Options { replications, profile: Profile::Documented, baseline: 0 }
}

fn on_threads(threads: usize, typed: &[&str], options: &Options) -> ScenarioComparison {
    let (plain, entrants) = entrants(typed);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| compare(&plain, &entrants, options, None, &|_| {})).unwrap_or_else(|error| panic!("{error}"))
}

const POLICIES: [&str; 3] = ["platform_default", "{idle_timeout_s: 300}", "request_count"];

#[test]
fn the_answer_does_not_depend_on_threads() {
    let options = options(Replications::UntilPrecise { first: 1, precision: 0.2, cap: 20 });
    let one = on_threads(1, &POLICIES, &options);
    assert_eq!(one, on_threads(2, &POLICIES, &options));
    assert_eq!(one.policies.len(), 3);
    assert!(one.seeds.len() >= LEAST);
}

#[test]
fn policies_meet_the_same_work_and_differences_show_it() {
    let table = on_threads(2, &POLICIES, &options(Replications::Seeds((1..=12).collect())));
    let jobs: Vec<f64> = table.policies.iter().map(|row| row.figures.completed_jobs.mean).collect();
    assert_eq!(jobs, [150.0; 3]);
    let cheap = table
        .policies
        .windows(2)
        .all(|pair| pair[0].figures.cost_documented_usd.mean <= pair[1].figures.cost_documented_usd.mean);
    assert!(cheap, "cheapest first");
    let patient = table.policies.iter().find(|row| row.policy.contains("300")).unwrap();
    let against = patient.against.as_ref().unwrap();
    // Five minutes of idling at a job per 50 s: dearer, and nearly always warm.
    assert_eq!((against.cost.verdict, against.wait_p95.verdict), (1, -1), "{against:?}");
    assert!(against.cost.p_holm >= against.cost.p);
    assert_eq!((against.cost.below_in, against.wait_p95.below_in), (0, 12));
    assert!(table.policies.iter().any(|row| row.policy == "platform_default" && row.against.is_none()));
    assert!(table.front.contains(&patient.policy));
    assert!(table.may_be_cheapest.iter().all(|name| table.front.contains(name)), "{table:?}");
}

#[test]
fn the_cap_is_said_and_so_are_too_few_runs() {
    let tight =
        on_threads(1, &POLICIES[..2], &options(Replications::UntilPrecise { first: 5, precision: 1e-6, cap: 12 }));
    assert_eq!((tight.cap_hit, tight.seeds.len(), tight.seeds[0]), (true, 12, 5));
    let few = on_threads(1, &POLICIES[..2], &options(Replications::Seeds(vec![1, 2, 3])));
    assert!(!few.cap_hit && few.notes[0].contains("no intervals"), "{:?}", few.notes);
    assert_eq!(few.policies[0].figures.wait_mean_s.low, None);
    assert_eq!(few.may_be_cheapest.len(), 2);
}

/// A cent, and half a cent less for whoever is late or loses jobs.
struct Cent;

impl Floor for Cent {
    fn least_usd(&self, _: Profile, missed: &[Missed]) -> f64 {
        if missed.iter().any(|missed| *missed != Missed::default()) { 0.005 } else { 0.01 }
    }
}

#[test]
fn a_bound_gives_regret() {
    let (plain, entrants) = entrants(&POLICIES[..2]);
    let options = options(Replications::Seeds((1..=12).collect()));
    let table = compare(&plain, &entrants, &options, Some(&|_| Some(Box::new(Cent))), &|_| {}).unwrap();
    assert!(table.bound_usd.is_some_and(|bound| (bound.mean - 0.01).abs() < 1e-12 && bound.low.is_some()));
    let samples = samples_of(&entrants, &options.replications, None).unwrap();
    for (entrant, of) in entrants.iter().zip(&samples) {
        let row = table.policies.iter().find(|row| row.policy == entrant.name).unwrap();
        let regret = row.regret.as_ref().unwrap();
        // No targets in this file, so nothing is late; ten of the twelve replications are bounded.
        let cost = of[..10].iter().map(|sample| sample.cost(Profile::Documented)).sum::<f64>() / 10.0;
        assert!((regret.usd.mean - (cost - 0.01)).abs() < 1e-9, "{regret:?}");
        assert!((regret.ratio.unwrap() - cost / 0.01).abs() < 1e-6);
    }
    let unknown = compare(&plain, &entrants, &options, Some(&|_| None), &|_| {}).unwrap();
    assert!(unknown.bound_usd.is_none() && unknown.policies[0].regret.is_none());
}

#[test]
fn two_policies_of_one_name_are_refused() {
    let (plain, entrants) = entrants(&["request_count", "request_count"]);
    let error = compare(&plain, &entrants, &options(Replications::Seeds(vec![1])), None, &|_| {}).unwrap_err();
    assert!(error.to_string().contains("`request_count`"), "{error}");
}
