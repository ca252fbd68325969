//! A fold over the records of a transcript: who asked when, how long jobs and starts took, under which settings.

use std::collections::{BTreeMap, BTreeSet};

use crate::scheduler::transcript_json::{Entry, Header, Record};
use crate::scheduler::{
    Command, EndpointSpec, Event, ExitCause, GpuClass, HostSpec, Image, JobOutcome, PickUp, StopMode,
};
use crate::units::{EndpointId, JobId, Span, Time, WorkerId};

/// Workers that ask again this soon, on average, do not wait for a second: jobs of whole seconds only look like it.
const AT_ONCE_S: f64 = 0.05;

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
    /// Stops that were to freeze the worker, and those of them that kept a snapshot.
    pub freezes: (u64, u64),
    /// How its workers came back for more.
    pub takes: Takes,
}

/// When workers that were full asked for their next job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// How often one did.
    pub count: u64,
    /// From the results before it, in all.
    pub after: Span,
    /// How many came a whole number of seconds after the hand-out before it, to 2 ms.
    pub on_the_second: u64,
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
    /// Workers that left, or were up at the end, without having been told to stop.
    pub left: u64,
    /// What another run cannot repeat, for people.
    pub notes: Vec<String>,
    refs: BTreeMap<u64, Open>,
    jobs: BTreeMap<JobId, u64>,
    starts: BTreeMap<(WorkerId, u32), (EndpointId, bool, Time)>,
    /// Whose a started worker is, when it was told to stop, and whether to freeze.
    ends: BTreeMap<(WorkerId, u32), (EndpointId, Time, bool)>,
    /// Workers that ask for a job now.
    taking: BTreeSet<(WorkerId, u32)>,
    /// Last hand-out to a worker, and the first result since it was full.
    rounds: BTreeMap<(WorkerId, u32), (Time, Option<Time>)>,
    updates: u64,
    losses: u64,
    crashes: u64,
    throttles: u64,
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
        self.left += self.ends.values().filter(|(_, since, _)| *since == Time::MAX).count() as u64;
        let mut say = |count: u64, text: &str| {
            if count > 0 {
                self.notes.push(format!("{count} {text}"));
            }
        };
        say(self.updates, "change(s) of settings during the recording are not repeated");
        say(self.losses, "lost host(s) are not repeated");
        say(self.crashes, "crashed worker(s) or failed start(s) are not repeated");
        say(
            self.throttles,
            "change(s) of what other tenants leave of a host are not repeated: throttled capacity is not known",
        );
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
            freezes: (0, 0),
            takes: Takes::default(),
        });
    }

    fn event(&mut self, now: Time, event: &Event) {
        match event {
            Event::HostAdded { host } => self.hosts.push((**host).clone()),
            Event::EndpointCreated { spec } => self.endpoint_created(spec),
            Event::EndpointUpdated { .. } | Event::EndpointDeleted { .. } => self.updates += 1,
            Event::ImageAdded { image } => self.images.push((**image).clone()),
            Event::GpuClassAdded { class } => self.classes.push((**class).clone()),
            Event::HostLost { .. } => self.losses += 1,
            Event::HostCapacityChanged { .. } => self.throttles += 1,
            // Leaving by itself is how a worker ends whose gateway goes down.
            Event::WorkerExited { worker, epoch, cause } => {
                let unstopped = self.ends.remove(&(*worker, *epoch)).is_some();
                match cause {
                    ExitCause::Left => self.left += u64::from(unstopped),
                    _ => self.crashes += 1,
                }
            }
            Event::TakeOpened { worker, epoch, .. } => self.take_opened(now, (*worker, *epoch)),
            Event::TakeClosed { worker, epoch } => drop(self.taking.remove(&(*worker, *epoch))),
            Event::JobFinished { worker, epoch, .. } => {
                let start = (*worker, *epoch);
                if !self.taking.contains(&start)
                    && let Some((_, since)) = self.rounds.get_mut(&start)
                {
                    *since = since.or(Some(now));
                }
            }
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
            Event::WorkerStopped { worker, epoch, frozen } => {
                self.rounds.remove(&(*worker, *epoch));
                let Some((endpoint, since, freeze)) = self.ends.remove(&(*worker, *epoch)) else { return };
                // Who was not told to stop left by itself: that has no length.
                self.left += u64::from(since == Time::MAX);
                if let Some(known) = self.endpoints.get_mut(endpoint.index()).filter(|_| since < Time::MAX) {
                    known.stops.push(now.since(since));
                    known.freezes.0 += u64::from(freeze);
                    known.freezes.1 += u64::from(freeze && *frozen);
                }
            }
            _ => {}
        }
    }

    fn take_opened(&mut self, now: Time, start: (WorkerId, u32)) {
        self.taking.insert(start);
        let Some((handed, Some(since))) = self.rounds.remove(&start) else { return };
        let Some((endpoint, ..)) = self.ends.get(&start) else { return };
        let Some(known) = self.endpoints.get_mut(endpoint.index()) else { return };
        let off = now.since(handed).0 % 1_000_000;
        known.takes.count += 1;
        known.takes.after += now.since(since);
        known.takes.on_the_second += u64::from(!(2_000..=998_000).contains(&off));
    }

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::AcceptJob { job, client_ref, .. } => drop(self.jobs.insert(job, client_ref)),
            Command::RejectJob { client_ref, .. } => drop(self.refs.remove(&client_ref)),
            Command::AssignJob { client_ref, worker, epoch, .. } => {
                self.taking.remove(&(worker, epoch));
                self.rounds.insert((worker, epoch), (now, None));
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
                self.ends.insert((worker, epoch), (endpoint, Time::MAX, false));
            }
            Command::StopWorker { worker, epoch, mode } => {
                if let Some((_, since, freeze)) = self.ends.get_mut(&(worker, epoch)) {
                    (*since, *freeze) = (now, mode == StopMode::Freeze);
                }
            }
            _ => {}
        }
    }
}

impl RecordedEndpoint {
    /// Seconds after which a full worker asks again, as the simulator has it: at whole multiples of it after the hand-out.
    ///
    /// Where workers were seen to come on the second it is that; else results fall anywhere in a period, so it is twice the mean
    /// time from a result to the next question. The worker SDK's second (1.12) where none was seen.
    pub fn pacing_s(&self) -> f64 {
        let spread = |after: Span, count: u64| (2e3 * after.as_secs() / count as f64).round() / 1e3;
        match self.takes {
            _ if self.spec.pick_up != PickUp::Pull => 0.0,
            Takes { count: 0, .. } => 1.0,
            Takes { count, after, .. } if after.as_secs() < AT_ONCE_S * count as f64 => spread(after, count),
            Takes { count, on_the_second, .. } if on_the_second * 10 >= count * 9 => 1.0,
            Takes { count, after, .. } => spread(after, count),
        }
    }

    /// Mean seconds of a job; none if none had a result.
    pub fn mean_service_s(&self) -> Option<f64> {
        let known: Vec<f64> = self.jobs.iter().filter_map(|job| job.service).map(Span::as_secs).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::GpuClassId;
    use crate::units::{HostId, ImageId};

    /// A worker with twenty jobs that take `service_ms`, and asks for the next one `gap_ms` after each; then it is gone.
    fn recorded(service_ms: impl Fn(u64) -> u64, gap_ms: impl Fn(u64) -> u64, cause: ExitCause) -> Recording {
        let mut recording = Recording::default();
        let mut seq = 0;
        let mut tell = |ms: u64, record: Record| {
            recording.entry(&Entry { seq, at_us: ms * 1_000, record });
            seq += 1;
        };
        let (worker, epoch, endpoint) = (WorkerId(0), 1, EndpointId(0));
        let spec = Box::new(EndpointSpec::with_defaults("e", ImageId(0), GpuClassId(0)));
        tell(0, Record::Event(Event::EndpointCreated { spec }));
        let start = Command::StartWorker { worker, epoch, endpoint, host: HostId(0), version: 1, resume: false };
        tell(0, Record::Command(start));
        tell(7_000, Record::Event(Event::WorkerReady { worker, epoch }));
        let mut now = 8_000;
        for round in 0..20 {
            let (job, client_ref, attempt) = (JobId(round), round, 1);
            tell(now, Record::Event(Event::TakeOpened { worker, epoch, slots: 1 }));
            tell(now, Record::Command(Command::AssignJob { job, client_ref, worker, epoch, attempt }));
            now += service_ms(round);
            let result = crate::scheduler::JobResult::Completed;
            tell(now, Record::Event(Event::JobFinished { worker, epoch, job, attempt, result, refresh: false }));
            now += gap_ms(round);
        }
        tell(now, Record::Event(Event::WorkerExited { worker, epoch, cause }));
        recording.finish();
        recording
    }

    #[test]
    fn workers_ask_again_as_they_were_seen_to() {
        let period = |service_ms: &dyn Fn(u64) -> u64, gap_ms: &dyn Fn(u64) -> u64| {
            recorded(service_ms, gap_ms, ExitCause::Left).endpoints[0].pacing_s()
        };
        assert_eq!(period(&|n| 300 + 71 * n, &|n| 1 + n % 4), 0.005, "at once, as a live worker does");
        assert_eq!(period(&|_| 1_000, &|_| 1), 0.002, "jobs of a whole second do not make a worker wait for one");
        let odd = |n: u64| 300 + 71 * n % 700;
        assert_eq!(period(&odd, &|n| 1_000 - odd(n)), 1.0, "on the second after the hand-out");
        assert_eq!(period(&|n| 300 + 71 * n, &|n| n * 20), 0.36, "anywhere in a period: twice the mean");
        assert_eq!(recorded(|_| 1, |_| 1, ExitCause::Left).endpoints[0].cold_starts, [Span::from_whole_secs(7)]);
    }

    #[test]
    fn stops_that_keep_no_snapshot_are_counted() {
        let mut recording = recorded(|_| 1, |_| 1, ExitCause::Left);
        let (worker, epoch, endpoint) = (WorkerId(0), 2, EndpointId(0));
        let at = |at_us, record| Entry { seq: 0, at_us, record };
        let start = Command::StartWorker { worker, epoch, endpoint, host: HostId(0), version: 1, resume: false };
        recording.entry(&at(40_000_000, Record::Command(start)));
        let stop = Command::StopWorker { worker, epoch, mode: StopMode::Freeze };
        recording.entry(&at(50_000_000, Record::Command(stop)));
        recording.entry(&at(50_500_000, Record::Event(Event::WorkerStopped { worker, epoch, frozen: false })));
        let known = &recording.endpoints[0];
        assert_eq!((known.freezes, known.stops.as_slice()), ((1, 0), &[Span::from_millis(500)][..]));
    }

    #[test]
    fn a_worker_that_leaves_by_itself_is_not_lost() {
        let left = recorded(|_| 1, |_| 1, ExitCause::Left);
        assert_eq!((left.notes, left.left), (Vec::<String>::new(), 1));
        let notes = recorded(|_| 1, |_| 1, ExitCause::Crashed).notes;
        assert_eq!(notes, ["1 crashed worker(s) or failed start(s) are not repeated"]);
    }
}
