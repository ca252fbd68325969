//! Where the time of cold starts goes: a bar per endpoint and kind of start (full load, thaw of a frozen worker), divided into stages.

use super::Plot;
use super::axes::{Panel, Sample, Scale, legend};
use super::scene::{Hatch, Ink, Scene, Side, clipped_middle};
use crate::report::format::{count, seconds};
use crate::results::RunFolder;
use crate::results::summary::{Figures, Quantiles};

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
/// The only stage of a thaw.
const RESUME: &str = "resume";

/// A bar: whose, which kind of start, and seconds of the mean one by stage.
struct Bar {
    name: String,
    kind: &'static str,
    starts: u64,
    mean_s: f64,
    parts: Vec<(String, f64)>,
}

/// The stages of cold starts; none if no start took any time.
pub(super) fn plot(run: &RunFolder) -> Option<Plot> {
    let mut endpoints: Vec<Vec<Bar>> =
        run.summary.endpoints.iter().map(|endpoint| bars(&endpoint.name, &endpoint.figures)).collect();
    let starts = |bars: &[Bar]| bars.iter().map(|bar| bar.starts).sum::<u64>();
    let name = |bars: &[Bar]| bars.first().map(|bar| bar.name.clone());
    endpoints.sort_by(|a, b| starts(b).cmp(&starts(a)).then_with(|| name(a).cmp(&name(b))));
    let mut bars: Vec<Bar> = endpoints.into_iter().flatten().collect();
    let left_out = bars.len().saturating_sub(BARS_MAX);
    bars.truncate(BARS_MAX);
    if bars.is_empty() {
        return None;
    }
    let stages = stages(&bars);
    let rest =
        if left_out > 0 { format!(" {left_out} more bars, of fewer starts, are left out.") } else { String::new() };
    let caption = format!(
        "The mean start by stage, of those that took time: full loads, and resumes of workers that were frozen. A stage that only \
         some of them go through counts for its share.{rest}"
    );
    Some(Plot::new("cold-starts", "Where the time of a start goes", &caption, |width| draw(&bars, &stages, width)))
}

/// The bars of an endpoint: none, one or two. A start is a resume or a full load, so what is no resume is a full load; averaged
/// over both, a bar would show a start that never happens.
fn bars(name: &str, figures: &Figures) -> Vec<Bar> {
    let all = &figures.cold_start_s;
    let Some(mean_s) = all.mean.filter(|mean| *mean > 0.0) else { return Vec::new() };
    let total = |times: &Quantiles| times.mean.unwrap_or(0.0) * times.count as f64;
    let resumes = figures.cold_start_stages_s.get(RESUME).filter(|resumes| total(resumes) > 0.0);
    let resumed = resumes.map_or(0, |resumes| resumes.count.min(all.count));
    let full = all.count - resumed;
    let mut bars = Vec::new();
    if full > 0 {
        let mut parts: Vec<(String, f64)> = figures
            .cold_start_stages_s
            .iter()
            .filter(|(stage, _)| resumed == 0 || *stage != RESUME)
            .map(|(stage, times)| (stage.clone(), total(times) / full as f64))
            .filter(|(_, part)| *part > 0.0)
            .collect();
        let place = |stage: &str| ORDER.iter().position(|known| *known == stage).unwrap_or(ORDER.len());
        parts.sort_by(|a, b| place(&a.0).cmp(&place(&b.0)).then_with(|| a.0.cmp(&b.0)));
        let rest = resumes.map_or(0.0, total);
        let mean_s = (mean_s * all.count as f64 - rest).max(0.0) / full as f64;
        let kind = if resumed > 0 { "full loads" } else { "starts" };
        bars.push(Bar { name: name.to_owned(), kind, starts: full, mean_s, parts });
    }
    if let Some(mean_s) = resumes.and_then(|resumes| resumes.mean) {
        let parts = vec![(RESUME.to_owned(), mean_s)];
        bars.push(Bar { name: name.to_owned(), kind: "resumes", starts: resumed, mean_s, parts });
    }
    bars
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
        let words = format!(": {} {}, {} in the mean", count(bar.starts), bar.kind, seconds(bar.mean_s));
        let name = clipped_middle(&bar.name, width - 30.0 - super::scene::text_width(&words, super::scene::TEXT));
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

    #[test]
    fn full_loads_and_resumes_have_a_bar_each_and_their_parts_add_up() {
        let times = |count, mean| Quantiles { count, mean: Some(mean), ..Quantiles::default() };
        let mut figures = Figures { cold_start_s: times(100, 2.9), ..Figures::default() };
        figures.cold_start_stages_s.insert("resume".to_owned(), times(90, 1.0));
        figures.cold_start_stages_s.insert("weights".to_owned(), times(10, 15.0));
        figures.cold_start_stages_s.insert("container".to_owned(), times(10, 5.0));
        let both = bars("a", &figures);
        let seen: Vec<_> = both.iter().map(|bar| (bar.kind, bar.starts, libm::round(bar.mean_s * 1e9) / 1e9)).collect();
        assert_eq!(seen, [("full loads", 10, 20.0), ("resumes", 90, 1.0)]);
        for bar in &both {
            let sum: f64 = bar.parts.iter().map(|part| part.1).sum();
            assert!((sum - bar.mean_s).abs() < 1e-12);
        }
        let names: Vec<&str> = both[0].parts.iter().map(|part| part.0.as_str()).collect();
        assert_eq!(names, ["container", "weights"]);
        assert_eq!(stages(&both), ["container", "weights", "resume"]);
        figures.cold_start_stages_s.remove("resume");
        figures.cold_start_s = times(10, 20.0);
        let one = bars("a", &figures);
        assert_eq!((one.len(), one[0].kind), (1, "starts"));
        assert!(plot(&RunFolder::default()).is_none());
    }
}
