//! What can be known of recorded and of future days, as a user meets it: bound, advise and replay through the real binary.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const QUICKSTART: &str = "scenarios/quickstart.yaml";

fn thermocline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the binary can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Stdout of a call that must end with this code.
fn ended(arguments: &[&str], code: i32) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ended(arguments, 0)).expect("the answer is JSON")
}

fn refusal(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("foresight-{name}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

#[test]
fn the_bound_is_below_the_bill_and_says_what_the_rest_is_made_of() {
    let asked = ["bound", QUICKSTART, "--set", "duration_s=2h", "--effort", "quick"];
    let report = ended(&asked, 0);
    for words in
        ["nobody can be below", "known to be reached", "by keep-alive", "by forecast", "always-on", "seed bill"]
    {
        assert!(report.contains(words), "no `{words}` in:\n{report}");
    }
    let answer = json(&[&asked[..], &["--json"]].concat());
    let own = &answer["endpoints"][0];
    let number = |value: &Value| value.as_f64().expect("a number");
    let (lb, ub) = (number(&own["lb_usd"]), number(&own["ub_usd"]));
    assert!(0.0 < lb && lb <= ub, "{lb} {ub}");
    let regret = &own["regret"];
    assert!(number(&regret["lb_usd"]) <= number(&regret["cost_usd"]));
    let parts = number(&regret["provisioning_usd"]) + number(&regret["timing_usd"]);
    assert!((parts - number(&regret["regret_usd"])).abs() < 1e-9);
    assert_eq!(answer["profile"], "documented");
    assert!(refusal(&["bound", QUICKSTART, "--slo-wait=-1"]).contains("not negative"));
}

#[test]
fn a_list_of_times_becomes_settings_and_a_file_that_runs() {
    let folder = folder("advise");
    let mut log = "time\n".to_owned();
    for number in 0..400 {
        let second = number * 37 + (number % 7) * 3;
        let _ = writeln!(log, "2026-05-08T{:02}:{:02}:{:02}Z", second / 3_600, second / 60 % 60, second % 60);
    }
    let path = folder.join("requests.csv");
    std::fs::write(&path, log).expect("the log can be written");
    let (log, app) = (path.display().to_string(), folder.join("app.yaml").display().to_string());
    let page = ended(&["advise", &log, "--service-s", "5", "--slo-wait", "30", "--write", &app], 0);
    for words in
        ["recommended", "platform default", "a month, documented", "a month, seed", "wait p95", "always-on", "doubles"]
    {
        assert!(page.contains(words), "no `{words}` in:\n{page}");
    }
    assert!(page.lines().count() <= 30, "more than a screen:\n{page}");
    ended(&["validate", &app], 0);
    let summary = json(&["run", &app, "--json"]);
    assert_eq!(summary["total"]["jobs"]["submitted"], 400);
    assert!(summary["total"]["wait_s"]["p95"].as_f64().is_some_and(|wait| wait <= 30.0));
    assert!(refusal(&["advise", &log, "--service-s", "5", "--write", &app]).contains("exists"));
    assert!(refusal(&["advise", &log]).contains("--service-s"));
    assert!(refusal(&["advise", &log, "--preset", "sdxl-imag"]).contains("did you mean `sdxl-image`?"));
}

#[test]
fn a_recorded_run_replays_identically_a_changed_one_does_not_and_other_settings_are_shown_beside_it() {
    let folder = folder("replay");
    let out = folder.join("run").display().to_string();
    ended(&["run", QUICKSTART, "--set", "duration_s=30m", "--out", &out, "--transcript=jsonl"], 0);
    let transcript = format!("{out}/transcript.jsonl");
    assert!(ended(&["replay", &transcript], 0).contains("identical"));

    let recorded = std::fs::read_to_string(&transcript).expect("the transcript can be read");
    let line = recorded.lines().find(|line| line.contains("\"start_worker\"")).expect("a worker was started");
    let changed = folder.join("changed.jsonl");
    let other = line.replace("\"resume\":true", "\"resume\":null").replace("\"resume\":false", "\"resume\":true");
    let other = other.replace("\"resume\":null", "\"resume\":false");
    std::fs::write(&changed, recorded.replacen(line, &other, 1)).expect("the transcript can be written");
    let report = ended(&["replay", &changed.display().to_string()], 1);
    assert!(
        report.contains("differs at record") && report.contains("recorded") && report.contains("replayed"),
        "{report}"
    );

    let asked = ["replay", &transcript, "--set", "endpoints.sdxl.idle_timeout_s=300"];
    let page = ended(&asked, 0);
    for words in ["as was", "what if", "bill, documented", "starts and stops differ", "stops a worker"] {
        assert!(page.contains(words), "no `{words}` in:\n{page}");
    }
    let answer = json(&[&asked[..], &["--json"]].concat());
    assert_eq!(answer["recorded"]["completed"], answer["as_was"]["completed"]);
    assert!(answer["what_if"]["starts"].as_u64() < answer["as_was"]["starts"].as_u64());
    assert!(refusal(&["replay", &transcript, "--set", "endpoints.sdxk.idle_timeout_s=3"]).contains("sdxl"));
    assert!(refusal(&["replay", &folder.display().to_string(), "--policy", "no_such"]).contains("no such policy"));
}
