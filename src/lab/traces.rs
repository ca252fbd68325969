//! Parts of recorded traffic: how long the traces of a plan are, and the same plan with a part of them.
//!
//! A part is run in: up to an hour of the trace before it is played, too, and does not count. So images are where they would be, workers
//! stand, and policies that learn have learned. Without it half an hour of traffic told of its first cold start and little else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::sim::plan::Plan;
use crate::units::Span;
use crate::workload::{ArrivalSpec, FileError, TraceReader, TraceRow, TraceSource};

/// Seconds of the trace that are played before a part, where there are so many: what keep-alive policies look back on.
pub const RUN_IN_S: f64 = 3_600.0;

/// What the requests of a plan come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Drawn by seed.
    Synthetic,
    /// Recorded: the same in every replication.
    Trace,
    /// Some of each.
    Mixed,
}

/// What the requests of `plan` come from.
pub fn origin(plan: &Plan) -> Origin {
    let sources = || plan.endpoints.iter().flat_map(|endpoint| &endpoint.traffic.sources);
    let recorded = sources().filter(|source| is_recorded(&source.arrivals)).count();
    match (recorded, sources().count()) {
        (0, _) => Origin::Synthetic,
        (some, all) if some == all => Origin::Trace,
        _ => Origin::Mixed,
    }
}

fn is_recorded(arrivals: &ArrivalSpec) -> bool {
    matches!(arrivals, ArrivalSpec::Trace(_) | ArrivalSpec::Times { .. } | ArrivalSpec::Rows { .. })
}

fn trace(arrivals: &ArrivalSpec) -> Option<&TraceSource> {
    match arrivals {
        ArrivalSpec::Trace(source) => Some(source),
        _ => None,
    }
}

/// When requests come in the traces of a plan, in seconds of the trace.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TraceTimes {
    /// By file and endpoint of it, ascending.
    times: BTreeMap<(PathBuf, String), Vec<f64>>,
    from_s: f64,
    until_s: f64,
}

/// Why a plan has no parts.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// Not everything in it is recorded once.
    #[error("{0}")]
    Unfit(String),
    /// A trace cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TraceTimes {
    /// Reads all traces of `plan`.
    ///
    /// # Errors
    /// If a request of it is not from a trace, a trace is played more than once, something else happens at a given time, or a
    /// trace cannot be read.
    pub fn read(plan: &Plan) -> Result<TraceTimes, PartError> {
        let unfit = |why: &str| Err(PartError::Unfit(format!("the traffic cannot be taken in parts: {why}")));
        if !plan.actions.is_empty() {
            return unfit("the file has `actions` at given times");
        }
        let mut all = TraceTimes { times: BTreeMap::new(), from_s: f64::INFINITY, until_s: 0.0 };
        let mut read: Vec<PathBuf> = Vec::new();
        for source in plan.endpoints.iter().flat_map(|endpoint| &endpoint.traffic.sources) {
            let Some(source) = trace(&source.arrivals) else {
                return unfit("not all of it is from a trace");
            };
            if source.options.repeat != 1 {
                return unfit("a trace is played more than once");
            }
            if !read.contains(&source.path) {
                all.read_file(&source.path)?;
                read.push(source.path.clone());
            }
            let last = all.times_of(source).last().copied().unwrap_or(0.0);
            // One microsecond after the last request: the end of a part is exclusive.
            all.until_s = all.until_s.max(source.options.until_s.unwrap_or(last + 1e-6).min(last + 1e-6));
            all.from_s = all.from_s.min(source.options.from_s);
        }
        if all.until_s <= all.from_s {
            return unfit("no request is left in it");
        }
        Ok(all)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), FileError> {
        let mut reader = TraceReader::open(path)?;
        let mut row = TraceRow::default();
        while reader.read(&mut row)? {
            let key = (path.to_owned(), row.endpoint.clone());
            self.times.entry(key).or_default().push(row.arrival_s);
        }
        Ok(())
    }

    /// First and last second: the span that parts are taken from.
    pub fn span(&self) -> [f64; 2] {
        [self.from_s, self.until_s]
    }

    fn times_of(&self, source: &TraceSource) -> Vec<f64> {
        let wanted = |name: &String| source.options.endpoint.as_ref().is_none_or(|only| only == name);
        let lists = self.times.iter().filter(|((path, name), _)| *path == source.path && wanted(name));
        let mut times: Vec<f64> = lists.flat_map(|(_, times)| times.iter().copied()).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    fn any_within(&self, source: &TraceSource, [from_s, until_s]: [f64; 2]) -> bool {
        let wanted = |name: &String| source.options.endpoint.as_ref().is_none_or(|only| only == name);
        self.times.iter().any(|((path, name), times)| {
            let first = times.partition_point(|time| *time < from_s);
            *path == source.path && wanted(name) && times.get(first).is_some_and(|time| *time < until_s)
        })
    }

    /// `plan` with the requests of `window` alone, run in on those of [`RUN_IN_S`] before it, or of the plan's own warm-up where that
    /// is longer; moved to time 0. The run lasts as long as the window at least, and is paid for up to its end. Endpoints without a
    /// request there have none.
    pub fn part(&self, plan: &Plan, [from_s, until_s]: [f64; 2]) -> Plan {
        let mut part = plan.clone();
        let run_in = RUN_IN_S.max(plan.warm_up.as_secs()).min(from_s - self.from_s).max(0.0);
        let window = [from_s - run_in, until_s];
        let (mut length, mut warm_up) = (0.0_f64, 0.0_f64);
        for endpoint in &mut part.endpoints {
            endpoint.traffic.sources.retain_mut(|traffic| {
                let ArrivalSpec::Trace(source) = &mut traffic.arrivals else { return false };
                let options = &mut source.options;
                let own_end = options.until_s.unwrap_or(f64::INFINITY);
                let (from_s, until_s) = (window[0].max(options.from_s), window[1].min(own_end));
                (options.from_s, options.until_s) = (from_s, Some(until_s));
                length = length.max((until_s - from_s) * options.time_scale);
                warm_up = warm_up.max(run_in * options.time_scale);
                until_s > from_s && self.any_within(source, [from_s, until_s])
            });
        }
        let limit = plan.duration.map_or(f64::INFINITY, Span::as_secs);
        part.duration = Some(Span::from_secs(length.min(limit)));
        part.warm_up = Span::from_secs(warm_up);
        part.counts_drain = true;
        part
    }

    /// The whole span in parts of `length_s`; what is left at the end is a part if it is at least half as long.
    pub fn parts(&self, length_s: f64) -> Vec<[f64; 2]> {
        let [from_s, until_s] = self.span();
        let whole = ((until_s - from_s) / length_s + 0.5).floor().max(1.0) as usize;
        let part = |number: usize| {
            let start = from_s + number as f64 * length_s;
            [start, (start + length_s).min(until_s)]
        };
        (0..whole).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn plan(name: &str, rows: &str) -> Plan {
        let folder = std::env::temp_dir().join(format!("thermocline-traces-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("t.csv"), format!("arrival_s,endpoint\n{rows}")).unwrap();
        let app = "{traffic: {file: t.csv, endpoints: {a: a, b: b}}, endpoints: {a: {preset: embedding}, b: {preset: embedding}}}";
        scenario::from_str(app, "app.yaml", &folder, &[]).unwrap_or_else(|problems| panic!("{problems}")).plan
    }

    #[test]
    fn a_part_has_its_rows_and_no_others() {
        let plan = plan("part", "0,a\n10,b\n20,a\n30,a\n95,b\n");
        assert_eq!(origin(&plan), Origin::Trace);
        let times = TraceTimes::read(&plan).unwrap();
        assert_eq!(times.parts(50.0).len(), 2);
        let part = times.part(&plan, [15.0, 50.0]);
        assert_eq!((part.warm_up, part.duration), (Span::from_whole_secs(15), Some(Span::from_whole_secs(50))));
        let first = times.part(&plan, [0.0, 9.0]);
        assert_eq!(first.endpoints[1].traffic.sources.len(), 0, "b is silent there");
        assert_eq!((first.warm_up, first.duration), (Span::ZERO, Some(Span::from_whole_secs(9))));
        let run = |plan: &Plan| {
            let options = crate::experiment::RunOptions::default();
            crate::experiment::run(plan, &options, &mut |_| {}).unwrap().summary.total.jobs.submitted
        };
        assert_eq!(run(&part), 2);
        let sum: u64 = times.parts(50.0).into_iter().map(|window| run(&times.part(&plan, window))).sum();
        assert_eq!(sum, run(&plan), "parts lose no request");
    }

    #[test]
    fn what_is_drawn_has_no_parts() {
        let app = "{max_jobs: 9, endpoints: {a: {preset: embedding, traffic: {type: poisson, rate_per_s: 1}}}}";
        let plan = scenario::from_str(app, "app.yaml", Path::new("."), &[]).unwrap().plan;
        assert_eq!(origin(&plan), Origin::Synthetic);
        assert!(TraceTimes::read(&plan).unwrap_err().to_string().contains("not all of it is from a trace"));
    }
}
