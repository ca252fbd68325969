//! Request traces: the plain CSV format (`arrival_s,endpoint[,service_s][,input_tokens][,output_tokens]`, also gzipped),
//! read as a stream with bounded memory, scaled, sliced and looped.

use std::path::PathBuf;

/// What is done to a trace while it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceOptions {
    /// Only rows of this endpoint of the file; `None` = all rows.
    pub endpoint: Option<String>,
    /// Seconds of the trace that are skipped.
    pub from_s: f64,
    /// Seconds of the trace where it ends.
    pub until_s: Option<f64>,
    /// Times are multiplied by this (0.5 = twice as fast).
    pub time_scale: f64,
    /// Rate multiplier: 2 = every row twice on average (copies jittered), 0.5 = every second row on average.
    pub rate_scale: f64,
    /// How often the slice is played; 0 = for ever.
    pub repeat: u32,
    /// Instants that stand for an interval of this length are spread over it (coarse sources).
    pub spread_s: f64,
}

impl Default for TraceOptions {
    fn default() -> TraceOptions {
        TraceOptions {
            endpoint: None,
            from_s: 0.0,
            until_s: None,
            time_scale: 1.0,
            rate_scale: 1.0,
            repeat: 1,
            spread_s: 0.0,
        }
    }
}

/// A trace file and what is done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSource {
    /// `.csv` or `.csv.gz`.
    pub path: PathBuf,
    /// Reading options.
    pub options: TraceOptions,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceRow {
    /// Seconds from the start of the trace.
    pub arrival_s: f64,
    /// Endpoint name.
    pub endpoint: String,
    /// Seconds on a worker.
    pub service_s: Option<f64>,
    /// Input tokens.
    pub input_tokens: Option<u32>,
    /// Output tokens.
    pub output_tokens: Option<u32>,
}
