//! A comparison of policies as text: what it rests on, what each policy costs and how long its users wait, and who is better.
//! Figures are rounded to two digits of their half-width, so what is printed is what is known.

use super::format::ABSENT;
use super::text::{section, wrapped};
use crate::results::comparison::{Comparison, Difference, Interval, PolicyRow, ScenarioComparison};

/// Columns below which the tables are not made any narrower.
const WIDTH_MIN: usize = 80;

/// All tables of a comparison, `width` columns wide, with a line's end at the end.
pub fn text(comparison: &Comparison, width: u16) -> String {
    let width = usize::from(width).max(WIDTH_MIN);
    let scenarios: Vec<String> = comparison.scenarios.iter().map(|scenario| one(scenario, comparison, width)).collect();
    scenarios.join("\n")
}

fn one(table: &ScenarioComparison, comparison: &Comparison, width: usize) -> String {
    header(table, comparison, width) + &body(table, comparison, width)
}

/// The tables of one scenario and what can be said from them, without the header.
pub(super) fn body(table: &ScenarioComparison, comparison: &Comparison, width: usize) -> String {
    let title = format!("Cost per run, US dollars (ranked by {})", comparison.profile);
    let mut text = section(&title, costs(table, comparison), width);
    text += &section("Waiting (seconds) and workers, per run", service(table), width);
    text += "\nWhat can be said\n";
    for line in findings(table, comparison) {
        text += &wrapped(&line, width);
    }
    text
}

/// What everything below rests on.
fn header(table: &ScenarioComparison, comparison: &Comparison, width: usize) -> String {
    basis(table, comparison).iter().map(|sentence| plain(sentence, width)).collect()
}

/// What the figures rest on, in two paragraphs.
pub(super) fn basis(table: &ScenarioComparison, comparison: &Comparison) -> [String; 2] {
    let n = table.seeds.len();
    let seeds = match (table.seeds.first(), table.seeds.last()) {
        (Some(first), Some(last)) if last.wrapping_sub(*first) == n as u64 - 1 && n > 1 => {
            format!("seeds {first} to {last}")
        }
        _ => {
            let listed: Vec<String> = table.seeds.iter().map(u64::to_string).collect();
            format!("seeds {}", listed.join(", "))
        }
    };
    let warm_up = match table.warm_up_s {
        _ if !table.windows.is_empty() => "what a part is run in on does not count".to_owned(),
        0.0 => "no warm-up (whole runs count)".to_owned(),
        seconds => format!("the first {seconds} s of each run do not count (warm_up_s)"),
    };
    let stopping = match (table.precision, table.cap_hit) {
        (Some(precision), true) => {
            format!(
                "CAP of {} replications HIT before a half-width of {} was reached",
                table.cap,
                percent(precision, 0)
            )
        }
        (Some(precision), false) => {
            format!("stopped at a half-width of {} of cost and p95 wait (cap {})", percent(precision, 0), table.cap)
        }
        (None, _) => "number of replications given".to_owned(),
    };
    let first = format!(
        "{} ({}): {n} replications, {seeds}, thermocline {}, {warm_up}, {stopping}.",
        table.scenario, table.hash, comparison.program
    );
    let second = format!(
        "Between replications differ: {}. All policies meet the same ones. Changes are against {}; \
         intervals are 95 %; * = significant after correction for all policies.",
        table.varies, table.baseline
    );
    [first, second]
}

/// Words in lines, without the mark of a list.
pub(super) fn plain(text: &str, width: usize) -> String {
    let lines = wrapped(text, width);
    let lines: Vec<&str> = lines.lines().map(|line| line.trim_start_matches([' ', '-'])).collect();
    lines.join("\n") + "\n"
}

pub(super) fn costs(table: &ScenarioComparison, comparison: &Comparison) -> Vec<Vec<String>> {
    let seed_first = comparison.profile == "seed";
    let mut head = vec!["policy", "documented", "seed", "per 1,000 jobs", "change", "p (Holm)", "cheapest?"];
    let bounded = table.bound_usd.is_some();
    if bounded {
        head.extend(["above bound", "ratio"]);
    }
    let mut lines = vec![head.into_iter().map(str::to_owned).collect()];
    for row in &table.policies {
        let figures = &row.figures;
        let per_1000 = if seed_first { figures.per_1000_seed_usd } else { figures.per_1000_documented_usd };
        let against = row.against.as_ref().map(|against| &against.cost);
        let mut line = vec![
            row.policy.clone(),
            known(&figures.cost_documented_usd),
            known(&figures.cost_seed_usd),
            maybe(per_1000.as_ref()),
            against.map_or_else(|| "baseline".to_owned(), change),
            against.map_or_else(String::new, chance),
            if row.may_be_cheapest { "may be".to_owned() } else { "no".to_owned() },
        ];
        if bounded {
            let regret = row.regret.as_ref();
            line.push(regret.map_or_else(|| ABSENT.to_owned(), |regret| known(&regret.usd)));
            let ratio = regret.and_then(|regret| regret.ratio);
            line.push(ratio.map_or_else(|| ABSENT.to_owned(), |ratio| format!("{ratio:.2} x")));
        }
        lines.push(line);
    }
    lines
}

pub(super) fn service(table: &ScenarioComparison) -> Vec<Vec<String>> {
    let head = ["policy", "mean", "p95", "p99", "change of p95", "SLO met", "jobs cold", "changes/h", "lost"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for row in &table.policies {
        let figures = &row.figures;
        let share = |share: Option<Interval>| {
            share.map_or_else(|| ABSENT.to_owned(), |share| format!("{} %", known(&share.map(|part| 100.0 * part))))
        };
        lines.push(vec![
            row.policy.clone(),
            known(&figures.wait_mean_s),
            known(&figures.wait_p95_s),
            known(&figures.wait_p99_s),
            row.against.as_ref().map_or_else(|| "baseline".to_owned(), |against| change(&against.wait_p95)),
            share(figures.slo_attainment),
            share(figures.cold_start_share),
            known(&figures.changes_per_hour),
            known(&figures.lost_jobs),
        ]);
    }
    lines
}

/// Sentences: who is better than the baseline, who may be the cheapest, the front, and what to be careful about.
pub(super) fn findings(table: &ScenarioComparison, comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    let named = |keep: &dyn Fn(&PolicyRow) -> bool| -> String {
        let names: Vec<&str> = table.policies.iter().filter(|row| keep(row)).map(|row| row.policy.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    let verdict = |row: &PolicyRow, cost: i32, wait: &[i32]| {
        row.against.as_ref().is_some_and(|a| a.cost.verdict == cost && wait.contains(&a.wait_p95.verdict))
    };
    let claims = table.policies.iter().any(|row| row.against.as_ref().is_some_and(|against| against.cost.p.is_some()));
    if claims {
        lines.push(format!(
            "significantly cheaper than {} at a p95 wait that is not longer: {}",
            table.baseline,
            named(&|row| verdict(row, -1, &[-1, 0]))
        ));
        lines
            .push(format!("significantly cheaper, but at a longer p95 wait: {}", named(&|row| verdict(row, -1, &[1]))));
        lines.push(format!(
            "significantly shorter p95 wait at no detected saving: {}",
            named(&|row| verdict(row, 0, &[-1]) || verdict(row, 1, &[-1]))
        ));
        lines.push(format!("may be the cheapest of all (95 % joint): {}", table.may_be_cheapest.join(", ")));
    }
    lines.push(format!("on the front of cost and p95 wait: {}", table.front.join(", ")));
    for row in &table.policies {
        if let Some(other) = &row.dominated_by {
            lines.push(format!("{}: {other} is both cheaper and quicker", row.policy));
        }
    }
    if let Some(bound) = &table.bound_usd {
        let bound = known(bound);
        lines.push(format!(
            "nobody who is late with no job can pay less than ${bound} per run ({}), even knowing the future; what is above the bound \
             is counted from that of somebody who is late with as many jobs as the policy",
            comparison.profile
        ));
    }
    if table.policies.iter().any(|row| row.against.as_ref().is_some_and(|a| a.cost.bootstrap || a.wait_p95.bootstrap)) {
        lines.push(
            "~ marks intervals by bootstrap over replications: those differences are skewed or mostly zero".to_owned(),
        );
    }
    lines.extend(table.notes.iter().cloned());
    lines
}

/// `12.34 ±0.21`: the mean and its half-width, both to two digits of the latter.
pub fn known(interval: &Interval) -> String {
    let half = interval.spread();
    let places = places(half, interval.mean);
    match half {
        Some(half) => format!("{:.places$} ±{half:.places$}", interval.mean),
        None => format!("{:.places$}", interval.mean),
    }
}

fn maybe(interval: Option<&Interval>) -> String {
    interval.map_or_else(|| ABSENT.to_owned(), known)
}

/// Digits behind the point that show two digits of the half-width, or else four of the mean.
fn places(half: Option<f64>, mean: f64) -> usize {
    let (size, digits) = half.map_or((mean.abs(), 3), |half| (half, 1));
    if size == 0.0 {
        return 0;
    }
    (digits - libm::floor(libm::log10(size)) as i64).clamp(0, 9) as usize
}

/// `-12.3 ±1.9 %`, in seconds or dollars where a share makes no sense; `*` = significant after correction.
fn change(difference: &Difference) -> String {
    let mark = if difference.verdict == 0 { "" } else { "*" };
    let about = if difference.bootstrap { "~" } else { "" };
    let shown = |interval: &Interval, unit: &str, most: usize| {
        let half = interval.spread();
        let places = places(half, interval.mean).min(most);
        let half = half.map_or_else(String::new, |half| format!(" ±{half:.places$}"));
        format!("{:+.places$}{half}{unit}{mark}", interval.mean)
    };
    match &difference.relative {
        Some(relative) => shown(&relative.map(|part| 100.0 * part), " %", 1),
        None => format!("{about}{}", shown(&difference.difference, "", 9)),
    }
}

fn chance(difference: &Difference) -> String {
    match difference.p_holm {
        None => ABSENT.to_owned(),
        Some(p) if p < 0.001 => "<0.001".to_owned(),
        Some(p) => format!("{p:.3}"),
    }
}

fn percent(share: f64, places: usize) -> String {
    let value = 100.0 * share;
    if value.fract() == 0.0 { format!("{value:.places$} %") } else { format!("{value} %") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::comparison::Against;

    fn interval(mean: f64, half: f64) -> Interval {
        Interval { mean, low: Some(mean - half), high: Some(mean + half) }
    }

    #[test]
    fn figures_have_as_many_digits_as_are_known() {
        assert_eq!(known(&interval(12.345_6, 0.213)), "12.35 ±0.21");
        assert_eq!(known(&interval(1_234.5, 41.0)), "1234 ±41");
        assert_eq!(known(&interval(0.001_234, 0.000_056)), "0.001234 ±0.000056");
        assert_eq!(known(&Interval { mean: 0.123_456, low: None, high: None }), "0.1235");
        assert_eq!(known(&interval(0.0, 0.0)), "0");
        assert_eq!(known(&interval(41.746_431, 1e-15)), "41.75", "rounding errors are no interval");
    }

    #[test]
    fn the_report_says_what_it_rests_on_and_who_is_better() {
        let row = |policy: &str, cost: f64, against: Option<Against>| PolicyRow {
            policy: policy.to_owned(),
            figures: crate::results::comparison::PolicyFigures {
                cost_documented_usd: interval(cost, 0.1),
                ..Default::default()
            },
            against,
            may_be_cheapest: cost < 5.0,
            ..Default::default()
        };
        let better = Difference {
            difference: interval(-2.0, 0.1),
            relative: Some(interval(-0.333, 0.02)),
            p: Some(0.000_1),
            p_holm: Some(0.000_2),
            verdict: -1,
            ..Default::default()
        };
        let against = Against { cost: better.clone(), wait_mean: better.clone(), wait_p95: Difference::default() };
        let table = ScenarioComparison {
            scenario: "quickstart".to_owned(),
            hash: "abc".to_owned(),
            seeds: (1..=10).collect(),
            precision: Some(0.05),
            cap: 10,
            cap_hit: true,
            baseline: "b".to_owned(),
            policies: vec![row("a", 4.0, Some(against)), row("b", 6.0, None)],
            may_be_cheapest: vec!["a".to_owned()],
            front: vec!["a".to_owned()],
            ..Default::default()
        };
        let comparison = Comparison { profile: "documented".to_owned(), scenarios: vec![table], ..Default::default() };
        let text = text(&comparison, 110);
        for words in [
            "10 replications, seeds 1 to 10",
            "CAP of 10 replications HIT",
            "no warm-up",
            "-33.3 ±2.0 %*",
            "cheaper than b at a p95 wait that is not longer: a",
            "<0.001",
        ] {
            assert!(text.replace('\n', " ").contains(words), "no `{words}` in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    }
}
