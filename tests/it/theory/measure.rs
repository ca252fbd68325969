//! The metrics of theory, by their names in `theory.csv`, from what the probe saw.

use super::probe::{Gauge, LEVELS, Probe};
use super::simulate::Measured;

/// The metric of this name over the run's window; `None` for a name that needs more than one run.
pub fn metric(run: &Measured, name: &str) -> Option<f64> {
    let Measured { probe, workers, .. } = run;
    let workers = *workers;
    if matches!(name, "billed_mean" | "billed_fraction") {
        return Some(run.billed_s() / probe.window_s());
    }
    jobs(probe, name)
        .or_else(|| probabilities(probe, name))
        .or_else(|| averages(probe, workers, name))
        .or_else(|| life_of_workers(probe, workers, name))
        .or_else(|| shares_of_time(probe, name))
}

/// Means, deviations and quantiles over the jobs that were served.
fn jobs(probe: &Probe, name: &str) -> Option<f64> {
    let served = probe.completed as f64;
    let mean = |micros: u128| micros as f64 / 1e6 / served;
    let wait_mean = || probe.waits.iter().map(|wait| u128::from(wait.0)).sum::<u128>() as f64 / 1e6 / served;
    Some(match name {
        "wait_mean" | "wait_mean_accepted" | "wait_mean_served" | "queue_wait_mean" => wait_mean(),
        "wait_mean_class0" => class_wait_mean(probe, 0),
        "wait_mean_class1" => class_wait_mean(probe, 1),
        "wait_sd" => {
            let second = probe.waits.iter().map(|wait| wait.as_secs() * wait.as_secs()).sum::<f64>() / served;
            (second - wait_mean() * wait_mean()).sqrt()
        }
        "wait_p50" => probe.wait_quantile(0.5).as_secs(),
        "wait_p90" => probe.wait_quantile(0.9).as_secs(),
        "wait_p95" => probe.wait_quantile(0.95).as_secs(),
        "wait_p99" => probe.wait_quantile(0.99).as_secs(),
        "response_mean" => mean(probe.response),
        "response_sd" => (probe.response_squared / served - mean(probe.response).powi(2)).sqrt(),
        "in_service_time_mean" => mean(probe.response) - wait_mean(),
        "slowdown_mean" => probe.slowdown / served,
        "attempts_per_job" => probe.attempts as f64 / served,
        "queue_time_mean_all" => probe.queue_time as f64 / 1e6 / accepted(probe),
        _ => return None,
    })
}

/// Shares of arrivals.
fn probabilities(probe: &Probe, name: &str) -> Option<f64> {
    let arrivals = probe.arrivals as f64;
    Some(match name {
        "p_wait" | "p_wait_accepted" => probe.had_to_wait as f64 / accepted(probe),
        "p_wait_zero" => 1.0 - probe.had_to_wait as f64 / accepted(probe),
        "p_block" => probe.rejected as f64 / arrivals,
        "p_abandon" => probe.abandoned as f64 / arrivals,
        "p_arrival_starts_worker" | "p_arrival_starts_setup" | "p_cold" => probe.arrivals_that_start as f64 / arrivals,
        "p_job_on_flex" => probe.on_flex as f64 / arrivals,
        _ => return None,
    })
}

/// Averages over time.
fn averages(probe: &Probe, workers: f64, name: &str) -> Option<f64> {
    let mean = |gauge: Gauge| probe.integral_s(gauge) / probe.window_s();
    let up = mean(Gauge::Idle) + mean(Gauge::Busy);
    Some(match name {
        "jobs_mean" => mean(Gauge::Jobs),
        "utilization" => mean(Gauge::Busy) / workers,
        "busy_mean" | "busy_fraction" => mean(Gauge::Busy),
        "idle_mean" | "idle_fraction" => mean(Gauge::Idle),
        "setup_mean" | "setup_fraction" => mean(Gauge::Starting),
        "active_busy_mean" => mean(Gauge::BusyActive),
        "flex_busy_mean" => mean(Gauge::Busy) - mean(Gauge::BusyActive),
        "last_active_utilization" => probe.last_active_busy as f64 / 1e6 / probe.window_s(),
        "up_mean" | "workers_mean" => up,
        "availability_per_worker" | "availability" => up / workers,
        "throughput" => probe.finished as f64 / probe.window_s(),
        "arrival_rate_mean" => probe.arrivals as f64 / probe.window_s(),
        "idle_seconds_per_arrival" => probe.integral_s(Gauge::Idle) / probe.arrivals as f64,
        _ => return None,
    })
}

/// Starts, crashes and images.
fn life_of_workers(probe: &Probe, workers: f64, name: &str) -> Option<f64> {
    let share = |part: u64, whole: u64| part as f64 / whole as f64;
    Some(match name {
        "starts_per_hour" => probe.starts as f64 / probe.window_s() * 3_600.0,
        // Little's law for workers: no worker's life is cut off by the end of the run.
        "lifespan_mean" => (probe.integral_s(Gauge::Idle) + probe.integral_s(Gauge::Busy)) / probe.starts as f64,
        "crash_rate" => probe.exits as f64 / probe.window_s(),
        "down_time_mean" => probe.down_time as f64 / 1e6 / probe.downs as f64,
        // With these many workers down and two places to repair them, at most two are being repaired.
        "repair_slots_busy_mean" => {
            let all = workers as usize;
            let busy: f64 = (0..=all).map(|up| (all - up).min(2) as f64 * probe.up_time[up] as f64).sum();
            busy / 1e6 / probe.window_s()
        }
        "attempts_mean" => share(probe.starts, probe.downs),
        "hit_ratio" | "hit_ratio_bytes" => 1.0 - share(probe.pulls, probe.starts),
        "hit_ratio_item1" => 1.0 - share(probe.pulls_of_first, probe.starts_of_first),
        "characteristic_requests" => share(probe.eviction_age, probe.evictions),
        _ => return None,
    })
}

/// Shares of time.
fn shares_of_time(probe: &Probe, name: &str) -> Option<f64> {
    let share = |micros: u64| micros as f64 / 1e6 / probe.window_s();
    let [mean, sine, cosine] = probe.fourier.map(|sum| sum / probe.window_s());
    let amplitude = 2.0 * libm::hypot(sine, cosine);
    Some(match name {
        "p_empty" => share(probe.jobs_time[0]),
        "p_jobs_ge_5" => share(probe.jobs_time[5..=LEVELS].iter().sum()),
        "p_off_all" => share(probe.billed_zero_time),
        "p_all_down" => share(probe.up_time[0]),
        "p_all_up" => share(probe.up_time[10]),
        // busy(t) = mean + amplitude * sin(2 pi (t - lag) / period)
        "busy_mean_over_period" => mean,
        "busy_amplitude" => amplitude,
        "busy_peak_mean" => mean + amplitude,
        "peak_lag_seconds" => libm::atan2(-cosine, sine) / std::f64::consts::TAU * probe.period_s,
        _ => return None,
    })
}

fn accepted(probe: &Probe) -> f64 {
    (probe.arrivals - probe.rejected) as f64
}

fn class_wait_mean(probe: &Probe, class: usize) -> f64 {
    probe.by_class[class].total as f64 / 1e6 / probe.by_class[class].jobs as f64
}
