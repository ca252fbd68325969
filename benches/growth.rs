//! What an event costs as the platform grows: 10 to 10,000 hosts, 1 to 1,000 endpoints, at the same load in all.
//!
//! `cargo bench --bench growth`. The last lines are the ratios of the largest to the smallest: at most 2.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a bench measures time and prints it"
)]

use std::time::Instant;

use thermocline::scheduler::HostSpec;
use thermocline::sim::Simulation;
use thermocline::sim::clean::Clean;
use thermocline::sim::plan::{HostPlan, Plan};
use thermocline::workload::ArrivalSpec;

/// Jobs per measurement.
const JOBS: u64 = 300_000;
/// Measurements per size; the fastest counts, which is the least disturbed.
const ROUNDS: usize = 3;

fn main() {
    let hosts = [10, 100, 1_000, 10_000].map(|hosts| cost("hosts", hosts, &plan(hosts, 1)));
    println!("10,000 hosts cost {:.2} x 10 hosts\n", hosts[3] / hosts[0]);
    let endpoints = [1, 10, 100, 1_000].map(|endpoints| cost("endpoints", endpoints, &plan(100, endpoints)));
    println!("1,000 endpoints cost {:.2} x 1 endpoint", endpoints[3] / endpoints[0]);
}

/// The matched workload, spread evenly over `endpoints`, on `hosts` with 8 GPUs each or as many as 200 workers need.
fn plan(hosts: u32, endpoints: u32) -> Plan {
    let mut plan = Plan::clean(Clean { jobs: JOBS, ..Clean::default() });
    let host = &plan.hosts[0];
    let gpus = (endpoints * 2).max(400).div_ceil(hosts).max(8);
    let spec = HostSpec { gpus, ..host.spec.clone() };
    plan.hosts = vec![HostPlan { spec, ..host.clone() }; hosts as usize];
    let mut endpoint = plan.endpoints[0].clone();
    endpoint.spec.max = (200 / endpoints).max(2);
    endpoint.traffic.sources[0].arrivals = ArrivalSpec::Poisson { rate: 50.0 / f64::from(endpoints) };
    plan.endpoints = vec![endpoint; endpoints as usize];
    plan
}

/// Nanoseconds per event.
fn cost(what: &str, size: u32, plan: &Plan) -> f64 {
    let time = || {
        let mut simulation = Simulation::new(plan).expect("a valid plan");
        let began = Instant::now();
        let end = simulation.run(&mut (), &mut |_| {}).expect("a run comes to its end");
        began.elapsed().as_nanos() as f64 / end.events as f64
    };
    let fastest = (0..ROUNDS).map(|_| time()).fold(f64::INFINITY, f64::min);
    println!("{size:>6} {what:<9} {fastest:>8.0} ns per event");
    fastest
}
