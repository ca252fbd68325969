//! How bursty traffic is: rates and indices of dispersion of counts, from the arrival processes themselves.

use thermocline::sim::streams::{Purpose, Streams};
use thermocline::units::Time;
use thermocline::workload::{ArrivalSpec, Traffic, TrafficSource, TrafficStream};

use super::observe::Values;
use super::plans::{Run, arrivals};
use super::reference::Case;

/// Windows per replication: the dispersion of `n` counts scatters by `sqrt(2 / n)`, 1.8 % over 32 replications.
const WINDOWS: usize = 200;

/// Windows for the limit of the index: it falls short by 1 over the product of window and relaxation rate, here 1 % at most
/// (relaxation 0.05 to 0.1 per second).
const LONG_S: u64 = 2_000;

/// Measures the rows about traffic alone.
pub fn measure(case: &Case, run: Run, values: &mut Values) {
    let hawkes = case.id.starts_with("hawkes");
    let spec = if hawkes { self_exciting(case) } else { arrivals(&case.params) };
    // Windows of 100 s = 10 / decay; 20 of them make a long one.
    let short = counts(spec, run.seed, 100, WINDOWS * LONG_S as usize / 100);
    let long: Vec<f64> = short.chunks_exact(LONG_S as usize / 100).map(|counts| counts.iter().sum()).collect();
    values.insert("index_of_dispersion_limit".to_owned(), dispersion(&long));
    if hawkes {
        values.insert("index_of_dispersion_at_10_over_beta".to_owned(), dispersion(&short));
        values.insert("rate_mean".to_owned(), short.iter().sum::<f64>() / (short.len() * 100) as f64);
    }
}

fn self_exciting(case: &Case) -> ArrivalSpec {
    ArrivalSpec::Hawkes {
        base_rate: case.params.number("base_rate"),
        branching: case.params.number("branching"),
        decay: case.params.number("decay"),
    }
}

/// Arrivals in each of `windows` windows of `window_s`, after ten windows of warm-up.
fn counts(arrivals: ArrivalSpec, seed: u64, window_s: u64, windows: usize) -> Vec<f64> {
    let streams = Streams::new(seed);
    let traffic = Traffic { sources: vec![TrafficSource::new(arrivals)] };
    let mut stream =
        TrafficStream::open(&traffic, |_, _| streams.stream(Purpose::Other, 0)).expect("a valid source of traffic");
    let warm_up = 10;
    let mut counts = vec![0.0; windows + warm_up];
    while let Some(Time(at)) = stream.pop().expect("no file to fail").map(|arrival| arrival.at) {
        match counts.get_mut((at / (window_s * 1_000_000)) as usize) {
            Some(count) => *count += 1.0,
            None => break,
        }
    }
    counts.split_off(warm_up)
}

/// Variance over mean.
fn dispersion(counts: &[f64]) -> f64 {
    let n = counts.len() as f64;
    let mean = counts.iter().sum::<f64>() / n;
    counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / (n - 1.0) / mean
}
