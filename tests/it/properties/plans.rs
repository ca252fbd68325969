//! Random plans: hosts, images with shared layers, endpoints with every policy of the registry, traffic, and faults of every kind,
//! each of which is switched on with probability one half (swarm testing: Groce et al., ISSTA 2012).

use proptest::prelude::*;
use thermocline::policy::{ParamValue, PolicyChoice, registry};
use thermocline::scheduler::{
    BackoffSpec, Binding, DormancySpec, EndpointSpec, ExtraMode, GpuClass, GpuClassId, HostSpec, Image, Layer, PickUp,
    RolloutSpec, SchedulerConfig, Slots, StartStage, TtlRunning,
};
use thermocline::sim::plan::*;
use thermocline::units::{EndpointId, HostId, ImageId, Millis, Span, Time, UsdPerSecond};
use thermocline::workload::{ArrivalSpec, Distribution, ServiceModel, SharedSpeed, Traffic, TrafficSource};

/// What a random plan is made from. Shrinks towards few endpoints, hosts and jobs and towards switches that are off.
#[derive(Clone)]
pub struct Knobs {
    /// Everything that no other knob decides.
    pub seed: u64,
    pub endpoints: u32,
    pub hosts: u32,
    pub jobs: u64,
    pub switches: [bool; 32],
}

pub fn knobs(jobs: std::ops::Range<u64>) -> impl Strategy<Value = Knobs> {
    (any::<u64>().no_shrink(), 1..4u32, 1..4u32, jobs, proptest::array::uniform32(any::<bool>()))
        .prop_map(|(seed, endpoints, hosts, jobs, switches)| Knobs { seed, endpoints, hosts, jobs, switches })
}

macro_rules! switches {
    ($($name:ident),+ $(,)?) => {
        /// Names of the switches.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Switch { $($name),+ }

        impl Switch {
            pub const ALL: [Switch; 32] = [$(Switch::$name),+];
        }
    };
}

switches! {
    StartFailures, Crashes, Hangs, SilentHangs, HandlerErrors, Refreshes, Uptime, IgnoredStops, Tenants, HostLoss,
    LostFacts, DoubledFacts, LateFacts, RegistryTrouble, Updates, Releases, BadRelease, Cancels, Purges, Deletion,
    LowPriority, ShortTtl, ShortTimeout, SmallDisk, NothingCached, Leases, SnapshotsLost, Dormancy, Suspension,
    ManyGpus, LimitedQueue, SharedImage,
}

impl std::fmt::Debug for Knobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on: Vec<Switch> = Switch::ALL.into_iter().filter(|switch| self.on(*switch)).collect();
        let Knobs { seed, endpoints, hosts, jobs, .. } = self;
        write!(f, "seed {seed}, {endpoints} endpoints, {hosts} hosts, {jobs} jobs, {on:?}")
    }
}

impl Knobs {
    pub fn on(&self, switch: Switch) -> bool {
        self.switches[switch as usize]
    }

    /// The same plan without anything that goes wrong outside the endpoint's own code.
    pub fn calm(mut self) -> Knobs {
        use Switch::*;
        for fault in
            [Hangs, SilentHangs, LostFacts, DoubledFacts, LateFacts, RegistryTrouble, HostLoss, Uptime, Tenants]
        {
            self.switches[fault as usize] = false;
        }
        self
    }
}

/// A small generator of its own (splitmix64), so that plans depend on nothing but the knobs.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From `from` up to, not including, `to`.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.next() % (to - from)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    pub fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.range(0, choices.len() as u64) as usize].clone()
    }

    /// A time in seconds between `from` and `to`.
    pub fn seconds(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * (self.range(0, 1_001) as f64 / 1_000.0)
    }
}

const GB: u64 = 1_000_000_000;

/// The plan of these knobs.
pub fn plan(knobs: &Knobs) -> Plan {
    let mut dice = Dice(knobs.seed);
    let images = images(&mut dice);
    let duration = dice.seconds(60.0, 900.0);
    let hosts = (0..knobs.hosts).map(|_| host(knobs, &mut dice)).collect();
    let rate = knobs.jobs as f64 / duration / f64::from(knobs.endpoints);
    let endpoints: Vec<EndpointPlan> = (0..knobs.endpoints).map(|_| endpoint(knobs, &mut dice, rate)).collect();
    let actions = actions(knobs, &mut dice, &endpoints, duration);
    Plan {
        seed: knobs.seed,
        duration: Some(Span::from_secs(duration)),
        max_jobs: Some(knobs.jobs),
        drain: Some(Span::from_whole_secs(20_000)),
        deployed: dice.one_in(2),
        warm_up: Span::ZERO,
        counts_drain: false,
        scheduler: SchedulerConfig {
            gpu_classes: vec![class("ADA_24", 0.00031, 0.00021), class("AMPERE_80", 0.00076, 0.0006)],
            images,
            eviction: PolicyChoice::named(dice.pick(&names(registry::EVICTION.iter().map(|entry| entry.name)))),
        },
        hosts,
        registry: registry_plan(knobs, &mut dice),
        endpoints,
        faults: faults(knobs, &mut dice),
        actions,
    }
}

fn names(names: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    names.collect()
}

fn class(name: &str, flex: f64, active: f64) -> GpuClass {
    GpuClass { name: name.to_owned(), flex: UsdPerSecond::from_usd(flex), active: UsdPerSecond::from_usd(active) }
}

/// Four images of up to three layers; the lower layers are shared.
fn images(dice: &mut Dice) -> Vec<Image> {
    let shared = ["base", "cuda", "torch"];
    (0..4)
        .map(|number| {
            let mut layers: Vec<Layer> =
                shared[..dice.range(1, 4) as usize].iter().map(|name| layer(name, 4)).collect();
            layers.push(layer(&format!("app-{number}"), dice.range(1, 9)));
            Image { name: format!("image-{number}"), layers }
        })
        .collect()
}

fn layer(digest: &str, gigabytes: u64) -> Layer {
    Layer { digest: digest.to_owned(), pull_bytes: gigabytes * GB / 2, disk_bytes: gigabytes * GB }
}

fn host(knobs: &Knobs, dice: &mut Dice) -> HostPlan {
    let cached = if knobs.on(Switch::NothingCached) { Vec::new() } else { vec![ImageId(dice.range(0, 2) as u32)] };
    HostPlan {
        spec: HostSpec {
            name: "host".to_owned(),
            data_center: dice.pick(&["EU", "US"]).to_owned(),
            gpu_class: GpuClassId(dice.range(0, 2) as u16),
            gpus: dice.range(1, if knobs.on(Switch::ManyGpus) { 9 } else { 4 }) as u32,
            memory_bytes: 64 * GB,
            disk_bytes: if knobs.on(Switch::SmallDisk) { 26 * GB } else { 500 * GB },
            pull_bytes_per_s: GB / 10,
            priority: dice.range(0, 3) as i32,
            cached,
        },
        pull_bytes_per_s: 5e8,
        pull_sigma: if dice.one_in(2) { 0.35 } else { 0.0 },
        slowdown: if dice.one_in(4) { 3.0 } else { 1.0 },
        max_starts: if dice.one_in(3) { 1 } else { 0 },
        tenants: knobs.on(Switch::Tenants).then(|| TenantPlan {
            away: Distribution::Exponential { mean: dice.seconds(20.0, 200.0) },
            stay: Distribution::Exponential { mean: dice.seconds(5.0, 100.0) },
            gpus: Distribution::Uniform { min: 1.0, max: 4.0 },
        }),
        ..HostPlan::plain()
    }
}

fn registry_plan(knobs: &Knobs, dice: &mut Dice) -> RegistryPlan {
    if !knobs.on(Switch::RegistryTrouble) {
        return RegistryPlan::unlimited();
    }
    let from = dice.seconds(0.0, 100.0);
    RegistryPlan {
        bytes_per_s: 1e9,
        outages: vec![(Time::from_secs(from), Time::from_secs(from + dice.seconds(1.0, 100.0)))],
        failure_probability: 0.3,
    }
}

fn endpoint(knobs: &Knobs, dice: &mut Dice, rate: f64) -> EndpointPlan {
    let spec = spec(knobs, dice);
    EndpointPlan {
        release: release(knobs, dice, 0.1),
        traffic: Traffic { sources: vec![source(knobs, dice, rate)] },
        pacing: if dice.one_in(2) {
            PacingModel { latency: Distribution::Uniform { min: 0.0, max: 0.1 }, period: Span::SECOND }
        } else {
            PacingModel::immediate()
        },
        spec,
        stream: None,
        feeds: Vec::new(),
        slo_wait: None,
        slo_response: None,
    }
}

/// Settings of an endpoint, all of them drawn.
pub fn spec(knobs: &Knobs, dice: &mut Dice) -> EndpointSpec {
    let image = if knobs.on(Switch::SharedImage) { 0 } else { dice.range(0, 4) as u32 };
    let mut spec = EndpointSpec::with_defaults("endpoint", ImageId(image), GpuClassId(0));
    spec.gpu_classes =
        dice.pick(&[vec![GpuClassId(0), GpuClassId(1)], vec![GpuClassId(1), GpuClassId(0)], vec![GpuClassId(0)]]);
    spec.gpus_per_worker = if knobs.on(Switch::ManyGpus) { dice.range(1, 3) as u32 } else { 1 };
    spec.data_centers = if dice.one_in(6) { vec!["EU".to_owned()] } else { Vec::new() };
    spec.max = dice.range(1, 6) as u32;
    spec.active = if dice.one_in(2) { dice.range(0, u64::from(spec.max) + 1) as u32 } else { 0 };
    spec.extra = dice.range(0, 3) as u32;
    spec.extra_mode =
        dice.pick(&[ExtraMode::Burst, ExtraMode::Burst, ExtraMode::ReplaceThrottled, ExtraMode::PrecacheOnly]);
    spec.concurrency = dice.range(1, 5) as u32;
    let timeout = dice.seconds(5.0, 30.0);
    spec.execution_timeout =
        (knobs.on(Switch::ShortTimeout) || knobs.on(Switch::Hangs)).then(|| Span::from_secs(timeout));
    spec.ttl_running = dice.pick(&[TtlRunning::TimedOut, TtlRunning::Ignore]);
    spec.flashboot = dice.one_in(2);
    spec.init_timeout = Span::from_secs(dice.pick(&[30.0, 420.0]));
    spec.binding = dice.pick(&[Binding::Late, Binding::Late, Binding::Early]);
    spec.pick_up = dice.pick(&[PickUp::Pull, PickUp::Push]);
    spec.slots = dice.pick(&[Slots::Ahead, Slots::OnDemand]);
    spec.max_queued = if knobs.on(Switch::LimitedQueue) { dice.range(1, 20) as u32 } else { 1_000_000 };
    spec.max_attempts = dice.range(1, 4) as u32;
    let needs_lease = knobs.on(Switch::Leases) || knobs.on(Switch::SilentHangs) || knobs.on(Switch::LostFacts);
    spec.lease = needs_lease.then(|| Span::from_whole_secs(40));
    spec.stop_job_grace = Span::from_secs(dice.pick(&[0.0, 2.0, 10.0]));
    spec.replace_throttled_after = Span::from_secs(dice.pick(&[10.0, 60.0]));
    spec.rollout =
        RolloutSpec { batch_percent: dice.pick(&[10, 34, 100]), rollback_after_failures: dice.pick(&[0, 2, 3]) };
    spec.backoff = BackoffSpec { give_up_after: Span::from_whole_secs(3_000), ..spec.backoff };
    spec.suspend_after_failures = knobs.on(Switch::Suspension).then(|| dice.range(2, 12) as u32);
    spec.dormancy = knobs.on(Switch::Dormancy).then(|| DormancySpec {
        reduce_after: Span::from_whole_secs(60),
        reduced_max: 1,
        zero_after: Span::from_whole_secs(6_000),
    });
    spec.policies.scaling = scaling(dice);
    spec.policies.keep_alive = dice.pick(&[
        PolicyChoice::named("fixed"),
        PolicyChoice::named("fixed").with("idle_timeout_s", 0.0),
        PolicyChoice::named("fixed").with("idle_timeout_s", 30.0),
    ]);
    spec.policies.dispatch = PolicyChoice::named(dice.pick(&names(registry::DISPATCH.iter().map(|entry| entry.name))));
    spec.policies.placement =
        PolicyChoice::named(dice.pick(&names(registry::PLACEMENT.iter().map(|entry| entry.name))));
    spec
}

/// Any scaling policy of the registry; those of the platform with parameters that matter.
fn scaling(dice: &mut Dice) -> PolicyChoice {
    let name = dice.pick(&names(registry::SCALING.iter().map(|entry| entry.name)));
    let mut choice = PolicyChoice::named(name);
    match name {
        "queue_delay" => {
            choice = choice.with("delay_s", dice.pick(&[0.0, 1.0, 4.0])).with("tick_s", dice.pick(&[0.0, 1.0]));
            choice = choice.with_text("step", dice.pick(&["one", "per_overdue_job"]));
            choice.params.insert("wait_for_start".to_owned(), ParamValue::Bool(dice.one_in(2)));
        }
        "request_count" => {
            choice = choice.with("requests_per_worker", dice.pick(&[1.0, 2.0, 4.0]));
            choice = choice.with("scale_down_delay_s", dice.pick(&[0.0, 10.0])).with("tick_s", dice.pick(&[0.0, 1.0]));
        }
        "per_job" => drop(choice.params.insert("cancel_starts".to_owned(), ParamValue::Bool(dice.one_in(2)))),
        "fixed" => choice = choice.with("workers", dice.range(1, 4) as f64),
        _ => {}
    }
    choice
}

fn release(knobs: &Knobs, dice: &mut Dice, start_failures: f64) -> ReleasePlan {
    let share = |switch: Switch, share: f64| if knobs.on(switch) { share } else { 0.0 };
    let stages = [(StartStage::Container, 2.0), (StartStage::Import, 3.0), (StartStage::Weights, 4.0)];
    let stage = |&(stage, mean): &(StartStage, f64)| StageModel { stage, time: Distribution::Exponential { mean } };
    let work = dice.pick(&[
        Distribution::Constant { value: 2.0 },
        Distribution::Exponential { mean: 3.0 },
        Distribution::LogNormal { median: 1.0, sigma: 1.0 },
        Distribution::Constant { value: 0.0 },
    ]);
    let speed = dice.pick(&[SharedSpeed::Independent, SharedSpeed::Power { exponent: 0.5 }]);
    ReleasePlan {
        start: StartModel {
            stages: stages[..dice.range(1, 4) as usize].iter().map(stage).collect(),
            resume: Distribution::LogNormal { median: 1.1, sigma: 0.45 },
            freeze_probability: dice.pick(&[0.0, 0.5, 1.0]),
            snapshot_life: knobs.on(Switch::SnapshotsLost).then_some(Distribution::Exponential { mean: 30.0 }),
            stop: Distribution::Uniform { min: 0.0, max: 5.0 },
            warm_up_jobs: dice.range(0, 2) as u32,
            warm_up_factor: 2.0,
        },
        service: ServiceModel::Drawn { work, speed },
        faults: ReleaseFaults {
            start_failure_probability: share(Switch::StartFailures, start_failures),
            crash_probability: share(Switch::Crashes, 0.1),
            hang_probability: share(Switch::Hangs, 0.05),
            hang_silent: knobs.on(Switch::SilentHangs),
            handler_error_probability: share(Switch::HandlerErrors, 0.1),
            refresh_probability: share(Switch::Refreshes, 0.2),
            uptime: knobs.on(Switch::Uptime).then_some(Distribution::Exponential { mean: 120.0 }),
            ignore_stop_probability: share(Switch::IgnoredStops, 0.5),
        },
    }
}

fn source(knobs: &Knobs, dice: &mut Dice, rate: f64) -> TrafficSource {
    let arrivals = dice.pick(&[
        ArrivalSpec::Poisson { rate },
        ArrivalSpec::Batch { rate: rate / 6.0, size: Distribution::Uniform { min: 1.0, max: 11.0 } },
        ArrivalSpec::Mmpp { rates: vec![rate * 4.0, 0.0], mean_stay_s: vec![20.0, 60.0] },
        ArrivalSpec::ClosedLoop { users: 5, think: Distribution::Exponential { mean: 3.0 } },
    ]);
    TrafficSource {
        arrivals,
        from: Time::ZERO,
        until: None,
        low_priority_share: if knobs.on(Switch::LowPriority) { 0.3 } else { 0.0 },
        ttl: knobs.on(Switch::ShortTtl).then_some(Distribution::Uniform { min: 1.0, max: 60.0 }),
        execution_timeout: if dice.one_in(4) { Millis::new(20_000) } else { None },
    }
}

fn faults(knobs: &Knobs, dice: &mut Dice) -> FaultPlan {
    let share = |switch: Switch, share: f64| if knobs.on(switch) { share } else { 0.0 };
    let loss = knobs.on(Switch::HostLoss);
    FaultPlan {
        host_uptime: loss.then(|| Distribution::Exponential { mean: dice.seconds(60.0, 600.0) }),
        host_downtime: loss.then_some(Distribution::Exponential { mean: 60.0 }),
        host_return_probability: 1.0,
        lost_fact_probability: share(Switch::LostFacts, 0.02),
        duplicate_fact_probability: share(Switch::DoubledFacts, 0.1),
        late_fact_probability: share(Switch::LateFacts, 0.1),
        fact_delay: (knobs.on(Switch::LateFacts) || knobs.on(Switch::DoubledFacts))
            .then_some(Distribution::Exponential { mean: 3.0 }),
    }
}

fn actions(knobs: &Knobs, dice: &mut Dice, endpoints: &[EndpointPlan], duration: f64) -> Vec<Action> {
    let mut actions = Vec::new();
    for (number, old) in endpoints.iter().enumerate() {
        let endpoint = EndpointId(number as u32);
        let mut at = |dice: &mut Dice, kind: ActionKind| {
            actions.push(Action { at: Time::from_secs(dice.seconds(0.0, duration)), kind });
        };
        if knobs.on(Switch::Updates) {
            let mut spec = old.spec.clone();
            spec.max = dice.range(0, 6) as u32;
            spec.active = spec.active.min(spec.max);
            spec.concurrency = dice.range(1, 4) as u32;
            spec.policies.scaling = scaling(dice);
            at(dice, ActionKind::Update { endpoint, spec: Box::new(spec), release: Box::new(old.release.clone()) });
            at(
                dice,
                ActionKind::Update {
                    endpoint,
                    spec: Box::new(old.spec.clone()),
                    release: Box::new(old.release.clone()),
                },
            );
        }
        if knobs.on(Switch::Releases) {
            let spec =
                EndpointSpec { container_digest: 1, image: ImageId(dice.range(0, 4) as u32), ..old.spec.clone() };
            let bad = if knobs.on(Switch::BadRelease) { 1.0 } else { 0.1 };
            let release = release(knobs, dice, bad);
            at(dice, ActionKind::Update { endpoint, spec: Box::new(spec), release: Box::new(release) });
        }
        for _ in 0..if knobs.on(Switch::Cancels) { 10 } else { 0 } {
            at(dice, ActionKind::CancelOldest { endpoint });
        }
        if knobs.on(Switch::Purges) {
            at(dice, ActionKind::Purge { endpoint });
        }
        if knobs.on(Switch::Deletion) && number == 0 {
            at(dice, ActionKind::Delete { endpoint });
        }
    }
    if knobs.on(Switch::HostLoss) && knobs.on(Switch::Tenants) {
        let at = dice.seconds(0.0, duration);
        actions.push(Action { at: Time::from_secs(at), kind: ActionKind::LoseHost { host: HostId(0) } });
        let back = Time::from_secs(at + dice.seconds(1.0, 100.0));
        actions.push(Action { at: back, kind: ActionKind::ReturnHost { host: HostId(0) } });
    }
    actions
}
