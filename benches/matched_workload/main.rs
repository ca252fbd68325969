//! The matched workload of the peer comparison, side by side: a bare `BinaryHeap` loop of the same model, and the real scheduler
//! in the simulator with every metric, the ledger and the transcript hash on. Jobs per second of both in one run, their ratio,
//! whether they agree, and the memory of long runs.
//!
//! `cargo bench --bench matched_workload`. Measured times say nothing by themselves; the ratio does.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a bench measures time and prints it"
)]

mod bare;

use std::process::Command;
use std::time::Instant;

use criterion::{Criterion, Throughput};
use thermocline::ledger::{Ledger, Rounding};
use thermocline::metrics::{Activity, Metrics};
use thermocline::scheduler::follow::Follower;
use thermocline::scheduler::transcript_hash::TranscriptHash;
use thermocline::scheduler::watch::Window;
use thermocline::sim::Simulation;
use thermocline::sim::clean::Clean;
use thermocline::sim::plan::Plan;
use thermocline::units::Span;

/// Jobs per measurement.
const JOBS: u64 = 2_000_000;
/// Interleaved measurements; the median counts.
const ROUNDS: usize = 5;
/// Argument of the child process that reports its own memory.
const MEMORY_OF: &str = "--memory-of";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == MEMORY_OF) {
        let jobs = arguments.get(at + 1).and_then(|jobs| jobs.parse().ok()).expect("a number of jobs");
        std::hint::black_box(real(jobs, 1));
        println!("{}", peak_memory_kib().unwrap_or(0));
        return;
    }
    if arguments.iter().any(|argument| argument == "--bench") {
        compare_speed();
        compare_results();
        compare_memory();
    }
    let mut criterion = Criterion::default().configure_from_args();
    group(&mut criterion);
    criterion.final_summary();
}

/// The model in the bare loop.
fn loop_only(jobs: u64, seed: u64) -> bare::Outcome {
    bare::run(bare::Model {
        rate: 50.0,
        service_mean_s: 1.0,
        cold_start_s: 10.0,
        idle_timeout_s: 60.0,
        max_workers: 200,
        jobs,
        seed,
    })
}

/// The model in the simulator, nothing left out.
fn real(jobs: u64, seed: u64) -> bare::Outcome {
    let plan = Plan::clean(Clean { jobs, seed, ..Clean::default() });
    let ledger = Ledger::new(&plan.scheduler.gpu_classes, Rounding::UpToSeconds, Window::ALL);
    let mut follower = Follower::new((ledger, Metrics::new(Vec::new(), Window::ALL)));
    let mut hash = TranscriptHash::default();
    let mut simulation = Simulation::new(&plan).expect("a valid plan");
    let end = simulation.run(&mut (&mut follower, &mut hash), &mut |_| {}).expect("a run comes to its end");
    std::hint::black_box(hash.digest());
    let (_ledger, metrics) = follower.finish(end.now);
    let figures = metrics.total();
    bare::Outcome {
        jobs: figures.jobs.submitted,
        cold_starts: figures.workers.starts,
        wait_mean_s: figures.lengths.wait.mean_s().unwrap_or(0.0),
        workers_mean: [Activity::Starting, Activity::Idle, Activity::Busy]
            .map(|state| figures.mean(state))
            .iter()
            .sum(),
        wait_p99_s: figures.lengths.wait.quantile(0.99).map_or(0.0, Span::as_secs),
    }
}

fn compare_speed() {
    let time = |run: fn(u64, u64) -> bare::Outcome, seed| {
        let began = Instant::now();
        std::hint::black_box(run(JOBS, seed));
        JOBS as f64 / began.elapsed().as_secs_f64()
    };
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS as u64 {
        rates[0].push(time(loop_only, round));
        rates[1].push(time(real, round));
    }
    let [bare, real] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[ROUNDS / 2]
    });
    println!("bare loop                     {:>6.2} M jobs/s", bare / 1e6);
    println!("scheduler, metrics and ledger {:>6.2} M jobs/s", real / 1e6);
    println!("ratio                         {:>6.2}          (at least 0.4; reach for 1)\n", real / bare);
}

/// A name, and how it is read from an outcome.
type Figure = (&'static str, fn(&bare::Outcome) -> f64);

/// Both must be the same model: means over independent runs within the noise of each other.
fn compare_results() {
    const RUNS: u64 = 20;
    let jobs = 200_000;
    let outcomes = [loop_only, real].map(|run: fn(u64, u64) -> bare::Outcome| -> Vec<bare::Outcome> {
        (0..RUNS).map(|seed| run(jobs, 100 + seed)).collect()
    });
    println!("{:<24} {:>12} {:>12} {:>8}", "200,000 jobs, 20 runs", "bare loop", "simulator", "off/SE");
    let figures: [Figure; 4] = [
        ("cold starts", |outcome| outcome.cold_starts as f64),
        ("mean wait, ms", |outcome| outcome.wait_mean_s * 1e3),
        ("p99 of wait, ms", |outcome| outcome.wait_p99_s * 1e3),
        ("workers up, mean", |outcome| outcome.workers_mean),
    ];
    for (name, figure) in figures {
        let [bare, real] =
            [0, 1].map(|side: usize| mean_and_error(&outcomes[side].iter().map(figure).collect::<Vec<f64>>()));
        let off = (bare.0 - real.0).abs() / bare.1.hypot(real.1);
        println!("{name:<24} {:>12.3} {:>12.3} {off:>8.2}", bare.0, real.0);
        assert!(off < 4.5, "the two are not the same model: {name}");
    }
    println!();
}

fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// Peak memory of runs of 1 and 20 million jobs, each in a process of its own.
fn compare_memory() {
    let peak = |jobs: u64| -> Option<f64> {
        let program = std::env::current_exe().ok()?;
        let output = Command::new(program).args([MEMORY_OF, &jobs.to_string()]).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok().filter(|kib| *kib > 0.0)
    };
    match (peak(1_000_000), peak(20_000_000)) {
        (Some(short), Some(long)) => {
            println!("peak memory, 1 M jobs         {:>6.1} MiB", short / 1024.0);
            println!("peak memory, 20 M jobs        {:>6.1} MiB", long / 1024.0);
            println!("ratio                         {:>6.2}          (at most 1.1)\n", long / short);
        }
        _ => println!("peak memory is not known on this system\n"),
    }
}

/// The high-water mark of this process's resident memory.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn group(criterion: &mut Criterion) {
    let jobs = 100_000;
    let mut group = criterion.benchmark_group("matched_workload");
    group.throughput(Throughput::Elements(jobs)).sample_size(10);
    group.bench_function("bare loop", |bench| bench.iter(|| loop_only(jobs, 1)));
    group.bench_function("simulator", |bench| bench.iter(|| real(jobs, 1)));
    group.finish();
}
