//! Reports as a user meets them, through the real binary: pages, pictures and tables of what `run` and `compare` left; the gallery.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two hours of the quick start: the same world, little to simulate.
const SHORT: &str = "duration_s=2h";

fn thermocline(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermocline"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().expect("the binary can be started")
}

fn done(arguments: &[&str]) {
    let output = thermocline(arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refusal(arguments: &[&str]) -> String {
    let output = thermocline(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    said
}

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}"));
    if folder.exists() {
        fs::remove_dir_all(&folder).expect("the folder of an earlier run can be removed");
    }
    fs::create_dir_all(&folder).expect("the folder can be made");
    folder
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn a_run_becomes_a_page_pictures_and_tables_that_agree_with_its_summary() {
    let base = folder("run");
    let (out, again) = (base.join("a").display().to_string(), base.join("b").display().to_string());
    done(&["run", "scenarios/quickstart.yaml", "--set", SHORT, "--out", &out]);
    done(&["run", "scenarios/quickstart.yaml", "--set", SHORT, "--out", &again, "--format", "csv"]);
    let forms = ["--format", "html,svg,md,csv"];
    done(&[&["report", &out][..], &forms].concat());
    done(&[&["report", &again][..], &forms].concat());
    let summary: serde_json::Value =
        serde_json::from_str(&read(&base.join("a/summary.json"))).expect("the summary is JSON");
    let page = read(&base.join("a/report.html"));
    let hash = summary["transcript_hash"].as_str().expect("a hash");
    for word in [hash, "sdxl", "What stands out", "<svg class=\"wide\"", "<svg class=\"narrow\""] {
        assert!(page.contains(word), "no {word} in the page");
    }
    for foreign in ["<script", "http:", "https:", "src=", "href=", "url("] {
        assert!(!page.contains(foreign), "`{foreign}` in the page");
    }
    let total = &summary["total"]["cost_usd"]["documented"]["total"];
    let figures = read(&base.join("a/figures.csv"));
    assert!(figures.contains(&format!(",{total},")), "no {total} in {figures}");
    for name in ["timeline", "waits", "cost", "wait-distribution", "cold-starts", "hosts"] {
        let name = format!("{name}.svg");
        let svg = read(&base.join("a").join(&name));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{name}");
        assert!(svg == read(&base.join("b").join(&name)), "{name} differs between Parquet and CSV tables");
        assert!(read(&base.join("a/report.md")).contains(&format!("({name})")), "{name} is not in report.md");
    }
    assert!(page == read(&base.join("b/report.html")), "the page differs between Parquet and CSV tables");
    let message = refusal(&["report", &out]);
    assert!(message.contains("report.html") && message.contains("--force"), "{message}");
    done(&["report", &out, "--force", "--out", &base.join("page.html").display().to_string()]);
    assert!(page == read(&base.join("page.html")), "equal results, equal bytes");
}

#[test]
fn names_in_results_are_words_and_never_markup() {
    let base = folder("hostile");
    let out = base.join("run").display().to_string();
    done(&["run", "scenarios/quickstart.yaml", "--set", "duration_s=10m", "--out", &out, "--format", "csv"]);
    for file in ["summary.json", "timeline.csv", "workers.csv", "placements.csv", "hosts.csv", "jobs.csv"] {
        let path = base.join("run").join(file);
        let text = read(&path).replace("sdxl", "<script>alert(1)</script>");
        fs::write(&path, text).expect("the file can be changed");
    }
    done(&["report", &out, "--format", "html,svg,md"]);
    for file in ["report.html", "report.md", "timeline.svg", "wait-distribution.svg", "cold-starts.svg", "hosts.svg"] {
        assert!(!read(&base.join("run").join(file)).contains("<script"), "{file}");
    }
    assert!(read(&base.join("run/report.html")).contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

#[test]
fn what_cannot_be_reported_is_refused_with_what_to_do() {
    let base = folder("refused");
    let path = base.display().to_string();
    let message = refusal(&["report", &base.join("nowhere").display().to_string()]);
    assert!(message.contains("nowhere: there is no such folder"), "{message}");
    let message = refusal(&["report", &path]);
    assert!(message.contains("neither summary.json nor comparison.json") && message.contains("--out DIR"), "{message}");
    fs::write(base.join("summary.json"), "{}").expect("the file can be written");
    let message = refusal(&["report", &path]);
    assert!(message.contains("summary.json: not a document of thermocline"), "{message}");
    fs::write(base.join("font.ttf"), "no font").expect("the file can be written");
    let font = base.join("font.ttf").display().to_string();
    let run = base.join("run").display().to_string();
    done(&["run", "scenarios/quickstart.yaml", "--set", "duration_s=10m", "--out", &run]);
    let message = refusal(&["report", &run, "--format", "png", "--font", &font]);
    assert!(message.contains("font.ttf is not a TrueType or OpenType font"), "{message}");
    refusal(&["report"]);
    refusal(&["report", &run, "--gallery"]);
    refusal(&["report", &run, "--format", "pdf"]);
    let message = refusal(&["report", "--gallery", "--only", "no-such-page"]);
    assert!(message.contains("no page is called `no-such-page`") && message.contains("quickstart"), "{message}");
}

#[test]
fn a_comparison_becomes_a_page_with_its_front() {
    let base = folder("compare");
    let out = base.display().to_string();
    let asked = ["compare", "scenarios/quickstart.yaml", "--set", SHORT, "--seeds", "10"];
    done(&[&asked[..], &["--policy", "platform_default", "--policy", "{idle_timeout_s: 120}", "--out", &out]].concat());
    done(&["report", &out, "--format", "html,svg,md,csv"]);
    let page = read(&base.join("report.html"));
    for words in ["Cost against wait", "platform_default", "{idle_timeout_s: 120}", "What can be said", "documented"] {
        assert!(page.contains(words), "no {words} in the page");
    }
    let figures = read(&base.join("figures.csv"));
    assert_eq!(figures.lines().count(), 3, "{figures}");
    for name in ["pareto.svg", "costs.svg"] {
        assert!(read(&base.join(name)).starts_with("<svg ") && read(&base.join("report.md")).contains(name));
    }
}

/// In that scenario the host `west` is lost from 4 h to 5 h, and its workers go on elsewhere.
#[test]
fn nobody_is_drawn_on_a_host_that_is_lost() {
    let base = folder("host-loss");
    let out = base.display().to_string();
    done(&["run", "scenarios/host-loss.yaml", "--out", &out, "--format", "csv"]);
    let rows = |name: &str| -> Vec<Vec<String>> {
        let text = read(&base.join(name));
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let number = |text: &String| text.parse::<f64>().expect("a number");
    let lost: Vec<(String, f64, f64)> = rows("hosts.csv")
        .into_iter()
        .filter(|row| row[6] == "lost")
        .map(|row| (row[0].clone(), number(&row[4]), number(&row[5])))
        .collect();
    assert!(!lost.is_empty() && lost.iter().all(|(_, from, to)| (*from, *to) == (14_400.0, 18_000.0)), "{lost:?}");
    let stays = rows("placements.csv");
    for stay in &stays {
        let (from, to) = (number(&stay[3]), number(&stay[4]));
        let overlaps = |host: &(String, f64, f64)| host.0 == stay[2] && from < host.2 && to > host.1;
        assert!(!lost.iter().any(overlaps), "{stay:?} was on a host that was lost");
    }
    let moved = stays.iter().any(|stay| stays.iter().any(|other| other[0] == stay[0] && other[2] != stay[2]));
    assert!(moved, "a worker of the lost host went on elsewhere");
    done(&["report", &out, "--format", "svg"]);
    let picture = read(&base.join("hosts.svg"));
    assert!(picture.contains("host lost") && picture.contains("west") && !picture.contains("host 2"), "{picture}");
}

#[test]
fn a_sweep_and_several_runs_become_pages() {
    let base = folder("many");
    let (swept, seeds) = (base.join("sweep").display().to_string(), base.join("seeds").display().to_string());
    let vary = ["--vary", "endpoints.sdxl.idle_timeout_s=5,60", "--seeds", "2", "--out", &swept];
    done(&[&["sweep", "scenarios/quickstart.yaml", "--set", SHORT][..], &vary].concat());
    done(&["run", "scenarios/quickstart.yaml", "--set", SHORT, "--seed", "1,2,3", "--out", &seeds]);
    for folder in [&swept, &seeds] {
        done(&["report", folder, "--format", "html,svg,md,csv"]);
    }
    let page = read(&base.join("sweep/report.html"));
    for words in ["Sweep of quickstart", "cheapest by the documented bill", "idle_timeout_s 60", "Cost and wait by"] {
        assert!(page.contains(words), "no {words} in the page");
    }
    for name in ["pareto.svg", "axis.svg"] {
        assert!(
            read(&base.join("sweep").join(name)).starts_with("<svg ")
                && read(&base.join("sweep/report.md")).contains(name)
        );
    }
    assert_eq!(read(&base.join("sweep/figures.csv")).lines().count(), 3);
    let page = read(&base.join("seeds/report.html"));
    for words in [
        "Several runs: quickstart",
        "Figures of 3 runs",
        "Run by run",
        "quickstart-2",
        "documented bill, mean of 3 runs",
    ] {
        assert!(page.contains(words), "no {words} in the page");
    }
    assert!(read(&base.join("seeds/report.md")).contains("runs.svg"));
    assert_eq!(read(&base.join("seeds/figures.csv")).lines().count(), 7, "three runs of an endpoint and all together");
    fs::remove_file(base.join("sweep/sweep.parquet")).expect("the table can be removed");
    let message = refusal(&["report", &swept, "--force"]);
    assert!(message.contains("is not finished: 2 of 2 points are there"), "{message}");
}

/// A small part of what `thermocline report --gallery --check` rebuilds.
#[test]
fn the_gallery_is_what_the_scenarios_give_today() {
    done(&["report", "--gallery", "--check", "--only", "warm-caches", "--only", "spike-extra-workers"]);
    let empty = folder("gallery").display().to_string();
    let message = refusal(&["report", "--gallery", "--check", "--only", "warm-caches", "--out", &empty]);
    assert!(message.contains("warm-caches.md:1: stale") && message.contains("--gallery --force"), "{message}");
    let mut bytes = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("reports")).expect("the gallery is there") {
        bytes += entry.and_then(|entry| entry.metadata()).expect("its files can be looked at").len();
    }
    assert!(bytes < 1 << 20, "the gallery is {bytes} bytes long; it stays below a megabyte");
}
