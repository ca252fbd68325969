//! Policies against each other: cost and wait with the Pareto front, cost by policy with both bills, cost above the bound.

use super::Plot;
use super::axes::{Panel, Sample, Scale, legend};
use super::front::{self, Dot, ends};
use super::scene::{Dash, Hatch, Ink, Scene, Side, TEXT, clipped_middle, text_width};
use crate::report::comparison::known;
use crate::results::comparison::{Interval, PolicyRow, ScenarioComparison};

/// The charts of one scenario; `ending` keeps the names of several apart.
pub(super) fn plots(table: &ScenarioComparison, profile: &str, ending: &str) -> Vec<Plot> {
    if table.policies.is_empty() {
        return Vec::new();
    }
    let mut plots = vec![
        Plot::new(
            &format!("pareto{ending}"),
            "Cost against wait",
            &format!(
                "Each policy by what a run costs ({profile} bill) and how long 95 % of requests wait at most, with 95 % intervals: \
                 lower left is better. Both axes are logarithmic and begin where the points do; no wait is at the lower edge; an interval may \
                 reach further. Filled points are on the front (nobody is cheaper and quicker at once); the number is the place in the tables."
            ),
            |width| pareto(table, profile, width),
        ),
        Plot::new(
            &format!("costs{ending}"),
            "Cost by policy",
            "What a run costs under both bills, with 95 % intervals, cheapest first.",
            |width| costs(table, profile, width),
        ),
    ];
    if table.policies.iter().any(|row| row.regret.is_some()) {
        plots.push(Plot::new(
            &format!("regret{ending}"),
            "Cost above the bound",
            &format!(
                "What each policy pays beyond what somebody who knew the future would pay at least ({profile} bill): nobody can get \
                 to zero, but what lies far above can be saved."
            ),
            |width| regret(table, width),
        ));
    }
    plots
}

fn cost_of<'a>(row: &'a PolicyRow, profile: &str) -> &'a Interval {
    if profile == "seed" { &row.figures.cost_seed_usd } else { &row.figures.cost_documented_usd }
}

fn pareto(table: &ScenarioComparison, profile: &str, width: f64) -> Scene {
    let dot = |(place, row): (usize, &PolicyRow)| Dot {
        number: place as u64 + 1,
        name: row.policy.clone(),
        cost: *cost_of(row, profile),
        wait: row.figures.wait_p95_s,
        on_front: table.front.contains(&row.policy),
    };
    let dots: Vec<Dot> = table.policies.iter().enumerate().map(dot).collect();
    front::draw(&dots, &format!("US dollars per run, {profile} bill"), width)
}

/// Bars below a name and figures.
struct BarRow {
    name: String,
    figures: String,
    bars: Vec<(Interval, Ink, Hatch)>,
}

/// A row of bars per policy: name and figure above, bars with intervals below.
struct Bars<'a> {
    axis: &'a str,
    rows: Vec<BarRow>,
    /// Where a line is drawn through all of them, and what it says.
    mark: Option<(f64, String)>,
    entries: Vec<(Sample, String)>,
}

fn costs(table: &ScenarioComparison, profile: &str, width: f64) -> Scene {
    let looks = [(Ink::Blue, Hatch::Plain), (Ink::Sky, Hatch::Rising)];
    let rows = table.policies.iter().enumerate().map(|(place, row)| {
        let (documented, seed) = (known(&row.figures.cost_documented_usd), known(&row.figures.cost_seed_usd));
        let figures = match width < 600.0 {
            true => format!("${documented}, ${seed}"),
            false => format!("${documented} documented, ${seed} seed"),
        };
        let bars = [row.figures.cost_documented_usd, row.figures.cost_seed_usd].into_iter().zip(looks);
        let bars = bars.map(|(cost, (ink, hatch))| (cost, ink, hatch)).collect();
        BarRow { name: format!("{} {}", place + 1, row.policy), figures, bars }
    });
    let entries = ["documented bill", "seed bill (idle flex workers are free)"];
    let entries = entries.iter().zip(looks).map(|(name, (ink, hatch))| (Sample::Area(ink, hatch), (*name).to_owned()));
    let mark = table.bound_usd.as_ref().map(|bound| (bound.mean, format!("bound ({profile}): ${}", known(bound))));
    let bars = Bars { axis: "US dollars per run", rows: rows.collect(), mark, entries: entries.collect() };
    draw_bars(&bars, width)
}

fn regret(table: &ScenarioComparison, width: f64) -> Scene {
    let rows = table.policies.iter().enumerate().filter_map(|(place, row)| {
        let regret = row.regret.as_ref()?;
        let usd = known(&regret.usd);
        let figures = match (regret.ratio, width < 600.0) {
            (Some(ratio), true) => format!("${usd}, {ratio:.2} x the bound"),
            (Some(ratio), false) => format!("${usd} above, {ratio:.2} times the bound"),
            (None, _) => format!("${usd} above"),
        };
        let bars = vec![(regret.usd, Ink::Orange, Hatch::Plain)];
        Some(BarRow { name: format!("{} {}", place + 1, row.policy), figures, bars })
    });
    let axis = "US dollars per run above the bound";
    draw_bars(&Bars { axis, rows: rows.collect(), mark: None, entries: Vec::new() }, width)
}

fn draw_bars(bars: &Bars<'_>, width: f64) -> Scene {
    const BAR: f64 = 13.0;
    let mut scene = Scene::new(width, 0.0);
    let top = if bars.entries.is_empty() { 4.0 } else { legend(&mut scene, 4.0, 0.0, &bars.entries) + 6.0 };
    let row_height = |row: &BarRow| 24.0 + BAR * row.bars.len() as f64;
    let bottom = top + bars.rows.iter().map(row_height).sum::<f64>() + 4.0;
    // On a phone the axis has no room for two titles in a line.
    let below = if bars.mark.is_some() && scene.is_narrow() { 56.0 } else { 40.0 };
    scene.height = bottom + below;
    let most = bars.rows.iter().flat_map(|row| &row.bars).map(|bar| ends(&bar.0)[1]).fold(0.0, f64::max);
    let up = Scale::Linear { from: 0.0, to: 1.0 };
    let panel = Panel { left: 8.0, top, right: width - 22.0, bottom, across: Scale::up_to(most), up };
    panel.grid_across(&mut scene, bars.axis);
    let mut at = top;
    for row in &bars.rows {
        for (place, (value, ink, hatch)) in row.bars.iter().enumerate() {
            let y = at + 21.0 + BAR * place as f64;
            let end = (panel.x(value.mean).max(panel.left + 1.0), y + BAR - 1.0);
            scene.hatched_box((panel.left, y), end, *ink, *hatch);
            let [low, high] = ends(value).map(|end| panel.x(end));
            let middle = y + (BAR - 1.0) / 2.0;
            scene.rule((low, middle), (high, middle), Ink::Text);
            for end in [low, high].into_iter().filter(|_| high > low) {
                scene.rule((end, middle - 3.0), (end, middle + 3.0), Ink::Text);
            }
        }
        at += row_height(row);
    }
    if let Some((value, words)) = &bars.mark {
        let x = panel.x(*value);
        scene.line(vec![(x, panel.top), (x, panel.bottom)], Ink::Red, 2.0, Dash::Long);
        scene.text((4.0, panel.bottom + below - 11.0), words, Ink::Red, Side::Start);
    }
    at = top;
    for row in &bars.rows {
        let text = labelled(&row.name, &row.figures, width - 20.0);
        // Paper behind the words, so that no line runs through them.
        let wide = text_width(&text, TEXT);
        scene.fill((panel.left, at + 5.0), (panel.left + wide, at + 19.0), Ink::Paper);
        scene.text((panel.left, at + 12.0), &text, Ink::Text, Side::Start);
        at += row_height(row);
    }
    scene
}

/// A name and its figures, together at most `width` points: it is the name that is cut, never a figure.
fn labelled(name: &str, figures: &str, width: f64) -> String {
    let room = width - text_width(": ", TEXT) - text_width(figures, TEXT);
    format!("{}: {figures}", clipped_middle(name, room.max(24.0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::plot::scene::Mark;
    use crate::results::comparison::{PolicyFigures, Regret};

    fn table(count: usize, spread: f64) -> ScenarioComparison {
        let policies = (0..count).map(|place| {
            let cost =
                Interval { mean: 1.0 + place as f64 * spread, low: Some(0.9), high: Some(1.2 + place as f64 * spread) };
            let wait = Interval { mean: 5.0 / (1.0 + place as f64), low: None, high: None };
            let figures = PolicyFigures { cost_documented_usd: cost, wait_p95_s: wait, ..PolicyFigures::default() };
            PolicyRow { policy: format!("policy number {place}"), figures, ..PolicyRow::default() }
        });
        ScenarioComparison {
            policies: policies.collect(),
            front: vec!["policy number 0".to_owned()],
            ..Default::default()
        }
    }

    /// A policy may be a whole document in braces: its figures are there all the same, at both widths.
    #[test]
    fn a_long_name_is_cut_and_its_figures_are_not() {
        let name = "{endpoint: {scaler: queue_delay, delay_s: 4, idle_timeout_s: 120, workers: {active: 1}}}";
        let long = labelled(name, "$123.45 ±0.67 above, 1.23 times the bound", 320.0);
        assert!(long.ends_with(": $123.45 ±0.67 above, 1.23 times the bound") && long.contains('…'), "{long}");
        assert!(text_width(&long, TEXT) <= 322.0, "{long}");
        let mut table = table(1, 1.0);
        name.clone_into(&mut table.policies[0].policy);
        for scene in [pareto(&table, "seed", 360.0), costs(&table, "seed", 360.0)] {
            for mark in &scene.marks {
                if let Mark::Text { at, text, side: Side::Start, .. } = mark {
                    assert!(at.0 + text_width(text, TEXT) < 372.0, "{text}");
                }
            }
        }
    }

    #[test]
    fn regret_is_drawn_where_a_bound_is_known() {
        let mut table = table(2, 1.0);
        assert_eq!(plots(&table, "documented", "-2").len(), 2);
        table.bound_usd = Some(Interval { mean: 0.5, low: None, high: None });
        table.policies[0].regret =
            Some(Regret { usd: Interval { mean: 0.5, low: None, high: None }, ratio: Some(2.0) });
        let all = plots(&table, "documented", "-2");
        let names: Vec<&str> = all.iter().map(|plot| plot.name.as_str()).collect();
        assert_eq!(names, ["pareto-2", "costs-2", "regret-2"]);
        assert!(format!("{:?}", all[2].wide).contains("2.00 times the bound"));
        assert!(format!("{:?}", all[1].narrow).contains("bound (documented): $0.5000"));
    }
}
