//! The report of a run as text: both bills side by side, waits, cold starts, workers, and what is plain from them. Needs no
//! colour; good from 80 columns on.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::findings::findings;
use super::format::{ABSENT, count, maybe_seconds, maybe_share, mean, money, seconds, share};
use crate::results::Summary;
use crate::results::summary::{EndpointSummary, Figures, Quantiles};

/// Endpoints that are shown one by one; with more, the dearest of them.
const ENDPOINTS_MAX: usize = 20;

/// Causes of starts that are shown.
const CAUSES_MAX: usize = 6;

/// Columns below which the report is not made any narrower.
const WIDTH_MIN: usize = 80;

/// The report of one run, `width` columns wide, with a line's end at the end.
pub fn text(summary: &Summary, width: u16) -> String {
    let width = usize::from(width).max(WIDTH_MIN);
    let mut report = header(summary) + &rules(summary, width);
    for (title, lines) in tables(summary) {
        report += &section(title, lines, width);
    }
    let hidden = summary.endpoints.len() - shown(summary).len();
    if hidden > 0 {
        report += &format!("\n{hidden} more endpoints cost less and are left out here; --json has all of them.\n");
    }
    report += &remarks(summary, width);
    report += &format!("\nTranscript {}\n", summary.transcript_hash);
    report
}

/// All tables: title, and lines of which the first is the head.
pub(super) fn tables(summary: &Summary) -> Vec<(&'static str, Vec<Vec<String>>)> {
    let rows = rows(summary);
    let mut all = vec![
        ("Jobs", jobs(&rows)),
        ("Waiting and responding", lengths(&rows)),
        ("Workers", workers(&rows)),
        ("Bill", bill(summary)),
    ];
    if summary.total.starts.asked > 0 {
        all.push(("Who asked for starts, and what those workers cost (documented)", causes(summary)));
    }
    if summary.endpoints.len() > 1 {
        all.push(("Bill by endpoint", bill_by_endpoint(&rows)));
    }
    all
}

/// The run in a line: scenario, seed, length.
pub(super) fn header(summary: &Summary) -> String {
    let name = if summary.scenario.is_empty() { "run" } else { &summary.scenario };
    let ended = if summary.complete { String::new() } else { format!(" ({})", summary.ended) };
    let observed = if summary.observed_s < summary.simulated_s {
        let from = seconds(summary.observed_from_s);
        format!(", figures over {} from {from} on", seconds(summary.observed_s))
    } else {
        String::new()
    };
    format!(
        "{name}, seed {}: {} simulated{ended}{observed}, {} events\n",
        summary.seed,
        seconds(summary.simulated_s),
        count(summary.events),
    )
}

/// The rules that change figures most, once for all endpoints that share them: who wants workers, which job gets which worker.
fn rules(summary: &Summary, width: usize) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for endpoint in shown(summary) {
        let of = &endpoint.settings;
        let text = format!("scaler {}, binding {}, dispatch {}", of.scaling, of.binding, of.dispatch);
        match groups.iter_mut().find(|(other, _)| *other == text) {
            Some((_, names)) => names.push(&endpoint.name),
            None => groups.push((text, vec![&endpoint.name])),
        }
    }
    match groups.as_slice() {
        [] => String::new(),
        [(text, _)] => format!("{text}\n"),
        several => {
            several.iter().map(|(text, names)| wrapped(&format!("{}: {text}", names.join(", ")), width)).collect()
        }
    }
}

/// Name and figures of each line of a table: the endpoints shown, and the total if there are several.
fn rows(summary: &Summary) -> Vec<(&str, &Figures)> {
    let mut rows: Vec<_> = shown(summary).into_iter().map(|row| (row.name.as_str(), &row.figures)).collect();
    if rows.len() != 1 {
        rows.push(("total", &summary.total));
    }
    rows
}

/// The endpoints in their order; the dearest where there are too many.
pub(super) fn shown(summary: &Summary) -> Vec<&EndpointSummary> {
    let mut places: Vec<usize> = (0..summary.endpoints.len()).collect();
    let cost = |place: &usize| summary.endpoints[*place].figures.cost_usd.documented.total;
    places.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
    places.truncate(ENDPOINTS_MAX);
    places.sort_unstable();
    places.into_iter().map(|place| &summary.endpoints[place]).collect()
}

fn jobs(rows: &[(&str, &Figures)]) -> Vec<Vec<String>> {
    let head = ["endpoint", "submitted", "completed", "failed", "timed out", "cancelled", "refused", "retried"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (name, figures) in rows {
        let jobs = &figures.jobs;
        let counts = [jobs.submitted, jobs.completed, jobs.failed, jobs.timed_out, jobs.cancelled, jobs.rejected];
        let mut row = vec![(*name).to_owned()];
        row.extend(counts.map(count));
        row.push(count(jobs.retried));
        table.push(row);
    }
    table
}

fn lengths(rows: &[(&str, &Figures)]) -> Vec<Vec<String>> {
    let head = ["endpoint", "", "mean", "p50", "p90", "p95", "p99", "max"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (name, figures) in rows {
        table.push(quantiles(name, "wait", &figures.wait_s));
        table.push(quantiles("", "response", &figures.response_s));
        if figures.cold_start_s.count > 0 {
            table.push(quantiles("", "cold start", &figures.cold_start_s));
        }
    }
    table
}

fn quantiles(name: &str, what: &str, values: &Quantiles) -> Vec<String> {
    let mut row = vec![name.to_owned(), what.to_owned()];
    row.extend([values.mean, values.p50, values.p90, values.p95, values.p99, values.max].map(maybe_seconds));
    row
}

fn workers(rows: &[(&str, &Figures)]) -> Vec<Vec<String>> {
    let head = ["endpoint", "active", "flex", "extra", "most", "busy", "starts", "jobs cold", "SLO met"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (name, figures) in rows {
        let up = &figures.workers;
        table.push(vec![
            (*name).to_owned(),
            mean(up.active.mean),
            mean(up.flex.mean),
            mean(up.extra.mean),
            count(up.all.max),
            maybe_share(figures.utilization),
            count(figures.starts.asked),
            maybe_share(figures.cold_start_share),
            maybe_share(figures.slo_attainment),
        ]);
    }
    table
}

/// The total under both profiles, line by line.
fn bill(summary: &Summary) -> Vec<Vec<String>> {
    let costs = &summary.total.cost_usd;
    let (seed, documented) = (&costs.seed, &costs.documented);
    let mark = |profile: &str| if summary.profile == profile { format!("{profile} *") } else { profile.to_owned() };
    let mut table = vec![vec![String::new(), mark("seed"), String::new(), mark("documented"), String::new()]];
    let mut line = |name: &str, a: f64, b: f64| {
        let part = |of: f64, whole: f64| if whole > 0.0 { share(of / whole) } else { String::new() };
        table.push(vec![name.to_owned(), money(a), part(a, seed.total), money(b), part(b, documented.total)]);
    };
    line("total", seed.total, documented.total);
    line("  start", seed.by_phase.start, documented.by_phase.start);
    line("  work", seed.by_phase.work, documented.by_phase.work);
    line("  warm idle", seed.by_phase.warm_idle, documented.by_phase.warm_idle);
    line("  drain", seed.by_phase.drain, documented.by_phase.drain);
    line("  rounding", seed.by_phase.rounding, documented.by_phase.rounding);
    line("active workers", seed.by_worker_type.active, documented.by_worker_type.active);
    line("flex workers", seed.by_worker_type.flex, documented.by_worker_type.flex);
    line("extra workers", seed.by_worker_type.extra, documented.by_worker_type.extra);
    let per_1000 = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), money);
    let (a, b) = (per_1000(seed.per_1000_completed), per_1000(documented.per_1000_completed));
    table.push(vec!["per 1,000 completed".to_owned(), a, String::new(), b, String::new()]);
    table
}

/// The dearest causes of starts.
fn causes(summary: &Summary) -> Vec<Vec<String>> {
    let bill = &summary.total.cost_usd.documented;
    let mut causes: Vec<_> = bill.by_cause.iter().collect();
    causes.sort_by(|a, b| b.1.total_usd.total_cmp(&a.1.total_usd));
    causes.truncate(CAUSES_MAX);
    let mut table = vec![["cause", "starts", "starting", "in all", ""].map(str::to_owned).to_vec()];
    for (cause, cost) in causes {
        let part = if bill.total > 0.0 { share(cost.total_usd / bill.total) } else { String::new() };
        table.push(vec![cause.clone(), count(cost.starts), money(cost.start_usd), money(cost.total_usd), part]);
    }
    table
}

fn bill_by_endpoint(rows: &[(&str, &Figures)]) -> Vec<Vec<String>> {
    let head = ["endpoint", "seed", "documented", "start", "work", "warm idle", "drain", "rounding"];
    let mut table = vec![head.map(str::to_owned).to_vec()];
    for (name, figures) in rows {
        let (seed, documented) = (&figures.cost_usd.seed, &figures.cost_usd.documented);
        let phases = &documented.by_phase;
        let amounts =
            [seed.total, documented.total, phases.start, phases.work, phases.warm_idle, phases.drain, phases.rounding];
        let mut row = vec![(*name).to_owned()];
        row.extend(amounts.map(money));
        table.push(row);
    }
    table
}

/// A heading and a table: the first line is its head, the first column text, the others numbers.
pub(super) fn section(title: &str, lines: Vec<Vec<String>>, width: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty();
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width as u16);
    let widths = least_widths(&lines, width);
    let mut lines = lines.into_iter();
    let words = |line: Vec<String>, place: usize| -> Vec<Cell> {
        let cells = line.into_iter().enumerate().map(|(column, text)| {
            let numeric = column > place;
            Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
        });
        cells.collect()
    };
    // The table of lengths has a second column of words.
    let place = usize::from(title == "Waiting and responding");
    table.set_header(words(lines.next().unwrap_or_default(), place));
    lines.for_each(|line| {
        table.add_row(words(line, place));
    });
    for (column, least) in table.column_iter_mut().zip(widths) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
    }
    let body: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    format!("\n{title}\n{}\n", body.join("\n"))
}

/// How narrow each column may become before something is broken that should not be: a word of the head, a cell below it; where there
/// is no room for that, a word of a cell; where there is none for that either, a name in the first column. (Of long cells, such as
/// settings typed as a policy, only a word in any case.)
fn least_widths(lines: &[Vec<String>], width: usize) -> Vec<u16> {
    let long = |text: &str| text.chars().count();
    let longest_word = |text: &str| text.split_whitespace().map(long).max().unwrap_or(0);
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    // The first `whole` columns keep their cells, those before `words` their words.
    let widths = |whole: usize, words: usize| -> Vec<usize> {
        let mut widths = vec![0; columns];
        for (number, line) in lines.iter().enumerate() {
            for (column, (least, text)) in widths.iter_mut().zip(line).enumerate().take(words) {
                let kept = number > 0 && column < whole && long(text) <= width / 4;
                *least = (*least).max(if kept { long(text) } else { longest_word(text) });
            }
        }
        widths
    };
    // Each column has a space on both sides.
    let fits = |widths: &Vec<usize>| widths.iter().map(|least| least + 2).sum::<usize>() <= width;
    let found =
        [(columns, columns), (1, columns), (1, 1)].map(|(whole, words)| widths(whole, words)).into_iter().find(fits);
    found.unwrap_or_default().into_iter().map(|least| if least > 0 { least as u16 + 2 } else { 0 }).collect()
}

fn remarks(summary: &Summary, width: usize) -> String {
    let all = findings(summary);
    if all.is_empty() {
        return String::new();
    }
    let mut text = "\nWhat stands out\n".to_owned();
    all.iter().for_each(|remark| text += &wrapped(remark, width));
    text
}

/// A list item, broken between words.
pub fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![" -".to_owned()];
    for word in words_of(text) {
        let line = lines.last_mut().expect("there is a first line");
        if line.chars().count() + 1 + word.chars().count() > width && line.chars().count() > 3 {
            lines.push(format!("   {word}"));
        } else {
            line.push(' ');
            line.push_str(&word);
        }
    }
    lines.join("\n") + "\n"
}

/// The words of a text; a number and its unit are one.
fn words_of(text: &str) -> Vec<String> {
    const UNITS: [&str; 7] = ["s", "ms", "µs", "min", "h", "d", "%"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_alphabetic() && c != '%');
        match words.last_mut() {
            Some(number) if UNITS.contains(&bare) && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::summary::{CauseCost, EndpointSettings};

    fn endpoint(name: &str, cost: f64) -> EndpointSummary {
        let mut endpoint = EndpointSummary { name: name.to_owned(), ..EndpointSummary::default() };
        endpoint.settings =
            EndpointSettings { idle_timeout_s: Some(5.0), flex_usd_per_s: 0.000_31, ..Default::default() };
        endpoint.settings.scaling = "queue_delay".to_owned();
        (endpoint.settings.binding, endpoint.settings.dispatch) = ("late".to_owned(), "mru".to_owned());
        let figures = &mut endpoint.figures;
        (figures.jobs.submitted, figures.jobs.completed) = (1_234_567, 1_234_560);
        figures.wait_s =
            Quantiles { mean: Some(0.412), p50: Some(0.0), p95: Some(12.3), count: 9, ..Default::default() };
        figures.cold_start_s = Quantiles { mean: Some(31.0), count: 2, ..Default::default() };
        (figures.starts.asked, figures.starts.ready) = (1_200, 1_200);
        figures.cold_start_share = Some(0.3);
        figures.workers.flex.mean = 12.345;
        figures.workers.all.max = 40;
        let bill = &mut figures.cost_usd.documented;
        (bill.total, bill.by_phase.warm_idle) = (cost, cost * 0.88);
        let caused = CauseCost { starts: 1_200, start_usd: cost * 0.1, total_usd: cost };
        bill.by_cause.insert("queue_delay".to_owned(), caused);
        figures.cost_usd.seed.total = cost * 0.12;
        endpoint
    }

    fn summary(endpoints: Vec<EndpointSummary>) -> Summary {
        let total = endpoints[0].figures.clone();
        Summary {
            scenario: "black friday".to_owned(),
            seed: 7,
            complete: true,
            simulated_s: 86_400.0,
            observed_s: 86_400.0,
            profile: "seed".to_owned(),
            transcript_hash: "35b9a4e2b5aea3ee9f32f6fe52a7ce7c".to_owned(),
            total,
            endpoints,
            ..Summary::default()
        }
    }

    #[test]
    fn names_and_figures_stay_whole_and_heads_are_broken_between_words() {
        let line = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let head = line(&["policy", "documented cost", "against the baseline", "per 1,000 jobs", "ratio to the bound"]);
        let row = line(&["target_utilization_held", "1,234.567", "-20.3 ±0.2 %*", "12.345 ±0.004", "160.02 x"]);
        let text = section("Cost", vec![head, row.clone()], 80);
        assert_fits(&text, 80);
        assert!(row.iter().all(|cell| text.contains(cell.as_str())), "{text}");
        assert!(text.lines().count() >= 5, "the head takes two lines:\n{text}");
        // Nine columns with intervals do not fit: names stay whole all the same.
        let head =
            line(&["policy", "mean", "p95", "p99", "change of p95", "SLO met", "jobs cold", "changes/h", "lost"]);
        let name = "request_count_held";
        let row =
            line(&[name, "9.37 ±0.56", "41.75", "72.48", "-94.6 ±3.3 %*", "72.3 ±3.1 %", "38.9 ±3.8 %", "98.0", "0"]);
        let text = section("Waits", vec![head, row], 80);
        assert_fits(&text, 80);
        assert!(text.contains(name), "{text}");
    }

    fn assert_fits(text: &str, width: usize) {
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
            assert!(!line.contains('\u{1b}'), "no colours: {line}");
            assert_eq!(line, line.trim_end());
        }
    }

    #[test]
    fn it_fits_and_shows_both_bills() {
        for width in [80, 120] {
            let report = text(&summary(vec![endpoint("llm", 1_234.56)]), width);
            assert_fits(&report, usize::from(width));
            for words in [
                "scaler queue_delay, binding late, dispatch mru",
                "seed *",
                "documented",
                "$1,234.56",
                "88.0 %",
                "1,234,567",
                "412 ms",
                "Transcript 35b9a4e2",
            ] {
                assert!(report.contains(words), "`{words}` is not in:\n{report}");
            }
            assert!(!report.contains("Bill by endpoint"));
        }
    }

    #[test]
    fn several_endpoints_have_lines_of_their_own_and_a_total() {
        let report = text(&summary(vec![endpoint("llm", 10.0), endpoint("sdxl-turbo", 2.0)]), 80);
        assert_fits(&report, 80);
        assert!(report.contains("Bill by endpoint") && report.contains("sdxl-turbo") && report.contains("total"));
        assert!(report.contains("- llm: "), "remarks name their endpoint:\n{report}");
    }

    #[test]
    fn of_very_many_endpoints_the_dearest_are_shown() {
        let many = (0..50).map(|number| endpoint(&format!("e-{number}"), f64::from(number))).collect();
        let report = text(&summary(many), 100);
        assert!(report.contains("30 more endpoints") && report.contains("e-49") && !report.contains("e-29 "));
    }

    #[test]
    fn a_run_without_anything_is_reported_too() {
        let summary = Summary { complete: true, transcript_hash: "0".to_owned(), ..Summary::default() };
        let report = text(&summary, 80);
        assert_fits(&report, 80);
        assert!(report.contains('–'), "{report}");
    }

    #[test]
    fn long_remarks_are_broken_between_words() {
        assert_eq!(wrapped("one two three four", 12), " - one two\n   three\n   four\n");
        assert_eq!(wrapped("a whole 12.5 min long", 14), " - a whole\n   12.5 min\n   long\n");
    }
}
