//! What the transcripts tell, put together: a fold over their records, file after file.
//!
//! A live gateway sees the container start and the worker come up, and nothing between them: all of that is counted as
//! `import_s`. Stages that a transcript does tell apart are kept apart.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fit::Samples;
use crate::scheduler::transcript_json::{Entry, Header, Record};
use crate::scheduler::{Command, EndpointSpec, Event, GpuClass, HostSpec, Image, JobResult, StartStage};
use crate::units::{EndpointId, HostId, ImageId, JobId, WorkerId};

/// A pull that is over sooner moved nothing: the image was there, or there are no images (child processes).
const PULL_AT_LEAST_S: f64 = 0.05;

/// A start that has not come to its end.
struct Start {
    endpoint: EndpointId,
    resume: bool,
    /// End of the last stage.
    since_us: u64,
    /// A stage after the container was told: what is left until the worker is ready belongs to none.
    seen_into: bool,
}

/// What was seen of an endpoint.
#[derive(Default)]
pub struct EndpointSeen {
    /// Times by the key that they have under `start`, and `service`.
    pub times: BTreeMap<&'static str, Samples>,
    /// Requests.
    pub requests: u64,
    /// Jobs in hand at the same time at one worker, at most.
    pub most_in_hand: usize,
}

/// Everything that was seen.
#[derive(Default)]
pub struct Seen {
    /// Settings of the endpoints, by number, the latest ones.
    pub specs: Vec<EndpointSpec>,
    /// Hosts, by number.
    pub hosts: Vec<HostSpec>,
    /// Images, by number.
    pub images: Vec<Image>,
    /// GPU classes, by number.
    pub classes: Vec<GpuClass>,
    /// By endpoint.
    pub endpoints: BTreeMap<u32, EndpointSeen>,
    /// Pull times by host and image.
    pub pulls: BTreeMap<(u32, u32), Samples>,
    /// Seconds of recorded time.
    pub span_s: f64,
    starts: BTreeMap<(WorkerId, u32), Start>,
    stops: BTreeMap<(WorkerId, u32), u64>,
    owners: BTreeMap<WorkerId, EndpointId>,
    jobs: BTreeMap<JobId, (WorkerId, u64)>,
    open_pulls: BTreeMap<(HostId, ImageId), u64>,
    next_seq: Option<u64>,
    /// Time of the first and of the latest record since the last gap.
    piece: Option<(u64, u64)>,
}

impl Seen {
    /// A file begins. What was under way in the one before it goes on only if nothing is missing between them.
    pub fn begin(&mut self, header: &Header) {
        if self.next_seq != Some(header.first_seq) {
            self.finish();
        }
        self.next_seq = Some(header.first_seq);
        self.classes.clone_from(&header.scheduler.gpu_classes);
        self.images.clone_from(&header.scheduler.images);
        if let Some(state) = &header.snapshot {
            self.specs = state.endpoint_specs().cloned().collect();
            self.hosts = state.host_specs().cloned().collect();
        }
    }

    /// Forgets what is under way: nothing tells how it ended.
    pub fn finish(&mut self) {
        if let Some((first, last)) = self.piece.take() {
            self.span_s += (last - first) as f64 / 1e6;
        }
        self.starts.clear();
        self.stops.clear();
        self.owners.clear();
        self.jobs.clear();
        self.open_pulls.clear();
    }

    /// True when nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.endpoints.values().all(|endpoint| endpoint.times.is_empty())
    }

    /// The next record.
    pub fn entry(&mut self, entry: &Entry) {
        self.next_seq = Some(entry.seq + 1);
        let first = self.piece.map_or(entry.at_us, |(first, _)| first);
        self.piece = Some((first, entry.at_us.max(first)));
        match &entry.record {
            Record::Event(event) => self.event(entry.at_us, event),
            Record::Command(command) => self.command(entry.at_us, command),
        }
    }

    fn event(&mut self, now: u64, event: &Event) {
        match event {
            Event::HostAdded { host } => self.hosts.push((**host).clone()),
            Event::EndpointCreated { spec } => self.specs.push((**spec).clone()),
            Event::EndpointUpdated { endpoint, spec } => {
                if let Some(known) = self.specs.get_mut(endpoint.index()) {
                    known.clone_from(spec);
                }
            }
            Event::ImageAdded { image } => self.images.push((**image).clone()),
            Event::JobSubmitted { endpoint, .. } => self.of(*endpoint).requests += 1,
            Event::StageEnded { worker, epoch, stage } => {
                let Some(start) = self.starts.get_mut(&(*worker, *epoch)) else { return };
                // The container of a thaw is the thaw itself, which ends when the worker is ready.
                if start.resume && *stage == StartStage::Container {
                    return;
                }
                let (endpoint, took) = (start.endpoint, seconds(start.since_us, now));
                start.since_us = now;
                start.seen_into |= *stage != StartStage::Container;
                self.time(endpoint, key(*stage), took);
            }
            Event::WorkerReady { worker, epoch } => {
                let Some(start) = self.starts.remove(&(*worker, *epoch)) else { return };
                if !start.seen_into {
                    let rest = if start.resume { "resume_s" } else { "import_s" };
                    self.time(start.endpoint, rest, seconds(start.since_us, now));
                }
            }
            Event::WorkerStopped { worker, epoch, .. } => {
                let since = self.stops.remove(&(*worker, *epoch));
                if let (Some(since), Some(endpoint)) = (since, self.owners.get(worker).copied()) {
                    self.time(endpoint, "stop_s", seconds(since, now));
                }
            }
            Event::WorkerExited { worker, epoch, .. } => drop(self.starts.remove(&(*worker, *epoch))),
            Event::ImagePulled { host, image } => {
                let since = self.open_pulls.remove(&(*host, *image));
                let took = since.map(|since| seconds(since, now)).filter(|took| *took >= PULL_AT_LEAST_S);
                if let Some(took) = took {
                    self.pulls.entry((host.index() as u32, image.index() as u32)).or_default().add(took);
                }
            }
            Event::ImagePullFailed { host, image } => drop(self.open_pulls.remove(&(*host, *image))),
            Event::JobFinished { worker, job, result, .. } => {
                let given = self.jobs.remove(job);
                if let (Some((owner, since)), JobResult::Completed) = (given, result)
                    && owner == *worker
                    && let Some(endpoint) = self.owners.get(worker).copied()
                {
                    self.time(endpoint, "work_s", seconds(since, now));
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, now: u64, command: &Command) {
        match command {
            Command::PullImage { host, image } => drop(self.open_pulls.insert((*host, *image), now)),
            Command::StartWorker { worker, epoch, endpoint, resume, .. } => {
                self.owners.insert(*worker, *endpoint);
                let start = Start { endpoint: *endpoint, resume: *resume, since_us: now, seen_into: false };
                self.starts.insert((*worker, *epoch), start);
            }
            Command::StopWorker { worker, epoch, .. } => drop(self.stops.entry((*worker, *epoch)).or_insert(now)),
            Command::AssignJob { job, worker, .. } => {
                self.jobs.insert(*job, (*worker, now));
                let in_hand = self.jobs.values().filter(|(owner, _)| owner == worker).count();
                if let Some(endpoint) = self.owners.get(worker).copied() {
                    let seen = self.of(endpoint);
                    seen.most_in_hand = seen.most_in_hand.max(in_hand);
                }
            }
            Command::RequeueJob { job, .. } | Command::FinishJob { job, .. } => drop(self.jobs.remove(job)),
            _ => {}
        }
    }

    fn of(&mut self, endpoint: EndpointId) -> &mut EndpointSeen {
        self.endpoints.entry(endpoint.index() as u32).or_default()
    }

    fn time(&mut self, endpoint: EndpointId, key: &'static str, seconds: f64) {
        self.of(endpoint).times.entry(key).or_default().add(seconds);
    }

    /// Everything in figures, for machines.
    pub fn figures(&self) -> Value {
        let mut endpoints = serde_json::Map::new();
        for (number, seen) in &self.endpoints {
            let Some(spec) = self.specs.get(*number as usize) else { continue };
            let times: BTreeMap<_, _> = seen.times.iter().map(|(key, samples)| (*key, samples.figures())).collect();
            endpoints.insert(spec.name.clone(), json!({ "requests": seen.requests, "times": times }));
        }
        let name = |number: u32| self.images.get(number as usize).map_or("", |image| image.name.as_str());
        let pulls: Vec<Value> = self
            .pulls
            .iter()
            .map(|((host, image), samples)| {
                let host = self.hosts.get(*host as usize).map_or("", |host| host.name.as_str());
                json!({ "host": host, "image": name(*image), "times": samples.figures() })
            })
            .collect();
        json!({ "span_s": self.span_s, "endpoints": endpoints, "pulls": pulls })
    }
}

fn key(stage: StartStage) -> &'static str {
    match stage {
        StartStage::Container => "container_s",
        StartStage::Cuda => "cuda_s",
        StartStage::Import => "import_s",
        StartStage::Weights => "weights_s",
        StartStage::Engine => "engine_s",
        StartStage::FirstTake => "first_take_s",
        StartStage::Resume => "resume_s",
    }
}

fn seconds(from_us: u64, to_us: u64) -> f64 {
    to_us.saturating_sub(from_us) as f64 / 1e6
}
