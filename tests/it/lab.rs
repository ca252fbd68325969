//! The policy lab as a user meets it: compare, sweep and tune through the real binary; what is refused, and how.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const QUICKSTART: &str = "scenarios/quickstart.yaml";
/// Two hours of the quick start: the same world, little to simulate.
const SHORT: &str = "duration_s=2h";

fn thermocline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the binary can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

fn answer(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(arguments)).expect("the answer is JSON")
}

fn refusal(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "{arguments:?} answered although it was refused");
    text(&output.stderr)
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-{name}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

#[test]
fn policies_are_compared_with_what_it_rests_on_in_the_first_line() {
    let patient = "{idle_timeout_s: 120}";
    let asked = ["compare", QUICKSTART, "--set", SHORT, "--policy", "platform_default", "--policy", patient];
    let seeds = ["--seeds", "10"];
    let report = answer(&[&asked[..], &seeds].concat());
    let first = report.lines().next().expect("a first line");
    assert!(first.starts_with("quickstart (") && first.contains("10 replications, seeds 1 to 10"), "{first}");
    for words in ["documented", "seed", "jobs cold", "may be the cheapest", "on the front", patient] {
        assert!(report.contains(words), "no `{words}` in:\n{report}");
    }
    assert!(report.lines().all(|line| line.chars().count() <= 100), "{report}");
    let out = folder("compare");
    let out_text = out.display().to_string();
    let one = answer(&[&asked[..], &seeds, &["--json", "--threads", "1", "--out", &out_text]].concat());
    let two = answer(&[&asked[..], &seeds, &["--json", "--threads", "2"]].concat());
    assert_eq!(one, two, "threads change the answer");
    assert_eq!(std::fs::read_to_string(out.join("comparison.json")).expect("it was written"), one);
    assert!(refusal(&[&asked[..], &["--out", &out_text]].concat()).contains("--force"));
    let document: Value = serde_json::from_str(&one).expect("JSON");
    let table = &document["scenarios"][0];
    assert_eq!((&document["profile"], &table["baseline"]), (&"documented".into(), &"platform_default".into()));
    assert_eq!(table["policies"].as_array().map(Vec::len), Some(2));
    let costs = |field: &str| table["policies"][1]["figures"][field]["mean"].as_f64().expect("a cost");
    assert!(costs("cost_seed_usd") < costs("cost_documented_usd"));
}

#[test]
fn policy_files_are_checked_with_their_own_lines() {
    let folder = folder("policies");
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).expect("it can be written");
        path.display().to_string()
    };
    let typo = file("typo.yaml", "name: typo\nendpoint:\n  idle_timeot_s: 3\n");
    let message = refusal(&["compare", QUICKSTART, "--policy", &typo]);
    assert!(message.contains("typo.yaml:3:") && message.contains("did you mean `idle_timeout_s`?"), "{message}");
    let range = file("range.yaml", "endpoint:\n  scaler: {type: queue_delay, delay_s: -1}\n");
    let message = refusal(&["compare", QUICKSTART, "--policy", &range]);
    assert!(message.contains("range.yaml:2:"), "{message}");
    let work = file("work.yaml", "endpoint:\n  traffic: {type: poisson, rate_per_s: 1}\n");
    assert!(refusal(&["compare", QUICKSTART, "--policy", &work]).contains("not a setting of a policy"));
    let message = refusal(&["compare", QUICKSTART, "--policy", "request_cuont"]);
    assert!(message.contains("did you mean `request_count`?"), "{message}");
    refusal(&["compare", QUICKSTART, "--policy", "per_job", "--policy", "per_job"]);
    refusal(&["compare", QUICKSTART, "--seeds", "9..3"]);
    refusal(&["compare", QUICKSTART, "--precision", "0"]);
    assert!(refusal(&["compare", QUICKSTART, "--split-days"]).contains("from a trace"));
    refusal(&["compare"]);
    let good = file("good.yaml", "name: mine\nsummary: s\nendpoint: {scaler: request_count, active: 1}\n");
    let asked = ["compare", QUICKSTART, "--set", SHORT, "--policy", &good, "--baseline", "as_written", "--seeds", "2"];
    let table = json(&[&asked[..], &["--json"]].concat());
    assert_eq!(table["scenarios"][0]["baseline"], "as_written");
    assert!(table["scenarios"][0]["notes"][0].as_str().is_some_and(|note| note.contains("no intervals")));
}

#[test]
fn a_sweep_goes_on_where_it_was_and_shards_make_a_whole() {
    let folder = folder("sweep");
    let place = |name: &str| folder.join(name).display().to_string();
    let (whole, one, two, merged) = (place("whole"), place("one"), place("two"), place("merged"));
    let vary = ["--vary", "endpoints.*.idle_timeout_s=1..100:3:log", "--vary", "endpoints.sdxl.workers.active=0,1"];
    let asked = [&["sweep", QUICKSTART, "--set", SHORT, "--seeds", "2"], &vary[..]].concat();
    let report = answer(&[&asked[..], &["--out", &whole]].concat());
    assert!(report.contains("6 points") && report.contains("sdxl.workers.active") || report.contains("workers.active"));
    assert_eq!(answer(&[&asked[..], &["--out", &whole, "--threads", "1"]].concat()), report, "resumed");
    for (shard, out) in [("1/2", &one), ("2/2", &two)] {
        assert_eq!(answer(&[&asked[..], &["--out", out, "--shard", shard]].concat()), "", "a part is no answer");
    }
    let missing = refusal(&["sweep", "merge", &one, "--out", &merged]);
    assert!(missing.contains("3 of 6 points are missing"), "{missing}");
    assert_eq!(answer(&["sweep", "merge", &one, &two, "--out", &merged]), report);
    let bytes = |name: &str| std::fs::read(folder.join(name).join("sweep.parquet")).expect("the table is there");
    assert!(bytes("whole") == bytes("merged"), "sharded and unsharded tables differ");
    let all = json(&[&asked[..], &["--json"]].concat());
    assert_eq!(all["points"].as_array().map(Vec::len), Some(6));
    let other = refusal(&["sweep", QUICKSTART, "--vary", "max_jobs=9", "--out", &whole]);
    assert!(other.contains("holds another sweep"), "{other}");
    refusal(&["sweep", QUICKSTART]);
    refusal(&["sweep", QUICKSTART, "--vary", "max_jobs=9", "--shard", "3/2", "--out", &merged]);
    let message = refusal(&["sweep", QUICKSTART, "--vary", "endpoints.sdxk.workers.max=1,2"]);
    assert!(message.contains("did you mean `sdxl`?"), "{message}");
}

/// Several endpoints: each gets settings of its own, in the application file and in the policy file, which fits no other application.
#[test]
fn endpoints_are_tuned_apart() {
    let folder = folder("tune-apart");
    let [app, tuned, policy] = ["app.yaml", "tuned.yaml", "p.yaml"].map(|name| folder.join(name).display().to_string());
    let endpoint = |rate: &str| format!("{{preset: sdxl-image-4090, traffic: {{type: poisson, rate_per_s: {rate}}}}}");
    let file = format!("duration_s: 2h\nendpoints:\n  busy: {}\n  quiet: {}\n", endpoint("0.2"), endpoint("0.003"));
    std::fs::write(&app, file).unwrap();
    let asked = ["tune", &app, "--slo", "p95_wait_s<=4", "--policy", "platform_default", "--policy", "per_job"];
    let found =
        json(&[&asked[..], &["--budget", "200", "--json", "--write", &tuned, "--write-policy", &policy]].concat());
    assert_eq!((&found["minimized"], &found["chosen"]["meets"]), (&"cost_usd".into(), &true.into()), "{found}");
    assert!(found["chosen"]["endpoints"].as_object().is_some_and(|own| own.len() == 1), "{}", found["chosen"]);
    let compared = json(&["compare", &tuned, "--policy", &policy, "--policy", "as_written", "--seeds", "2", "--json"]);
    let figures = |place: usize| compared["scenarios"][0]["policies"][place]["figures"].clone();
    assert_eq!(figures(0), figures(1), "the application file and the policy file are the same settings");
    let other = refusal(&["compare", QUICKSTART, "--policy", &policy, "--seeds", "2"]);
    assert!(other.contains("no such endpoint in the application"), "{other}");
    let again = refusal(&["tune", &app, "--slo", "p95_wait_s<=9", "--policy", &policy]);
    assert!(again.contains("settings of a single endpoint"), "{again}");
}

#[test]
fn settings_are_tuned_written_and_usable() {
    let folder = folder("tune");
    let (app, policy) = (folder.join("tuned.yaml").display().to_string(), folder.join("p.yaml").display().to_string());
    let asked = ["tune", QUICKSTART, "--set", SHORT, "--no-worse-than-default", "--policy", "platform_default"];
    let more = ["--budget", "40", "--json", "--write", &app, "--write-policy", &policy];
    let found = json(&[&asked[..], &more].concat());
    assert_eq!(found["chosen"]["meets"], true, "{found}");
    assert_eq!(found["validation"]["policies"].as_array().map(Vec::len), Some(3));
    let compared = json(&["compare", &app, "--policy", &policy, "--policy", "as_written", "--seeds", "2", "--json"]);
    let cost =
        |place: usize| compared["scenarios"][0]["policies"][place]["figures"]["cost_documented_usd"]["mean"].clone();
    assert_eq!(cost(0), cost(1), "the application file and the policy file are the same settings");
    assert!(refusal(&[&asked[..], &["--write", &app]].concat()).contains("--force"));
    let money = json(
        &[&["tune", QUICKSTART, "--set", SHORT, "--no-dearer-than-default"][..], &asked[5..], &more[..3]].concat(),
    );
    assert_eq!(money["minimized"], "p95_wait_s", "{money}");
    assert!(refusal(&["tune", QUICKSTART]).contains("--slo"));
    assert!(refusal(&["tune", QUICKSTART, "--slo", "cost_usd<=1", "--minimize", "costs"]).contains("p95_wait_s"));
    assert!(refusal(&["tune", QUICKSTART, "--slo", "p95<=2"]).contains("p95_wait_s"));
    let late = refusal(&["tune", QUICKSTART, "--slo", "p95_wait_s<=2", "--validate-from", "1h"]);
    assert!(late.contains("traffic from a trace"), "{late}");
}

#[test]
fn a_policy_is_laid_over_a_file_by_every_command_that_looks_at_one() {
    let policy = "policies/slo_cost.yaml";
    let short = ["--set", SHORT, "--json"];
    let run = |more: &[&str]| json(&[&["run", QUICKSTART][..], &short, more].concat())["transcript_hash"].clone();
    let under = run(&["--policy", policy]);
    assert_ne!(run(&[]), under);
    let bound = |more: &[&str]| json(&[&["bound", QUICKSTART][..], &short, more].concat());
    let (plain, with) = (bound(&[]), bound(&["--policy", policy]));
    assert_eq!(plain["lb_usd"], with["lb_usd"], "nobody's bound depends on a policy");
    assert_ne!(plain["endpoints"][0]["regret"]["cost_usd"], with["endpoints"][0]["regret"]["cost_usd"]);
    // What `config` prints is an application file with the policy in it: the way from a policy file to `serve`.
    let file = folder("under").join("app.yaml");
    std::fs::write(&file, answer(&["config", QUICKSTART, "--policy", policy, "--set", SHORT]))
        .expect("it can be written");
    assert_eq!(json(&["run", &file.display().to_string(), "--json"])["transcript_hash"], under);
    let explain =
        |more: &[&str]| answer(&[&["explain", QUICKSTART, "--set", SHORT, "--endpoint", "sdxl"][..], more].concat());
    assert_ne!(explain(&["--policy", policy]), explain(&[]));
    assert!(refusal(&["run", QUICKSTART, "--policy", "slo_cots"]).contains("did you mean `slo_cost`?"));
}

#[test]
fn a_sweep_is_not_taken_up_where_a_trace_has_changed() {
    let folder = folder("sweep-trace");
    let [app, trace, out] = ["app.yaml", "t.csv", "out"].map(|name| folder.join(name).display().to_string());
    let rows = |step: u64| (0..40).map(|n| format!("{},a\n", n * step)).collect::<String>();
    let write =
        |step: u64| std::fs::write(&trace, format!("arrival_s,endpoint\n{}", rows(step))).expect("it can be written");
    std::fs::write(&app, "endpoints:\n  a: {preset: sdxl-image-4090, traffic: {type: trace, file: t.csv}}\n").unwrap();
    let asked = ["sweep", &app, "--vary", "endpoints.a.idle_timeout_s=5,30", "--out", &out];
    write(20);
    assert_eq!(answer(&asked), answer(&asked), "taken up");
    write(30);
    assert!(refusal(&asked).contains("holds another sweep"));
}

#[test]
fn goals_that_mean_nothing_are_refused() {
    let folder = folder("tune-goals");
    let app = folder.join("app.yaml").display().to_string();
    std::fs::write(
        &app,
        "duration_s: 10m\nendpoints:\n  a: {preset: sdxl-image-4090, traffic: {type: poisson, rate_per_s: 0.1}}\n",
    )
    .expect("it can be written");
    let tune = |more: &[&str]| refusal(&[&["tune", &app, "--budget", "40"][..], more].concat());
    assert!(tune(&["--slo", "slo_attainment>=99%"]).contains("needs a target in the file"));
    assert!(tune(&["--slo", "slo_attainment>=150%"]).contains("100% at most"));
    let message = tune(&["--slo", "p95_wait_s<=5", "--policy", "platform_default", "--param", "nope=1..2"]);
    assert!(message.contains("nope"), "{message}");
}
