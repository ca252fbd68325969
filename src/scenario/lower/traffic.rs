//! Requests: sources of each endpoint, traces that several share, and whose random streams they are drawn from.

use std::sync::Arc;

use super::Context;
use super::amounts::joined;
use crate::scenario::node::clean;
use crate::scenario::types::endpoint::Endpoint;
use crate::scenario::types::numbers::Seconds;
use crate::scenario::types::traffic::Source;
use crate::sim::plan::EndpointPlan;
use crate::units::{EndpointId, Millis};
use crate::workload::{ArrivalSpec, RatePoint, TraceOptions, TraceSource, TrafficSource};

/// True for a source that goes on for ever by itself.
pub fn endless(source: &Source) -> bool {
    match source {
        Source::Times { .. } | Source::Like { .. } => false,
        Source::Trace { repeat, .. } => *repeat == 0 && source.common().until_s.is_none(),
        _ => source.common().until_s.is_none(),
    }
}

/// True when a source limits or changes its requests.
fn says_more(source: &Source) -> bool {
    let common = source.common();
    common.from_s.get() > 0.0
        || common.until_s.is_some()
        || common.low_priority_share.get() > 0.0
        || common.ttl_s.is_some()
        || common.execution_timeout_s.is_some()
}

impl Context<'_> {
    /// The sources of an endpoint; those of another one for `like`.
    pub fn sources(&mut self, name: &str, endpoint: &Endpoint, path: &[&str]) -> Vec<TrafficSource> {
        let app = self.app;
        let at = joined(path, "traffic");
        if let Some(other) = self.liked(name, endpoint, &at) {
            let (other_name, other) = &app.endpoints.0[other];
            let at = ["endpoints", other_name, "traffic"];
            return self.own_sources(other, &at);
        }
        self.own_sources(endpoint, &at)
    }

    fn own_sources(&mut self, endpoint: &Endpoint, path: &[&str]) -> Vec<TrafficSource> {
        let sources = endpoint.traffic.0.iter().enumerate();
        let mut lowered = Vec::new();
        for (index, source) in sources {
            let index = index.to_string();
            lowered.extend(self.source(source, &joined(path, &index)));
        }
        lowered
    }

    /// The endpoint named by `like`, if it can be followed.
    fn liked(&mut self, name: &str, endpoint: &Endpoint, path: &[&str]) -> Option<usize> {
        let app = self.app;
        let like = |source: &Source| matches!(source, Source::Like { .. });
        let index_of_like = endpoint.traffic.0.iter().position(like)?;
        let Source::Like { endpoint: wanted, .. } = &endpoint.traffic.0[index_of_like] else { return None };
        let index = index_of_like.to_string();
        let at = [path, &[&index, "endpoint"]].concat();
        let other = self.position("endpoint", wanted, &app.endpoints.names(), &at)?;
        let followed = &app.endpoints.0[other].1;
        let refusal = if wanted == name {
            "requests like its own"
        } else if followed.traffic.0.iter().any(like) {
            "requests like those of an endpoint that copies itself"
        } else if endpoint.traffic.0.len() > 1 {
            "`like` beside other sources"
        } else if says_more(&endpoint.traffic.0[index_of_like]) {
            "`like` with keys of its own, which would make other requests"
        } else {
            return Some(other);
        };
        self.problem(&at, refusal.to_owned(), "the only source, naming an endpoint with sources of its own", "");
        None
    }

    /// Whose random streams the endpoint's requests are drawn from.
    pub fn stream(&mut self, name: &str, endpoint: &Endpoint, path: &[&str]) -> Option<EndpointId> {
        let app = self.app;
        let liked = endpoint.traffic.0.iter().find_map(|source| match source {
            Source::Like { endpoint, .. } => Some(endpoint),
            _ => None,
        });
        let names = app.endpoints.names();
        let wanted = match (&endpoint.stream, liked) {
            (Some(stream), _) => self.position("endpoint", stream, &names, &joined(path, "stream"))?,
            (None, Some(liked)) => app.endpoints.position(liked)?,
            (None, None) => return None,
        };
        (names.get(wanted) != Some(&name)).then_some(EndpointId(wanted as u32))
    }

    fn source(&mut self, source: &Source, path: &[&str]) -> Option<TrafficSource> {
        let (common, known) = (source.common(), self.problems.count());
        let arrivals = self.arrivals(source, path)?;
        if common.until_s.is_some_and(|until| until <= common.from_s) {
            let found = format!("an end at {} s, not after its beginning", common.until_s.map_or(0.0, Seconds::get));
            self.problem(&joined(path, "until_s"), found, "until_s after from_s", "");
        }
        let execution_timeout = match common.execution_timeout_s {
            None => None,
            Some(timeout) => self.millis(timeout.get(), &joined(path, "execution_timeout_s")),
        };
        let lowered = TrafficSource {
            arrivals,
            from: common.from_s.time(),
            until: common.until_s.map(Seconds::time),
            low_priority_share: common.low_priority_share.get(),
            ttl: self.optional(common.ttl_s, &joined(path, "ttl_s")),
            execution_timeout,
        };
        if self.problems.count() == known
            && let Err(error) = lowered.check()
        {
            self.problem(path, error, "", "");
        }
        Some(lowered)
    }

    /// What one request sets for itself goes over the wire in whole milliseconds.
    fn millis(&mut self, seconds: f64, path: &[&str]) -> Option<Millis> {
        let millis = (seconds * 1e3).round();
        let fits = (1.0..=f64::from(u32::MAX)).contains(&millis);
        if !fits {
            self.problem(path, format!("{seconds}"), "0.001 s to 49 days for a single request", "");
        }
        fits.then_some(millis as u32).and_then(Millis::new)
    }

    fn arrivals(&mut self, source: &Source, path: &[&str]) -> Option<ArrivalSpec> {
        Some(match source {
            Source::Poisson { rate_per_s, .. } => ArrivalSpec::Poisson { rate: rate_per_s.get() },
            Source::Renewal { gap_s, .. } => {
                let gap = self.amount(gap_s, &joined(path, "gap_s"));
                if gap == (crate::workload::Distribution::Constant { value: 0.0 }) {
                    self.problem(&joined(path, "gap_s"), "no gap at all".to_owned(), "gaps above 0 s", "");
                }
                ArrivalSpec::Renewal { gap }
            }
            Source::Mmpp { states, .. } => ArrivalSpec::Mmpp {
                rates: states.iter().map(|state| state.rate_per_s.get()).collect(),
                mean_stay_s: states.iter().map(|state| state.mean_stay_s.get()).collect(),
            },
            Source::OnOff { rate_per_s, on_s, off_s, .. } => {
                ArrivalSpec::Mmpp { rates: vec![rate_per_s.get(), 0.0], mean_stay_s: vec![on_s.get(), off_s.get()] }
            }
            Source::RateCurve { points, linear, period_s, .. } => {
                let points: Vec<RatePoint> = points
                    .iter()
                    .map(|point| RatePoint { at_s: point.at_s.get(), rate: point.rate_per_s.get() })
                    .collect();
                if points.windows(2).any(|pair| pair[0].at_s >= pair[1].at_s) {
                    let found = "points that are not in order of time".to_owned();
                    self.problem(&joined(path, "points"), found, "`at_s` rising from point to point", "");
                }
                let last = points.last().map_or(0.0, |point| point.at_s);
                if let Some(period) = period_s.filter(|period| period.get() < last) {
                    let found = format!("a period of {} s, before the last point at {last} s", period.get());
                    self.problem(&joined(path, "period_s"), found, "a period that holds all points", "");
                }
                ArrivalSpec::RateCurve { points, linear: *linear, period_s: period_s.map(|period| period.get()) }
            }
            Source::Sine { mean_per_s, amplitude, period_s, phase_s, .. } => ArrivalSpec::Sine {
                mean: mean_per_s.get(),
                amplitude: amplitude.get(),
                period_s: period_s.get(),
                phase_s: phase_s.get(),
            },
            Source::Batch { rate_per_s, size, .. } => {
                ArrivalSpec::Batch { rate: rate_per_s.get(), size: self.amount(size, &joined(path, "size")) }
            }
            Source::Hawkes { base_rate_per_s, branching, decay_per_s, .. } => {
                if branching.get() >= 1.0 {
                    let found = "each request draws one or more further ones".to_owned();
                    self.problem(&joined(path, "branching"), found, "below 1", "");
                }
                ArrivalSpec::Hawkes {
                    base_rate: base_rate_per_s.get(),
                    branching: branching.get(),
                    decay: decay_per_s.get(),
                }
            }
            Source::ClosedLoop { users, think_s, .. } => {
                ArrivalSpec::ClosedLoop { users: *users, think: self.amount(think_s, &joined(path, "think_s")) }
            }
            Source::Times { at_s, .. } => {
                if at_s.windows(2).any(|pair| pair[0] > pair[1]) {
                    let found = "moments that are not in order".to_owned();
                    self.problem(&joined(path, "at_s"), found, "ascending seconds", "sort them");
                }
                ArrivalSpec::Times { at_s: Arc::new(at_s.iter().map(|at| at.get()).collect()) }
            }
            Source::Trace { file, rows, skip_s, end_s, time_scale, rate_scale, repeat, spread_s, .. } => {
                let options = TraceOptions {
                    endpoint: rows.clone(),
                    from_s: skip_s.get(),
                    until_s: end_s.map(Seconds::get),
                    time_scale: time_scale.get(),
                    rate_scale: rate_scale.get(),
                    repeat: *repeat,
                    spread_s: spread_s.get(),
                };
                self.trace(file, options, path)?
            }
            Source::Like { .. } => return None,
        })
    }

    fn trace(&mut self, file: &str, options: TraceOptions, path: &[&str]) -> Option<ArrivalSpec> {
        if let Some(end) = options.until_s.filter(|end| *end <= options.from_s) {
            let found = format!("an end at {end} s, not after the {} s that are skipped", options.from_s);
            self.problem(&joined(path, "end_s"), found, "end_s after skip_s", "");
        }
        let place = self.base.join(file);
        let found = match std::fs::metadata(&place) {
            Ok(metadata) if metadata.is_file() => {
                return Some(ArrivalSpec::Trace(TraceSource { path: place, options }));
            }
            Ok(metadata) if metadata.is_dir() => format!("`{}` is a folder", clean(file)),
            Ok(_) => format!("`{}` is not a regular file", clean(file)),
            Err(_) => format!("no file `{}`", clean(file)),
        };
        let fix = "paths are taken from the folder of the application file";
        self.problem(&joined(path, "file"), found, "a .csv or .csv.gz file", fix);
        None
    }

    /// Traces that feed several endpoints: one more source for each.
    pub fn shared_traces(&mut self, plans: &mut [EndpointPlan]) {
        let app = self.app;
        let names = app.endpoints.names();
        for (number, shared) in app.traffic.0.iter().enumerate() {
            let number = number.to_string();
            let path = ["traffic", number.as_str()];
            for (name, rows) in &shared.endpoints.0 {
                let at = [path[0], path[1], "endpoints", name.as_str()];
                let Some(index) = self.position("endpoint", name, &names, &at) else { continue };
                for rows in &rows.0 {
                    let options = TraceOptions {
                        endpoint: Some(rows.clone()),
                        from_s: shared.skip_s.get(),
                        until_s: shared.end_s.map(Seconds::get),
                        time_scale: shared.time_scale.get(),
                        rate_scale: shared.rate_scale.get(),
                        repeat: shared.repeat,
                        spread_s: shared.spread_s.get(),
                    };
                    let Some(arrivals) = self.trace(&shared.file, options, &path) else { return };
                    plans[index].traffic.sources.push(TrafficSource {
                        arrivals,
                        from: shared.from_s.time(),
                        until: None,
                        low_priority_share: 0.0,
                        ttl: None,
                        execution_timeout: None,
                    });
                }
            }
        }
    }

    /// A run to which nobody comes answers no question.
    pub fn somebody_comes(&mut self, plans: &[EndpointPlan]) {
        let nobody = plans.iter().all(|plan| plan.traffic.sources.is_empty());
        if nobody && self.problems.is_empty() {
            let fix = "add `traffic: {type: poisson, rate_per_s: 1}` to an endpoint";
            self.problem(&["endpoints"], "no requests for any endpoint".to_owned(), "", fix);
        }
    }
}
