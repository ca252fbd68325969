//! Where the time of cold starts goes: a bar per endpoint, divided into stages.

use super::Plot;
use super::axes::{Panel, Sample, Scale, legend};
use super::scene::{Hatch, Ink, Scene, Side, clipped};
use crate::report::format::{count, seconds};
use crate::results::RunFolder;
use crate::results::summary::Figures;

/// Stages in the order in which a worker goes through them; unknown ones come behind.
const ORDER: [&str; 6] = ["container", "cuda", "import", "weights", "engine", "resume"];

/// How stages look, in order of the legend.
const LOOKS: [(Ink, Hatch); 8] = [
    (Ink::Blue, Hatch::Plain),
    (Ink::Orange, Hatch::Rising),
    (Ink::Green, Hatch::Falling),
    (Ink::Sky, Hatch::Upright),
    (Ink::Red, Hatch::Crossed),
    (Ink::Purple, Hatch::Level),
    (Ink::Yellow, Hatch::Plain),
    (Ink::Muted, Hatch::Rising),
];

/// Most bars.
const BARS_MAX: usize = 12;

/// A bar: whose, and seconds of the mean start by stage.
struct Bar {
    name: String,
    starts: u64,
    mean_s: f64,
    parts: Vec<(String, f64)>,
}

/// The stages of cold starts; none if no start took any time.
pub(super) fn plot(run: &RunFolder) -> Option<Plot> {
    let mut bars: Vec<Bar> =
        run.summary.endpoints.iter().filter_map(|endpoint| bar(&endpoint.name, &endpoint.figures)).collect();
    bars.sort_by(|a, b| b.starts.cmp(&a.starts).then_with(|| a.name.cmp(&b.name)));
    bars.truncate(BARS_MAX);
    if bars.is_empty() {
        return None;
    }
    let stages = stages(&bars);
    Some(Plot::new(
        "cold-starts",
        "Where the time of a start goes",
        "The mean start by stage, over all starts that took time: a stage that only some starts go through (a full load, when most are \
         resumed) counts for its share of them.",
        |width| draw(&bars, &stages, width),
    ))
}

fn bar(name: &str, figures: &Figures) -> Option<Bar> {
    let starts = figures.cold_start_s.count;
    let mean_s = figures.cold_start_s.mean.filter(|mean| *mean > 0.0)?;
    let mut parts: Vec<(String, f64)> = figures
        .cold_start_stages_s
        .iter()
        .map(|(stage, times)| (stage.clone(), times.mean.unwrap_or(0.0) * times.count as f64 / starts as f64))
        .filter(|(_, part)| *part > 0.0)
        .collect();
    let place = |stage: &str| ORDER.iter().position(|known| *known == stage).unwrap_or(ORDER.len());
    parts.sort_by(|a, b| place(&a.0).cmp(&place(&b.0)).then_with(|| a.0.cmp(&b.0)));
    Some(Bar { name: name.to_owned(), starts, mean_s, parts })
}

/// Every stage of some bar, in order.
fn stages(bars: &[Bar]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let known = ORDER.iter().map(|stage| (*stage).to_owned());
    let used = |stage: &String| bars.iter().any(|bar| bar.parts.iter().any(|(part, _)| part == stage));
    all.extend(known.filter(used));
    for (stage, _) in bars.iter().flat_map(|bar| &bar.parts) {
        if !all.contains(stage) {
            all.push(stage.clone());
        }
    }
    all
}

fn draw(bars: &[Bar], stages: &[String], width: f64) -> Scene {
    const ROW: f64 = 44.0;
    let mut scene = Scene::new(width, 0.0);
    let look = |stage: &str| LOOKS[stages.iter().position(|known| known == stage).unwrap_or(0) % LOOKS.len()];
    let entries: Vec<_> =
        stages.iter().map(|stage| (Sample::Area(look(stage).0, look(stage).1), stage.clone())).collect();
    let top = legend(&mut scene, 4.0, 0.0, &entries) + 8.0;
    let bottom = top + ROW * bars.len() as f64;
    scene.height = bottom + 40.0;
    let longest = bars.iter().map(|bar| bar.parts.iter().map(|part| part.1).sum::<f64>()).fold(0.0, f64::max);
    let up = Scale::Linear { from: 0.0, to: 1.0 };
    let panel = Panel { left: 8.0, top, right: width - 22.0, bottom, across: Scale::up_to(longest), up };
    panel.grid_across(&mut scene, "mean start, seconds");
    for (place, bar) in bars.iter().enumerate() {
        let at = top + ROW * place as f64;
        let words = format!(": {} starts, {} in the mean", count(bar.starts), seconds(bar.mean_s));
        let name = clipped(&bar.name, width - 30.0 - super::scene::text_width(&words, super::scene::TEXT));
        scene.text((panel.left, at + 10.0), &format!("{name}{words}"), Ink::Text, Side::Start);
        let mut from = 0.0;
        for (stage, part) in &bar.parts {
            let (ink, hatch) = look(stage);
            scene.hatched_box((panel.x(from), at + 20.0), (panel.x(from + part), at + 38.0), ink, hatch);
            from += part;
        }
    }
    scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::summary::Quantiles;

    #[test]
    fn the_parts_of_a_bar_add_up_to_the_mean_start() {
        let times = |count, mean| Quantiles { count, mean: Some(mean), ..Quantiles::default() };
        let mut figures = Figures { cold_start_s: times(100, 2.9), ..Figures::default() };
        figures.cold_start_stages_s.insert("resume".to_owned(), times(90, 1.0));
        figures.cold_start_stages_s.insert("weights".to_owned(), times(10, 15.0));
        figures.cold_start_stages_s.insert("container".to_owned(), times(10, 5.0));
        let bar = bar("a", &figures).unwrap();
        let sum: f64 = bar.parts.iter().map(|part| part.1).sum();
        assert!((sum - 2.9).abs() < 1e-12);
        let names: Vec<&str> = bar.parts.iter().map(|part| part.0.as_str()).collect();
        assert_eq!(names, ["container", "weights", "resume"]);
        assert_eq!(stages(&[bar]), ["container", "weights", "resume"]);
        assert!(plot(&RunFolder::default()).is_none());
    }
}
