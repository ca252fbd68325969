//! A fold over the records of a transcript: who asked when, how long jobs and starts took, under which settings.

use std::collections::BTreeMap;

use crate::scheduler::transcript_json::{Entry, Header, Record};
use crate::scheduler::{Command, EndpointSpec, Event, GpuClass, HostSpec, Image, JobOutcome};
use crate::units::{EndpointId, JobId, Span, Time, WorkerId};

/// A request and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedJob {
    /// When it was submitted.
    pub at: Time,
    /// From its last hand-out to its result; none without a result.
    pub service: Option<Span>,
    /// From its submission to its first hand-out.
    pub wait: Option<Span>,
}

/// An endpoint as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordedEndpoint {
    /// The settings that it began with.
    pub spec: EndpointSpec,
    /// Its requests in order of time.
    pub jobs: Vec<RecordedJob>,
    /// Lengths of its cold starts.
    pub cold_starts: Vec<Span>,
    /// Lengths of its thaws.
    pub resumes: Vec<Span>,
    /// Lengths of its stops.
    pub stops: Vec<Span>,
}

/// A job under way.
struct Open {
    endpoint: EndpointId,
    place: usize,
    assigned: Option<Time>,
}

/// Everything that is needed to meet the same day again.
#[derive(Default)]
pub struct Recording {
    /// What the transcript calls itself.
    pub name: String,
    /// Classes with their prices.
    pub classes: Vec<GpuClass>,
    /// Images by number.
    pub images: Vec<Image>,
    /// Hosts by number.
    pub hosts: Vec<HostSpec>,
    /// Endpoints by number.
    pub endpoints: Vec<RecordedEndpoint>,
    /// Times of the first and the last record.
    pub span: Option<(Time, Time)>,
    /// Facts and commands.
    pub records: u64,
    /// It begins with a scheduler that knew something already.
    pub from_the_middle: bool,
    /// What another run cannot repeat, for people.
    pub notes: Vec<String>,
    refs: BTreeMap<u64, Open>,
    jobs: BTreeMap<JobId, u64>,
    starts: BTreeMap<(WorkerId, u32), (EndpointId, bool, Time)>,
    ends: BTreeMap<(WorkerId, u32), (EndpointId, Time)>,
    updates: u64,
    losses: u64,
}

impl Recording {
    /// A file begins; further files must follow each other.
    pub fn begin(&mut self, header: &Header) {
        if self.records > 0 {
            return;
        }
        self.name.clone_from(&header.name);
        self.classes.clone_from(&header.scheduler.gpu_classes);
        self.images.clone_from(&header.scheduler.images);
        if let Some(state) = &header.snapshot {
            state.endpoint_specs().for_each(|spec| self.endpoint_created(spec));
            self.hosts = state.host_specs().cloned().collect();
            self.from_the_middle = !self.endpoints.is_empty();
        }
    }

    /// The next record.
    pub fn entry(&mut self, entry: &Entry) {
        let now = Time(entry.at_us);
        let first = self.span.map_or(now, |(first, _)| first);
        self.span = Some((first, now));
        self.records += 1;
        match &entry.record {
            Record::Event(event) => self.event(now, event),
            Record::Command(command) => self.command(now, command),
        }
    }

    /// All records are told: notes what cannot be repeated.
    pub fn finish(&mut self) {
        let mut say = |count: u64, text: &str| {
            if count > 0 {
                self.notes.push(format!("{count} {text}"));
            }
        };
        say(self.updates, "change(s) of settings during the recording are not repeated");
        say(self.losses, "lost host(s) or crashed worker(s) are not repeated");
        say(u64::from(self.from_the_middle), "part of a longer recording: jobs and workers from before it are missing");
        let shared = self.endpoints.iter().filter(|endpoint| endpoint.spec.concurrency > 1).count();
        say(
            shared as u64,
            "endpoint(s) run several jobs on a worker: their recorded service times hold for the recorded load",
        );
        for endpoint in &mut self.endpoints {
            endpoint.jobs.sort_by_key(|job| job.at);
        }
    }

    /// Length of the recording.
    pub fn length(&self) -> Span {
        self.span.map_or(Span::ZERO, |(first, last)| last.since(first))
    }

    fn endpoint_created(&mut self, spec: &EndpointSpec) {
        self.endpoints.push(RecordedEndpoint {
            spec: spec.clone(),
            jobs: Vec::new(),
            cold_starts: Vec::new(),
            resumes: Vec::new(),
            stops: Vec::new(),
        });
    }

    fn event(&mut self, now: Time, event: &Event) {
        match event {
            Event::HostAdded { host } => self.hosts.push((**host).clone()),
            Event::EndpointCreated { spec } => self.endpoint_created(spec),
            Event::EndpointUpdated { .. } | Event::EndpointDeleted { .. } => self.updates += 1,
            Event::ImageAdded { image } => self.images.push((**image).clone()),
            Event::GpuClassAdded { class } => self.classes.push((**class).clone()),
            Event::HostLost { .. } | Event::WorkerExited { .. } => self.losses += 1,
            Event::JobSubmitted { endpoint, client_ref, .. } => {
                let Some(known) = self.endpoints.get_mut(endpoint.index()) else { return };
                let open = Open { endpoint: *endpoint, place: known.jobs.len(), assigned: None };
                known.jobs.push(RecordedJob { at: now, service: None, wait: None });
                self.refs.insert(*client_ref, open);
            }
            Event::WorkerReady { worker, epoch } => {
                let Some((endpoint, resume, since)) = self.starts.remove(&(*worker, *epoch)) else { return };
                let Some(known) = self.endpoints.get_mut(endpoint.index()) else { return };
                let lengths = if resume { &mut known.resumes } else { &mut known.cold_starts };
                lengths.push(now.since(since));
            }
            Event::WorkerStopped { worker, epoch, .. } => {
                let Some((endpoint, since)) = self.ends.remove(&(*worker, *epoch)) else { return };
                if let Some(known) = self.endpoints.get_mut(endpoint.index()) {
                    known.stops.push(now.since(since));
                }
            }
            _ => {}
        }
    }

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::AcceptJob { job, client_ref, .. } => drop(self.jobs.insert(job, client_ref)),
            Command::RejectJob { client_ref, .. } => drop(self.refs.remove(&client_ref)),
            Command::AssignJob { client_ref, .. } => {
                let Some(open) = self.refs.get_mut(&client_ref) else { return };
                open.assigned = Some(now);
                if let Some(known) = self.endpoints.get_mut(open.endpoint.index()) {
                    let job = &mut known.jobs[open.place];
                    job.wait = job.wait.or(Some(now.since(job.at)));
                }
            }
            Command::FinishJob { job, client_ref, outcome, .. } => {
                self.jobs.remove(&job);
                let Some(open) = self.refs.remove(&client_ref) else { return };
                if let (JobOutcome::Completed | JobOutcome::Failed, Some(assigned)) = (outcome, open.assigned)
                    && let Some(known) = self.endpoints.get_mut(open.endpoint.index())
                {
                    known.jobs[open.place].service = Some(now.since(assigned));
                }
            }
            Command::StartWorker { worker, epoch, endpoint, resume, .. } => {
                self.starts.insert((worker, epoch), (endpoint, resume, now));
                self.ends.insert((worker, epoch), (endpoint, Time::MAX));
            }
            Command::StopWorker { worker, epoch, .. } => {
                if let Some((_, since)) = self.ends.get_mut(&(worker, epoch)) {
                    *since = now;
                }
            }
            _ => {}
        }
    }
}

impl RecordedEndpoint {
    /// Mean seconds of a job; none if none had a result.
    pub fn mean_service_s(&self) -> Option<f64> {
        let known: Vec<f64> = self.jobs.iter().filter_map(|job| job.service).map(Span::as_secs).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}
