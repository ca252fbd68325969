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

/// The words of a page, wherever its lines end.
fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
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
    assert!(page.lines().count() <= 49, "more than a screen:\n{page}");
    let widest = page.lines().skip(1).map(|line| line.chars().count()).max().unwrap_or(0);
    assert!(widest <= 80, "{widest} columns:\n{page}");
    let said = words(&page);
    for words in ["dates in column `time`", "The log lasts", "Starts are assumed: 11.5 s"] {
        assert!(said.contains(words), "no `{words}` in:\n{page}");
    }
    assert_eq!(
        page.matches(" - ").count() - page.matches("\n - ").count(),
        12,
        "each figure has its interval:\n{page}"
    );
    let page = ended(&["advise", &log, "--service-s", "5", "--start-s", "40"], 0);
    assert!(!page.contains("are assumed") && page.contains("quickest start"), "{page}");
    ended(&["validate", &app], 0);
    let summary = json(&["run", &app, "--json"]);
    assert_eq!(summary["total"]["jobs"]["submitted"], 400);
    assert!(summary["total"]["wait_s"]["p95"].as_f64().is_some_and(|wait| wait <= 30.0));
    assert!(refusal(&["advise", &log, "--service-s", "5", "--write", &app]).contains("exists"));
    assert!(refusal(&["advise", &log]).contains("--service-s"));
    assert!(refusal(&["advise", &log, "--preset", "sdxl-imag"]).contains("did you mean `sdxl-image`?"));
}

/// What `advise --write` predicts and what `run` makes of the file are the same; the file.
fn written_as_predicted(folder: &Path, log: &str, options: &[&str]) -> String {
    let app = folder.join("written.yaml").display().to_string();
    let advice = json(&[&["advise", log, "--json", "--write", &app, "--force"][..], options].concat());
    let summary = json(&["run", &app, "--json"]);
    let (figures, total) = (&advice["recommended"]["figures"], &summary["total"]);
    for (predicted, run) in [
        (&figures["wait_p50_s"], &total["wait_s"]["p50"]),
        (&figures["wait_p95_s"], &total["wait_s"]["p95"]),
        (&figures["wait_p99_s"], &total["wait_s"]["p99"]),
        (&figures["seed_usd"], &total["cost_usd"]["seed"]["total"]),
        (&figures["documented_usd"], &total["cost_usd"]["documented"]["total"]),
        (&figures["completed"], &total["jobs"]["completed"]),
    ] {
        assert_eq!(predicted, run, "{log} {options:?}: {figures} {}", total["wait_s"]);
    }
    std::fs::read_to_string(app).expect("the file can be read")
}

#[test]
fn a_written_file_runs_as_predicted() {
    let folder = folder("predicted");
    let (mut services, mut tokens) =
        ("arrival_s,endpoint,service_s\n".to_owned(), "TIMESTAMP,ContextTokens,GeneratedTokens\n".to_owned());
    for number in 0..300_u32 {
        // Jobs and pauses of very different lengths: what is drawn from all of them is not what is met.
        let (second, mixed) = (number * 23 + number % 11, number.wrapping_mul(2_654_435_761) >> 16);
        let length = if mixed % 7 == 0 { 60 } else { mixed % 5 + 1 };
        let _ =
            writeln!(services, "{second},chat,{}", if number % 50 == 3 { String::new() } else { length.to_string() });
        let clock = format!("{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60);
        let _ = writeln!(tokens, "2026-05-08 {clock}.5,{},{}", mixed % 4_000, length * 20);
    }
    let path = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the log can be written");
        path.display().to_string()
    };
    written_as_predicted(&folder, &path("services.csv", &services), &[]);
    written_as_predicted(&folder, &path("tokens.csv", &tokens), &["--preset", "llama3-8b-vllm"]);
}

#[test]
fn advice_on_a_transcript_keeps_the_recorded_hardware_prices_and_starts() {
    let folder = folder("recorded");
    let out = folder.join("run").display().to_string();
    let set = ["--set", "duration_s=1h", "--set", "endpoints.sdxl.concurrency=2"];
    ended(&[&["run", QUICKSTART, "--out", &out, "--transcript=jsonl"][..], &set].concat(), 0);
    let transcript = format!("{out}/transcript.jsonl");
    let file = written_as_predicted(&folder, &transcript, &[]);
    for words in
        ["gpu_classes: [\"AMPERE_80\"]", "concurrency: 2", "container_s", "flex_usd_per_s\":0.00076", "AMPERE_80\":"]
    {
        assert!(file.contains(words), "no `{words}` in:\n{file}");
    }
    let page = words(&ended(&["advise", &transcript], 0));
    assert!(page.contains("on AMPERE_80, 2 jobs at once") && !page.contains("are assumed"), "{page}");
    let other = written_as_predicted(&folder, &transcript, &["--gpu-class", "ADA_24"]);
    assert!(other.contains("\"ADA_24\"") && !other.contains("AMPERE_80"), "{other}");
    assert!(refusal(&["advise", &transcript, "--endpoint", "sdxk"]).contains("its endpoints: sdxl ("));
}

#[test]
fn what_is_no_log_is_refused_with_its_name() {
    let folder = folder("no-log");
    let path = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the log can be written");
        path.display().to_string()
    };
    let people = path("transcript.txt", "0.000000 < host_added ampere_80-1 gpus 8 class 5\n");
    for verb in ["advise", "replay"] {
        let error = refusal(&[verb, &people]);
        assert!(error.contains("transcript.txt") && error.contains("--transcript=jsonl"), "{error}");
    }
    let one = refusal(&["advise", &path("one.csv", "2026-05-08T00:00:13.520Z\n"), "--service-s", "4"]);
    assert!(one.contains("one.csv: 1 request(s)"), "{one}");
    let same = refusal(&["advise", &path("same.csv", &"2026-05-08T00:00:00Z\n".repeat(100)), "--service-s", "4"]);
    assert!(same.contains("all requests have the same time"), "{same}");
    let headless = refusal(&["advise", &path("headless.jsonl", "{\"seq\":0,\"at_us\":379}\n"), "--service-s", "4"]);
    assert!(headless.contains("not a transcript header"), "{headless}");
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
    assert!(!page.contains("Warning") && answer["off"].as_array().is_some_and(Vec::is_empty), "{page}");
    assert!(refusal(&["replay", &transcript, "--set", "endpoints.sdxk.idle_timeout_s=3"]).contains("sdxl"));
    assert!(refusal(&["replay", &folder.display().to_string(), "--policy", "no_such"]).contains("no such policy"));
}

#[test]
fn a_what_if_that_cannot_know_what_was_recorded_warns() {
    let folder = folder("warns");
    let out = folder.join("run").display().to_string();
    let scenario = "scenarios/throttled-hosts.yaml";
    ended(&["run", scenario, "--set", "duration_s=2h", "--out", &out, "--transcript=jsonl"], 0);
    let transcript = format!("{out}/transcript.jsonl");
    let asked = ["--set", "endpoints.pinned.idle_timeout_s=20", "--show", "0"];
    let page = words(&ended(&[&["replay", &transcript][..], &asked].concat(), 0));
    for words in ["more than 10 % off", " - wait p95", "throttled capacity is not known", "2 endpoints share the hosts"]
    {
        assert!(page.contains(words), "no `{words}` in:\n{page}");
    }
    let recorded = std::fs::read(&transcript).expect("the transcript can be read");
    let torn = folder.join("torn.jsonl").display().to_string();
    std::fs::write(&torn, &recorded[..recorded.len() - 20]).expect("the transcript can be written");
    let page = words(&ended(&[&["replay", &torn][..], &asked].concat(), 0));
    assert!(page.contains("torn.jsonl is cut off"), "{page}");
    assert!(ended(&["replay", &torn], 0).contains("its last line is cut off"));
}

#[test]
fn times_of_a_transcript_are_checked_and_a_cut_one_says_where_it_ends() {
    let folder = folder("times");
    let out = folder.join("run").display().to_string();
    ended(&["run", QUICKSTART, "--set", "duration_s=30m", "--out", &out, "--transcript=jsonl"], 0);
    let recorded = std::fs::read_to_string(format!("{out}/transcript.jsonl")).expect("the transcript can be read");
    let lines: Vec<&str> = recorded.lines().collect();
    let with = |name: &str, word: &str, change: &dyn Fn(u64) -> u64| {
        let (number, line) =
            lines.iter().enumerate().find(|(_, line)| line.contains(word)).expect("there is such a line");
        let time = line.split("\"at_us\":").nth(1).and_then(|rest| rest.split(',').next()).expect("it has a time");
        let changed = change(time.parse().expect("times are numbers"));
        let other = line.replace(&format!("\"at_us\":{time},"), &format!("\"at_us\":{changed},"));
        let path = folder.join(name).display().to_string();
        std::fs::write(&path, recorded.replacen(*line, &other, 1)).expect("the transcript can be written");
        (path, number + 1)
    };
    let (back, line) = with("back.jsonl", "\"worker_ready\"", &|at| at - 1_000_000);
    let error = refusal(&["replay", &back]);
    assert!(error.contains(&format!("line {line}: time goes back")), "{error}");
    let (later, line) = with("later.jsonl", "\"accept_job\"", &|at| at + 1);
    let report = ended(&["replay", &later], 1);
    assert!(report.contains(&format!("(line {line})")) && report.contains("replayed"), "{report}");
    let place = lines.iter().rposition(|line| line.contains("\"finish_job\"")).expect("a job ended");
    let cut = folder.join("cut.jsonl.gz");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, (lines[..place - 1].join("\n") + "\n").as_bytes())
        .expect("memory can be written");
    std::fs::write(&cut, gzip.finish().expect("memory can be written")).expect("the transcript can be written");
    let report = ended(&["replay", &cut.display().to_string()], 0);
    assert!(report.contains("identical") && report.contains("1 job(s) have no outcome there"), "{report}");
}
