//! One replication of a case: every value of its rows, from as many runs of the simulator as they need.

use std::collections::BTreeMap;

use super::measure::metric;
use super::optimum::level_optimum;
use super::plans::{CACHE_RATE, Run, setup};
use super::probe::Probe;
use super::reference::Case;
use super::simulate::{Measured, simulate};
use super::traffic;

/// A replication's values by name of the metric.
pub type Values = BTreeMap<String, f64>;

/// What a replication of `case` over `run` measures.
pub fn observe(case: &Case, run: Run) -> Values {
    let mut values = Values::new();
    if case.id.starts_with("hawkes") {
        traffic::measure(case, run, &mut values);
        return values;
    }
    let measured = simulate(setup(case, run, None));
    for row in &case.rows {
        if let Some(value) = metric(&measured, &row.metric) {
            values.insert(row.metric.clone(), value);
        }
    }
    match case.id.split('-').next() {
        Some("ggc1") => {
            for approximation in ["wait_mean_kingman_upper_bound", "wait_mean_heavy_traffic_approx"] {
                values.insert(approximation.to_owned(), values["wait_mean"]);
            }
        }
        Some("retry") => retries(&measured.probe, &mut values),
        Some("mmppmc") => traffic::measure(case, run, &mut values),
        Some("keepalive") => keep_alive(case, run, &measured, &mut values),
        Some("actflex") => active_and_flex(case, run, &mut values),
        Some("crash") => idle_crashes(case, run, &mut values),
        _ => {}
    }
    values
}

/// An attempt is a job of the simulator here; the job of theory is the chain of them.
fn retries(probe: &Probe, values: &mut Values) {
    let first = probe.first_arrivals as f64;
    values.insert("attempts_mean".to_owned(), probe.arrivals as f64 / first);
    values.insert("response_mean".to_owned(), probe.chain_response as f64 / 1e6 / probe.chains as f64);
}

/// Costs per arrival under the case's timeout, under the break-even timeout, and of a clairvoyant on the same gaps.
fn keep_alive(case: &Case, run: Run, measured: &Measured, values: &mut Values) {
    let price = case.params.number("price_per_s");
    let cold_start_s = case.params.number("cold_start_s");
    let cost = |run: &Measured| run.bill.total().as_usd() / run.probe.arrivals as f64;
    let mut at = 0.0;
    let requests: Vec<(f64, f64)> = measured
        .probe
        .gaps
        .iter()
        .map(|gap| {
            // A service of a microsecond stands for none.
            at += gap.as_secs();
            (at, at + 1e-6)
        })
        .collect();
    let clairvoyant = level_optimum(&requests, price, price * cold_start_s).cost / requests.len() as f64;
    let break_even = cost(&simulate(setup(case, run, Some(cold_start_s))));
    values.insert("cost_per_arrival".to_owned(), cost(measured));
    values.insert("cost_per_arrival_clairvoyant".to_owned(), clairvoyant);
    values.insert("cost_per_arrival_break_even_timeout".to_owned(), break_even);
    values.insert("ratio_break_even_to_clairvoyant".to_owned(), break_even / clairvoyant);
}

/// Costs with one active worker less and more as well, on the same jobs.
fn active_and_flex(case: &Case, run: Run, values: &mut Values) {
    for active in [3, 4, 5] {
        let measured = simulate(setup(case, run, Some(f64::from(active))));
        values.insert(cost_with(active), measured.bill.total().as_usd() / measured.probe.window_s());
    }
    values.insert("cost_per_second".to_owned(), values[&cost_with(case.params.whole("active_workers"))]);
}

/// Name of the cost with this many active workers.
pub fn cost_with(active: u32) -> String {
    format!("cost_with_{active}_active")
}

/// All workers down at once is rare; crashes do not depend on jobs, so a run without jobs, 200 times as long, finds it.
fn idle_crashes(case: &Case, run: Run, values: &mut Values) {
    let longer = |time: thermocline::units::Time| thermocline::units::Time(time.0 * 200);
    let run = Run { from: longer(run.from), to: longer(run.to), seed: run.seed };
    let mut quiet = setup(case, run, None);
    quiet.plan.endpoints[0].traffic.sources[0].arrivals = thermocline::workload::ArrivalSpec::Poisson { rate: 1e-9 };
    let quiet = simulate(quiet);
    for name in ["p_all_down", "availability_per_worker", "up_mean"] {
        values.insert(name.to_owned(), metric(&quiet, name).expect("a plain metric"));
    }
}

/// Jobs per second (or crashes, where there are no jobs): how long a run must be to see a number of them.
pub fn rate(case: &Case) -> f64 {
    let params = &case.params;
    let number = |key: &str| params.number(key);
    match case.id.split('-').next().unwrap_or_default() {
        "prio" => params.list("arrival_rates").iter().sum(),
        "mmppmc" => {
            let (leave1, leave2) = (number("switch12"), number("switch21"));
            (number("rate1") * leave2 + number("rate2") * leave1) / (leave1 + leave2)
        }
        "batch" => number("batch_rate") * number("batch_mean"),
        "ggc1" => 1.0 / number("interarrival_mean"),
        "hawkes" => number("base_rate") / (1.0 - number("branching")),
        "mtminf" => number("rate_mean"),
        "keepalive" => 1.0 / (number("gap_mean") + number("cold_start_s")),
        "repair" => number("workers") / (number("mtbf") + number("mttr")),
        "backoff" => 1.0 / number("mtbf"),
        "lru" | "fifo" => CACHE_RATE,
        _ => number("arrival_rate"),
    }
}
