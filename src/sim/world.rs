//! The world: everything outside the scheduler. It answers commands with later facts.
//!
//! What a concern does is in its own file: `starts` (workers up and down), `work` and `pickup` (attempts), `pulls`, `tenants`,
//! `faults`, `actions`, `channel` (the way of facts to the scheduler).

use std::collections::VecDeque;

use super::agenda::{Agenda, Due};
use super::arrivals::Arrivals;
use super::channel::Channel;
use super::endpoints::Endpoint;
use super::faults::HostLuck;
use super::hosts::{Catalogue, Host};
use super::jobs::{FED, Jobs};
use super::plan::Plan;
use super::pulls::{PullEnd, Pulls};
use super::starts::StartWish;
use super::streams::Streams;
use super::tenants::Tenant;
use super::timers::Timers;
use super::work::{HandOut, StopOrder};
use super::workers::Worker;
use crate::scheduler::{Command, Event, JobOutcome, JobPolicy, Phase, ReleaseStatus};
use crate::units::{EndpointId, HostId, ImageId, Time};
use crate::workload::{WorkHint, WorkloadError};

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    pub streams: Streams,
    /// When something happens to a worker by itself; entry = slot.
    pub timers: Timers,
    pub agenda: Agenda,
    pub pulls: Pulls,
    pub arrivals: Arrivals,
    pub catalogue: Catalogue,
    pub hosts: Vec<Host>,
    pub tenants: Vec<Option<Tenant>>,
    pub luck: Vec<HostLuck>,
    pub endpoints: Vec<Endpoint>,
    pub workers: Vec<Worker>,
    pub jobs: Jobs,
    pub channel: Channel,
    /// Facts for the scheduler, in order.
    pub outbox: VecDeque<Event>,
    /// Before the beginning: whatever is asked for is there at once.
    pub deploying: bool,
    /// Workers that are on their way up, waiting for their turn included, and on their way down.
    pub starting: u32,
    pub stopping: u32,
    /// Outputs on their way to another endpoint.
    pub feeding: u32,
    /// Last moment at which a job got on: an arrival, a hand-out, an outcome.
    pub progress: Time,
}

impl World {
    pub fn new(plan: &Plan) -> Result<World, WorkloadError> {
        let streams = Streams::new(plan.seed);
        let mut agenda = Agenda::default();
        let catalogue = Catalogue::new(&plan.scheduler.images);
        let limits = plan.hosts.iter().map(|host| host.pull_bytes_per_s);
        let pulls = Pulls::new(limits, &plan.registry, &mut agenda);
        let ids = (0..).map(HostId);
        let hosts = ids.zip(&plan.hosts).map(|(id, host)| Host::new(id, host, &catalogue)).collect();
        let ids = (0..).map(EndpointId);
        let endpoints = ids.zip(&plan.endpoints).map(|(id, endpoint)| Endpoint::new(id, endpoint, &streams)).collect();
        let mut world = World {
            timers: Timers::new(),
            pulls,
            arrivals: Arrivals::open(plan, &streams)?,
            catalogue,
            hosts,
            tenants: Vec::new(),
            luck: Vec::new(),
            endpoints,
            workers: Vec::new(),
            jobs: Jobs::default(),
            channel: Channel::new(&plan.faults, &streams),
            outbox: VecDeque::new(),
            deploying: plan.deployed,
            starting: 0,
            stopping: 0,
            feeding: 0,
            progress: Time::ZERO,
            agenda,
            streams,
        };
        world.invite_tenants(plan);
        world.tempt_fate(plan);
        Ok(world)
    }

    /// The scheduler wishes or notes something.
    #[inline]
    pub fn act(&mut self, now: Time, command: &Command) {
        match *command {
            Command::AssignJob { job, client_ref, worker, epoch, attempt } => {
                self.assign(now, HandOut { job, client_ref, worker, epoch, attempt });
            }
            Command::AcceptJob { job, client_ref, .. } => {
                if let Some(live) = self.jobs.get_mut(client_ref) {
                    live.job = Some(job);
                }
            }
            Command::FinishJob { client_ref, outcome, .. } => self.job_over(now, client_ref, Some(outcome)),
            _ => self.act_rarely(now, command),
        }
    }

    fn act_rarely(&mut self, now: Time, command: &Command) {
        match *command {
            Command::PullImage { host, image } => self.pull(now, host, image),
            Command::EvictImage { host, image } => self.evict(now, host, image),
            Command::StartWorker { worker, epoch, endpoint, host, version, resume } => {
                self.start_worker(now, StartWish { worker, epoch, endpoint, host, version, resume });
            }
            Command::StopWorker { worker, epoch, mode } => self.stop_worker(now, worker, epoch, mode),
            Command::StopJob { job, worker, epoch, attempt } => {
                self.stop_job(now, StopOrder { worker, epoch, job, attempt });
            }
            Command::RejectJob { client_ref, .. } => self.job_over(now, client_ref, None),
            Command::WorkerChanged { worker, phase: Phase::Removed, .. } => self.removed(worker),
            Command::ReleaseChanged { endpoint, version, status: ReleaseStatus::RolledBack } => {
                self.endpoints[endpoint.index()].rolled_back(version);
            }
            Command::AssignJob { .. }
            | Command::AcceptJob { .. }
            | Command::FinishJob { .. }
            | Command::RequeueJob { .. }
            | Command::WorkerPlaced { .. }
            | Command::WorkerChanged { .. }
            | Command::ScaleDecided { .. }
            | Command::ReleaseChanged { .. }
            | Command::BoundsChanged { .. } => {}
        }
    }

    /// The earliest entry of the agenda is due.
    pub fn agenda_due(&mut self, now: Time) {
        let Some(due) = self.agenda.pop() else { return };
        match due {
            Due::Stage(at) => self.stage_due(now, at),
            Due::Stopped(at) => self.stopped_due(now, at),
            Due::SnapshotEnds(at) => self.snapshot_due(now, at),
            Due::Ping(at) => self.ping_due(now, at),
            Due::Uptime(at) => self.uptime_due(now, at),
            Due::Unpacked { pull, generation } => {
                for end in self.pulls.unpacked(pull, generation, &mut self.hosts, &self.catalogue) {
                    self.pull_over(now, end);
                }
            }
            Due::RegistryTurns => self.pulls.registry_turns(now),
            Due::TenantTurns { host } => self.tenant_due(now, host),
            Due::HostTurns { host } => self.host_luck_due(now, host),
            Due::LateFact { slot } => self.late_fact_due(slot),
            Due::Fed { to } => {
                self.feeding -= 1;
                let event = self.submit(now, EndpointId(to), FED, WorkHint::default(), JobPolicy::default());
                self.outbox.push_back(event);
            }
        }
    }

    /// A request reaches the platform.
    #[inline]
    fn submit(&mut self, now: Time, endpoint: EndpointId, source: u32, work: WorkHint, policy: JobPolicy) -> Event {
        self.progress = now;
        let entry = &mut self.endpoints[endpoint.index()];
        let index = entry.submitted;
        entry.submitted += 1;
        let client_ref = self.jobs.submit(endpoint, index, source, work);
        Event::JobSubmitted { endpoint, client_ref, policy }
    }

    /// The next request of the traffic. The fact is not put in the outbox but given to be told at once, which is quicker.
    #[inline]
    pub fn arrive(&mut self, now: Time) -> Result<Option<Event>, WorkloadError> {
        let Some((endpoint, arrival)) = self.arrivals.take()? else { return Ok(None) };
        let policy = JobPolicy {
            ttl: arrival.ttl,
            execution_timeout: arrival.execution_timeout,
            low_priority: arrival.low_priority,
        };
        Ok(Some(self.submit(now, endpoint, arrival.source, arrival.work, policy)))
    }

    /// A job has its outcome (none: it was refused).
    #[inline]
    fn job_over(&mut self, now: Time, client_ref: u64, outcome: Option<JobOutcome>) {
        self.progress = now;
        let Some(job) = self.jobs.end(client_ref) else {
            panic!("t={now}: a second outcome for a job ({outcome:?})");
        };
        if job.source != FED {
            self.arrivals.job_ended(job.endpoint, job.source, now);
        }
        let endpoint = &self.endpoints[job.endpoint.index()];
        if outcome == Some(JobOutcome::Completed) && !endpoint.feeds.is_empty() {
            self.feed(now, job.endpoint, job.index);
        }
    }

    /// An output goes on to the endpoints that it feeds.
    fn feed(&mut self, now: Time, from: EndpointId, index: u64) {
        let endpoint = &self.endpoints[from.index()];
        let mut stream = endpoint.feed_streams.at(index);
        for feed in &endpoint.feeds {
            if crate::workload::deviate::chance(feed.probability, &mut stream) {
                self.feeding += 1;
                self.agenda.add(now + feed.delay, Due::Fed { to: feed.to.0 });
            }
        }
    }

    fn pull(&mut self, now: Time, host: HostId, image: ImageId) {
        let place = &mut self.hosts[host.index()];
        if !place.up {
            return; // The loss of the host is on its way to the scheduler.
        }
        if self.deploying {
            place.disk.keep(&self.catalogue, image);
            assert!(place.disk.bytes <= place.disk_bytes, "t={now}: more images on {host} than its disk holds");
            self.report(now, Event::ImagePulled { host, image });
        } else if let Some(end) = self.pulls.begin(now, place, image, &self.catalogue, &self.streams) {
            self.pull_over(now, end);
        }
    }

    fn pull_over(&mut self, now: Time, end: PullEnd) {
        let (host, image) = (HostId(end.host), end.image);
        let event =
            if end.complete { Event::ImagePulled { host, image } } else { Event::ImagePullFailed { host, image } };
        self.report(now, event);
    }

    fn evict(&mut self, now: Time, host: HostId, image: ImageId) {
        let uses = |worker: &&Worker| {
            let up = worker.state != super::workers::State::Down && worker.host == host.0;
            up && self.endpoints[worker.endpoint as usize].releases[worker.release as usize].image == image
        };
        let user = self.workers.iter().find(uses).map(|worker| worker.id);
        assert!(
            user.is_none() || self.channel.is_unreliable(),
            "t={now}: image {image} was dropped from {host} although {user:?} runs from it"
        );
        self.hosts[host.index()].disk.evict(&self.catalogue, image);
    }
}
