//! What a trace is like: rates, burstiness, lulls, tokens and service times, of all requests and of each endpoint.
//!
//! Definitions. The span runs from time 0 to the last request of the file; rates are per second of it. CV of gaps: standard
//! deviation over mean of the times between requests (1 for Poisson). IoD w: variance over mean of the number of requests in
//! consecutive windows of length w from time 0 (1 for Poisson). Empty minutes: share of whole minutes without a request.
//! Time in long gaps: share of the span that lies in gaps of more than a minute, the silence before the first and after the last
//! request included, so what an endpoint with an idle timeout of 60 s and quick jobs would spend at zero workers.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::error::FileError;
use super::tally::{Moments, Quantiles, Tally, Windows};
use super::{TraceReader, TraceRow};

/// Endpoints that are looked at one by one; the others are counted together.
const ENDPOINTS_MAX: usize = 1_000;
/// Gaps longer than this count as lulls, in milliseconds.
const LONG_GAP_MS: u64 = 60_000;

/// A trace in figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TraceInfo {
    /// Seconds from time 0 to the last request.
    pub span_s: f64,
    /// All requests.
    pub all: EndpointInfo,
    /// By endpoint, the busiest first.
    pub endpoints: Vec<EndpointInfo>,
}

/// The requests of an endpoint in figures; `None` where there are too few requests, or the file does not say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointInfo {
    /// Its name.
    pub endpoint: String,
    /// Number of requests.
    pub rows: u64,
    /// Time of the first request, in seconds.
    pub first_s: f64,
    /// Time of the last request, in seconds.
    pub last_s: f64,
    /// Requests per second.
    pub mean_rate: Option<f64>,
    /// Requests per second in the busiest minute.
    pub peak_minute_rate: f64,
    /// The busiest minute over the mean.
    pub peak_to_mean: Option<f64>,
    /// CV of gaps.
    pub gap_cv: Option<f64>,
    /// Index of dispersion of counts per minute.
    pub iod_1_min: Option<f64>,
    /// Index of dispersion of counts per 10 minutes.
    pub iod_10_min: Option<f64>,
    /// Share of whole minutes without a request.
    pub empty_minutes: Option<f64>,
    /// Share of the span in gaps of more than a minute.
    pub time_in_long_gaps: Option<f64>,
    /// Gaps in seconds.
    pub gap_s: Option<Quantiles>,
    /// Service times in seconds.
    pub service_s: Option<Quantiles>,
    /// Input tokens.
    pub input_tokens: Option<Quantiles>,
    /// Output tokens.
    pub output_tokens: Option<Quantiles>,
}

/// Reads a whole trace.
///
/// # Errors
/// If the file cannot be read, is not a trace or has no row.
pub fn info(path: &Path) -> Result<TraceInfo, FileError> {
    let mut reader = TraceReader::open(path)?;
    let mut row = TraceRow::default();
    let mut all = Figures::new();
    let mut others = Figures::new();
    let mut endpoints: BTreeMap<String, Figures> = BTreeMap::new();
    while reader.read(&mut row)? {
        all.add(&row);
        if let Some(figures) = endpoints.get_mut(&row.endpoint) {
            figures.add(&row);
        } else if endpoints.len() < ENDPOINTS_MAX {
            endpoints.entry(row.endpoint.clone()).or_insert_with(Figures::new).add(&row);
        } else {
            others.add(&row);
        }
    }
    if all.rows == 0 {
        return Err(FileError::new(path, "the trace has a header but no row"));
    }
    let end_ms = all.last_ms;
    let mut infos: Vec<EndpointInfo> =
        endpoints.into_iter().map(|(name, figures)| figures.finish(name, end_ms)).collect();
    infos.sort_by_key(|info| std::cmp::Reverse(info.rows));
    if others.rows > 0 {
        infos.push(others.finish(format!("(beyond the first {ENDPOINTS_MAX} endpoints)"), end_ms));
    }
    let all = all.finish("(all)".to_owned(), end_ms);
    Ok(TraceInfo { span_s: all.last_s, all, endpoints: infos })
}

/// Counts of requests in `bins` equal parts of `bin_s` seconds each, of all endpoints and of each of `names`.
///
/// # Errors
/// If the file cannot be read.
pub fn histogram(path: &Path, bin_s: f64, bins: usize, names: &[&str]) -> Result<Vec<Vec<u64>>, FileError> {
    let mut reader = TraceReader::open(path)?;
    let mut row = TraceRow::default();
    let mut counts = vec![vec![0; bins]; names.len() + 1];
    while reader.read(&mut row)? {
        let bin = ((row.arrival_s / bin_s) as usize).min(bins.saturating_sub(1));
        counts[0][bin] += 1;
        if let Some(place) = names.iter().position(|name| *name == row.endpoint) {
            counts[place + 1][bin] += 1;
        }
    }
    Ok(counts)
}

/// The figures in the making.
struct Figures {
    rows: u64,
    first_ms: u64,
    last_ms: u64,
    gap_moments: Moments,
    gaps: Tally,
    long_gaps_ms: u64,
    minutes: Windows,
    ten_minutes: Windows,
    service_ms: Tally,
    input_tokens: Tally,
    output_tokens: Tally,
}

impl Figures {
    fn new() -> Figures {
        Figures {
            rows: 0,
            first_ms: 0,
            last_ms: 0,
            gap_moments: Moments::default(),
            gaps: Tally::default(),
            long_gaps_ms: 0,
            minutes: Windows::new(60),
            ten_minutes: Windows::new(600),
            service_ms: Tally::default(),
            input_tokens: Tally::default(),
            output_tokens: Tally::default(),
        }
    }

    fn add(&mut self, row: &TraceRow) {
        let millis = |seconds: f64| (seconds * 1e3).round() as u64;
        let at_ms = millis(row.arrival_s);
        // The silence before the first request is one, although it is not a gap between two.
        let gap_ms = at_ms - self.last_ms;
        self.add_silence(gap_ms);
        if self.rows == 0 {
            self.first_ms = at_ms;
        } else {
            self.gap_moments.add(gap_ms as f64);
            self.gaps.add(gap_ms);
        }
        self.rows += 1;
        self.last_ms = at_ms;
        self.minutes.add(at_ms);
        self.ten_minutes.add(at_ms);
        row.service_s.into_iter().for_each(|service_s| self.service_ms.add(millis(service_s)));
        row.input_tokens.into_iter().for_each(|tokens| self.input_tokens.add(tokens.into()));
        row.output_tokens.into_iter().for_each(|tokens| self.output_tokens.add(tokens.into()));
    }

    fn add_silence(&mut self, silence_ms: u64) {
        if silence_ms > LONG_GAP_MS {
            self.long_gaps_ms += silence_ms;
        }
    }

    /// `end_ms` is the end of the file's span.
    fn finish(mut self, endpoint: String, end_ms: u64) -> EndpointInfo {
        self.add_silence(end_ms - self.last_ms);
        self.minutes.finish(end_ms);
        self.ten_minutes.finish(end_ms);
        let span_s = end_ms as f64 / 1e3;
        let mean_rate = (end_ms > 0).then(|| self.rows as f64 / span_s);
        let peak_minute_rate = self.minutes.peak() as f64 / 60.0;
        EndpointInfo {
            endpoint,
            rows: self.rows,
            first_s: self.first_ms as f64 / 1e3,
            last_s: self.last_ms as f64 / 1e3,
            mean_rate,
            peak_minute_rate,
            peak_to_mean: mean_rate.map(|mean| peak_minute_rate / mean),
            gap_cv: self.gap_moments.cv(),
            iod_1_min: self.minutes.dispersion(),
            iod_10_min: self.ten_minutes.dispersion(),
            empty_minutes: self.minutes.empty_share(),
            time_in_long_gaps: (end_ms > 0).then(|| self.long_gaps_ms as f64 / end_ms as f64),
            gap_s: self.gaps.quantiles(1e3),
            service_s: self.service_ms.quantiles(1e3),
            input_tokens: self.input_tokens.quantiles(1.0),
            output_tokens: self.output_tokens.quantiles(1.0),
        }
    }
}

#[cfg(test)]
mod tests;
