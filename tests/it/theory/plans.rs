//! Each case as a plan for the simulator: nothing but what theory speaks of (decisions at events, no delays, no round-up).

use thermocline::policy::{ParamValue, PolicyChoice};
use thermocline::scheduler::{BackoffSpec, HostSpec, Image, Layer, Slots, TtlRunning};
use thermocline::sim::clean::Clean;
use thermocline::sim::plan::{EndpointPlan, Feed, HostPlan, Plan};
use thermocline::sim::streams::{Purpose, Streams};
use thermocline::units::{EndpointId, ImageId, Span, Time, UsdPerSecond};
use thermocline::workload::{ArrivalSpec, Distribution, ServiceModel, SharedSpeed, TrafficSource};

use super::probe::Probe;
use super::reference::{Case, Params};

/// One run: what is simulated and what is watched.
pub struct Setup {
    pub plan: Plan,
    pub probe: Probe,
    /// The number of workers that utilization and availability refer to.
    pub workers: f64,
}

/// When a run counts, and its seed.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub from: Time,
    pub to: Time,
    pub seed: u64,
}

/// Workers that stand for "no limit": far more than are ever up at once (the largest mean is 19 busy, Poisson).
const UNLIMITED: u32 = 100;

/// The plan of a case. `setting` replaces the number of active workers (`actflex`) or the idle timeout in seconds (`keepalive`)
/// where a case compares several.
pub fn setup(case: &Case, run: Run, setting: Option<f64>) -> Setup {
    let params = &case.params;
    let family = case.id.split('-').next().expect("split yields at least one part");
    let (mut clean, workers) = match family {
        "mmc" | "mmck" | "mgcc" | "md1" | "mdc" | "mg1" | "mh2c" | "dm1" | "h2m1" | "ggc1" | "mmppmc" | "batch"
        | "erlang" | "ttl" | "prio" | "crash" | "retry" => always_on(params),
        "mm1ps" | "mg1ps" | "ps" => (shared_worker(params), 1),
        "mtminf" => (unlimited(params), UNLIMITED),
        "setup" | "delayedoff" => from_zero(params, true),
        "cold1" | "nocancel" | "det" | "simfaas" => from_zero(params, false),
        "keepalive" => (keep_alive(params, setting), 1),
        "repair" => (crashing_only(params.whole("workers"), params.number("mttr"), true), params.whole("workers")),
        "backoff" => (crashing_only(1, params.number("start_s"), false), 1),
        "actflex" => (active_and_flex(params, setting), UNLIMITED),
        "lru" | "fifo" => (Clean::default(), 1),
        other => panic!("no plan for {other}"),
    };
    if matches!(family, "md1" | "mdc") {
        clean.service = Distribution::Constant { value: params.number("service_mean") };
    }
    let mut plan = Plan::clean(Clean { seed: run.seed, ..clean });
    plan.max_jobs = None;
    plan.duration = Some(run.to.since(Time::ZERO));
    plan.warm_up = run.from.since(Time::ZERO);
    let mut probe = Probe::new(run.from, run.to);
    match family {
        "mmck" | "mgcc" => plan.endpoints[0].spec.max_queued = params.whole("capacity_in_system") - workers,
        "erlang" | "ttl" => patience(&mut plan.endpoints[0], params),
        "prio" => priorities(&mut plan.endpoints[0], params),
        "retry" => rejoin(&mut plan.endpoints[0], params),
        "crash" => crashes(&mut plan.endpoints[0], params.number("mtbf"), params.number("restart_mean")),
        "repair" => {
            crashes(&mut plan.endpoints[0], params.number("mtbf"), params.number("mttr"));
            plan.hosts[0].max_starts = params.whole("repair_slots");
        }
        "backoff" => backoff(&mut plan.endpoints[0], params),
        "delayedoff" | "nocancel" => {
            plan.endpoints[0].spec.policies.keep_alive = PolicyChoice::named("exponential")
                .with("mean_s", params.number("idle_timeout_mean"))
                .with("seed", f64::from(run.seed as u32));
        }
        "simfaas" => {
            let start = &mut plan.endpoints[0].release.start;
            start.warm_up_jobs = 1;
            start.warm_up_factor = params.number("cold_service_mean") / params.number("warm_service_mean");
        }
        "mm1ps" | "mg1ps" => {
            let streams = Streams::new(run.seed).keyed(Purpose::Service, 0);
            probe.work = Some((streams, plan.endpoints[0].release.service.sampler()));
        }
        "mtminf" => probe.period_s = params.number("period"),
        "actflex" => {
            let class = &mut plan.scheduler.gpu_classes[0];
            class.flex = UsdPerSecond::from_usd(params.number("price_flex"));
            class.active = UsdPerSecond::from_usd(params.number("price_active"));
            probe.last_active = u64::from(plan.endpoints[0].spec.active - 1);
        }
        "keepalive" => {
            plan.scheduler.gpu_classes[0].flex = UsdPerSecond::from_usd(params.number("price_per_s"));
        }
        "lru" | "fifo" => image_cache(&mut plan, params, family),
        _ => {}
    }
    Setup { plan, probe, workers: f64::from(workers) }
}

/// Workers that are always up.
fn always_on(params: &Params) -> (Clean, u32) {
    let workers = if params.has("workers") { params.whole("workers") } else { 1 };
    (Clean::always_on(arrivals(params), service(params), workers), workers)
}

pub fn arrivals(params: &Params) -> ArrivalSpec {
    if params.has("rate1") {
        return ArrivalSpec::Mmpp {
            rates: vec![params.number("rate1"), params.number("rate2")],
            mean_stay_s: vec![1.0 / params.number("switch12"), 1.0 / params.number("switch21")],
        };
    }
    if params.has("batch_rate") {
        let size = Distribution::Geometric { mean: params.number("batch_mean") };
        return ArrivalSpec::Batch { rate: params.number("batch_rate"), size };
    }
    if params.has("interarrival") {
        let rate = if params.has("arrival_rate") { params.number("arrival_rate") } else { 1.0 };
        let mean = if params.has("interarrival_mean") { params.number("interarrival_mean") } else { 1.0 / rate };
        return ArrivalSpec::Renewal {
            gap: distribution(params.word("interarrival"), mean, params.number("interarrival_scv")),
        };
    }
    let rate = if params.has("arrival_rates") {
        params.list("arrival_rates").iter().sum()
    } else {
        params.number("arrival_rate")
    };
    ArrivalSpec::Poisson { rate }
}

fn service(params: &Params) -> Distribution {
    let mean = ["service_mean", "work_mean", "warm_service_mean"].into_iter().find(|key| params.has(key));
    let mean = params.number(mean.expect("every case with jobs gives their mean"));
    let scv = if params.has("service_scv") { params.number("service_scv") } else { 1.0 };
    distribution(if params.has("service") { params.word("service") } else { "exp" }, mean, scv)
}

/// A distribution by the file's words (statistics: model conventions).
pub fn distribution(kind: &str, mean: f64, scv: f64) -> Distribution {
    match kind {
        "exp" => Distribution::Exponential { mean },
        "det" => Distribution::Constant { value: mean },
        "h2" => Distribution::HyperExponential { mean, scv },
        "erlang" => Distribution::Gamma { mean, cv: scv.sqrt() },
        "lognormal" => Distribution::LogNormalMean { mean, cv: scv.sqrt() },
        "uniform" => {
            let half = (3.0 * scv).sqrt() * mean;
            Distribution::Uniform { min: mean - half, max: mean + half }
        }
        other => panic!("no distribution {other}"),
    }
}

/// One worker whose jobs share its speed.
fn shared_worker(params: &Params) -> Clean {
    let speed = if params.has("total_speed_with_n_jobs") { params.word("total_speed_with_n_jobs") } else { "1" };
    let exponent = speed.strip_prefix("n^").map_or(0.0, |text| text.parse().expect("an exponent"));
    let concurrency = params.word("concurrency").parse().unwrap_or(UNLIMITED);
    Clean {
        speed: SharedSpeed::Power { exponent },
        concurrency,
        ..Clean::always_on(arrivals(params), service(params), 1)
    }
}

/// Every job finds a worker at once.
fn unlimited(params: &Params) -> Clean {
    Clean {
        arrivals: ArrivalSpec::Sine {
            mean: params.number("rate_mean"),
            amplitude: params.number("amp"),
            period_s: params.number("period"),
            phase_s: 0.0,
        },
        service: service(params),
        cold_start: Distribution::Constant { value: 0.0 },
        idle_timeout_s: Some(0.0),
        max: UNLIMITED,
        ..Clean::default()
    }
}

/// Workers come when jobs wait, and go; with `cancel_starts` no more are starting than jobs wait.
fn from_zero(params: &Params, cancel_starts: bool) -> (Clean, u32) {
    let workers = params.whole("max_workers");
    let cold_start = match () {
        () if params.has("cold_start_s") => Distribution::Constant { value: params.number("cold_start_s") },
        () if params.has("cold_start_mean") => Distribution::Exponential { mean: params.number("cold_start_mean") },
        () => Distribution::Constant { value: 0.0 },
    };
    let mut scaling = PolicyChoice::named("per_job");
    scaling.params.insert("cancel_starts".to_owned(), ParamValue::Bool(cancel_starts));
    let clean = Clean {
        arrivals: arrivals(params),
        service: service(params),
        cold_start,
        idle_timeout_s: params.has("idle_timeout_s").then(|| params.number("idle_timeout_s")),
        max: workers,
        scaling,
        dispatch: PolicyChoice::named("newest"),
        ..Clean::default()
    };
    (clean, workers)
}

/// One worker, one job at a time, gaps between the end of one and the arrival of the next.
fn keep_alive(params: &Params, idle_timeout_s: Option<f64>) -> Clean {
    let scv = if params.has("gap_scv") { params.number("gap_scv") } else { 1.0 };
    Clean {
        arrivals: ArrivalSpec::ClosedLoop {
            users: 1,
            think: distribution(params.word("gap"), params.number("gap_mean"), scv),
        },
        service: Distribution::Constant { value: 0.0 },
        cold_start: Distribution::Constant { value: params.number("cold_start_s") },
        idle_timeout_s: Some(idle_timeout_s.unwrap_or(params.number("idle_timeout_s"))),
        max: 1,
        ..Clean::default()
    }
}

/// Active workers and no jobs, so that only crashes and starts happen.
fn crashing_only(workers: u32, start_s: f64, exponential: bool) -> Clean {
    let cold_start = match exponential {
        true => Distribution::Exponential { mean: start_s },
        false => Distribution::Constant { value: start_s },
    };
    // One job in 30 years.
    let arrivals = ArrivalSpec::Poisson { rate: 1e-9 };
    Clean { cold_start, ..Clean::always_on(arrivals, Distribution::Constant { value: 0.0 }, workers) }
}

/// Active workers first; flex workers come at once and leave at once.
fn active_and_flex(params: &Params, active: Option<f64>) -> Clean {
    Clean {
        arrivals: arrivals(params),
        service: service(params),
        cold_start: Distribution::Constant { value: 0.0 },
        idle_timeout_s: Some(0.0),
        active: active.unwrap_or(params.number("active_workers")) as u32,
        max: UNLIMITED,
        dispatch: PolicyChoice::named("oldest"),
        ..Clean::default()
    }
}

fn patience(endpoint: &mut EndpointPlan, params: &Params) {
    let mean = params.number("patience_mean");
    endpoint.spec.ttl_running = TtlRunning::Ignore;
    match params.word("patience") {
        "fixed" => endpoint.spec.ttl = Span::from_secs(mean),
        _ => endpoint.traffic.sources[0].ttl = Some(Distribution::Exponential { mean }),
    }
}

fn priorities(endpoint: &mut EndpointPlan, params: &Params) {
    let source = |(rate, low_priority_share): (f64, f64)| TrafficSource {
        arrivals: ArrivalSpec::Poisson { rate },
        low_priority_share,
        ..endpoint.traffic.sources[0].clone()
    };
    endpoint.traffic.sources = params.list("arrival_rates").into_iter().zip([0.0, 1.0]).map(source).collect();
}

/// A failed attempt is an output that is at once an input again, at the tail.
fn rejoin(endpoint: &mut EndpointPlan, params: &Params) {
    endpoint.feeds = vec![Feed { to: EndpointId(0), probability: params.number("fail_prob"), delay: Span::ZERO }];
}

/// Workers crash after an exponential time, idle or busy, and start again at once.
fn crashes(endpoint: &mut EndpointPlan, mtbf: f64, restart: f64) {
    endpoint.release.faults.uptime = Some(Distribution::Exponential { mean: mtbf });
    endpoint.release.start.stages[0].time = Distribution::Exponential { mean: restart };
    endpoint.spec.max_attempts = u32::MAX;
    endpoint.spec.backoff = BackoffSpec {
        base: Span::ZERO,
        factor: 1.0,
        cap: Span::ZERO,
        give_up_after: Span::MAX,
        reset_after: Span::ZERO,
    };
}

fn backoff(endpoint: &mut EndpointPlan, params: &Params) {
    endpoint.release.faults.uptime = Some(Distribution::Exponential { mean: params.number("mtbf") });
    endpoint.release.faults.start_failure_probability = params.number("start_fail_prob");
    endpoint.spec.rollout.rollback_after_failures = 0;
    endpoint.spec.backoff = BackoffSpec {
        base: Span::from_secs(params.number("base_s")),
        factor: params.number("factor"),
        cap: Span::from_secs(params.number("cap_s")),
        give_up_after: Span::MAX,
        reset_after: Span::ZERO,
    };
}

/// Independent requests for images of equal size: an endpoint per image, each with its own Poisson traffic, on one host whose
/// disk holds `cache_size` of them. Starts, services and pulls take no time, so that requests do not overlap.
fn image_cache(plan: &mut Plan, params: &Params, eviction: &str) {
    let items = params.whole("items");
    let exponent = params.word("popularity").trim_start_matches("zipf(").trim_end_matches(')');
    let exponent: f64 = exponent.parse().expect("a Zipf exponent");
    let size = 1_000_000;
    plan.scheduler.eviction = PolicyChoice::named(eviction);
    plan.scheduler.images = (0..items)
        .map(|item| Image {
            name: format!("image {item}"),
            layers: vec![Layer { digest: item.to_string(), pull_bytes: size, disk_bytes: size }],
        })
        .collect();
    let host = &plan.hosts[0];
    let spec = HostSpec {
        gpus: items,
        disk_bytes: size * u64::from(params.whole("cache_size")),
        cached: Vec::new(),
        ..host.spec.clone()
    };
    plan.hosts = vec![HostPlan { spec, ..host.clone() }];
    let weights: Vec<f64> = (1..=items).map(|rank| libm::pow(f64::from(rank), -exponent)).collect();
    let total: f64 = weights.iter().sum();
    let model = plan.endpoints[0].clone();
    plan.endpoints = (0..items).map(|item| cached_endpoint(&model, item, weights[item as usize] / total)).collect();
}

/// Requests per second of a cache case in all: one job in a thousand seconds, so that none meets another.
pub const CACHE_RATE: f64 = 1e-3;

fn cached_endpoint(model: &EndpointPlan, item: u32, popularity: f64) -> EndpointPlan {
    let mut endpoint = model.clone();
    endpoint.spec.name = format!("endpoint {item}");
    endpoint.spec.image = ImageId(item);
    endpoint.spec.max = 1;
    endpoint.spec.slots = Slots::OnDemand;
    endpoint.spec.policies.keep_alive = PolicyChoice::named("fixed").with("idle_timeout_s", 0.0);
    endpoint.release.start.stages[0].time = Distribution::Constant { value: 0.0 };
    endpoint.release.service =
        ServiceModel::Drawn { work: Distribution::Constant { value: 0.0 }, speed: SharedSpeed::Independent };
    endpoint.traffic.sources[0].arrivals = ArrivalSpec::Poisson { rate: CACHE_RATE * popularity };
    endpoint
}
