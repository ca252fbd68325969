//! The simulator against queueing theory: every value of `tests/testdata/theory.csv`.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the table is for people; the environment chooses its precision; times are shown, never judged"
)]

mod coverage;
mod judge;
mod measure;
mod observe;
mod optimum;
mod plans;
mod power;
mod probe;
mod reference;
mod simplex;
mod simulate;
mod steady;
mod traffic;

use optimum::Instance;
use reference::{Case, cases};

fn instance(case: &Case) -> Instance {
    let seconds = |key: &str| case.params.list(key).into_iter().map(|x| x as u32);
    let price = case.params.number("price_per_s");
    Instance {
        jobs: seconds("arrivals").zip(seconds("services")).collect(),
        price,
        start_fee: price * case.params.number("cold_start_s"),
        wait_price: case.params.number("waiting_cost_per_job_s"),
        wait_limit: None,
        max_workers: None,
    }
}

#[test]
fn the_clairvoyant_optimum_of_each_instance_is_exact() {
    let cases = cases();
    for case in cases.iter().filter(|case| case.id.starts_with("opt-")) {
        let instance = instance(case);
        for row in &case.rows {
            let found = match row.metric.as_str() {
                "opt_cost_zero_wait" => instance.zero_wait().cost,
                "opt_starts_zero_wait" => f64::from(instance.zero_wait().starts),
                "opt_idle_seconds_zero_wait" => instance.zero_wait().idle_s,
                "busy_seconds" => instance.zero_wait().busy_s,
                "opt_cost_with_waiting" => instance.optimum(),
                "lp_bound_with_waiting" => instance.lp_bound(),
                "opt_cost_with_waiting_max_workers_1" => {
                    Instance { max_workers: Some(1), ..instance.clone() }.optimum()
                }
                "opt_cost_start_within_5s" => {
                    Instance { wait_limit: Some(5), wait_price: 0.0, ..instance.clone() }.optimum()
                }
                other => panic!("{}: unknown metric {other}", case.id),
            };
            // The file gives eight digits.
            let close = (found - row.value).abs() <= 1e-6 * row.value;
            assert!(close, "{}: {} is {} in theory, found {found}", case.id, row.metric, row.value);
        }
    }
}
