//! Who was on which host when: a bar for each stay of a worker, dark while it worked, and the times at which a host was lost or
//! had nothing to give. Many workers are put together by host.

mod draw;

use std::collections::{BTreeMap, BTreeSet};

use super::Plot;
use crate::results::RunFolder;
use crate::results::folder::{numbers, words};
use crate::results::reader::Columns;

/// Most bars; with more lanes, or more hosts, less is shown.
const BARS_MAX: usize = 36;

/// A worker's stay on a host.
struct Stay {
    worker: u64,
    endpoint: String,
    host: u64,
    from: f64,
    to: f64,
    busy: Vec<[f64; 2]>,
}

/// What is known of a host.
#[derive(Clone, Debug, Default, PartialEq)]
struct Host {
    /// Its name, or its number where the results do not hold names.
    name: String,
    /// When it was gone.
    lost: Vec<[f64; 2]>,
    /// When it was there without a GPU for us.
    taken: Vec<[f64; 2]>,
}

/// The hosts, by number.
type Hosts = BTreeMap<u64, Host>;

/// Who was where; none without the table of workers.
pub(super) fn plot(run: &RunFolder) -> Option<Plot> {
    let (stays, moves_known) = match placements(run) {
        Some(stays) => (stays, true),
        None => (last_hosts(run)?, false),
    };
    if stays.is_empty() {
        return None;
    }
    let hosts = hosts(run, &stays);
    let end = run.summary.simulated_s.max(1.0);
    let gpus = run.summary.endpoints.iter().map(|endpoint| endpoint.settings.gpus_per_worker).max().unwrap_or(1);
    let mut more = String::new();
    if gpus > 1 {
        more += " A worker may hold several GPUs.";
    }
    if !moves_known {
        more += " These results only say on which host a worker was last: run again to see where it was before.";
    }
    let lanes = lanes(&stays);
    if lanes.len() <= BARS_MAX {
        let caption = format!(
            "One line per place for a worker, host by host: pale while a worker had the place, dark while it worked on a request. A \
             place that became free is taken by the next worker of that host.{more}"
        );
        return Some(Plot::new("hosts", "Workers on their hosts", &caption, |width| {
            draw::bars(&lanes, &hosts, end, width)
        }));
    }
    let workers = stays.iter().map(|stay| stay.worker).collect::<BTreeSet<_>>().len();
    let used = by_work(&stays);
    let idle = hosts.len() - used.len();
    let mut rest = match idle {
        0 => String::new(),
        1 => " One more had workers that never worked.".to_owned(),
        idle => format!(" {idle} more had workers that never worked."),
    };
    if used.len() > BARS_MAX {
        rest += &format!(" {} that worked less are left out.", used.len() - BARS_MAX);
    }
    let caption = format!(
        "{workers} workers had a place on {} hosts, too many for a bar each: one line per host that worked, as high as the number \
         of its workers that worked on a request.{rest}{more}",
        hosts.len()
    );
    let mut shown: Vec<u64> = used.into_iter().take(BARS_MAX).collect();
    shown.sort_unstable();
    Some(Plot::new("hosts", "Busy workers by host", &caption, |width| draw::lines(&stays, &shown, &hosts, end, width)))
}

/// Every stay, by host, then by time; none without the table of placements.
fn placements(run: &RunFolder) -> Option<Vec<Stay>> {
    stays(run, run.placements.as_ref()?, ["from_s", "to_s"])
}

/// What older folders know: where each worker was last.
fn last_hosts(run: &RunFolder) -> Option<Vec<Stay>> {
    stays(run, run.workers.as_ref()?, ["created_s", "removed_s"])
}

fn stays(run: &RunFolder, table: &Columns, [from, to]: [&str; 2]) -> Option<Vec<Stay>> {
    let column = |name| numbers(table, name);
    let (ids, hosts, from, to) = (column("worker")?, column("host")?, column(from)?, column(to)?);
    let endpoints = words(table, "endpoint")?;
    let busy = busy(run);
    let mut all: Vec<Stay> = (0..ids.len())
        .filter(|row| hosts[*row].is_finite() && ids[*row].is_finite())
        .map(|row| {
            let to = if to[row].is_finite() { to[row] } else { run.summary.simulated_s };
            Stay {
                worker: ids[row] as u64,
                endpoint: endpoints[row].clone().unwrap_or_default(),
                host: hosts[row] as u64,
                from: from[row],
                to,
                busy: within(busy.get(&(ids[row] as u64)).map_or(&[], Vec::as_slice), from[row], to),
            }
        })
        // A worker that was put somewhere and moved on at once was never there.
        .filter(|stay| stay.to > stay.from)
        .collect();
    all.sort_by(|a, b| a.host.cmp(&b.host).then(a.from.total_cmp(&b.from)).then(a.worker.cmp(&b.worker)));
    Some(all)
}

/// The parts of spans that lie between two times.
fn within(spans: &[[f64; 2]], from: f64, to: f64) -> Vec<[f64; 2]> {
    let cut = spans.iter().map(|span| [span[0].max(from), span[1].min(to)]);
    cut.filter(|span| span[1] > span[0]).collect()
}

/// Names and outages of the hosts on which somebody stayed.
fn hosts(run: &RunFolder, stays: &[Stay]) -> Hosts {
    let unnamed = |number: u64| Host { name: format!("host {number}"), ..Host::default() };
    let mut all: Hosts = stays.iter().map(|stay| (stay.host, unnamed(stay.host))).collect();
    let columns = run.hosts.as_ref().and_then(|table| {
        let column = |name| numbers(table, name);
        let (names, states) = (words(table, "name")?, words(table, "state")?);
        Some((column("host")?, names, states, column("gpus")?, column("from_s")?, column("to_s")?))
    });
    let Some((numbers, names, states, gpus, from, to)) = columns else { return all };
    for row in 0..numbers.len() {
        let Some(host) = all.get_mut(&(numbers[row] as u64)) else { continue };
        if let Some(name) = names[row].as_ref().filter(|name| !name.is_empty()) {
            host.name.clone_from(name);
        }
        let span = [from[row], to[row]];
        match states[row].as_deref() {
            Some("lost") => host.lost.push(span),
            _ if gpus[row] == 0.0 => host.taken.push(span),
            _ => {}
        }
    }
    all
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

/// The hosts whose workers worked, those that worked most first.
fn by_work(stays: &[Stay]) -> Vec<u64> {
    let mut worked: BTreeMap<u64, f64> = BTreeMap::new();
    for stay in stays {
        *worked.entry(stay.host).or_default() += stay.busy.iter().map(|span| span[1] - span[0]).sum::<f64>();
    }
    let mut hosts: Vec<(u64, f64)> = worked.into_iter().filter(|(_, worked)| *worked > 0.0).collect();
    hosts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    hosts.into_iter().map(|(host, _)| host).collect()
}

/// Stays on one host that follow each other.
struct Lane<'a> {
    host: u64,
    stays: Vec<&'a Stay>,
}

impl Lane<'_> {
    /// Whose workers they are.
    fn name(&self) -> String {
        let names: BTreeSet<&str> = self.stays.iter().map(|stay| stay.endpoint.as_str()).collect();
        names.into_iter().collect::<Vec<_>>().join(", ")
    }
}

/// As few lanes as hold all stays (which come by host, then by time): each takes the first that is free.
fn lanes(stays: &[Stay]) -> Vec<Lane<'_>> {
    let mut lanes: Vec<Lane<'_>> = Vec::new();
    for stay in stays {
        let is_free =
            |lane: &&mut Lane<'_>| lane.host == stay.host && lane.stays.last().is_none_or(|last| last.to <= stay.from);
        match lanes.iter_mut().find(is_free) {
            Some(lane) => lane.stays.push(stay),
            None => lanes.push(Lane { host: stay.host, stays: vec![stay] }),
        }
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::reader::Column;

    fn number(values: Vec<f64>) -> Column {
        Column::Number(values.into_iter().map(Some).collect())
    }

    fn text(values: &[&str]) -> Column {
        Column::Text(values.iter().map(|value| Some((*value).to_owned())).collect())
    }

    fn run(workers: usize) -> RunFolder {
        let mut run = RunFolder::default();
        run.summary.simulated_s = 100.0;
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
        let all = last_hosts(&run(3)).unwrap();
        assert_eq!(all[0].busy, [[10.0, 30.0]]);
        assert_eq!((all[1].busy.as_slice(), all[1].to), ([[50.0, 100.0]].as_slice(), 100.0));
        let bins = draw::busy_by_bin(&all, 0, 100.0);
        assert!((bins.iter().sum::<f64>() * 100.0 / bins.len() as f64 - 20.0).abs() < 1e-9);
    }

    /// A worker that its host lost is drawn where it was then, and nobody is drawn on a host that was gone.
    #[test]
    fn a_worker_that_moves_is_drawn_where_it_was() {
        let mut run = run(1);
        run.placements = Some(vec![
            ("worker".to_owned(), number(vec![0.0, 0.0, 0.0])),
            ("endpoint".to_owned(), text(&["a", "a", "a"])),
            ("host".to_owned(), number(vec![2.0, 1.0, 0.0])),
            ("from_s".to_owned(), number(vec![0.0, 20.0, 20.0])),
            ("to_s".to_owned(), number(vec![20.0, 20.0, 100.0])),
        ]);
        run.hosts = Some(vec![
            ("host".to_owned(), number(vec![2.0, 2.0, 2.0, 0.0])),
            ("name".to_owned(), text(&["west-1", "west-1", "west-1", "east"])),
            ("state".to_owned(), text(&["up", "lost", "up", "up"])),
            ("gpus".to_owned(), number(vec![3.0, 0.0, 3.0, 0.0])),
            ("from_s".to_owned(), number(vec![0.0, 20.0, 60.0, 0.0])),
            ("to_s".to_owned(), number(vec![20.0, 60.0, 100.0, 100.0])),
        ]);
        let all = placements(&run).unwrap();
        let seen: Vec<_> = all.iter().map(|stay| (stay.host, stay.from, stay.to, stay.busy.clone())).collect();
        assert_eq!(seen, [(0, 20.0, 100.0, vec![[20.0, 30.0]]), (2, 0.0, 20.0, vec![[10.0, 20.0]])]);
        let hosts = hosts(&run, &all);
        assert_eq!(hosts[&2], Host { name: "west-1".to_owned(), lost: vec![[20.0, 60.0]], taken: Vec::new() });
        assert_eq!(hosts[&0].taken, [[0.0, 100.0]]);
        let plot = plot(&run).unwrap();
        assert!(!plot.caption.contains("run again"), "{}", plot.caption);
        for scene in [&plot.wide, &plot.narrow].map(|scene| format!("{scene:?}")) {
            assert!(scene.contains("west-1") && scene.contains("host lost") && !scene.contains("host 2"), "{scene}");
        }
    }

    #[test]
    fn workers_that_follow_each_other_share_a_lane() {
        let stay = |host, from, to| Stay { worker: 0, endpoint: "a".to_owned(), host, from, to, busy: Vec::new() };
        let all = [stay(0, 0.0, 9.0), stay(0, 1.0, 4.0), stay(0, 4.0, 5.0), stay(1, 5.0, 6.0)];
        let lanes = lanes(&all);
        assert_eq!(lanes.iter().map(|lane| lane.stays.len()).collect::<Vec<_>>(), [1, 2, 1]);
    }

    #[test]
    fn many_workers_are_put_together_by_host_and_hosts_that_never_worked_are_counted() {
        let few = plot(&run(3)).unwrap();
        assert_eq!(few.title, "Workers on their hosts");
        assert!(few.caption.contains("run again to see where it was before"), "{}", few.caption);
        let many = plot(&run(1_000)).unwrap();
        assert_eq!(many.title, "Busy workers by host");
        assert!(many.caption.starts_with("1000 workers had a place on 3 hosts"), "{}", many.caption);
        assert!(many.caption.contains("One more had workers that never worked"), "{}", many.caption);
        assert!(!format!("{:?}", many.wide).contains("host 2"), "what never worked is not drawn");
        assert!(many.wide.marks.len() < 100 && plot(&RunFolder::default()).is_none());
    }
}
