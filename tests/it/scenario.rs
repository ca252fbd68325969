//! Application files from outside: every shipped one is right and says so twice, every wrong one is refused in the words that
//! stand beside it, and nothing that a file system can offer makes the reader hang or swell.

use std::fs;
use std::path::{Path, PathBuf};

use thermocline::scenario::{self, Scenario};

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("a listed entry can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

fn refusal(path: &Path) -> String {
    match scenario::load(path, &[]) {
        Ok(_) => "accepted".to_owned(),
        Err(problems) => problems.to_string(),
    }
}

/// Every file of `tests/testdata/bad` has a `.txt` beside it: the exact message, for a person to review.
#[test]
fn wrong_files_are_refused_in_the_words_beside_them() {
    let mut wrong = Vec::new();
    for file in yaml_files("tests/testdata/bad") {
        let expected = fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        let found = format!("{}\n", refusal(&file));
        if found != expected {
            wrong.push(format!("--- {}\nexpected:\n{expected}found:\n{found}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn messages_carry_places_and_neither_debug_output_nor_control_characters() {
    for file in yaml_files("tests/testdata/bad") {
        for line in refusal(&file).lines().filter(|line| !line.starts_with("and ")) {
            assert!(line.starts_with("tests/testdata/bad/"), "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            for leak in ["Some(", "Err(", "Error {", "\\u{"] {
                assert!(!line.contains(leak), "{line}");
            }
        }
    }
}

fn shipped() -> Vec<PathBuf> {
    yaml_files("scenarios")
}

fn load(path: &Path, overrides: &[&str]) -> Scenario {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    scenario::load(path, &overrides).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn every_shipped_scenario_is_right_and_opens_with_its_question() {
    let files = shipped();
    assert!(files.len() >= 15, "{} scenarios", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("a listed file can be read");
        let header: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(header.len() >= 3 && header.join(" ").contains('?'), "{}: no question", file.display());
        let scenario = load(&file, &[]);
        assert!(!scenario.settings.description.is_empty(), "{}: no description", file.display());
        assert!(scenario.notes.is_empty(), "{}: {:?}", file.display(), scenario.notes);
    }
}

/// Each runs to its end, within its own limits, and every job that was submitted has an outcome or is counted as unfinished.
#[test]
fn every_shipped_scenario_can_be_run() {
    for file in shipped() {
        let plan = load(&file, &[]).plan;
        let mut simulation =
            thermocline::sim::Simulation::new(&plan).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let end = simulation.run(&mut (), &mut |_| {}).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(end.jobs > 100, "{}: {} jobs", file.display(), end.jobs);
        assert!(
            end.unfinished * 10 < end.jobs,
            "{}: {} of {} jobs unfinished",
            file.display(),
            end.unfinished,
            end.jobs
        );
    }
}

/// What `config` prints is an application file from which the same plan follows.
#[test]
fn the_effective_configuration_of_every_shipped_scenario_gives_the_same_plan() {
    for file in shipped() {
        let first = load(&file, &["seed=77"]);
        let yaml = first.effective.to_yaml();
        let again = scenario::from_str(&yaml, "effective.yaml", Path::new("scenarios"), &[])
            .unwrap_or_else(|problems| panic!("{}: {problems}\n{yaml}", file.display()));
        assert_eq!(first.plan, again.plan, "{}", file.display());
        assert_eq!(
            scenario::Settings { name: String::new(), ..first.settings },
            scenario::Settings { name: String::new(), ..again.settings }
        );
    }
}

/// A second YAML reader sees the same values: ours differs from it in nothing but what it refuses.
#[test]
fn another_parser_reads_the_same_values() {
    use thermocline::scenario::{node::Origin, parse};
    for file in shipped() {
        let text = fs::read_to_string(&file).expect("a listed file can be read");
        let ours = parse::parse(&text, "x", &|_, _| Origin::Set { index: 0 }).expect("a shipped scenario parses");
        let theirs: serde_json::Value = serde_saphyr::from_str(&text).expect("a shipped scenario parses");
        assert_eq!(ours.to_json().to_string(), theirs.to_string(), "{}", file.display());
    }
}

#[test]
fn applications_of_the_traces_are_right_where_the_traces_are() {
    let files = yaml_files("tests/testdata/apps");
    assert_eq!(files.len(), 7);
    if !super::golden::traces_are_there() {
        return;
    }
    for file in files {
        let scenario = load(&file, &[]);
        assert!(
            scenario.plan.endpoints.iter().all(|endpoint| !endpoint.traffic.sources.is_empty()),
            "{}",
            file.display()
        );
    }
}

#[test]
fn overrides_change_what_they_name_and_are_the_source_that_is_shown() {
    let scenario = load(Path::new("scenarios/quickstart.yaml"), &["endpoints.sdxl.workers.active=1", "seed=7"]);
    assert_eq!((scenario.plan.endpoints[0].spec.active, scenario.plan.seed), (1, 7));
    let rows = scenario.effective.to_json();
    let source = |path: &str| {
        let row = rows.as_array().expect("rows").iter().find(|row| row["path"] == path).expect("the setting is listed");
        row["source"].as_str().expect("a text").to_owned()
    };
    assert_eq!(source("seed"), "--set seed=7");
    assert_eq!(source("endpoints.sdxl.gpu_classes"), "preset sdxl-image");
    assert_eq!(source("endpoints.sdxl.ttl_s"), "default: RunPod docs: 24 h");
    assert!(source("endpoints.sdxl.idle_timeout_s").starts_with("scenarios/quickstart.yaml:"));
    let refused = scenario::load(Path::new("scenarios/quickstart.yaml"), &["endpoints.sdxl.wrkers.max=1".to_owned()]);
    assert_eq!(
        refused.expect_err("there is no such setting").to_string(),
        "--set endpoints.sdxl.wrkers.max=1: endpoints.sdxl.wrkers: unknown key `wrkers`; did you mean `workers`?"
    );
}

/// A folder of this test's own, empty.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder below the target folder can be made");
    folder
}

fn refused_as(path: &Path, what: &str) {
    let message = refusal(path);
    assert_eq!(message, format!("{}: {what}", path.display()));
}

#[cfg(unix)]
#[test]
fn only_regular_files_of_a_sane_size_are_read() {
    let folder = scratch("scenario-files");
    refused_as(&folder.join("absent.yaml"), "no such file; allowed: a YAML file; check the path");
    refused_as(&folder, "a folder; allowed: a regular file");
    refused_as(Path::new("/dev/zero"), "not a regular file; allowed: a regular file");
    let fifo = folder.join("fifo.yaml");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
    assert!(made.success());
    refused_as(&fifo, "not a regular file; allowed: a regular file");
    let large = folder.join("large.yaml");
    fs::write(&large, "#".repeat(2 << 20)).expect("a file can be written");
    refused_as(&large, "more than 1 MiB; allowed: at most 1 MiB; split it with `include:`, or put data into a trace");
    let latin = folder.join("latin.yaml");
    fs::write(&latin, b"description: caf\xe9\n").expect("a file can be written");
    refused_as(&latin, "not UTF-8; allowed: a YAML file in UTF-8; save it as UTF-8");
    let empty = folder.join("empty.yaml");
    fs::write(&empty, "").expect("a file can be written");
    assert!(refusal(&empty).contains("endpoints: nothing; allowed:"), "{}", refusal(&empty));
}

#[cfg(unix)]
#[test]
fn includes_stay_below_the_folder_whatever_a_link_says() {
    let folder = scratch("scenario-links/inside");
    let outside = folder.parent().expect("it was joined").join("outside.yaml");
    fs::write(&outside, "seed: 2\n").expect("a file can be written");
    std::os::unix::fs::symlink(&outside, folder.join("link.yaml")).expect("a link can be made");
    let main = folder.join("main.yaml");
    let include = |what: &str| {
        fs::write(&main, format!("include: {what}\n")).expect("a file can be written");
        refusal(&main).split_once("include: ").expect("the field is named").1.to_owned()
    };
    let leads_out =
        "leads out of the folder; allowed: a relative path below the folder of the main file; move the file below it";
    assert_eq!(include("link.yaml"), format!("`link.yaml` {leads_out}"));
    assert_eq!(include("../outside.yaml"), format!("`../outside.yaml` {leads_out}"));
    let made = std::process::Command::new("mkfifo").arg(folder.join("fifo.yaml")).status().expect("mkfifo is there");
    assert!(made.success());
    assert_eq!(include("fifo.yaml"), "fifo.yaml: not a regular file; allowed: a regular file");
    assert_eq!(include("."), ".: a folder; allowed: a regular file");
}

#[test]
fn includes_build_on_each_other_and_the_main_file_wins() {
    let folder = scratch("scenario-includes");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file can be written");
    write(
        "base.yaml",
        "seed: 5\nmax_jobs: 9\nendpoints: {a: {preset: sdxl-image, traffic: {type: poisson, rate_per_s: 1}}}\n",
    );
    write("more.yaml", "include: base.yaml\nendpoints: {a: {workers: {max: 7}}}\n");
    write(
        "main.yaml",
        "include: [more.yaml]\nseed: 6\nendpoints: [{name: a, idle_timeout_s: 9}, {name: b, preset: embedding}]\n",
    );
    let plan = load(&folder.join("main.yaml"), &[]).plan;
    assert_eq!((plan.seed, plan.max_jobs, plan.endpoints.len()), (6, Some(9), 2));
    assert_eq!((plan.endpoints[0].spec.max, plan.endpoints[1].spec.name.as_str()), (7, "b"));
}

/// Nothing that can be typed makes the reader panic: pieces of YAML in all orders, cut off anywhere.
#[test]
fn no_text_makes_the_reader_panic() {
    let pieces = [
        "endpoints:\n",
        "  a:\n",
        "    preset: sdxl-image\n",
        "    traffic: {type: poisson, rate_per_s: 1}\n",
        "- ",
        "&a ",
        "*a",
        "<<: *a\n",
        "? ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "'",
        "|\n",
        ">\n",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "!!str ",
        "\t",
        "\u{0}",
        "\u{feff}",
        "é",
        ": ",
        "#",
        "seed: -1\n",
        "hosts: []\n",
        "images: {a: 5}\n",
        "actions: [{}]\n",
        "prices: 3\n",
        "include: x\n",
        "slo: []\n",
        "clean: true\n",
        "profile: documented\n",
        "1e999",
        "~",
        "\n",
    ];
    let mut state = 1_u64;
    for _ in 0..4_000 {
        let mut text = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        let _ = scenario::from_str(&text, "fuzz.yaml", Path::new("tests"), &[]);
    }
    let whole = fs::read_to_string("scenarios/throttled-hosts.yaml").expect("a shipped scenario");
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)).step_by(7) {
        let _ = scenario::from_str(&whole[..end], "cut.yaml", Path::new("scenarios"), &[]);
    }
}
