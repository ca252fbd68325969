//! Searches as a whole: a known optimum is found, threads change nothing, and what was found is checked on other data.

use std::fs;

use serde_json::json;

use super::*;
use crate::lab::tune::goal::Limit;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, app: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("thermocline-tune-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("app.yaml"), app).unwrap();
        Scratch(path)
    }

    fn options(&self, policies: &[&str], params: &[&str], goal: Goal, budget: usize) -> Options {
        Options {
            file: self.0.join("app.yaml"),
            overrides: Vec::new(),
            policies: policies.iter().map(|name| Candidate::find(name).unwrap()).collect(),
            params: params.iter().map(|text| Axis::parse(text).unwrap()).collect(),
            goal,
            profile: Profile::Documented,
            budget,
            validate_from_s: None,
            split: SPLIT,
            margin: 0.0,
            seed: 1,
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn found(options: &Options, threads: usize) -> Tuning {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| tune(options, None, &|_, _| {})).unwrap_or_else(|error| panic!("{error}"))
}

/// A request every 20 s that takes one second, after a start of ten: a worker that stays up for 20 s or more serves all but the
/// first at once; one that goes earlier makes everybody wait. So with a limit on the wait the cheapest timeout is just above 19 s.
const CLOCKWORK: &str = "max_jobs: 60\nbilling: {round_up: false}\nendpoints:\n  a:\n    gpu_classes: ADA_24\n    \
    flashboot: false\n    start: {container_s: 10, first_take_s: 0, stop_s: 0}\n    pick_up: push\n    \
    pacing: {latency_s: 0}\n    service: {type: drawn, work_s: 1}\n    traffic: {type: renewal, gap_s: 20}\n";

#[test]
fn a_known_optimum_is_found_on_any_number_of_threads() {
    let scratch = Scratch::new("known", CLOCKWORK);
    let goal = Goal::Limits(vec![Limit::parse("p95_wait_s<=1").unwrap()]);
    let mut options = scratch.options(&["per_job"], &["idle_timeout_s=1.0..300.0:log"], goal, 300);
    options.policies = vec![Candidate::find("{scaler: per_job, idle_timeout_s: 250}").unwrap()];
    let tuning = found(&options, 1);
    let chosen = tuning.chosen.as_ref().unwrap();
    let timeout = chosen.settings["idle_timeout_s"].as_f64().unwrap();
    assert!((18.9..22.0).contains(&timeout), "{timeout}: {tuning:?}");
    assert_eq!((tuning.verdict.holds, chosen.meets), (Some(true), true));
    assert!(tuning.runs <= 300 + 20, "{}", tuning.runs);
    assert!(tuning.validated_on.contains("1001"));
    // The front holds the cheap slow end as well.
    let slow = tuning.front.first().unwrap();
    assert!(slow.cost_documented_usd <= chosen.cost_documented_usd);
    assert_eq!(found(&options, 2), tuning);
}

#[test]
fn a_goal_that_nothing_meets_is_said() {
    let scratch = Scratch::new("never", CLOCKWORK);
    let goal = Goal::Limits(vec![Limit::parse("p99_wait_s<=0.001").unwrap()]);
    let tuning = found(&scratch.options(&["platform_default"], &["idle_timeout_s=1..5"], goal, 40), 1);
    assert!(tuning.chosen.is_none() && tuning.verdict.holds.is_none() && tuning.validation.is_none());
    assert!(tuning.notes[0].contains("nothing that was tried"), "{:?}", tuning.notes);
    assert!(!tuning.front.is_empty());
}

#[test]
fn a_trace_is_split_in_time_and_settings_that_cannot_run_are_counted() {
    let app =
        CLOCKWORK.replace("{type: renewal, gap_s: 20}", "{type: trace, file: t.csv}").replace("max_jobs: 60\n", "");
    let scratch = Scratch::new("trace", &app);
    let rows: String = (0..200).map(|row| format!("{},a\n", 20 * row)).collect();
    fs::write(scratch.0.join("t.csv"), format!("arrival_s,endpoint\n{rows}")).unwrap();
    let params = ["idle_timeout_s=1.0..300.0:log", "workers.active=0,2,9"];
    let options = scratch.options(&["platform_default"], &params, Goal::NoWorseThanDefault, 60);
    let tuning = found(&options, 2);
    assert_eq!(tuning.refused.as_ref().map(|refused| refused.first.contains("active workers")), Some(true));
    let chosen = tuning.chosen.as_ref().unwrap();
    assert!(chosen.cost_documented_usd <= tuning.baseline.cost_documented_usd);
    let validation = tuning.validation.as_ref().unwrap();
    assert_eq!((validation.seeds.len(), validation.windows[0][1]), (10, 3_980.000_001));
    assert_eq!(validation.windows[0][0], 0.6 * 3_980.000_001);
    assert!(tuning.by_part.is_none() && tuning.verdict.parts.is_none(), "26 minutes have no parts of an hour");
    let rows: String = (0..2_000).map(|row| format!("{},a\n", 20 * row)).collect();
    fs::write(scratch.0.join("t.csv"), format!("arrival_s,endpoint\n{rows}")).unwrap();
    let day = found(&Options { budget: 30, ..options.clone() }, 1);
    assert_eq!(day.by_part.as_ref().unwrap().seeds.len(), 4);
    assert!(day.verdict.parts.is_some_and(|[parts, ..]| parts == 4));
    let settings = Candidate::of_settings("x", "", &chosen.settings);
    assert_eq!(settings.overlays[0].settings().unwrap(), chosen.settings, "{}", json!(chosen.settings));
    let late = Options { validate_from_s: Some(9e9), ..options };
    let error = tune(&late, None, &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("leaves nothing on one side"), "{error}");
}
