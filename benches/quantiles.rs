//! What it costs to count a wait in the histogram and to ask it for a quantile, beside sorting all waits.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a bench measures time and prints it"
)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use thermocline::metrics::Histogram;
use thermocline::units::Span;

/// Exponential waits of mean 1 s, the same on every machine.
fn waits(count: u64) -> Vec<Span> {
    let wait = |index: u64| {
        let word = (index + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Span::from_secs(-libm::log(((word >> 12) as f64 + 0.5) / (1u64 << 52) as f64))
    };
    (0..count).map(wait).collect()
}

fn quantiles(criterion: &mut Criterion) {
    let waits = waits(100_000);
    let mut group = criterion.benchmark_group("quantiles");
    group.throughput(Throughput::Elements(waits.len() as u64));
    group.bench_function("histogram, count", |bench| {
        bench.iter(|| {
            let mut histogram = Histogram::new();
            waits.iter().for_each(|wait| histogram.record(*wait));
            black_box(histogram.count())
        });
    });
    group.bench_function("sort all", |bench| {
        bench.iter_batched_ref(|| waits.clone(), |waits| waits.sort_unstable(), BatchSize::LargeInput);
    });
    group.finish();
    let mut histogram = Histogram::new();
    waits.iter().for_each(|wait| histogram.record(*wait));
    criterion.bench_function("histogram, p99", |bench| bench.iter(|| histogram.quantile(black_box(0.99))));
}

criterion_group!(benches, quantiles);
criterion_main!(benches);
