//! Policies in files of their own, from the application file to the transcript: the same decisions as the built-in ones that they
//! are written after, the same text in `run`, in `serve` and after a restart, failures that are told. Method: whole runs of
//! shipped scenarios, and the real binary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use thermocline::experiment::{self, RunOptions};
use thermocline::policy::starlark::Program;
use thermocline::policy::{ParamValue, PolicyChoice};
use thermocline::scenario::{self, Scenario, serving};
use thermocline::scheduler::{Command, EndpointSpec, Event, Recorder};
use thermocline::sim::Simulation;
use thermocline::sim::plan::Plan;
use thermocline::units::Time;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text_of(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Every command with its time: decisions, and all that follows from them.
#[derive(Default)]
struct Commands(Vec<String>);

impl Recorder for Commands {
    fn event(&mut self, _: Time, _: &Event) {}

    fn command(&mut self, now: Time, command: &Command) {
        self.0.push(format!("{now} {command:?}"));
    }
}

fn commands(plan: &Plan) -> Vec<String> {
    let mut seen = Commands::default();
    let mut simulation = Simulation::new(plan).expect("the plan is sound");
    simulation.run(&mut seen, &mut |_| {}).expect("the run ends");
    seen.0
}

/// The scenario with this scaler at every endpoint.
fn with(file: &str, choice: &PolicyChoice) -> Plan {
    let loaded = scenario::load(&root().join(file), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let mut plan = loaded.plan;
    // Enough for bursts, faults and silences; a build without optimization takes half a millisecond for an answer.
    plan.max_jobs = Some(plan.max_jobs.map_or(JOBS_MAX, |jobs| jobs.min(JOBS_MAX)));
    for endpoint in &mut plan.endpoints {
        endpoint.spec.policies.scaling = choice.clone();
    }
    plan
}

/// A short run of many starts and stops, one of bursts, one with faults, one with several jobs per worker.
const SCENARIOS: [&str; 4] = [
    "scenarios/quickstart.yaml",
    "scenarios/spike-extra-workers.yaml",
    "scenarios/host-loss.yaml",
    "scenarios/queue-delay-against-request-count.yaml",
];

/// Jobs of one run.
const JOBS_MAX: u64 = 250;

fn decide_alike(name: &str, variants: &[BTreeMap<String, ParamValue>]) {
    let file = format!("policies/{name}.star");
    for params in variants {
        let built_in = PolicyChoice { params: params.clone(), ..PolicyChoice::named(name) };
        let written = PolicyChoice { source: Some(text_of(&file)), params: params.clone(), name: file.clone() };
        for scenario in SCENARIOS {
            let (expected, found) = (commands(&with(scenario, &built_in)), commands(&with(scenario, &written)));
            let differs = expected.iter().zip(&found).find(|(one, other)| one != other);
            assert_eq!(differs, None, "{file} in {scenario} with {params:?}");
            assert_eq!(expected.len(), found.len(), "{file} in {scenario} with {params:?}");
            assert!(expected.iter().any(|line| line.contains("ScaleDecided")), "{scenario} decides nothing");
        }
    }
}

fn number(name: &str, value: f64) -> (String, ParamValue) {
    (name.to_owned(), ParamValue::Number(value))
}

#[test]
fn request_count_in_a_file_decides_as_the_built_in_one() {
    decide_alike(
        "request_count",
        &[
            BTreeMap::new(),
            BTreeMap::from([number("requests_per_worker", 1.0), number("scale_down_delay_s", 30.3)]),
            BTreeMap::from([
                number("requests_per_worker", 2.0),
                number("scale_down_delay_s", 7.0),
                number("tick_s", 0.0),
            ]),
        ],
    );
}

#[test]
fn queue_delay_in_a_file_decides_as_the_built_in_one() {
    let per_job = ("step".to_owned(), ParamValue::Text("per_overdue_job".to_owned()));
    let eager = ("wait_for_start".to_owned(), ParamValue::Bool(false));
    decide_alike(
        "queue_delay",
        &[
            BTreeMap::new(),
            BTreeMap::from([number("delay_s", 0.7), per_job, number("tick_s", 0.0)]),
            BTreeMap::from([number("delay_s", 2.0), eager, number("tick_s", 3.0)]),
        ],
    );
}

const APP: &str = "{max_jobs: 200, endpoints: {a: {preset: embedding, \
                   scaler: {type: policies/request_count.star, requests_per_worker: 2, scale_down_delay_s: 1m}, \
                   traffic: {type: poisson, rate_per_s: 1}}}}";

fn loaded(app: &str) -> Scenario {
    scenario::from_str(app, "app.yaml", root(), &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn the_text_goes_with_the_plan_the_configuration_and_a_restart() {
    let scenario = loaded(APP);
    let scaling = &scenario.plan.endpoints[0].spec.policies.scaling;
    assert_eq!(scaling.source.as_deref(), Some(text_of("policies/request_count.star").as_str()));
    assert_eq!(scaling.params.get("scale_down_delay_s"), Some(&ParamValue::Number(60.0)), "a duration is seconds");
    // What `config` prints holds the text: it gives the same plan where there is no file.
    let elsewhere = scenario::from_str(&scenario.effective.to_yaml(), "app.yaml", &root().join("tests"), &[]);
    assert_eq!(elsewhere.unwrap_or_else(|problems| panic!("{problems}")).plan, scenario.plan);
    // As real mode keeps it and reads it again.
    let kept = serde_json::to_string(&scenario.plan.endpoints[0].spec).expect("a specification can be written");
    let again: EndpointSpec = serde_json::from_str(&kept).expect("what was written can be read");
    assert_eq!(again, scenario.plan.endpoints[0].spec);
    let served = serving::from_str(APP, "app.yaml", root(), &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(served.plan.endpoints[0].spec.policies.scaling.source, scaling.source);
}

#[test]
fn what_a_file_cannot_say_is_refused_with_its_place() {
    let refused = |scaler: &str| {
        let app = format!(
            "{{max_jobs: 9, endpoints: {{a: {{preset: embedding, scaler: {scaler},\ntraffic: {{type: poisson, rate_per_s: 1}}}}}}}}"
        );
        scenario::from_str(&app, "app.yaml", root(), &[]).map(|_| ()).expect_err(scaler).to_string()
    };
    for (scaler, told) in [
        ("policies/none.star", "app.yaml:1:58: endpoints.a.scaler: `policies/none.star`: no such file"),
        (
            "{type: policies/request_count.star, requests: 1}",
            "endpoints.a.scaler.requests: no such parameter; there is: requests_per_worker",
        ),
        (
            "{type: policies/request_count.star, requests_per_worker: 1.5}",
            "endpoints.a.scaler.requests_per_worker: 1.5, must be a whole number from 1 to 1000000",
        ),
        ("{type: policies/request_count.star, cooldown_up_s: -1}", "cooldown_up_s"),
        ("/etc/passwd.star", "allowed: a relative path below the folder of the main file"),
        ("{type: ../Cargo.star}", "no such file"),
        (
            "{type: bad.star, source: 'def advise(obs, state, params): return obs.nothing'}",
            "bad.star:1:44: endpoints.a.scaler: the observation has no field of this name",
        ),
        (
            "{type: odd.star, source: 'def advise(obs, state, params): return [1]'}",
            "odd.star:1:5: endpoints.a.scaler: `advise` answers a list",
        ),
        (
            "{type: keep.star, source: 'def idle_timeout(worker, idle, state, params): return 9'}",
            "keep.star: endpoints.a.scaler: there is no `def advise(obs, state, params)`",
        ),
    ] {
        let found = refused(scaler);
        assert!(found.contains(told), "{scaler}\n{found}");
    }
}

#[test]
fn a_policy_that_fails_in_a_run_is_answered_by_the_default_and_told() {
    let app = APP.replace(
        "{type: policies/request_count.star, requests_per_worker: 2, scale_down_delay_s: 1m}",
        "{type: f.star, source: 'def advise(obs, state, params): return 2 if obs.arrived < 390 else 1 // (obs.arrived - obs.arrived)'}",
    );
    let app = app.replace("max_jobs: 200", "max_jobs: 600");
    let plan = loaded(&app).plan;
    let run = || experiment::run(&plan, &RunOptions::default(), &mut |_| {}).expect("it runs to its end").summary;
    let summary = run();
    let faults = &summary.endpoints[0].policy_faults;
    assert_eq!(faults.len(), 1, "the scaler fails: {faults:?}");
    assert!(faults[0].kind == "scaler" && faults[0].first.starts_with("f.star:1:"), "{faults:?}");
    let reasons = &summary.total.starts.scale_decisions;
    assert_eq!(reasons.get("policy_fault").copied(), Some(faults[0].count), "each is in the transcript: {reasons:?}");
    assert_eq!(summary.total.jobs.completed, 600, "the default serves on");
    assert_eq!(run(), summary, "and all of it repeats itself");
}

#[test]
fn idle_workers_stay_as_long_as_the_file_says() {
    let file = "{type: keep.star, source: 'def idle_timeout(worker, idle, state, params): return 40'}";
    let written = APP
        .replace("{type: policies/request_count.star, requests_per_worker: 2, scale_down_delay_s: 1m}", "queue_delay");
    let fixed = written.replace("scaler: queue_delay", "idle_timeout_s: 40");
    let written = written.replace("scaler: queue_delay", &format!("keep_alive: {file}"));
    assert_eq!(commands(&loaded(&written).plan), commands(&loaded(&fixed).plan));
}

fn thermocline(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Process::new(env!("CARGO_BIN_EXE_thermocline"));
    command.args(arguments).current_dir(folder).output().expect("the binary can be started")
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

#[test]
fn a_new_policy_works_at_once_and_is_never_overwritten() {
    let folder = folder("starlark-new");
    let call = |arguments: &[&str]| {
        let output = thermocline(&folder, arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, written, _) = call(&["policy", "new", "mine", "--keep-alive"]);
    assert!(code == Some(0) && written.contains("policies/mine.star"), "{written}");
    let before = std::fs::read_to_string(folder.join("policies/mine.star")).expect("it was written");
    let (code, _, told) = call(&["policy", "new", "mine"]);
    assert!(code == Some(2) && told.contains("exists and is left as it is"), "{told}");
    assert_eq!(std::fs::read_to_string(folder.join("policies/mine.star")).expect("it is there"), before);
    let (code, json, told) = call(&["policy", "check", "policies/mine.star", "--json"]);
    let judged: serde_json::Value = serde_json::from_str(&json).expect("the answer is JSON");
    let count = judged.as_array().map(Vec::len);
    assert_eq!((code, count), (Some(0), Some(2)), "scaling and keep-alive are judged: {told}{json}");
    let (code, _, told) = call(&["policy", "check", "policies/mine.star", "--set", "ceiling=15", "--set", "target=2"]);
    assert_eq!(code, Some(0), "a common key goes round the file: {told}");
    let (code, page, _) = call(&["policy", "show", "policies/mine.star"]);
    assert!(code == Some(0) && page.contains("target = 1") && page.contains("obs.queued"), "{page}");
    let (code, list, _) = call(&["policy", "list"]);
    assert!(code == Some(0) && list.contains("policies/mine.star"), "{list}");
    let app = "max_jobs: 50\nendpoints: {a: {preset: embedding, scaler: policies/mine.star, \
               keep_alive: policies/mine.star, traffic: {type: poisson, rate_per_s: 1}}}\n";
    std::fs::write(folder.join("app.yaml"), app).expect("the folder can be written");
    let (code, report, told) = call(&["run", "app.yaml"]);
    assert!(code == Some(0) && report.contains("policies/mine.star"), "{report}{told}");
}

#[test]
fn a_policy_that_fails_a_property_ends_with_1_and_one_that_cannot_be_read_with_2() {
    let folder = folder("starlark-check");
    std::fs::write(folder.join("lazy.star"), "def advise(obs, state, params):\n    return 0\n")
        .expect("it can be written");
    std::fs::write(folder.join("torn.star"), "def advise(obs, state, params:\n    return 0\n")
        .expect("it can be written");
    let lazy = thermocline(&folder, &["policy", "check", "lazy.star"]);
    let page = String::from_utf8(lazy.stdout).expect("output is UTF-8");
    assert_eq!(lazy.status.code(), Some(1), "{page}");
    assert!(page.contains("P3") && page.contains("FAILS"), "{page}");
    let torn = thermocline(&folder, &["policy", "check", "torn.star"]);
    let told = String::from_utf8(torn.stderr).expect("output is UTF-8");
    assert!(torn.status.code() == Some(2) && told.contains("torn.star:"), "{told}");
    assert_eq!(thermocline(&folder, &["policy", "check", "queue_delay"]).status.code(), Some(0));
    assert_eq!(thermocline(&folder, &["policy", "check", "nobody"]).status.code(), Some(2));
}

#[test]
fn the_shipped_files_say_what_they_are() {
    for file in ["policies/request_count.star", "policies/queue_delay.star"] {
        let program = Program::compile(file, &text_of(file), &BTreeMap::new()).expect("it is right");
        assert!(!program.summary().is_empty() && program.params().iter().all(|param| !param.doc.is_empty()), "{file}");
    }
}
