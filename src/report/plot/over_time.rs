//! What happened when: arrivals and workers, queue and waits, cost by phase. Reads the tables `timeline` and `jobs`.

use super::Plot;
use super::axes::{Panel, Sample, Scale, TimeUnit, legend};
use super::scene::{Dash, Hatch, Ink, Scene};
use crate::report::format::count;
use crate::results::RunFolder;
use crate::results::folder::{numbers, words};

/// Most bins across the wide picture; half of them on a phone.
const BINS: usize = 160;

/// Workers by state, from the floor up, and how they look. Those that are asleep or frozen are no part of it: they cost nothing,
/// and with many endpoints they would be all that one sees.
const STATES: [(&str, &str, Ink, Hatch); 6] = [
    ("running_mean", "running a job", Ink::Blue, Hatch::Plain),
    ("initializing_mean", "starting, pulling", Ink::Orange, Hatch::Rising),
    ("throttled_mean", "throttled", Ink::Red, Hatch::Crossed),
    ("outdated_mean", "outdated", Ink::Purple, Hatch::Upright),
    ("unhealthy_mean", "unhealthy", Ink::Yellow, Hatch::Level),
    (WARM, "warm, no job", Ink::Sky, Hatch::Plain),
];

/// Not a column, but what is left of `idle_mean` without `asleep_mean`.
const WARM: &str = "warm_mean";

/// Columns of cost by phase under the profile `documented`.
const PHASES: [(&str, &str, Ink, Hatch); 5] = [
    ("documented_work_usd", "work", Ink::Blue, Hatch::Plain),
    ("documented_start_usd", "start", Ink::Orange, Hatch::Rising),
    ("documented_warm_idle_usd", "warm idle", Ink::Sky, Hatch::Plain),
    ("documented_drain_usd", "drain", Ink::Purple, Hatch::Falling),
    ("documented_rounding_usd", "rounding", Ink::Yellow, Hatch::Upright),
];

/// The line `total` of the timeline.
struct Timeline<'a> {
    run: &'a RunFolder,
    rows: Vec<usize>,
    from: Vec<f64>,
    to: Vec<f64>,
}

/// A timeline in few bins.
struct Bins {
    /// Sides of the bins in seconds, one more than there are bins.
    sides: Vec<f64>,
    /// Buckets of the timeline in each.
    every: usize,
}

/// Charts over time; none without a timeline.
pub(super) fn plots(run: &RunFolder) -> Vec<Plot> {
    let Some(timeline) = Timeline::of(run) else { return Vec::new() };
    let mut plots = vec![Plot::new(
        "timeline",
        "Requests and workers over time",
        "Above, how many requests came; below, what the workers were doing then, those asleep left out. Where the lower picture lags \
         behind the upper one, requests waited for workers.",
        |width| arrivals_and_workers(&timeline, width),
    )];
    if run.jobs.is_some() {
        plots.push(Plot::new(
            "waits",
            "Queue and waits over time",
            "Above, the mean number of requests that waited for a worker; below, how long those that came then waited: half of them \
             at most the solid line, 95 % at most the broken one.",
            |width| queue_and_waits(&timeline, width),
        ));
    }
    plots.push(Plot::new(
        "cost",
        "Cost over time",
        "What an hour cost under the documented bill, by what it was spent on; the broken line is the seed bill, under which idle \
         flex workers are free.",
        |width| cost(&timeline, width),
    ));
    plots
}

impl Timeline<'_> {
    fn of(run: &RunFolder) -> Option<Timeline<'_>> {
        let table = run.timeline.as_ref()?;
        let names = words(table, "endpoint")?;
        let rows: Vec<usize> = (0..names.len()).filter(|row| names[*row].as_deref() == Some("total")).collect();
        // An endpoint may be called so too: its rows come behind, from time zero on again.
        let from = numbers(table, "from_s")?;
        let end = (1..rows.len()).find(|place| from[rows[*place]] <= from[rows[*place - 1]]).unwrap_or(rows.len());
        let rows = rows[..end].to_vec();
        let to = numbers(table, "to_s")?;
        let (from, to) = (rows.iter().map(|row| from[*row]).collect(), rows.iter().map(|row| to[*row]).collect());
        (!rows.is_empty()).then_some(Timeline { run, rows, from, to })
    }

    fn column(&self, name: &str) -> Option<Vec<f64>> {
        let all = numbers(self.run.timeline.as_ref()?, name)?;
        Some(self.rows.iter().map(|row| all[*row]).collect())
    }

    fn bins(&self, width: f64) -> Bins {
        let most = if width < 600.0 { BINS / 2 } else { BINS };
        let every = self.rows.len().div_ceil(most).max(1);
        let mut sides: Vec<f64> = self.from.iter().copied().step_by(every).collect();
        sides.push(self.to.last().copied().unwrap_or(1.0));
        Bins { sides, every }
    }

    /// Mean numbers of workers in a state. Folders of older versions do not tell who of those without a job was asleep.
    fn workers(&self, state: &str, bins: &Bins) -> Option<Vec<f64>> {
        if state != WARM {
            return self.means(state, bins);
        }
        let idle = self.means("idle_mean", bins)?;
        let Some(asleep) = self.means("asleep_mean", bins) else { return Some(idle) };
        Some(idle.iter().zip(asleep).map(|(idle, asleep)| (idle - asleep).max(0.0)).collect())
    }

    /// Sums of a column in bins.
    fn sums(&self, name: &str, bins: &Bins) -> Option<Vec<f64>> {
        Some(self.column(name)?.chunks(bins.every).map(|part| part.iter().sum()).collect())
    }

    /// Means over time of a column in bins.
    fn means(&self, name: &str, bins: &Bins) -> Option<Vec<f64>> {
        let column = self.column(name)?;
        let weighted: Vec<f64> =
            column.iter().zip(self.from.iter().zip(&self.to)).map(|(value, (from, to))| value * (to - from)).collect();
        let sums = weighted.chunks(bins.every).map(|part| part.iter().sum::<f64>());
        Some(sums.zip(bins.lengths()).map(|(sum, length)| if length > 0.0 { sum / length } else { 0.0 }).collect())
    }
}

impl Bins {
    fn lengths(&self) -> Vec<f64> {
        self.sides.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    fn span(&self) -> Scale {
        let end = self.sides[self.sides.len() - 1];
        Scale::Linear { from: 0.0, to: if end > 0.0 { end } else { 1.0 } }
    }

    /// Amounts per `unit_s` seconds.
    fn rates(&self, sums: &[f64], unit_s: f64) -> Vec<f64> {
        sums.iter()
            .zip(self.lengths())
            .map(|(sum, length)| if length > 0.0 { sum / length * unit_s } else { 0.0 })
            .collect()
    }
}

fn peak(values: &[f64]) -> f64 {
    values.iter().copied().filter(|value| value.is_finite()).fold(0.0, f64::max)
}

/// A panel in the picture's usual margins.
fn panel(scene: &Scene, top: f64, height: f64, across: Scale, up: Scale) -> Panel {
    let left = if scene.is_narrow() { 44.0 } else { 56.0 };
    Panel { left, top, right: scene.width - 14.0, bottom: top + height, across, up }
}

/// A line of steps, bin by bin.
fn steps(panel: &Panel, bins: &Bins, values: &[f64]) -> Vec<(f64, f64)> {
    let pairs = bins.sides.windows(2).zip(values);
    pairs.flat_map(|(sides, value)| [panel.place(sides[0], *value), panel.place(sides[1], *value)]).collect()
}

/// Layers upon each other, bin by bin; those that are all zero are left out. Where the legend of them ends.
fn stack(scene: &mut Scene, panel: &Panel, bins: &Bins, layers: &[(Vec<f64>, Ink, Hatch)]) {
    let across: Vec<f64> = bins.sides.windows(2).flat_map(|sides| [panel.x(sides[0]), panel.x(sides[1])]).collect();
    let mut floor = vec![0.0; bins.sides.len() - 1];
    let heights = |values: &[f64]| values.iter().flat_map(|value| [panel.y(*value); 2]).collect::<Vec<_>>();
    for (values, ink, hatch) in layers {
        let top: Vec<f64> = floor.iter().zip(values).map(|(floor, value)| floor + value).collect();
        scene.band(&across, &heights(&top), &heights(&floor), *ink, *hatch);
        floor = top;
    }
}

fn arrivals_and_workers(timeline: &Timeline<'_>, width: f64) -> Scene {
    let mut scene = Scene::new(width, 430.0);
    let bins = timeline.bins(width);
    let arrivals = timeline.sums("arrivals", &bins).unwrap_or_default();
    let unit = TimeUnit::of_rate(peak(&bins.rates(&arrivals, 1.0)));
    let rates = bins.rates(&arrivals, unit.seconds);
    scene.heading((4.0, 10.0), &format!("Requests per {}", unit.one));
    let upper = panel(&scene, 26.0, 110.0, bins.span(), Scale::up_to(peak(&rates)));
    upper.grid_up(&mut scene);
    upper.grid_time(&mut scene, false);
    scene.line(steps(&upper, &bins, &rates), Ink::Text, 1.5, Dash::Solid);
    let layers: Vec<_> = STATES
        .iter()
        .filter_map(|(state, name, ink, hatch)| Some((timeline.workers(state, &bins)?, *name, *ink, *hatch)))
        .filter(|layer| peak(&layer.0) > 0.0)
        .collect();
    let asleep = timeline.means("asleep_mean", &bins);
    scene.heading((4.0, 160.0), &workers_heading(asleep.as_deref()));
    let entries: Vec<_> =
        layers.iter().map(|(_, name, ink, hatch)| (Sample::Area(*ink, *hatch), (*name).to_owned())).collect();
    let top = legend(&mut scene, 4.0, 170.0, &entries) + 10.0;
    let sums: Vec<f64> = (0..rates.len())
        .map(|place| layers.iter().map(|layer| layer.0.get(place).copied().unwrap_or(0.0)).sum())
        .collect();
    let lower = panel(&scene, top, 390.0 - top, bins.span(), Scale::up_to(peak(&sums)));
    lower.grid_up(&mut scene);
    let layers: Vec<_> = layers.into_iter().map(|(values, _, ink, hatch)| (values, ink, hatch)).collect();
    stack(&mut scene, &lower, &bins, &layers);
    lower.grid_time(&mut scene, true);
    scene
}

/// What the lower picture is, and how many workers are not in it.
fn workers_heading(asleep: Option<&[f64]>) -> String {
    match asleep.map(peak) {
        None => "Workers, asleep ones too".to_owned(),
        Some(most) if most > 0.0 => {
            format!("Workers; up to {} more asleep, which costs nothing", count(most.ceil() as u64))
        }
        Some(_) => "Workers".to_owned(),
    }
}

fn queue_and_waits(timeline: &Timeline<'_>, width: f64) -> Scene {
    let mut scene = Scene::new(width, 400.0);
    let bins = timeline.bins(width);
    let queue = timeline.means("queue_mean", &bins).unwrap_or_default();
    scene.heading((4.0, 10.0), "Requests that wait");
    let upper = panel(&scene, 26.0, 110.0, bins.span(), Scale::up_to(peak(&queue)));
    upper.grid_up(&mut scene);
    upper.grid_time(&mut scene, false);
    scene.line(steps(&upper, &bins, &queue), Ink::Text, 1.5, Dash::Solid);
    let quantiles = waits(timeline.run, &bins);
    let most = peak(&quantiles[1]);
    let unit = TimeUnit::of_span(most);
    scene.heading((4.0, 160.0), &format!("Wait by time of arrival, {}", unit.name));
    let entries = [
        (Sample::Line(Ink::Red, Dash::Long), "95 % waited at most this".to_owned()),
        (Sample::Line(Ink::Blue, Dash::Solid), "half waited at most this".to_owned()),
    ];
    let top = legend(&mut scene, 4.0, 170.0, &entries) + 10.0;
    let lower = panel(&scene, top, 360.0 - top, bins.span(), Scale::up_to(most / unit.seconds));
    lower.grid_up(&mut scene);
    lower.grid_time(&mut scene, true);
    for (values, ink, dash) in [(&quantiles[1], Ink::Red, Dash::Long), (&quantiles[0], Ink::Blue, Dash::Solid)] {
        // A bin without requests is a gap.
        let mut stretch = Vec::new();
        for (sides, value) in bins.sides.windows(2).zip(values) {
            if value.is_nan() {
                scene.line(std::mem::take(&mut stretch), ink, 1.75, dash);
            } else {
                let value = value / unit.seconds;
                stretch.extend([lower.place(sides[0], value), lower.place(sides[1], value)]);
            }
        }
        scene.line(stretch, ink, 1.75, dash);
    }
    scene
}

/// Median and p95 of the waits of the jobs that came in each bin; not a number where none came.
fn waits(run: &RunFolder, bins: &Bins) -> [Vec<f64>; 2] {
    let count = bins.sides.len() - 1;
    let mut waits = vec![Vec::new(); count];
    let jobs = run.jobs.as_ref();
    let columns = jobs.and_then(|jobs| Some((numbers(jobs, "submitted_s")?, numbers(jobs, "wait_s")?)));
    for (submitted, wait) in columns.iter().flat_map(|(submitted, wait)| submitted.iter().zip(wait)) {
        let place = bins.sides.partition_point(|side| side <= submitted).saturating_sub(1).min(count - 1);
        if wait.is_finite() {
            waits[place].push(*wait);
        }
    }
    waits.iter_mut().for_each(|waits| waits.sort_by(f64::total_cmp));
    [0.5, 0.95].map(|q| waits.iter().map(|waits| quantile(waits, q)).collect())
}

/// `sorted[ceil(q n) - 1]`, as in the summary; not a number without values.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(place.max(1) - 1).copied().unwrap_or(f64::NAN)
}

fn cost(timeline: &Timeline<'_>, width: f64) -> Scene {
    let mut scene = Scene::new(width, 320.0);
    let bins = timeline.bins(width);
    let hourly = |column: &str| Some(bins.rates(&timeline.sums(column, &bins)?, 3_600.0));
    let mut layers: Vec<_> = PHASES
        .iter()
        .filter_map(|(column, name, ink, hatch)| Some((hourly(column)?, *name, *ink, *hatch)))
        .filter(|layer| peak(&layer.0) > 0.0)
        .collect();
    let total = hourly("cost_documented_usd").unwrap_or_default();
    if layers.is_empty() {
        layers.push((total.clone(), "documented bill", Ink::Sky, Hatch::Plain));
    }
    let seed = hourly("cost_seed_usd").unwrap_or_default();
    scene.heading((4.0, 10.0), "US dollars per hour");
    let mut entries: Vec<_> =
        layers.iter().map(|(_, name, ink, hatch)| (Sample::Area(*ink, *hatch), (*name).to_owned())).collect();
    entries.push((Sample::Line(Ink::Text, Dash::Short), "seed bill in all".to_owned()));
    let top = legend(&mut scene, 4.0, 20.0, &entries) + 10.0;
    let up = Scale::up_to(peak(&total).max(peak(&seed)));
    let panel = panel(&scene, top, 280.0 - top, bins.span(), up);
    panel.grid_up(&mut scene);
    let layers: Vec<_> = layers.into_iter().map(|(values, _, ink, hatch)| (values, ink, hatch)).collect();
    stack(&mut scene, &panel, &bins, &layers);
    panel.grid_time(&mut scene, true);
    scene.line(steps(&panel, &bins, &seed), Ink::Text, 1.25, Dash::Short);
    scene
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::reader::Column;

    fn run(rows: usize) -> RunFolder {
        let number = |values: Vec<f64>| Column::Number(values.into_iter().map(Some).collect());
        let times = |shift: usize| number((0..rows).map(|row| (row + shift) as f64 * 10.0).collect());
        let timeline = vec![
            ("endpoint".to_owned(), Column::Text(vec![Some("total".to_owned()); rows])),
            ("from_s".to_owned(), times(0)),
            ("to_s".to_owned(), times(1)),
            ("arrivals".to_owned(), number(vec![5.0; rows])),
            ("queue_mean".to_owned(), number(vec![2.0; rows])),
            ("running_mean".to_owned(), number(vec![1.5; rows])),
            ("idle_mean".to_owned(), number(vec![7.0; rows])),
            ("asleep_mean".to_owned(), number(vec![6.75; rows])),
            ("cost_documented_usd".to_owned(), number(vec![0.25; rows])),
        ];
        let jobs = vec![
            ("submitted_s".to_owned(), number(vec![0.0, 1.0, 2.0, 5.0])),
            ("wait_s".to_owned(), Column::Number(vec![Some(3.0), Some(1.0), None, Some(2.0)])),
        ];
        RunFolder { timeline: Some(timeline), jobs: Some(jobs), ..RunFolder::default() }
    }

    #[test]
    fn bins_keep_sums_and_means() {
        let run = run(1_001);
        let timeline = Timeline::of(&run).unwrap();
        let bins = timeline.bins(840.0);
        assert!(bins.sides.len() <= BINS + 1 && bins.sides[bins.sides.len() - 1] == 10_010.0);
        assert_eq!(timeline.sums("arrivals", &bins).unwrap().iter().sum::<f64>(), 5_005.0);
        assert!(timeline.means("running_mean", &bins).unwrap().iter().all(|mean| (mean - 1.5).abs() < 1e-12));
        assert!(
            bins.rates(&timeline.sums("arrivals", &bins).unwrap(), 60.0).iter().all(|rate| (rate - 30.0).abs() < 1e-9)
        );
    }

    /// Workers that are asleep cost nothing: they must not hide those that work.
    #[test]
    fn workers_asleep_are_no_part_of_the_stack() {
        let mut run = run(3);
        let timeline = Timeline::of(&run).unwrap();
        let bins = timeline.bins(840.0);
        assert_eq!(timeline.workers(WARM, &bins).unwrap(), [0.25; 3]);
        let scene = format!("{:?}", arrivals_and_workers(&timeline, 840.0));
        assert!(scene.contains("up to 7 more asleep") && scene.contains("\"warm, no job\""), "{scene}");
        assert!(!scene.contains("\"8\""), "the axis ends at 2: 1.5 work and 0.25 are warm");
        run.timeline.as_mut().unwrap().retain(|(name, _)| name != "asleep_mean");
        let timeline = Timeline::of(&run).unwrap();
        assert_eq!(timeline.workers(WARM, &bins).unwrap(), [7.0; 3]);
        assert!(format!("{:?}", arrivals_and_workers(&timeline, 840.0)).contains("asleep ones too"));
    }

    #[test]
    fn waits_are_those_of_the_jobs_that_came_then() {
        let run = run(3);
        let timeline = Timeline::of(&run).unwrap();
        let [p50, p95] = waits(&run, &timeline.bins(840.0));
        assert_eq!((p50[0], p95[0]), (2.0, 3.0));
        assert!(p50[1].is_nan() && p50[2].is_nan());
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn charts_need_their_tables() {
        assert_eq!(plots(&RunFolder::default()), []);
        let names: Vec<String> = plots(&run(3)).into_iter().map(|plot| plot.name).collect();
        assert_eq!(names, ["timeline", "waits", "cost"]);
    }
}
