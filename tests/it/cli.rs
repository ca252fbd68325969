//! The command as a user meets it: exit codes, what goes to stdout and what to stderr, JSON, files, the same answer twice.
//! Method: the real binary on real scenario files.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const QUICKSTART: &str = "scenarios/quickstart.yaml";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
}

fn thermocline(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the binary can be started")
}

/// Stdout of a call that must succeed.
fn answer(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    assert!(!output.stdout.is_empty(), "{arguments:?} answered nothing");
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&answer(arguments)).expect("the answer is JSON")
}

/// A summary without the one field that differs between equal runs.
fn comparable(mut summary: Value) -> Value {
    let taken = summary.as_object_mut().and_then(|fields| fields.remove("wall_s"));
    assert!(taken.is_some_and(|seconds| seconds.as_f64() > Some(0.0)), "no time that the run took");
    summary
}

/// Stderr of a call that must be refused as bad input: nothing on stdout, exit code 2.
fn refusal(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "", "{arguments:?} answered although it was refused");
    text(&output.stderr)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    std::fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("the file can be written");
    path.display().to_string()
}

#[test]
fn the_quick_start_answers_on_stdout_and_is_quiet_on_stderr() {
    let output = thermocline(&["run", QUICKSTART]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = text(&output.stdout);
    for word in ["wait", "p95", "Bill", "seed", "documented", "Transcript"] {
        assert!(report.contains(word), "no {word} in the report:\n{report}");
    }
    assert!(!report.contains('\u{1b}'), "control sequences although stdout is a pipe");
    assert_eq!(text(&output.stderr), "", "progress although stderr is no terminal");
}

#[test]
fn the_summary_keeps_its_promises() {
    let summary = json(&["run", QUICKSTART, "--json"]);
    let total = &summary["total"];
    let jobs = |what: &str| total["jobs"][what].as_u64().unwrap_or_else(|| panic!("no jobs.{what} in {total}"));
    let ends = ["completed", "failed", "timed_out", "cancelled", "rejected", "unfinished"];
    assert!(jobs("submitted") > 1_000);
    assert_eq!(jobs("submitted"), ends.into_iter().map(jobs).sum::<u64>(), "a job is missing");
    for quantity in ["wait_s", "response_s", "service_s", "cold_start_s"] {
        for figure in ["mean", "p50", "p95", "p99", "max"] {
            assert!(total[quantity][figure].is_f64(), "no {quantity}.{figure}");
        }
    }
    let cost = |profile: &str| total["cost_usd"][profile]["total"].as_f64().expect("a cost");
    assert!(0.0 < cost("seed") && cost("seed") < cost("documented"), "idle windows cost something");
    assert_eq!(summary["transcript_hash"].as_str().map(str::len), Some(32));
    assert_eq!(summary["endpoints"][0]["jobs"]["submitted"], total["jobs"]["submitted"]);
    comparable(summary);
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_does_not() {
    let summary = |seed| comparable(json(&["run", QUICKSTART, "--json", "--seed", seed])).to_string();
    let first = summary("7");
    assert_eq!(first, summary("7"));
    assert_ne!(first, summary("8"));
}

#[test]
fn several_runs_answer_in_the_order_typed() {
    let several = json(&["run", QUICKSTART, "--json", "--seed", "7,8"]);
    let several = several.as_array().expect("several runs are a list");
    assert_eq!(several.len(), 2);
    for (run, seed) in several.iter().zip(["7", "8"]) {
        let alone = json(&["run", QUICKSTART, "--json", "--seed", seed]);
        assert_eq!(comparable(run.clone()), comparable(alone));
    }
}

#[test]
fn results_are_written_where_asked_and_never_over_others() {
    let folder = folder("results");
    let out = folder.join("csv").display().to_string();
    let asked = ["run", QUICKSTART, "--json", "--out", &out, "--format", "csv", "--transcript=jsonl"];
    let first = json(&asked);
    let written: Value = serde_json::from_str(&read(&folder.join("csv/summary.json"))).expect("summary.json is JSON");
    assert_eq!(comparable(first.clone()), written, "files of results do not tell how long the run took");
    let submitted = first["total"]["jobs"]["submitted"].as_u64().expect("a number of jobs");
    for table in ["timeline.csv", "workers.csv", "jobs.csv", "transcript.jsonl"] {
        assert!(read(&folder.join("csv").join(table)).lines().count() > 1, "{table} is empty");
    }
    assert_eq!(read(&folder.join("csv/jobs.csv")).lines().count() as u64, submitted + 1);
    assert!(refusal(&asked).contains("--force"));
    answer(&[&asked[..], &["--force"]].concat());

    let out = folder.join("both").display().to_string();
    answer(&["run", QUICKSTART, "--seed", "7,8", "--out", &out, "--transcript"]);
    for run in ["quickstart-7", "quickstart-8"] {
        let parquet = std::fs::read(folder.join("both").join(run).join("jobs.parquet")).expect("the table is there");
        assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"), "{run}");
        assert!(read(&folder.join("both").join(run).join("transcript.txt")).contains(" > accept_job j0"), "{run}");
    }
    refusal(&["run", QUICKSTART, QUICKSTART, "--out", &out]);
    refusal(&["run", QUICKSTART, "--format", "csv"]);
    refusal(&["run", QUICKSTART, "--force"]);
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn equal_runs_leave_equal_files() {
    let folder = folder("equal");
    for name in ["a", "b"] {
        let out = folder.join(name).display().to_string();
        answer(&["run", QUICKSTART, "--out", &out, "--transcript"]);
    }
    let tables = ["timeline", "workers", "placements", "hosts", "jobs"].map(|name| format!("{name}.parquet"));
    for file in tables.iter().map(String::as_str).chain(["summary.json", "transcript.txt"]) {
        let bytes = |name: &str| std::fs::read(folder.join(name).join(file)).expect("the file is there");
        assert!(bytes("a") == bytes("b"), "{file} differs between equal runs");
    }
}

#[test]
fn a_setting_on_the_command_line_changes_the_answer() {
    let cost = |arguments: &[&str]| {
        let summary = json(&[&["run", QUICKSTART, "--json"], arguments].concat());
        summary["total"]["cost_usd"]["seed"]["total"].as_f64().expect("a cost")
    };
    // An active worker is paid for all day long, a flex worker of the default profile only while it works.
    assert!(cost(&["--set", "endpoints.sdxl.workers.active=1"]) > 1.5 * cost(&[]));
}

#[test]
fn bad_input_is_refused_with_a_place_and_a_way_out() {
    assert!(refusal(&["run", "scenarios/no-such-file.yaml"]).contains("no-such-file.yaml"));
    let folder = folder("bad-input");
    let broken = file(&folder, "broken.yaml", "endpoints:\n  llm:\n    gpu_clases: ADA_24\n");
    for verb in ["run", "validate"] {
        let message = refusal(&[verb, &broken]);
        assert!(message.contains("broken.yaml:3:"), "no line in {message}");
        assert!(message.contains("gpu_classes"), "no suggestion in {message}");
    }
    refusal(&["run", QUICKSTART, "--set", "endpoints.nobody.workers.max=1"]);
    refusal(&["run", QUICKSTART, "--set", "no-equals-sign"]);
    refusal(&["run"]);
    refusal(&["run", QUICKSTART, "--no-such-flag"]);
    refusal(&["run", QUICKSTART, "--seed", "many"]);
    refusal(&["no-such-verb"]);
    assert!(refusal(&["policy", "show", "queue_dely"]).contains("did you mean `queue_delay`?"));
}

#[test]
fn help_and_version_are_answers() {
    assert!(answer(&["--help"]).contains("run"));
    assert!(answer(&["run", "--help"]).contains("--seed"));
    assert!(answer(&["--version"]).starts_with("thermocline 0."));
}

#[test]
fn a_reader_that_leaves_early_is_not_an_error() {
    for arguments in [&["policy", "list"][..], &["run", QUICKSTART], &["schema"], &["completions", "bash"]] {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be started");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn policies_can_be_listed_and_shown_to_people_and_programs() {
    let all = json(&["policy", "list", "--json"]);
    let all = all.as_array().expect("a list");
    for kind in ["scaling", "keep_alive", "dispatch", "placement", "eviction"] {
        assert!(all.iter().any(|policy| policy["kind"] == kind), "no {kind} policy");
    }
    let listing = answer(&["policy", "list"]);
    for policy in all {
        let name = policy["name"].as_str().expect("a name");
        assert!(listing.contains(name), "{name} is not in the table");
        assert!(answer(&["policy", "show", name]).contains("formula"));
    }
    assert!(listing.contains("policies/slo_cost.yaml") && listing.contains("stabilize_down_s"), "{listing}");
    let file = answer(&["policy", "show", "policies/inflight.yaml"]);
    assert!(file.contains("fill: 2.73") && file.contains("inflight (scaling policy)"), "{file}");
    let judged = answer(&["policy", "check", "policies/inflight.yaml", "--json"]);
    assert!(judged.contains("\"scaling\"") && judged.contains("\"keep_alive\""), "{judged}");
}

#[test]
fn completions_and_manual_pages_cover_every_verb() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(answer(&["completions", shell]).contains("explain"), "{shell}");
    }
    let folder = folder("man");
    let out = folder.display().to_string();
    assert_eq!(thermocline(&["man", "--out", &out]).status.code(), Some(0));
    for page in ["thermocline.1", "thermocline-run.1", "thermocline-policy-show.1"] {
        assert!(folder.join(page).exists(), "no {page}");
    }
    assert!(refusal(&["man", "--out", &out]).contains("--force"));
    assert_eq!(thermocline(&["man", "--out", &out, "--force"]).status.code(), Some(0));
}

#[test]
fn every_kind_of_subject_can_be_explained() {
    let first = json(&["run", QUICKSTART, "--json"]);
    let endpoint = first["endpoints"][0]["name"].as_str().expect("the summary names its endpoints").to_owned();
    for subject in [["--worker", "w0"], ["--job", "j0"], ["--endpoint", &endpoint]] {
        let told = json(&["explain", QUICKSTART, subject[0], subject[1], "--json"]);
        assert!(told["lines"].as_array().is_some_and(|lines| !lines.is_empty()), "{subject:?}: {told}");
        let text = answer(&["explain", QUICKSTART, subject[0], subject[1]]);
        assert!(text.contains(told["headline"].as_str().expect("a headline")), "{text}");
    }
    let message = refusal(&["explain", QUICKSTART, "--worker", "999999"]);
    assert!(message.contains("from w0 to w"), "{message}");
    assert!(refusal(&["explain", QUICKSTART, "--endpoint", "nobody"]).contains(&endpoint));
    refusal(&["explain", QUICKSTART]);
    refusal(&["explain", QUICKSTART, "--worker", "1", "--job", "1"]);
}
