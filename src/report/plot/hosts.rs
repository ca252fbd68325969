//! Who was on which host when: a bar for each worker's slot, dark while it worked. Many workers are put together by host.

use std::collections::{BTreeMap, BTreeSet};

use super::Plot;
use super::axes::{Panel, Sample, Scale, legend};
use super::scene::{Hatch, Ink, Scene, Side, clipped};
use crate::results::RunFolder;
use crate::results::folder::{numbers, words};

/// Most bars; with more workers, or more hosts, less is shown.
const BARS_MAX: usize = 36;
/// Bins of a host's line where workers are put together.
const BINS: usize = 200;

/// A worker on its host.
struct Worker {
    number: u64,
    endpoint: String,
    host: u64,
    created: f64,
    removed: f64,
    busy: Vec<[f64; 2]>,
}

/// The workers by host; none without the table of workers.
pub(super) fn plot(run: &RunFolder) -> Option<Plot> {
    let workers = workers(run)?;
    let end = run.summary.simulated_s.max(1.0);
    let hosts: Vec<u64> = workers.iter().map(|worker| worker.host).collect::<BTreeSet<_>>().into_iter().collect();
    let gpus = run.summary.endpoints.iter().map(|endpoint| endpoint.settings.gpus_per_worker).max().unwrap_or(1);
    let each = if gpus > 1 { " A worker may hold several GPUs." } else { "" };
    let lanes = lanes(&workers);
    if lanes.len() <= BARS_MAX {
        let caption = format!(
            "One line per place for a worker, host by host: pale while a worker had the place, dark while it worked on a request. A \
             place that became free is taken by the next worker of that host.{each}"
        );
        return Some(Plot::new("hosts", "Workers on their hosts", &caption, |width| bars(&lanes, end, width)));
    }
    let left_out = hosts.len().saturating_sub(BARS_MAX);
    let rest = if left_out > 0 { format!(" {left_out} hosts that worked less are left out.") } else { String::new() };
    let caption = format!(
        "{} workers had a place on {} hosts, too many for a bar each: one line per host, as high as the number of its workers \
         that worked on a request.{each}{rest}",
        workers.len(),
        hosts.len()
    );
    let busiest = busiest(&workers, hosts);
    Some(Plot::new("hosts", "Busy workers by host", &caption, |width| lines(&workers, &busiest, end, width)))
}

/// Every worker that had a host, by host, then by age.
fn workers(run: &RunFolder) -> Option<Vec<Worker>> {
    let table = run.workers.as_ref()?;
    let column = |name| numbers(table, name);
    let (ids, hosts, created, removed) =
        (column("worker")?, column("host")?, column("created_s")?, column("removed_s")?);
    let endpoints = words(table, "endpoint")?;
    let mut busy = busy(run);
    let mut all: Vec<Worker> = (0..ids.len())
        .filter(|row| hosts[*row].is_finite() && ids[*row].is_finite())
        .map(|row| Worker {
            number: ids[row] as u64,
            endpoint: endpoints[row].clone().unwrap_or_default(),
            host: hosts[row] as u64,
            created: created[row],
            removed: if removed[row].is_finite() { removed[row] } else { run.summary.simulated_s },
            busy: busy.remove(&(ids[row] as u64)).unwrap_or_default(),
        })
        .collect();
    all.sort_by(|a, b| a.host.cmp(&b.host).then(a.created.total_cmp(&b.created)).then(a.number.cmp(&b.number)));
    (!all.is_empty()).then_some(all)
}

/// When each worker had a job in hand: last attempts of jobs, joined where they overlap. Empty without the table of jobs.
fn busy(run: &RunFolder) -> BTreeMap<u64, Vec<[f64; 2]>> {
    let mut all: BTreeMap<u64, Vec<[f64; 2]>> = BTreeMap::new();
    let columns = run.jobs.as_ref().and_then(|jobs| {
        let column = |name| numbers(jobs, name);
        Some((column("worker")?, column("last_start_s")?, column("finished_s")?))
    });
    let Some((workers, starts, ends)) = columns else { return all };
    for (worker, (from, to)) in workers.iter().zip(starts.iter().zip(&ends)) {
        if worker.is_finite() && from.is_finite() {
            let to = if to.is_finite() { *to } else { run.summary.simulated_s };
            all.entry(*worker as u64).or_default().push([*from, to]);
        }
    }
    for spans in all.values_mut() {
        spans.sort_by(|a, b| a[0].total_cmp(&b[0]));
        *spans = joined(spans, 0.0);
    }
    all
}

/// Spans with gaps of at most `gap` closed.
fn joined(spans: &[[f64; 2]], gap: f64) -> Vec<[f64; 2]> {
    let mut all: Vec<[f64; 2]> = Vec::new();
    for span in spans {
        match all.last_mut() {
            Some(last) if span[0] <= last[1] + gap => last[1] = last[1].max(span[1]),
            _ => all.push(*span),
        }
    }
    all
}

/// The hosts whose workers worked most, by number.
fn busiest(workers: &[Worker], hosts: Vec<u64>) -> Vec<u64> {
    let mut worked: BTreeMap<u64, f64> = BTreeMap::new();
    for worker in workers {
        *worked.entry(worker.host).or_default() += worker.busy.iter().map(|span| span[1] - span[0]).sum::<f64>();
    }
    let mut hosts = hosts;
    hosts.sort_by(|a, b| worked[b].total_cmp(&worked[a]).then(a.cmp(b)));
    hosts.truncate(BARS_MAX);
    hosts.sort_unstable();
    hosts
}

/// Workers of one host that follow each other.
struct Lane<'a> {
    host: u64,
    workers: Vec<&'a Worker>,
}

impl Lane<'_> {
    /// Whose workers they are.
    fn name(&self) -> String {
        let names: BTreeSet<&str> = self.workers.iter().map(|worker| worker.endpoint.as_str()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// As few lanes as hold all workers (which come by host, then by age): each takes the first that is free.
fn lanes(workers: &[Worker]) -> Vec<Lane<'_>> {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for worker in workers {
        let is_free = |lane: &&mut Lane<'_>| {
            lane.host == worker.host && lane.workers.last().is_none_or(|last| last.removed <= worker.created)
        };
        match lanes.iter_mut().find(is_free) {
            Some(lane) => lane.workers.push(worker),
            None => lanes.push(Lane { host: worker.host, workers: vec![worker] }),
        }
    }
    lanes
}

fn frame(scene: &Scene, top: f64, bottom: f64, end: f64) -> Panel {
    let left = if scene.is_narrow() { 110.0 } else { 190.0 };
    let (across, up) = (Scale::Linear { from: 0.0, to: end }, Scale::Linear { from: 0.0, to: 1.0 });
    Panel { left, top, right: scene.width - 14.0, bottom, across, up }
}

fn bars(lanes: &[Lane<'_>], end: f64, width: f64) -> Scene {
    const ROW: f64 = 18.0;
    let mut scene = Scene::new(width, 0.0);
    let entries = [
        (Sample::Area(Ink::Grid, Hatch::Plain), "has the place".to_owned()),
        (Sample::Area(Ink::Blue, Hatch::Plain), "works on a request".to_owned()),
    ];
    let top = legend(&mut scene, 4.0, 0.0, &entries) + 8.0;
    let bottom = top + ROW * lanes.len() as f64;
    scene.height = bottom + 40.0;
    let panel = frame(&scene, top, bottom, end);
    panel.grid_time(&mut scene, true);
    for (place, lane) in lanes.iter().enumerate() {
        let at = top + ROW * place as f64;
        if place == 0 || lanes[place - 1].host != lane.host {
            if place > 0 {
                scene.rule((4.0, at), (panel.right, at), Ink::Muted);
            }
            scene.text((4.0, at + ROW / 2.0), &format!("host {}", lane.host), Ink::Text, Side::Start);
        }
        let name = clipped(&lane.name(), panel.left - 62.0);
        scene.text((panel.left - 6.0, at + ROW / 2.0), &name, Ink::Muted, Side::End);
        let mut bar = |span: [f64; 2], margin: f64, ink| {
            let (from, to) = (panel.x(span[0]), panel.x(span[1]));
            scene.fill((from, at + margin), (to.max(from + 0.5), at + ROW - margin), ink);
        };
        // Half a point on paper is no gap that anybody sees.
        let gap = 0.5 * end / (panel.right - panel.left);
        for worker in &lane.workers {
            bar([worker.created, worker.removed], 3.0, Ink::Grid);
            joined(&worker.busy, gap).into_iter().for_each(|span| bar(span, 5.0, Ink::Blue));
        }
    }
    scene
}

fn lines(workers: &[Worker], hosts: &[u64], end: f64, width: f64) -> Scene {
    const ROW: f64 = 26.0;
    let busy: Vec<Vec<f64>> = hosts.iter().map(|host| busy_by_bin(workers, *host, end)).collect();
    let most = busy.iter().flatten().copied().fold(0.0, f64::max).max(1.0);
    let mut scene = Scene::new(width, 0.0);
    let top = 24.0;
    scene.text((4.0, 10.0), &format!("full height of a line: {most:.1} busy workers"), Ink::Muted, Side::Start);
    let bottom = top + ROW * hosts.len() as f64;
    scene.height = bottom + 40.0;
    let mut panel = frame(&scene, top, bottom, end);
    panel.left = 70.0;
    panel.grid_time(&mut scene, true);
    let across: Vec<f64> =
        (0..BINS).flat_map(|bin| [bin, bin + 1]).map(|side| panel.x(end * side as f64 / BINS as f64)).collect();
    for (place, (host, busy)) in hosts.iter().zip(&busy).enumerate() {
        let floor = top + ROW * (place + 1) as f64;
        let heights: Vec<f64> = busy.iter().flat_map(|mean| [floor - (ROW - 4.0) * mean / most; 2]).collect();
        scene.band(&across, &heights, &vec![floor; heights.len()], Ink::Blue, Hatch::Plain);
        scene.rule((panel.left, floor), (panel.right, floor), Ink::Grid);
        scene.text((4.0, floor - ROW / 2.0), &format!("host {host}"), Ink::Text, Side::Start);
    }
    scene
}

/// Mean number of a host's workers that worked, bin by bin.
fn busy_by_bin(workers: &[Worker], host: u64, end: f64) -> Vec<f64> {
    let length = end / BINS as f64;
    let mut bins = vec![0.0; BINS];
    for span in workers.iter().filter(|worker| worker.host == host).flat_map(|worker| &worker.busy) {
        let first = ((span[0] / length) as usize).min(BINS - 1);
        let last = ((span[1] / length) as usize).min(BINS - 1);
        for (bin, sum) in bins.iter_mut().enumerate().take(last + 1).skip(first) {
            let (from, to) = (bin as f64 * length, (bin + 1) as f64 * length);
            *sum += (span[1].min(to) - span[0].max(from)).max(0.0) / length;
        }
    }
    bins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::reader::Column;

    fn run(workers: usize) -> RunFolder {
        let mut run = RunFolder::default();
        run.summary.simulated_s = 100.0;
        let number = |values: Vec<f64>| Column::Number(values.into_iter().map(Some).collect());
        let each = |value: &dyn Fn(usize) -> f64| number((0..workers).map(value).collect());
        run.workers = Some(vec![
            ("worker".to_owned(), each(&|row| row as f64)),
            ("endpoint".to_owned(), Column::Text(vec![Some("a".to_owned()); workers])),
            ("host".to_owned(), each(&|row| (row % 3) as f64)),
            ("created_s".to_owned(), each(&|_| 0.0)),
            ("removed_s".to_owned(), Column::Number(vec![None; workers])),
        ]);
        run.jobs = Some(vec![
            ("worker".to_owned(), number(vec![0.0, 0.0, 1.0])),
            ("last_start_s".to_owned(), number(vec![10.0, 15.0, 50.0])),
            ("finished_s".to_owned(), Column::Number(vec![Some(20.0), Some(30.0), None])),
        ]);
        run
    }

    #[test]
    fn overlapping_jobs_are_one_stretch_of_work() {
        let all = workers(&run(3)).unwrap();
        assert_eq!(all[0].busy, [[10.0, 30.0]]);
        assert_eq!((all[1].busy.as_slice(), all[1].removed), ([[50.0, 100.0]].as_slice(), 100.0));
        let bins = busy_by_bin(&all, 0, 100.0);
        assert!((bins.iter().sum::<f64>() * 100.0 / BINS as f64 - 20.0).abs() < 1e-9);
    }

    #[test]
    fn workers_that_follow_each_other_share_a_lane() {
        let worker = |host, created, removed| Worker {
            number: 0,
            endpoint: "a".to_owned(),
            host,
            created,
            removed,
            busy: Vec::new(),
        };
        let all = [worker(0, 0.0, 9.0), worker(0, 1.0, 4.0), worker(0, 4.0, 5.0), worker(1, 5.0, 6.0)];
        let lanes = lanes(&all);
        assert_eq!(lanes.iter().map(|lane| lane.workers.len()).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn many_workers_are_put_together_by_host() {
        assert_eq!(plot(&run(3)).unwrap().title, "Workers on their hosts");
        let many = plot(&run(1_000)).unwrap();
        assert_eq!(many.title, "Busy workers by host");
        assert!(many.caption.starts_with("1000 workers had a place on 3 hosts"), "{}", many.caption);
        assert!(many.wide.marks.len() < 100 && plot(&RunFolder::default()).is_none());
    }
}
