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
            common: false,
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
    let goal = Goal::of_limits(vec![Limit::parse("p95_wait_s<=1").unwrap()]);
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

/// A start of 30 s, a stop of 28 s and five seconds between them for a request a minute: a worker that stays up is cheaper, and nobody
/// waits.
#[test]
fn the_shortest_waits_for_no_more_money_are_found() {
    let app = CLOCKWORK.replace("container_s: 10", "container_s: 30").replace("gap_s: 20", "gap_s: 60");
    let scratch = Scratch::new("money", &app.replace("stop_s: 0", "stop_s: 28"));
    let goal = Goal::no_dearer_than_default();
    let options = scratch.options(&["per_job"], &["idle_timeout_s=1.0..300.0:log"], goal, 200);
    let tuning = found(&options, 2);
    let chosen = tuning.chosen.as_ref().unwrap();
    assert!(chosen.cost_documented_usd <= tuning.baseline.cost_documented_usd, "{tuning:?}");
    assert_eq!((chosen.wait_p95_s, chosen.meets, tuning.verdict.holds), (0.0, true, Some(true)), "{tuning:?}");
    assert!(tuning.baseline.wait_p95_s > 10.0, "{tuning:?}");
    // Among those that make nobody wait the cheapest: the worker stays for as long as the pause, and at the end not for minutes.
    let timeout = chosen.settings["idle_timeout_s"].as_f64().unwrap();
    assert!((58.9..90.0).contains(&timeout), "{timeout}");
    let words = crate::report::tuning::text(&tuning, 120);
    assert!(words.contains("the shortest p95 wait") && words.contains("cost_usd no more than"), "{words}");
}

/// A request every three seconds, so that the worker stays and nobody but the first waits, under the defaults as well: what can be had
/// is a smaller bill for the same waits. A mean wait that is shorter by hundredths of a second is no reason against it.
#[test]
fn where_waits_are_alike_the_cheaper_one_is_better_than_the_defaults() {
    let app = CLOCKWORK.replace("max_jobs: 60", "max_jobs: 300").replace("gap_s: 20", "gap_s: 3");
    let scratch = Scratch::new("alike", &app);
    let options =
        scratch.options(&["queue_delay"], &["idle_timeout_s=1.0..300.0:log"], Goal::no_dearer_than_default(), 200);
    let tuning = found(&options, 2);
    let chosen = tuning.chosen.as_ref().unwrap();
    assert_eq!((tuning.baseline.wait_p95_s, chosen.wait_p95_s, tuning.verdict.holds), (0.0, 0.0, Some(true)));
    assert!(chosen.cost_documented_usd < tuning.baseline.cost_documented_usd, "{tuning:?}");
    let timeout = chosen.settings["idle_timeout_s"].as_f64().unwrap();
    assert!((1.9..3.0).contains(&timeout), "{timeout}");
}

/// The clockwork beside an endpoint with a request every ten minutes. All but one job in twenty must start within a second: the busy
/// endpoint needs a worker that stays, the quiet one may let its few requests wait.
#[test]
fn each_endpoint_gets_what_suits_it() {
    let quiet = CLOCKWORK.split_once("  a:").unwrap().1.replace("gap_s: 20", "gap_s: 600");
    let app = CLOCKWORK.replace("max_jobs: 60", "duration_s: 2400") + "  b:" + &quiet;
    let scratch = Scratch::new("apart", &app);
    let goal = Goal::of_limits(vec![Limit::parse("p95_wait_s<=1").unwrap()]);
    let mut apart = scratch.options(&["per_job"], &["idle_timeout_s=1.0..300.0:log"], goal, 400);
    apart.policies = vec![Candidate::find("{scaler: per_job, idle_timeout_s: 250}").unwrap()];
    let tuning = found(&apart, 2);
    let chosen = tuning.chosen.as_ref().unwrap();
    assert_eq!((chosen.meets, tuning.verdict.holds), (true, Some(true)), "{chosen:?}");
    let timeout =
        |name: &str| chosen.endpoints.get(name).unwrap_or(&chosen.settings)["idle_timeout_s"].as_f64().unwrap();
    assert!((18.9..24.0).contains(&timeout("a")) && timeout("b") < 5.0, "{chosen:?}");
    let common = found(&Options { common: true, ..apart.clone() }, 2);
    let same = common.chosen.as_ref().unwrap();
    assert!(same.endpoints.is_empty() && same.cost_documented_usd > chosen.cost_documented_usd, "{same:?} {chosen:?}");
    assert_eq!(found(&apart, 1), tuning, "threads change nothing");
    let words = crate::report::tuning::text(&tuning, 120);
    assert!(words.contains("Settings of ") && words.contains("Settings of every other endpoint"), "{words}");
    // As a policy file it is the same once more.
    let file = Candidate::of_all_settings("x", "", &chosen.settings, &chosen.endpoints);
    let scenario = file.load(&apart.file, &[]).unwrap();
    let outcome = compare::sample::outcome(&scenario.plan, 1, &Default::default()).unwrap();
    assert!(outcome.summary.total.wait_s.p95.is_some_and(|wait| wait <= 1.0));
}

#[test]
fn a_goal_that_nothing_meets_is_said() {
    let scratch = Scratch::new("never", CLOCKWORK);
    let goal = Goal::of_limits(vec![Limit::parse("p99_wait_s<=0.001").unwrap()]);
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
    let options = scratch.options(&["platform_default"], &params, Goal::no_worse_than_default(), 120);
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
