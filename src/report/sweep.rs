//! A sweep as text: the cheapest points, with what they differ in.

use super::format::{count, money, seconds};
use super::text::section;
use crate::results::sweep::{Sweep, SweptPoint};

/// Points that are shown.
const SHOWN: usize = 20;
/// Columns below which the table is not made any narrower.
const WIDTH_MIN: usize = 80;

/// The cheapest points of a sweep by the documented bill, `width` columns wide.
pub fn text(sweep: &Sweep, width: u16) -> String {
    let title = match sweep.points.len() {
        all if all > SHOWN => format!("The {SHOWN} cheapest of {all}, means per run (documented bill first)"),
        _ => "Means per run, the cheapest by the documented bill first".to_owned(),
    };
    header(sweep) + "\n" + &section(&title, table(sweep, SHOWN), usize::from(width).max(WIDTH_MIN))
}

/// What was run, in a line.
pub(super) fn header(sweep: &Sweep) -> String {
    let manifest = &sweep.manifest;
    let runs = sweep.points.len() * manifest.seeds.len();
    let seeds: Vec<String> = manifest.seeds.iter().map(u64::to_string).collect();
    format!(
        "{} ({}): {} points, {} {}, seeds {}: {} runs, thermocline {}",
        manifest.scenario,
        manifest.hash,
        count(manifest.points),
        manifest.policies.len(),
        if manifest.policies.len() == 1 { "policy" } else { "policies" },
        seeds.join(", "),
        count(runs as u64),
        manifest.program,
    )
}

/// At most `most` points, the cheapest by the documented bill first; the first line is the head.
pub(super) fn table(sweep: &Sweep, most: usize) -> Vec<Vec<String>> {
    let manifest = &sweep.manifest;
    let mut points: Vec<&SweptPoint> = sweep.points.iter().collect();
    points.sort_by(|a, b| a.cost_documented_usd.total_cmp(&b.cost_documented_usd).then(a.point.cmp(&b.point)));
    let several = manifest.policies.len() > 1;
    let lost = points.iter().any(|point| point.lost_jobs > 0.0);
    let mut head: Vec<String> = vec!["point".to_owned()];
    head.extend(sweep.paths.iter().map(|path| short(path)));
    if several {
        head.push("policy".to_owned());
    }
    head.extend(["documented", "seed", "mean wait", "p95 wait"].map(str::to_owned));
    if lost {
        head.push("lost jobs".to_owned());
    }
    let mut lines = vec![head];
    for point in points.iter().take(most) {
        let mut line = vec![point.point.to_string()];
        line.extend(point.values.iter().cloned());
        if several {
            line.push(point.policy.clone());
        }
        line.extend([money(point.cost_documented_usd), money(point.cost_seed_usd)]);
        line.extend([seconds(point.wait_mean_s), seconds(point.wait_p95_s)]);
        if lost {
            line.push(format!("{:.1}", point.lost_jobs));
        }
        lines.push(line);
    }
    lines
}

/// The last two steps of a path are enough for a head.
pub(super) fn short(path: &str) -> String {
    let steps: Vec<&str> = path.split('.').collect();
    steps[steps.len().saturating_sub(2)..].join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sweep::{Manifest, SweptPolicy};

    #[test]
    fn the_cheapest_come_first_and_the_others_are_counted() {
        let point = |point: u64| SweptPoint {
            point,
            values: vec![point.to_string()],
            policy: "p".to_owned(),
            cost_documented_usd: 100.0 - point as f64,
            wait_p95_s: 2.0,
            ..Default::default()
        };
        let manifest = Manifest {
            scenario: "s".to_owned(),
            points: 30,
            seeds: vec![1],
            policies: vec![SweptPolicy::default()],
            ..Default::default()
        };
        let paths = vec!["endpoints.a.scaler.delay_s".to_owned()];
        let text = text(&Sweep { manifest, paths, points: (0..30).map(point).collect() }, 90);
        assert!(text.contains("20 cheapest of 30") && text.contains("scaler.delay_s"), "{text}");
        let place = |cost: &str| text.find(cost).unwrap_or(usize::MAX);
        assert!(place("$71.00") < place("$72.00") && !text.contains("$100.00"), "{text}");
    }
}
