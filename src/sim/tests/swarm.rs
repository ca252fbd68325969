//! Many small plans with every feature and fault switched on or off by chance: the world's and the scheduler's own asserts hold,
//! every job gets exactly one outcome, and everything comes to rest.

use rand::Rng;

use super::*;
use crate::policy::PolicyChoice;
use crate::scheduler::{HostSpec, Image, Layer, PickUp, Slots, StartStage};
use crate::sim::plan::{
    Action, ActionKind, EndpointPlan, FaultPlan, Feed, HostPlan, PacingModel, StageModel, TenantPlan,
};
use crate::sim::streams::{Purpose, Stream, Streams};
use crate::sim::{Clean, EndReason};
use crate::units::{EndpointId, HostId, ImageId};
use crate::workload::deviate::{chance, pick};
use crate::workload::{ArrivalSpec, Distribution, ServiceModel, SharedSpeed, TrafficSource};

/// What a seed switches on.
struct Swarm {
    rng: Stream,
}

impl Swarm {
    fn on(&mut self) -> bool {
        chance(0.5, &mut self.rng)
    }

    fn up_to(&mut self, count: usize) -> usize {
        pick(count + 1, &mut self.rng)
    }

    fn share(&mut self, most: f64) -> f64 {
        if self.on() { most * (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64 } else { 0.0 }
    }

    fn plan(&mut self, seed: u64) -> Plan {
        let mut plan = Plan::clean(Clean { seed, ..Clean::default() });
        plan.max_jobs = None;
        plan.duration = Some(Span::from_whole_secs(1_800));
        plan.deployed = self.on();
        plan.scheduler.images = (0..4).map(image).collect();
        plan.hosts = (0..1 + self.up_to(4)).map(|number| self.host(number)).collect();
        plan.registry.bytes_per_s = if self.on() { 2e8 } else { f64::INFINITY };
        plan.registry.failure_probability = self.share(0.3);
        if self.on() {
            plan.registry.outages.push((Time::from_secs(200.0), Time::from_secs(500.0)));
        }
        let template = plan.endpoints[0].clone();
        plan.endpoints = (0..1 + self.up_to(2) as u32).map(|number| self.endpoint(&template, number)).collect();
        if self.on() && plan.endpoints.len() > 1 {
            let feed = Feed { to: EndpointId(1), probability: 0.5, delay: Span::from_millis(300) };
            plan.endpoints[0].feeds.push(feed);
        }
        plan.actions = (0..self.up_to(6)).map(|_| self.action(&plan)).collect();
        plan.faults = self.faults(plan.hosts.len());
        plan
    }

    fn host(&mut self, number: usize) -> HostPlan {
        let tenants = self.on().then_some(TenantPlan {
            away: Distribution::Exponential { mean: 120.0 },
            stay: Distribution::Exponential { mean: 60.0 },
            gpus: Distribution::Uniform { min: 1.0, max: 3.0 },
        });
        HostPlan {
            spec: HostSpec {
                name: format!("h{number}"),
                gpus: 1 + self.up_to(5) as u32,
                memory_bytes: 1 << 40,
                // Room for two or three of the four images.
                disk_bytes: 30_000_000_000,
                pull_bytes_per_s: 100_000_000,
                cached: if self.on() { vec![ImageId(0)] } else { Vec::new() },
                ..HostPlan::plain().spec
            },
            pull_bytes_per_s: 1e8,
            unpack_bytes_per_s: if self.on() { 1e9 } else { f64::INFINITY },
            pull_sigma: 0.35,
            slowdown: if self.on() { 1.0 } else { 1.5 },
            max_starts: self.up_to(2) as u32,
            tenants,
        }
    }

    fn endpoint(&mut self, template: &EndpointPlan, number: u32) -> EndpointPlan {
        let mut plan = template.clone();
        let spec = &mut plan.spec;
        spec.name = format!("e{number}");
        spec.image = ImageId(number);
        spec.max = 1 + self.up_to(5) as u32;
        spec.active = self.up_to(2).min(spec.max as usize) as u32;
        spec.extra = self.up_to(2) as u32;
        spec.concurrency = [1, 1, 4][self.up_to(2)];
        spec.flashboot = self.on();
        spec.pick_up = if self.on() { PickUp::Pull } else { PickUp::Push };
        spec.slots = if self.on() { Slots::Ahead } else { Slots::OnDemand };
        spec.execution_timeout = self.on().then(|| Span::from_whole_secs(30));
        spec.ttl = if self.on() { Span::from_whole_secs(300) } else { Span::from_whole_secs(3_600) };
        spec.init_timeout = Span::from_whole_secs(420);
        spec.max_queued = if self.on() { 20 } else { 1_000 };
        spec.lease = Some(Span::from_whole_secs(30));
        spec.gpus_per_worker = 1 + u32::from(self.share(1.0) > 0.7);
        let scaling = ["per_job", "queue_delay", "request_count", "fixed"][self.up_to(3)];
        spec.policies.scaling = PolicyChoice::named(scaling);
        spec.policies.keep_alive = PolicyChoice::named("fixed").with("idle_timeout_s", 5.0);
        plan.release = self.release();
        plan.pacing = PacingModel {
            latency: Distribution::Uniform { min: 0.0, max: 0.1 },
            period: if self.on() { Span::SECOND } else { Span::ZERO },
        };
        plan.traffic.sources = vec![TrafficSource {
            low_priority_share: self.share(0.5),
            ttl: self.on().then_some(Distribution::Exponential { mean: 200.0 }),
            ..TrafficSource::new(match self.up_to(2) {
                0 => ArrivalSpec::Poisson { rate: 0.3 },
                1 => ArrivalSpec::Batch { rate: 0.02, size: Distribution::Uniform { min: 1.0, max: 20.0 } },
                _ => ArrivalSpec::ClosedLoop { users: 4, think: Distribution::Exponential { mean: 5.0 } },
            })
        }];
        plan
    }

    fn release(&mut self) -> crate::sim::plan::ReleasePlan {
        let mut release = Plan::clean(Clean::default()).endpoints.remove(0).release;
        let stage = |stage, mean| StageModel { stage, time: Distribution::Exponential { mean } };
        release.start.stages = vec![
            stage(StartStage::Container, 1.0),
            stage(StartStage::Cuda, 3.0),
            StageModel { stage: StartStage::Import, time: Distribution::Constant { value: 0.0 } },
            stage(StartStage::Weights, 10.0),
        ];
        release.start.resume = Distribution::LogNormal { median: 1.1, sigma: 0.45 };
        release.start.freeze_probability = self.share(1.0);
        release.start.snapshot_life = self.on().then_some(Distribution::Exponential { mean: 60.0 });
        release.start.stop = Distribution::Exponential { mean: 2.0 };
        release.start.warm_up_jobs = self.up_to(2) as u32;
        release.start.warm_up_factor = 2.0;
        release.service = if self.on() {
            let work = Distribution::Exponential { mean: 2.0 };
            ServiceModel::Drawn { work, speed: SharedSpeed::Power { exponent: 0.5 } }
        } else {
            ServiceModel::Tokens {
                overhead_s: 0.05,
                prefill_s_per_token: 0.0001,
                decode_step_s: 0.013,
                decode_step_s_per_seq: 0.001,
                input: Distribution::Exponential { mean: 1_000.0 },
                output: Distribution::Exponential { mean: 150.0 },
                sigma_ln: 0.2,
            }
        };
        release.faults.start_failure_probability = self.share(0.5);
        release.faults.crash_probability = self.share(0.2);
        release.faults.hang_probability = self.share(0.05);
        release.faults.hang_silent = self.on();
        release.faults.handler_error_probability = self.share(0.3);
        release.faults.refresh_probability = self.share(0.2);
        release.faults.ignore_stop_probability = self.share(1.0);
        release.faults.uptime = self.on().then_some(Distribution::Exponential { mean: 300.0 });
        release
    }

    fn action(&mut self, plan: &Plan) -> Action {
        let at = Time::from_secs(100.0 + 200.0 * self.up_to(8) as f64);
        let endpoint = EndpointId(self.up_to(plan.endpoints.len() - 1) as u32);
        let host = HostId(self.up_to(plan.hosts.len() - 1) as u32);
        let kind = match self.up_to(6) {
            0 => {
                let mut spec = plan.endpoints[endpoint.index()].spec.clone();
                spec.container_digest = 1 + at.0;
                spec.max = 1 + self.up_to(5) as u32;
                spec.active = spec.active.min(spec.max);
                if self.on() {
                    spec.image = ImageId(3);
                }
                ActionKind::Update { endpoint, spec: Box::new(spec), release: Box::new(self.release()) }
            }
            1 => ActionKind::Delete { endpoint },
            2 => ActionKind::Purge { endpoint },
            3 => ActionKind::CancelOldest { endpoint },
            4 => ActionKind::LoseHost { host },
            5 => ActionKind::ReturnHost { host },
            _ => ActionKind::SetCapacity { host, gpus: self.up_to(4) as u32 },
        };
        Action { at, kind }
    }

    fn faults(&mut self, hosts: usize) -> FaultPlan {
        FaultPlan {
            host_uptime: self.on().then_some(Distribution::Exponential { mean: 900.0 * hosts as f64 }),
            host_downtime: Some(Distribution::Exponential { mean: 60.0 }),
            host_return_probability: 1.0 - self.share(0.5),
            lost_fact_probability: self.share(0.05),
            duplicate_fact_probability: self.share(0.05),
            late_fact_probability: self.share(0.1),
            fact_delay: Some(Distribution::Exponential { mean: 1.0 }),
        }
    }
}

fn image(number: u32) -> Image {
    let layer = |digest: String, gigabytes: u64| Layer {
        digest,
        pull_bytes: gigabytes * 500_000_000,
        disk_bytes: gigabytes * 1_000_000_000,
    };
    Image { name: format!("i{number}"), layers: vec![layer("base".to_owned(), 5), layer(format!("own{number}"), 8)] }
}

/// Every accepted job has one outcome, and nothing happens to it afterwards.
fn check_jobs(transcript: &Transcript, end: &RunEnd, seed: u64) {
    let mut open: BTreeMap<u64, bool> = BTreeMap::new();
    for (now, event) in &transcript.events {
        if let Event::JobSubmitted { client_ref, .. } = event {
            assert!(open.insert(*client_ref, false).is_none(), "seed {seed}, t={now}: {client_ref} submitted twice");
        }
    }
    for (now, command) in &transcript.commands {
        match command {
            Command::FinishJob { client_ref, .. } | Command::RejectJob { client_ref, .. } => {
                let done = open.insert(*client_ref, true);
                assert_eq!(done, Some(false), "seed {seed}, t={now}: second outcome of {client_ref}");
            }
            Command::AssignJob { client_ref, .. } => {
                assert_eq!(open.get(client_ref), Some(&false), "seed {seed}, t={now}: a dead job was handed out");
            }
            _ => {}
        }
    }
    assert_eq!(open.len() as u64, end.jobs, "seed {seed}");
    assert_eq!(open.values().filter(|done| !**done).count() as u64, end.unfinished, "seed {seed}");
}

#[test]
fn whatever_happens_every_job_gets_one_outcome_and_everything_comes_to_rest() {
    for seed in 0..60 {
        let mut swarm = Swarm { rng: Streams::new(seed).stream(Purpose::Other, 0) };
        let plan = swarm.plan(seed);
        let (end, transcript) = run(&plan);
        check_jobs(&transcript, &end, seed);
        assert_eq!(end.unfinished, 0, "seed {seed}: {end}");
        // Only a fixed number of workers stays up when nobody needs them.
        let fixed = plan.endpoints.iter().any(|endpoint| endpoint.spec.policies.scaling.name == "fixed");
        let stays = matches!(end.reason, EndReason::WorkersStayUp { .. });
        assert!(end.reason == EndReason::Finished || (fixed && stays), "seed {seed}: {end}");
    }
}
