//! Many runs: points of a sweep or seeds of a scenario by cost and wait, and the figures along the axis of a sweep that has one.

use super::Plot;
use super::axes::{Panel, Sample, Scale, TimeUnit, legend};
use super::distribution::LINES;
use super::front::{self, Dot};
use super::scene::{Dash, Ink, Marker, Place, Scene, Side, TEXT, clipped_middle, text_width};
use crate::report::sweep::short;
use crate::results::sweep::{Sweep, SweptPoint};
use crate::results::{Interval, Summary};

/// What lies along the axis of a sweep.
struct Axis {
    /// The setting, short.
    name: String,
    /// Its values as typed, and where they lie.
    values: Vec<(String, f64)>,
    /// How they lie.
    scale: Scale,
}

/// A line: its name, how it looks, its places.
type Line = (String, (Ink, Dash), Vec<Place>);

/// The pictures of a sweep.
pub(super) fn of_sweep(sweep: &Sweep) -> Vec<Plot> {
    if sweep.points.is_empty() {
        return Vec::new();
    }
    let dots: Vec<Dot> = sweep.points.iter().map(|point| dot(sweep, point)).collect();
    let mut set: Vec<String> = sweep.paths.iter().map(|path| short(path)).collect();
    set.extend((sweep.manifest.policies.len() > 1).then(|| "the policy".to_owned()));
    let mut plots = vec![Plot::new(
        "pareto",
        "Cost against wait",
        &format!(
            "Each point of the sweep by what a run costs (documented bill) and how long 95 % of requests wait at most, means over the \
             seeds: lower left is better. Both axes are logarithmic and begin where the points do; no wait is at the lower edge. Filled \
             points are on the front (nothing is cheaper and quicker at once); the number is the point's in the table, what is in brackets is {}.",
            set.join(", ")
        ),
        |width| front::draw(&dots, "US dollars per run, documented bill", width),
    )];
    if let Some(axis) = Axis::of(sweep) {
        plots.push(Plot::new(
            "axis",
            &format!("Cost and wait by {}", axis.name),
            "Above, what a run costs; below, how long requests wait: means over the seeds.",
            |width| along(sweep, &axis, width),
        ));
    }
    plots
}

/// The pictures of several runs: one per scenario that has more than one.
pub(super) fn of_runs(runs: &[(String, Summary)]) -> Vec<Plot> {
    let mut names: Vec<&str> = runs.iter().map(|(_, summary)| summary.scenario.as_str()).collect();
    names.dedup();
    let several = names.len() > 1;
    let mut plots = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        let own = runs.iter().map(|(_, summary)| summary).filter(|summary| summary.scenario == name);
        let exactly = |mean: f64| Interval { mean, low: None, high: None };
        let dots: Vec<Dot> = own
            .map(|summary| Dot {
                number: summary.seed,
                name: String::new(),
                cost: exactly(summary.total.cost_usd.documented.total),
                wait: exactly(summary.total.wait_s.p95.unwrap_or(0.0)),
                on_front: false,
            })
            .collect();
        if dots.len() < 2 {
            continue;
        }
        let (ending, whose) =
            if several { (format!("-{}", place + 1), format!("{name}: ")) } else { (String::new(), String::new()) };
        plots.push(Plot::new(
            &format!("runs{ending}"),
            &format!("{whose}Cost and wait of each run"),
            "Each run by its cost (documented bill) and how long 95 % of its requests waited at most; the number is its seed. Both \
             axes are logarithmic and begin where the points do: how far these lie apart is chance.",
            |width| front::draw(&dots, "US dollars per run, documented bill", width),
        ));
    }
    plots
}

fn dot(sweep: &Sweep, point: &SweptPoint) -> Dot {
    let exactly = |mean: f64| Interval { mean, low: None, high: None };
    let beats = |other: &SweptPoint| {
        let (cost, wait) = (other.cost_documented_usd - point.cost_documented_usd, other.wait_p95_s - point.wait_p95_s);
        cost <= 0.0 && wait <= 0.0 && (cost < 0.0 || wait < 0.0)
    };
    Dot {
        number: point.point,
        name: values(sweep, point),
        cost: exactly(point.cost_documented_usd),
        wait: exactly(point.wait_p95_s),
        on_front: !sweep.points.iter().any(beats),
    }
}

/// What a point has set, in brackets: there is no room for the names of settings at every point.
fn values(sweep: &Sweep, point: &SweptPoint) -> String {
    let policy = (sweep.manifest.policies.len() > 1).then_some(&point.policy);
    let parts: Vec<&str> = point.values.iter().chain(policy).map(String::as_str).collect();
    format!("({})", parts.join(", "))
}

impl Axis {
    /// None where not exactly one setting was varied, or it has a single value.
    fn of(sweep: &Sweep) -> Option<Axis> {
        let [path] = sweep.paths.as_slice() else { return None };
        let mut typed: Vec<String> = Vec::new();
        for value in sweep.points.iter().filter_map(|point| point.values.first()) {
            if !typed.contains(value) {
                typed.push(value.clone());
            }
        }
        if typed.len() < 2 {
            return None;
        }
        let parsed: Vec<Option<f64>> =
            typed.iter().map(|text| text.parse().ok().filter(|value: &f64| value.is_finite())).collect();
        let numbers: Option<Vec<f64>> = parsed.into_iter().collect();
        // Values that are no numbers lie side by side, in the order in which they were typed.
        let places = numbers.unwrap_or_else(|| (0..typed.len()).map(|place| place as f64).collect());
        let least = places.iter().copied().fold(f64::MAX, f64::min);
        let most = places.iter().copied().fold(f64::MIN, f64::max);
        let scale = match least > 0.0 && most / least >= 10.0 {
            true => Scale::log_around(least, most),
            false => Scale::Linear { from: least - 0.04 * (most - least), to: most + 0.04 * (most - least) },
        };
        let mut values: Vec<(String, f64)> = typed.into_iter().zip(places).collect();
        values.sort_by(|a, b| a.1.total_cmp(&b.1));
        Some(Axis { name: short(path), values, scale })
    }

    fn place(&self, point: &SweptPoint) -> f64 {
        let own = point.values.first();
        self.values.iter().find(|(typed, _)| Some(typed) == own).map_or(0.0, |(_, place)| *place)
    }
}

fn along(sweep: &Sweep, axis: &Axis, width: f64) -> Scene {
    let mut scene = Scene::new(width, 430.0);
    let policies = &sweep.manifest.policies;
    let line = |policy: &str, figure: &dyn Fn(&SweptPoint) -> f64| -> Vec<Place> {
        let own = sweep.points.iter().filter(|point| policies.len() < 2 || point.policy == policy);
        let mut places: Vec<Place> = own.map(|point| (axis.place(point), figure(point))).collect();
        places.sort_by(|a, b| a.0.total_cmp(&b.0));
        places
    };
    let most_wait = sweep.points.iter().map(|point| point.wait_p95_s.max(point.wait_mean_s)).fold(0.0, f64::max);
    let unit = TimeUnit::of_span(most_wait);
    let documented = |point: &SweptPoint| point.cost_documented_usd;
    let p95 = |point: &SweptPoint| point.wait_p95_s / unit.seconds;
    let [costs, waits]: [Vec<Line>; 2] = match policies.as_slice() {
        [] | [_] => [
            vec![
                ("documented bill".to_owned(), LINES[0], line("", &documented)),
                ("seed bill".to_owned(), LINES[2], line("", &|point| point.cost_seed_usd)),
            ],
            vec![
                ("95 % wait at most".to_owned(), LINES[1], line("", &p95)),
                ("mean wait".to_owned(), LINES[0], line("", &|point| point.wait_mean_s / unit.seconds)),
            ],
        ],
        several => [&documented as &dyn Fn(&SweptPoint) -> f64, &p95].map(|figure| {
            let own = several.iter().zip(LINES);
            own.map(|(policy, look)| (policy.name.clone(), look, line(&policy.name, figure))).collect()
        }),
    };
    let which = if policies.len() > 1 { ", 95 % of requests at most" } else { "" };
    let left_out = match policies.len().saturating_sub(LINES.len()) {
        0 => String::new(),
        some => format!(" ({some} policies more are in the table)"),
    };
    let middle = panel(&mut scene, axis, 0.0, 150.0, &format!("US dollars per run{left_out}"), &costs);
    panel(&mut scene, axis, middle + 14.0, 390.0 - middle - 14.0, &format!("Wait, {}{which}", unit.name), &waits);
    scene.text((width - 14.0, 419.0), &axis.name, Ink::Muted, Side::End);
    scene
}

/// Lines over the axis, with a heading and a legend; where it ends. The height counts from the heading on.
fn panel(scene: &mut Scene, axis: &Axis, top: f64, height: f64, heading: &str, lines: &[Line]) -> f64 {
    scene.heading((4.0, top + 10.0), heading);
    let room = scene.width - 50.0;
    let entries: Vec<_> =
        lines.iter().map(|(name, look, _)| (Sample::Line(look.0, look.1), clipped_middle(name, room))).collect();
    let below = legend(scene, 4.0, top + 20.0, &entries) + 10.0;
    let most = lines.iter().flat_map(|line| &line.2).map(|place| place.1).fold(0.0, f64::max);
    let left = if scene.is_narrow() { 44.0 } else { 56.0 };
    let bottom = (top + height).max(below + 60.0);
    let panel =
        Panel { left, top: below, right: scene.width - 14.0, bottom, across: axis.scale, up: Scale::up_to(most) };
    panel.grid_up(scene);
    // Every value has its line; its words only where those of the one before leave room.
    let mut free = f64::MIN;
    for (typed, value) in &axis.values {
        let x = panel.x(*value);
        scene.rule((x, panel.top), (x, panel.bottom), Ink::Grid);
        let half = text_width(typed, TEXT) / 2.0;
        if x - half > free {
            scene.text((x, panel.bottom + 12.0), typed, Ink::Muted, Side::Middle);
            free = x + half + 6.0;
        }
    }
    scene.rule((panel.left, panel.bottom), (panel.right, panel.bottom), Ink::Muted);
    for (_, (ink, dash), places) in lines {
        let places: Vec<Place> = places.iter().map(|(x, y)| panel.place(*x, *y)).collect();
        for at in &places {
            scene.point(*at, 3.0, *ink, Marker::Disc);
        }
        scene.line(places, *ink, 2.0, *dash);
    }
    panel.bottom + 20.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::sweep::{Manifest, SweptPolicy};

    fn sweep(values: &[&str]) -> Sweep {
        let point = |(place, value): (usize, &&str)| SweptPoint {
            point: place as u64,
            values: vec![(*value).to_owned()],
            policy: "p".to_owned(),
            cost_documented_usd: 1.0 + place as f64,
            cost_seed_usd: 1.0,
            wait_mean_s: 1.0,
            wait_p95_s: 9.0 - place as f64,
            lost_jobs: 0.0,
        };
        let policies = vec![SweptPolicy { name: "p".to_owned(), hash: String::new() }];
        Sweep {
            manifest: Manifest { policies, ..Manifest::default() },
            paths: vec!["endpoints.a.idle_timeout_s".to_owned()],
            points: values.iter().enumerate().map(point).collect(),
        }
    }

    #[test]
    fn a_sweep_over_one_setting_is_drawn_along_it() {
        let names = |sweep: &Sweep| of_sweep(sweep).into_iter().map(|plot| plot.name).collect::<Vec<_>>();
        assert_eq!(names(&sweep(&["5", "30", "120"])), ["pareto", "axis"]);
        assert_eq!(names(&sweep(&["5"])), ["pareto"]);
        assert!(names(&Sweep::default()).is_empty());
        let words = Axis::of(&sweep(&["mru", "lru"])).unwrap();
        assert_eq!(words.values, [("mru".to_owned(), 0.0), ("lru".to_owned(), 1.0)]);
        let numbers = Axis::of(&sweep(&["30", "5", "120"])).unwrap();
        assert_eq!(numbers.values.iter().map(|value| value.1).collect::<Vec<_>>(), [5.0, 30.0, 120.0]);
        assert!(matches!(numbers.scale, Scale::Log { .. }));
        let plots = of_sweep(&sweep(&["5", "30", "120"]));
        let drawn = format!("{:?}", plots[1].narrow);
        assert!(
            ["a.idle_timeout_s", "documented bill", "seed bill", "\"120\""].iter().all(|word| drawn.contains(word)),
            "{drawn}"
        );
    }

    #[test]
    fn only_what_nothing_beats_is_on_the_front() {
        let mut sweep = sweep(&["1", "2", "3"]);
        sweep.points[2].wait_p95_s = 8.5;
        let on_front: Vec<bool> = sweep.points.iter().map(|point| dot(&sweep, point).on_front).collect();
        assert_eq!(on_front, [true, true, false]);
        assert_eq!(values(&sweep, &sweep.points[1]), "(2)");
        sweep.manifest.policies.push(SweptPolicy::default());
        assert_eq!(values(&sweep, &sweep.points[1]), "(2, p)");
    }

    #[test]
    fn runs_are_points_called_by_their_seeds() {
        let run = |scenario: &str, seed| {
            (String::new(), Summary { scenario: scenario.to_owned(), seed, ..Summary::default() })
        };
        assert_eq!(of_runs(&[run("a", 1), run("a", 2)])[0].name, "runs");
        let plots = of_runs(&[run("a", 1), run("b", 7), run("b", 8)]);
        assert_eq!(plots.iter().map(|plot| plot.name.as_str()).collect::<Vec<_>>(), ["runs-2"]);
        assert!(format!("{:?}", plots[0].wide).contains("\"8\""));
    }
}
