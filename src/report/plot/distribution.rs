//! How many requests waited how long: the empirical distribution, over a logarithmic axis of seconds.

use super::Plot;
use super::axes::{Panel, Sample, Scale, legend};
use super::over_time::quantile;
use super::scene::{Dash, Ink, Scene, Side, TEXT, clipped_middle, text_width};
use crate::report::format::{seconds, share};
use crate::results::RunFolder;
use crate::results::folder::{numbers, words};

/// Lines that a reader can tell apart.
pub(super) const LINES: [(Ink, Dash); 5] = [
    (Ink::Blue, Dash::Solid),
    (Ink::Red, Dash::Long),
    (Ink::Green, Dash::Short),
    (Ink::Purple, Dash::Mixed),
    (Ink::Text, Dash::Dotted),
];

/// Places along a line.
const STEPS: usize = 240;

/// Shorter waits are all at the left side.
const LEAST_S: f64 = 0.01;

/// Sorted waits in seconds, by endpoint.
struct Waits(Vec<(String, Vec<f64>)>);

/// The distribution of waits; none without jobs that were started.
pub(super) fn plot(run: &RunFolder) -> Option<Plot> {
    let waits = Waits::of(run)?;
    let busiest = match run.summary.endpoints.len() > LINES.len() && waits.0.len() == LINES.len() {
        true => format!(" Beside all endpoints together, the {} busiest have a line.", LINES.len() - 1),
        false => String::new(),
    };
    let caption = format!(
        "The share of started requests that waited no longer than the time below; a line that begins high up means that many did not \
         wait at all.{busiest}"
    );
    Some(Plot::new("wait-distribution", "Distribution of waits", &caption, |width| draw(&waits, width)))
}

impl Waits {
    /// Each by itself, in their order; if there are more than lines, all together and those with most jobs.
    fn of(run: &RunFolder) -> Option<Waits> {
        let jobs = run.jobs.as_ref()?;
        let (all, names) = (numbers(jobs, "wait_s")?, words(jobs, "endpoint")?);
        let submitted = numbers(jobs, "submitted_s")?;
        let from = run.summary.observed_from_s;
        let mut groups: Vec<(String, Vec<f64>)> =
            run.summary.endpoints.iter().map(|endpoint| (endpoint.name.clone(), Vec::new())).collect();
        for ((wait, name), submitted) in all.iter().zip(names).zip(&submitted) {
            let name = name.as_deref().unwrap_or("");
            if wait.is_finite()
                && *submitted >= from
                && let Some((_, waits)) = groups.iter_mut().find(|(other, _)| other == name)
            {
                waits.push(*wait);
            }
        }
        groups.retain(|(_, waits)| !waits.is_empty());
        if groups.len() > LINES.len() {
            let all = groups.iter().flat_map(|(_, waits)| waits.iter().copied()).collect();
            let all = (format!("all {} endpoints", groups.len()), all);
            // A stable order: of equals the first in the file.
            groups.sort_by_key(|(_, waits)| std::cmp::Reverse(waits.len()));
            groups.truncate(LINES.len() - 1);
            groups.insert(0, all);
        }
        groups.iter_mut().for_each(|(_, waits)| waits.sort_by(f64::total_cmp));
        (!groups.is_empty()).then_some(Waits(groups))
    }
}

fn draw(waits: &Waits, width: f64) -> Scene {
    let mut scene = Scene::new(width, 330.0);
    scene.heading((4.0, 10.0), "Share of requests, %");
    let entries: Vec<_> = waits
        .0
        .iter()
        .zip(LINES)
        .map(|((name, waits), (ink, dash))| {
            let p95 = seconds(quantile(waits, 0.95));
            let short = waits.partition_point(|wait| *wait < LEAST_S) as f64 / waits.len() as f64;
            let most = width - 34.0 - 14.0;
            let figures = format!(": {} at once, 95 % within {p95}", share(short));
            let name = clipped_middle(name, (most - text_width(&figures, TEXT)).max(24.0));
            (Sample::Line(ink, dash), format!("{name}{figures}"))
        })
        .collect();
    let top = legend(&mut scene, 4.0, 20.0, &entries) + 10.0;
    let most = waits.0.iter().filter_map(|(_, waits)| waits.last().copied()).fold(LEAST_S * 10.0, f64::max);
    let left = if scene.is_narrow() { 44.0 } else { 56.0 };
    let (across, up) = (Scale::log(LEAST_S, most), Scale::Linear { from: 0.0, to: 1.0 });
    let panel = Panel { left, top, right: width - 22.0, bottom: 290.0, across, up };
    let ticks = [0.0, 0.25, 0.5, 0.75, 0.95].map(|part| (part, format!("{:.0}", part * 100.0)));
    panel.lines_up(&mut scene, &ticks);
    panel.grid_across(&mut scene, "wait, seconds (each step ten times as long)");
    scene.text((panel.left - 6.0, panel.top - 3.0), "100", Ink::Muted, Side::End);
    scene.rule((panel.left, panel.top), (panel.right, panel.top), Ink::Grid);
    let Scale::Log { from, to } = across else { return scene };
    for ((_, waits), (ink, dash)) in waits.0.iter().zip(LINES) {
        let mut places = Vec::new();
        for step in 0..=STEPS {
            let x = from * libm::pow(to / from, step as f64 / STEPS as f64);
            let below = waits.partition_point(|wait| *wait <= x * (1.0 + 1e-9));
            places.push(panel.place(x, below as f64 / waits.len() as f64));
        }
        scene.line(places, ink, 2.0, dash);
    }
    scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::reader::Column;
    use crate::results::summary::EndpointSummary;

    #[test]
    fn of_many_endpoints_the_busiest_have_lines_beside_all_together() {
        let mut run = RunFolder::default();
        let names: Vec<String> = (0..9).map(|place| format!("e{place}")).collect();
        run.summary.endpoints =
            names.iter().map(|name| EndpointSummary { name: name.clone(), ..EndpointSummary::default() }).collect();
        // The later, the busier.
        let rows: Vec<&String> = (0..9).flat_map(|place| vec![&names[place]; place + 1]).collect();
        run.jobs = Some(vec![
            ("endpoint".to_owned(), Column::Text(rows.iter().map(|name| Some((*name).clone())).collect())),
            ("wait_s".to_owned(), Column::Number(vec![Some(1.0); rows.len()])),
            ("submitted_s".to_owned(), Column::Number(vec![Some(1.0); rows.len()])),
        ]);
        let waits = Waits::of(&run).unwrap();
        let lines: Vec<(&str, usize)> = waits.0.iter().map(|(name, waits)| (name.as_str(), waits.len())).collect();
        assert_eq!(lines, [("all 9 endpoints", 45), ("e8", 9), ("e7", 8), ("e6", 7), ("e5", 6)]);
        assert!(plot(&run).unwrap().caption.contains("busiest"));
    }

    #[test]
    fn each_endpoint_has_its_line_and_warm_up_is_left_out() {
        let mut run = RunFolder::default();
        run.summary.observed_from_s = 10.0;
        run.summary.endpoints =
            ["a", "b"].map(|name| EndpointSummary { name: name.to_owned(), ..EndpointSummary::default() }).to_vec();
        let name = |name: &str| Some(name.to_owned());
        run.jobs = Some(vec![
            ("endpoint".to_owned(), Column::Text(vec![name("a"), name("a"), name("b"), name("a")])),
            ("wait_s".to_owned(), Column::Number(vec![Some(9.0), Some(4.0), None, Some(0.0)])),
            ("submitted_s".to_owned(), Column::Number(vec![Some(1.0), Some(11.0), Some(12.0), Some(13.0)])),
        ]);
        let waits = Waits::of(&run).unwrap();
        assert_eq!(waits.0, [("a".to_owned(), vec![0.0, 4.0])]);
        let plot = plot(&run).unwrap();
        assert!(format!("{:?}", plot.wide).contains("a: 50.0 % at once, 95 % within 4 s"));
    }
}
