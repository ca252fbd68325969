//! Policies against each other: cost and wait with the Pareto front, cost by policy with both bills, cost above the bound.

use super::Plot;
use super::axes::{Panel, Sample, Scale, TimeUnit, legend};
use super::scene::{Dash, Hatch, Ink, Marker, Place, Scene, Side, TEXT, clipped, text_width};
use crate::report::comparison::known;
use crate::results::comparison::{Interval, PolicyRow, ScenarioComparison};

/// Values that spread further than this get a logarithmic axis.
const SPREAD: f64 = 30.0;

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
                 lower left is better. Filled points are on the front (nobody is cheaper and quicker at once); the number is \
                 the place in the table."
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

fn ends(interval: &Interval) -> [f64; 2] {
    [interval.low.unwrap_or(interval.mean), interval.high.unwrap_or(interval.mean)]
}

/// From zero, or by logarithms where values spread far; `true` for the latter.
fn scale(values: &[f64], least: f64) -> (Scale, bool) {
    let most = values.iter().copied().fold(0.0, f64::max).max(least);
    let positive = values.iter().copied().filter(|value| *value > 0.0).fold(most, f64::min).max(least);
    match most / positive > SPREAD {
        true => (Scale::log(positive, most), true),
        false => (Scale::up_to(most), false),
    }
}

fn pareto(table: &ScenarioComparison, profile: &str, width: f64) -> Scene {
    let mut scene = Scene::new(width, if width < 600.0 { 420.0 } else { 440.0 });
    let rows: Vec<(&PolicyRow, &Interval, &Interval)> =
        table.policies.iter().map(|row| (row, cost_of(row, profile), &row.figures.wait_p95_s)).collect();
    let waits: Vec<f64> = rows.iter().flat_map(|row| [row.2.mean, ends(row.2)[1]]).collect();
    let unit = TimeUnit::of_span(waits.iter().copied().fold(0.0, f64::max));
    let in_unit = |wait: f64| wait / unit.seconds;
    let (up, log_up) = scale(&waits.iter().map(|wait| in_unit(*wait)).collect::<Vec<_>>(), 0.001);
    let costs: Vec<f64> = rows.iter().flat_map(|row| [row.1.mean, ends(row.1)[1]]).collect();
    let (across, log_across) = scale(&costs, 1e-6);
    let grows = |log: bool| if log { ", each step ten times as much" } else { "" };
    scene.heading((4.0, 10.0), &format!("95 % of requests wait at most, {}{}", unit.name, grows(log_up)));
    let left = if scene.is_narrow() { 44.0 } else { 56.0 };
    let panel = Panel { left, top: 26.0, right: width - 22.0, bottom: scene.height - 40.0, across, up };
    panel.grid_up(&mut scene);
    panel.grid_across(&mut scene, &format!("US dollars per run, {profile} bill{}", grows(log_across)));
    front(&mut scene, &panel, table, profile, unit);
    let mut taken: Vec<[f64; 4]> = Vec::new();
    for (_, cost, wait) in &rows {
        let (x, y) = panel.place(cost.mean, in_unit(wait.mean));
        taken.push([x - 6.0, y - 6.0, x + 6.0, y + 6.0]);
    }
    for (place, (row, cost, wait)) in rows.iter().enumerate() {
        let at = panel.place(cost.mean, in_unit(wait.mean));
        let [low, high] = ends(cost).map(|value| panel.x(value));
        scene.rule((low, at.1), (high, at.1), Ink::Muted);
        let [low, high] = ends(wait).map(|value| panel.y(in_unit(value)));
        scene.rule((at.0, low), (at.0, high), Ink::Muted);
        let on_front = table.front.contains(&row.policy);
        let (ink, marker) = if on_front { (Ink::Blue, Marker::Disc) } else { (Ink::Text, Marker::Ring) };
        scene.point(at, 4.5, ink, marker);
        label(&mut scene, &panel, at, place + 1, &row.policy, on_front, &mut taken);
    }
    scene
}

/// The steps of the front: what is reached so far stays reached.
fn front(scene: &mut Scene, panel: &Panel, table: &ScenarioComparison, profile: &str, unit: TimeUnit) {
    let mut points: Vec<Place> = table
        .policies
        .iter()
        .filter(|row| table.front.contains(&row.policy))
        .map(|row| panel.place(cost_of(row, profile).mean, row.figures.wait_p95_s.mean / unit.seconds))
        .collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut steps: Vec<Place> = Vec::new();
    for point in points {
        if let Some(last) = steps.last().copied() {
            steps.push((point.0, last.1));
        }
        steps.push(point);
    }
    scene.line(steps, Ink::Blue, 1.5, Dash::Short);
}

/// Number and name beside a point where there is room for both, the number alone where there is not.
fn label(
    scene: &mut Scene,
    panel: &Panel,
    at: Place,
    number: usize,
    name: &str,
    bold: bool,
    taken: &mut Vec<[f64; 4]>,
) {
    let long = format!("{number} {}", clipped(name, 150.0));
    let short = number.to_string();
    let ink = if bold { Ink::Text } else { Ink::Muted };
    for text in [long, short] {
        let width = text_width(&text, TEXT);
        for (dx, dy) in
            [(9.0, -8.0), (9.0, 8.0), (-9.0, -8.0), (-9.0, 8.0), (9.0, -22.0), (9.0, 22.0), (-9.0, 22.0), (-9.0, -22.0)]
        {
            let (left, side) = if dx > 0.0 { (at.0 + dx, Side::Start) } else { (at.0 + dx - width, Side::End) };
            let area = [left, at.1 + dy - 7.0, left + width, at.1 + dy + 7.0];
            let fits =
                area[0] > panel.left && area[2] < scene.width && area[1] > panel.top - 8.0 && area[3] < panel.bottom;
            let free =
                |other: &[f64; 4]| area[0] > other[2] || area[2] < other[0] || area[1] > other[3] || area[3] < other[1];
            if fits && taken.iter().all(free) {
                scene.text((at.0 + dx, at.1 + dy), &text, ink, side);
                taken.push(area);
                return;
            }
        }
    }
}

/// A name with figures, and its bars.
type BarRow = (String, Vec<(Interval, Ink, Hatch)>);

/// A row of bars per policy: name and figure above, bars with intervals below.
struct Bars<'a> {
    axis: &'a str,
    rows: Vec<BarRow>,
    entries: Vec<(Sample, String)>,
}

fn costs(table: &ScenarioComparison, profile: &str, width: f64) -> Scene {
    let looks = [(Ink::Blue, Hatch::Plain), (Ink::Sky, Hatch::Rising)];
    let rows = table.policies.iter().enumerate().map(|(place, row)| {
        let figures = &row.figures;
        let (documented, seed) = (known(&figures.cost_documented_usd), known(&figures.cost_seed_usd));
        let text = match width < 600.0 {
            true => format!("{} {}: ${documented}, ${seed}", place + 1, clipped(&row.policy, 130.0)),
            false => format!("{} {}: ${documented} documented, ${seed} seed", place + 1, row.policy),
        };
        let bars = [figures.cost_documented_usd, figures.cost_seed_usd].into_iter().zip(looks);
        (text, bars.map(|(cost, (ink, hatch))| (cost, ink, hatch)).collect())
    });
    let entries = ["documented bill", "seed bill (idle flex workers are free)"];
    let entries = entries.iter().zip(looks).map(|(name, (ink, hatch))| (Sample::Area(ink, hatch), (*name).to_owned()));
    let bars = Bars { axis: "US dollars per run", rows: rows.collect(), entries: entries.collect() };
    let mut scene = Scene::new(width, 0.0);
    let panel = draw_bars(&mut scene, &bars);
    if let Some(bound) = &table.bound_usd {
        let x = panel.x(bound.mean);
        scene.line(vec![(x, panel.top), (x, panel.bottom)], Ink::Red, 2.0, Dash::Long);
        let words = format!("bound ({profile}): ${}", known(bound));
        scene.text((4.0, panel.bottom + 29.0), &words, Ink::Red, Side::Start);
    }
    scene
}

fn regret(table: &ScenarioComparison, width: f64) -> Scene {
    let rows = table.policies.iter().enumerate().filter_map(|(place, row)| {
        let regret = row.regret.as_ref()?;
        let times = regret.ratio.map_or(String::new(), |ratio| format!(", {ratio:.2} times the bound"));
        let text = format!("{} {}: ${} above{times}", place + 1, row.policy, known(&regret.usd));
        Some((text, vec![(regret.usd, Ink::Orange, Hatch::Plain)]))
    });
    let bars = Bars { axis: "US dollars per run above the bound", rows: rows.collect(), entries: Vec::new() };
    let mut scene = Scene::new(width, 0.0);
    draw_bars(&mut scene, &bars);
    scene
}

fn draw_bars(scene: &mut Scene, bars: &Bars<'_>) -> Panel {
    const BAR: f64 = 13.0;
    let width = scene.width;
    let top = if bars.entries.is_empty() { 4.0 } else { legend(scene, 4.0, 0.0, &bars.entries) + 6.0 };
    let row_height = |row: &BarRow| 24.0 + BAR * row.1.len() as f64;
    let bottom = top + bars.rows.iter().map(row_height).sum::<f64>() + 4.0;
    scene.height = bottom + 40.0;
    let most = bars.rows.iter().flat_map(|row| &row.1).map(|bar| ends(&bar.0)[1]).fold(0.0, f64::max);
    let up = Scale::Linear { from: 0.0, to: 1.0 };
    let panel = Panel { left: 8.0, top, right: width - 22.0, bottom, across: Scale::up_to(most), up };
    panel.grid_across(scene, bars.axis);
    let mut at = top;
    for row in &bars.rows {
        scene.text((panel.left, at + 12.0), &clipped(&row.0, width - 20.0), Ink::Text, Side::Start);
        for (place, (value, ink, hatch)) in row.1.iter().enumerate() {
            let y = at + 21.0 + BAR * place as f64;
            scene.hatched_box(
                (panel.left, y),
                (panel.x(value.mean).max(panel.left + 1.0), y + BAR - 1.0),
                *ink,
                *hatch,
            );
            let [low, high] = ends(value).map(|end| panel.x(end));
            let middle = y + (BAR - 1.0) / 2.0;
            scene.rule((low, middle), (high, middle), Ink::Text);
            for end in [low, high].into_iter().filter(|_| high > low) {
                scene.rule((end, middle - 3.0), (end, middle + 3.0), Ink::Text);
            }
        }
        at += row_height(row);
    }
    panel
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

    #[test]
    fn labels_never_lie_on_each_other() {
        for (count, spread) in [(3, 1.0), (25, 0.01), (40, 3.0)] {
            let scene = pareto(&table(count, spread), "documented", 360.0);
            let texts = scene.marks.iter().filter_map(|mark| match mark {
                Mark::Text { at, text, side, .. } if text.contains("policy") => {
                    let width = text_width(text, TEXT);
                    let left = if *side == Side::Start { at.0 } else { at.0 - width };
                    Some([left, at.1 - 6.0, left + width, at.1 + 6.0])
                }
                _ => None,
            });
            let areas: Vec<[f64; 4]> = texts.collect();
            assert!(count > 3 || areas.len() == 3, "all three have room");
            for (place, a) in areas.iter().enumerate() {
                for b in &areas[place + 1..] {
                    assert!(a[0] >= b[2] || a[2] <= b[0] || a[1] >= b[3] || a[3] <= b[1], "{a:?} {b:?}");
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

    #[test]
    fn far_apart_values_get_a_logarithmic_axis() {
        assert!(scale(&[0.1, 50.0], 0.001).1);
        assert!(!scale(&[1.0, 20.0], 0.001).1 && !scale(&[0.0, 0.0], 0.001).1);
    }
}
