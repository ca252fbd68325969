//! Endpoints: settings, start, service, faults; and what does not go together in them.

use super::amounts::{choice, joined, least};
use super::{Context, unless_zero};
use crate::policy::{ParamError, ParamValue, PolicyChoice, registry};
use crate::scenario::types::endpoint::{Backoff, Endpoint};
use crate::scenario::types::work::{EndpointFaults, Start};
use crate::scheduler::{BackoffSpec, DormancySpec, EndpointSpec, GpuClassId, PolicySet, RolloutSpec, StartStage};
use crate::sim::plan::{EndpointPlan, Feed, PacingModel, ReleaseFaults, ReleasePlan, StageModel, StartModel};
use crate::units::{EndpointId, ImageId, Span};
use crate::workload::{Distribution, ServiceModel, Traffic};

impl Context<'_> {
    /// All endpoints, in the order of the file.
    pub fn endpoints(&mut self) -> Vec<EndpointPlan> {
        let app = self.app;
        if app.endpoints.0.is_empty() {
            self.problem(&["endpoints"], "no endpoint".to_owned(), "one or more", "add `endpoints: {name: {...}}`");
        }
        let mut plans = Vec::with_capacity(app.endpoints.0.len());
        for (name, endpoint) in &app.endpoints.0 {
            let path = ["endpoints", name.as_str()];
            let (spec, release) = self.settings(name, endpoint, &path);
            plans.push(EndpointPlan {
                spec,
                release,
                traffic: Traffic { sources: self.sources(name, endpoint, &path) },
                stream: self.stream(name, endpoint, &path),
                pacing: PacingModel {
                    latency: self.amount(&endpoint.pacing.latency_s, &[path[0], path[1], "pacing", "latency_s"]),
                    period: endpoint.pacing.period_s.span(),
                },
                feeds: self.feeds(endpoint, &path),
                slo_wait: endpoint.slo.wait_s.map(|wait| wait.span()),
                slo_response: endpoint.slo.response_s.map(|response| response.span()),
            });
        }
        self.shared_traces(&mut plans);
        self.somebody_comes(&plans);
        let always = |plan: &EndpointPlan| {
            plan.feeds.iter().filter(|feed| feed.probability >= 1.0).map(|feed| feed.to.index()).collect()
        };
        let always: Vec<Vec<usize>> = plans.iter().map(always).collect();
        self.feeds_end(&always, "give one feed of the cycle a `probability` below 1");
        plans
    }

    /// What an endpoint (or what an update makes of it) is for scheduler and world.
    pub fn settings(&mut self, name: &str, endpoint: &Endpoint, path: &[&str]) -> (EndpointSpec, ReleasePlan) {
        let spec = self.spec(name, endpoint, path);
        let start = self.start(&endpoint.start, &joined(path, "start"));
        let shortest: f64 = start.stages.iter().map(|stage| least(&stage.time)).sum();
        if Span::from_secs(shortest) > spec.init_timeout {
            let found =
                format!("a start of {shortest} s at least, beyond its limit of {} s", spec.init_timeout.as_secs());
            let fix = "raise `init_timeout_s` (RUNPOD_INIT_TIMEOUT on the platform)";
            self.problem(&joined(path, "start"), found, "starts within `init_timeout_s`", fix);
        }
        let service = match &endpoint.service {
            Some(service) => self.service(service, &joined(path, "service")),
            None => {
                let fix = "add `preset: sdxl-image`, or `service: {type: drawn, work_s: 5}`";
                self.problem(&joined(path, "service"), "nothing tells how long a job takes".to_owned(), "", fix);
                ServiceModel::Traced { scale: 1.0, otherwise: Some(Distribution::Constant { value: 1.0 }) }
            }
        };
        let faults = self.endpoint_faults(&endpoint.faults, &joined(path, "faults"));
        (spec, ReleasePlan { start, service, faults })
    }

    /// What the scheduler is told of an endpoint.
    pub fn spec(&mut self, name: &str, endpoint: &Endpoint, path: &[&str]) -> EndpointSpec {
        self.worker_counts(endpoint, path);
        let gpu_classes = self.gpu_classes(endpoint, path);
        let image = match &endpoint.image {
            Some(image) => self.image(image, &joined(path, "image")),
            None => None,
        };
        EndpointSpec {
            name: name.to_owned(),
            image: image.unwrap_or(ImageId(0)),
            container_digest: container_digest(endpoint),
            gpu_classes,
            gpus_per_worker: endpoint.gpus_per_worker,
            memory_bytes: endpoint.memory_gb.bytes(),
            data_centers: endpoint.data_centers.0.clone(),
            active: endpoint.workers.active,
            max: endpoint.workers.max,
            extra: endpoint.workers.extra,
            extra_mode: endpoint.extra_mode.into(),
            concurrency: endpoint.concurrency,
            execution_timeout: unless_zero(endpoint.execution_timeout_s),
            ttl: endpoint.ttl_s.span(),
            ttl_running: endpoint.ttl_running.into(),
            flashboot: endpoint.flashboot,
            init_timeout: endpoint.init_timeout_s.span(),
            binding: endpoint.binding.into(),
            pick_up: endpoint.pick_up.into(),
            slots: endpoint.slots.into(),
            max_queued: endpoint.max_queued,
            max_attempts: endpoint.max_attempts,
            lease: endpoint.lease_s.map(|lease| lease.span()),
            stop_job_grace: endpoint.stop_job_grace_s.span(),
            replace_throttled_after: endpoint.replace_throttled_after_s.span(),
            rollout: RolloutSpec {
                batch_percent: endpoint.rollout.batch_percent,
                rollback_after_failures: endpoint.rollout.rollback_after_failures,
            },
            backoff: self.backoff(&endpoint.backoff, &joined(path, "backoff")),
            suspend_after_failures: endpoint.suspend_after_failures,
            dormancy: endpoint.dormancy.as_ref().map(|dormancy| DormancySpec {
                reduce_after: dormancy.reduce_after_s.span(),
                reduced_max: dormancy.reduced_max,
                zero_after: dormancy.zero_after_s.span(),
            }),
            policies: PolicySet {
                scaling: choice(&endpoint.scaler.0, registry::SCALING),
                keep_alive: self.keep_alive(endpoint, path),
                dispatch: choice(&endpoint.dispatch.0, registry::DISPATCH),
                placement: choice(&endpoint.placement.0, registry::PLACEMENT),
            },
        }
    }

    fn gpu_classes(&mut self, endpoint: &Endpoint, path: &[&str]) -> Vec<GpuClassId> {
        let wanted = endpoint.gpu_classes.as_ref().map(|classes| classes.0.as_slice()).unwrap_or_default();
        if wanted.is_empty() && !self.serving {
            let fix = "add `gpu_classes: ADA_24` or a preset; `thermocline config` lists the classes";
            self.problem(&joined(path, "gpu_classes"), "no GPU class".to_owned(), "one class or more", fix);
        }
        let mut classes = Vec::with_capacity(wanted.len());
        for class in wanted {
            classes.extend(self.class(class, &joined(path, "gpu_classes")));
        }
        classes
    }

    fn worker_counts(&mut self, endpoint: &Endpoint, path: &[&str]) {
        let workers = &endpoint.workers;
        if workers.active > workers.max {
            let found = format!("{} active workers, more than max {}", workers.active, workers.max);
            let path = [path, &["workers", "active"]].concat();
            self.problem(&path, found, "active up to max", &format!("set `max: {}` or more", workers.active));
        }
        if workers.max == 0 {
            self.notes.push(format!("{}: max is 0, so none of its jobs will ever run", path.join(".")));
        }
    }

    /// The platform refuses an idle timeout under REQUEST_COUNT or silently ignores it, by version; here it is a mistake.
    fn keep_alive(&mut self, endpoint: &Endpoint, path: &[&str]) -> PolicyChoice {
        let scaler = &endpoint.scaler.0.name;
        let choice_of_scaler = endpoint.scaler.0.choice();
        let built = registry::scaling(&choice_of_scaler);
        // Files in Starlark were held against their own text.
        if let Err(error @ ParamError::BadValue { .. }) = &built {
            self.problem(&joined(path, "scaler"), error.to_string(), "", "change one of the two");
        }
        let hours = choice_of_scaler.params.get("hours");
        if scaler == "schedule" && hours.is_none_or(|hours| *hours == ParamValue::Text(String::new())) {
            let note = "has no `hours` and so no minimums: it is `per_job`";
            self.notes.push(format!("{}: the scaler `schedule` {note}", path.join(".")));
        }
        if !built.map_or(true, |policy| policy.uses_idle_timeout()) {
            for (key, given) in
                [("idle_timeout_s", endpoint.idle_timeout_s.is_some()), ("keep_alive", endpoint.keep_alive.is_some())]
            {
                if given {
                    let found =
                        format!("`{key}` has no effect under scaler `{scaler}`, which brings workers down itself");
                    let fix = if scaler == "request_count" {
                        "remove it, or set `scaler.scale_down_delay_s`"
                    } else {
                        "remove it"
                    };
                    self.problem(&joined(path, key), found, "", fix);
                }
            }
            return PolicyChoice::named("fixed");
        }
        let timeout = endpoint.idle_timeout_s.map(|timeout| timeout.get());
        let Some(given) = &endpoint.keep_alive else {
            let choice = PolicyChoice::named("fixed");
            return match timeout {
                Some(seconds) if seconds != 5.0 => choice.with("idle_timeout_s", seconds),
                _ => choice,
            };
        };
        if timeout.is_some() {
            let found = format!("`idle_timeout_s` beside `keep_alive: {}`", given.0.name);
            let fix = "remove it, or write it as a parameter of the keep-alive policy";
            self.problem(&joined(path, "idle_timeout_s"), found, "one of the two", fix);
        }
        choice(&given.0, registry::KEEP_ALIVE)
    }

    fn backoff(&mut self, backoff: &Backoff, path: &[&str]) -> BackoffSpec {
        if backoff.cap_s < backoff.base_s {
            let found =
                format!("a cap of {} s below the first delay of {} s", backoff.cap_s.get(), backoff.base_s.get());
            self.problem(&joined(path, "cap_s"), found, "cap_s from base_s on", "");
        }
        if backoff.factor.get() < 1.0 {
            self.problem(&joined(path, "factor"), backoff.factor.get().to_string(), "1 or more", "");
        }
        BackoffSpec {
            base: backoff.base_s.span(),
            factor: backoff.factor.get(),
            cap: backoff.cap_s.span(),
            give_up_after: backoff.give_up_after_s.span(),
            reset_after: backoff.reset_after_s.span(),
        }
    }

    fn start(&mut self, start: &Start, path: &[&str]) -> StartModel {
        let stages = [
            (StartStage::Container, &start.container_s, "container_s"),
            (StartStage::Cuda, &start.cuda_s, "cuda_s"),
            (StartStage::Import, &start.import_s, "import_s"),
            (StartStage::Weights, &start.weights_s, "weights_s"),
            (StartStage::Engine, &start.engine_s, "engine_s"),
            (StartStage::FirstTake, &start.first_take_s, "first_take_s"),
        ];
        let mut lowered = Vec::with_capacity(stages.len());
        for (stage, time, key) in stages {
            let time = self.amount(time, &joined(path, key));
            // A stage that takes no time is no stage: nothing to wait for and nothing to report.
            if time != (Distribution::Constant { value: 0.0 }) {
                lowered.push(StageModel { stage, time });
            }
        }
        StartModel {
            stages: lowered,
            resume: self.amount(&start.resume_s, &joined(path, "resume_s")),
            freeze_probability: start.freeze_probability.get(),
            snapshot_life: self.optional(start.snapshot_life_s.as_ref(), &joined(path, "snapshot_life_s")),
            stop: self.amount(&start.stop_s, &joined(path, "stop_s")),
            warm_up_jobs: start.warm_up_jobs,
            warm_up_factor: start.warm_up_factor.get(),
        }
    }

    fn endpoint_faults(&mut self, faults: &EndpointFaults, path: &[&str]) -> ReleaseFaults {
        ReleaseFaults {
            start_failure_probability: faults.start_failure_probability.get(),
            crash_probability: faults.crash_probability.get(),
            hang_probability: faults.hang_probability.get(),
            hang_silent: faults.hang_silent,
            handler_error_probability: faults.handler_error_probability.get(),
            refresh_probability: faults.refresh_probability.get(),
            uptime: self.optional(faults.uptime_s.as_ref(), &joined(path, "uptime_s")),
            ignore_stop_probability: faults.ignore_stop_probability.get(),
        }
    }

    /// Where its outputs go.
    pub fn feeds(&mut self, endpoint: &Endpoint, path: &[&str]) -> Vec<Feed> {
        let app = self.app;
        let names = app.endpoints.names();
        let mut feeds = Vec::new();
        for (index, feed) in endpoint.feeds.0.iter().enumerate() {
            let index = index.to_string();
            let to = self.position("endpoint", &feed.to, &names, &[path, &["feeds", &index, "to"]].concat());
            if let Some(to) = to {
                feeds.push(Feed {
                    to: EndpointId(to as u32),
                    probability: feed.probability.get(),
                    delay: feed.delay_s.span(),
                });
            }
        }
        feeds
    }

    /// A cycle in which every job goes on would multiply jobs for ever. `always` lists whom each endpoint's every job goes to.
    pub fn feeds_end(&mut self, always: &[Vec<usize>], fix: &str) {
        for start in 0..always.len() {
            let mut seen = vec![false; always.len()];
            let mut open = vec![start];
            while let Some(here) = open.pop() {
                for &next in &always[here] {
                    if next == start {
                        let name = &self.app.endpoints.0[start].0;
                        let found = "feeds that lead every job back to where it came from".to_owned();
                        return self.problem(&["endpoints", name, "feeds"], found, "feeds that end", fix);
                    }
                    if !std::mem::replace(&mut seen[next], true) {
                        open.push(next);
                    }
                }
            }
        }
    }
}

/// What containers are made from beside the image: 0 when there is nothing, so that the plainest endpoint has the plainest spec.
fn container_digest(endpoint: &Endpoint) -> u64 {
    if endpoint.env.is_empty() && endpoint.command.is_empty() && endpoint.volumes.is_empty() {
        return 0;
    }
    let volumes: Vec<_> =
        endpoint.volumes.iter().map(|volume| (&volume.source, &volume.mount, volume.read_only)).collect();
    let text = serde_json::json!([endpoint.env, endpoint.command, volumes]).to_string();
    xxhash_rust::xxh3::xxh3_64(text.as_bytes())
}
