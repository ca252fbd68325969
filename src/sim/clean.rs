//! Plans in theory's clean mode: one endpoint, nothing but arrivals, a cold start and service.

use super::plan::{EndpointPlan, FaultPlan, HostPlan, PacingModel, Plan, RegistryPlan, ReleaseFaults, ReleasePlan};
use super::plan::{StageModel, StartModel};
use crate::policy::PolicyChoice;
use crate::scheduler::{
    EndpointSpec, GpuClass, GpuClassId, HostSpec, Image, Layer, PickUp, SchedulerConfig, StartStage,
};
use crate::units::{ImageId, Span, UsdPerSecond};
use crate::workload::{ArrivalSpec, Distribution, ServiceModel, SharedSpeed, Traffic, TrafficSource};

/// What theory speaks of. Change single fields of the default with the struct update syntax.
#[derive(Clone, Debug, PartialEq)]
pub struct Clean {
    /// When jobs come.
    pub arrivals: ArrivalSpec,
    /// Seconds of work per job, at full speed.
    pub service: Distribution,
    /// What jobs on one worker do to each other; matters only with `concurrency` > 1.
    pub speed: SharedSpeed,
    /// Jobs per worker at once.
    pub concurrency: u32,
    /// Seconds from the wish for a worker to its being ready; a constant 0 = ready at once.
    pub cold_start: Distribution,
    /// Seconds that an idle worker stays up; `None` = for ever.
    pub idle_timeout_s: Option<f64>,
    /// Always-on workers.
    pub active: u32,
    /// Most workers.
    pub max: u32,
    /// How many workers are wanted.
    pub scaling: PolicyChoice,
    /// Which idle worker gets the job.
    pub dispatch: PolicyChoice,
    /// Jobs in all.
    pub jobs: u64,
    /// Master seed.
    pub seed: u64,
}

impl Default for Clean {
    /// The matched workload of the peer comparison: Poisson 50/s, exponential service of mean 1 s, cold start 10 s, idle timeout
    /// 60 s, at most 200 workers, one worker wanted by each arrival that finds none idle; 100,000 jobs, seed 1.
    fn default() -> Clean {
        Clean {
            arrivals: ArrivalSpec::Poisson { rate: 50.0 },
            service: Distribution::Exponential { mean: 1.0 },
            speed: SharedSpeed::Independent,
            concurrency: 1,
            cold_start: Distribution::Constant { value: 10.0 },
            idle_timeout_s: Some(60.0),
            active: 0,
            max: 200,
            scaling: PolicyChoice::named("per_job"),
            dispatch: PolicyChoice::named("mru"),
            jobs: 100_000,
            seed: 1,
        }
    }
}

impl Clean {
    /// M/M/c and its kin: `workers` workers that are always up, none other.
    pub fn always_on(arrivals: ArrivalSpec, service: Distribution, workers: u32) -> Clean {
        Clean {
            arrivals,
            service,
            cold_start: Distribution::Constant { value: 0.0 },
            idle_timeout_s: None,
            active: workers,
            max: workers,
            scaling: PolicyChoice::named("fixed").with("workers", f64::from(workers)),
            ..Clean::default()
        }
    }
}

impl Plan {
    /// One endpoint in theory's clean mode: push pick-up, a cold start of one stage, no resume, no extra workers, no execution
    /// timeout, no TTL, slots placed and image cached, one host with a GPU for every worker, no faults, instant stops. Active
    /// workers start at time 0 without delay (the endpoint was deployed long ago).
    pub fn clean(clean: Clean) -> Plan {
        let image = ImageId(0);
        Plan {
            seed: clean.seed,
            duration: None,
            max_jobs: Some(clean.jobs),
            drain: None,
            deployed: true,
            warm_up: Span::ZERO,
            counts_drain: false,
            scheduler: SchedulerConfig {
                gpu_classes: vec![GpuClass {
                    name: "ADA_24".to_owned(),
                    flex: UsdPerSecond::from_usd(0.00031),
                    active: UsdPerSecond::from_usd(0.00021),
                }],
                images: vec![Image {
                    name: "clean".to_owned(),
                    layers: vec![Layer { digest: "clean".to_owned(), pull_bytes: 1_000, disk_bytes: 1_000 }],
                }],
                eviction: PolicyChoice::named("lru"),
            },
            hosts: vec![HostPlan {
                spec: HostSpec {
                    name: "host".to_owned(),
                    data_center: "here".to_owned(),
                    gpu_class: GpuClassId(0),
                    gpus: clean.max,
                    memory_bytes: 1 << 40,
                    disk_bytes: 1 << 40,
                    pull_bytes_per_s: 1_000_000_000,
                    priority: 0,
                    cached: vec![image],
                },
                ..HostPlan::plain()
            }],
            registry: RegistryPlan::unlimited(),
            endpoints: vec![endpoint(clean, image)],
            faults: FaultPlan::default(),
            actions: Vec::new(),
        }
    }
}

fn endpoint(clean: Clean, image: ImageId) -> EndpointPlan {
    let mut spec = EndpointSpec::with_defaults("clean", image, GpuClassId(0));
    spec.active = clean.active;
    spec.max = clean.max;
    spec.extra = 0;
    spec.concurrency = clean.concurrency;
    spec.execution_timeout = None;
    spec.ttl = Span::MAX;
    spec.flashboot = false;
    spec.init_timeout = Span::MAX;
    spec.pick_up = PickUp::Push;
    spec.max_queued = u32::MAX;
    spec.policies.scaling = clean.scaling;
    spec.policies.dispatch = clean.dispatch;
    spec.policies.keep_alive = match clean.idle_timeout_s {
        Some(seconds) => PolicyChoice::named("fixed").with("idle_timeout_s", seconds),
        None => PolicyChoice::named("infinite"),
    };
    let source = TrafficSource {
        arrivals: clean.arrivals,
        from: crate::units::Time::ZERO,
        until: None,
        low_priority_share: 0.0,
        ttl: None,
        execution_timeout: None,
    };
    EndpointPlan {
        spec,
        release: ReleasePlan {
            start: StartModel::one_stage(clean.cold_start),
            service: ServiceModel::Drawn { work: clean.service, speed: clean.speed },
            faults: ReleaseFaults::default(),
        },
        traffic: Traffic { sources: vec![source] },
        stream: None,
        pacing: PacingModel::immediate(),
        feeds: Vec::new(),
        slo_wait: None,
        slo_response: None,
    }
}

impl HostPlan {
    /// An empty host of ordinary speed: no GPUs, no disk, unlimited bandwidth. For struct update syntax.
    pub fn plain() -> HostPlan {
        HostPlan {
            spec: HostSpec {
                name: String::new(),
                data_center: String::new(),
                gpu_class: GpuClassId(0),
                gpus: 0,
                memory_bytes: 0,
                disk_bytes: 0,
                pull_bytes_per_s: 0,
                priority: 0,
                cached: Vec::new(),
            },
            pull_bytes_per_s: f64::INFINITY,
            unpack_bytes_per_s: f64::INFINITY,
            pull_sigma: 0.0,
            slowdown: 1.0,
            max_starts: 0,
            tenants: None,
        }
    }
}

impl RegistryPlan {
    /// No limit, no outage, no failure.
    pub fn unlimited() -> RegistryPlan {
        RegistryPlan { bytes_per_s: f64::INFINITY, outages: Vec::new(), failure_probability: 0.0 }
    }
}

impl StartModel {
    /// A start of one stage and instant stops; no snapshots.
    pub fn one_stage(time: Distribution) -> StartModel {
        StartModel {
            stages: vec![StageModel { stage: StartStage::Container, time }],
            resume: Distribution::Constant { value: 0.0 },
            freeze_probability: 0.0,
            snapshot_life: None,
            stop: Distribution::Constant { value: 0.0 },
            warm_up_jobs: 0,
            warm_up_factor: 1.0,
        }
    }
}

impl PacingModel {
    /// No delay and no pacing.
    pub fn immediate() -> PacingModel {
        PacingModel { latency: Distribution::Constant { value: 0.0 }, period: Span::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::registry;

    #[test]
    fn the_clean_plan_has_room_for_every_worker_and_no_delays_but_the_cold_start() {
        let plan = Plan::clean(Clean::default());
        assert_eq!(plan.hosts[0].spec.gpus, plan.endpoints[0].spec.max);
        assert_eq!(plan.endpoints[0].spec.pick_up, PickUp::Push);
        assert_eq!(plan.hosts[0].spec.cached, vec![plan.endpoints[0].spec.image]);
        assert!(registry::eviction(&plan.scheduler.eviction).is_ok());
    }
}
