//! The way from workers and hosts to the scheduler, on which facts may get lost, come twice or come late.
//!
//! What a worker says once over the network (stages, ready, pings, takes, results) can be lost for good. What a host's agent
//! says about the state of things (a worker is gone, an image is there, so many GPUs are left) is said again until it arrives,
//! so a lost one is late by the agent's interval. Deadlines, submissions, configuration and the fleet's own view of which
//! hosts exist (`HostLost`, `HostReturned`) are the driver's and never suffer.

use super::agenda::Due;
use super::plan::FaultPlan;
use super::streams::{Purpose, Stream, Streams};
use super::world::World;
use crate::scheduler::Event;
use crate::units::{HostId, Span, Time};
use crate::workload::Sampler;
use crate::workload::deviate::chance;

/// How often a host's agent repeats what it has to say [ours].
const AGENT_INTERVAL: Span = Span::from_whole_secs(30);

/// The fact channel.
#[derive(Debug)]
pub(super) struct Channel {
    unreliable: bool,
    lost: f64,
    duplicate: f64,
    late: f64,
    delay: Option<Sampler>,
    stream: Stream,
    /// Facts on their way.
    pending: Vec<Option<Event>>,
    free: Vec<u32>,
}

enum Said {
    /// By the driver itself: always arrives.
    Surely,
    /// By a worker, once.
    Once,
    /// By a host's agent, until it arrives.
    Repeatedly,
}

fn said(event: &Event) -> Said {
    match event {
        Event::StageEnded { .. }
        | Event::WorkerReady { .. }
        | Event::WorkerPinged { .. }
        | Event::TakeOpened { .. }
        | Event::TakeClosed { .. }
        | Event::JobFinished { .. }
        | Event::JobStopped { .. }
        | Event::TakeLost { .. } => Said::Once,
        Event::HostCapacityChanged { .. }
        | Event::ImagePulled { .. }
        | Event::ImagePullFailed { .. }
        | Event::WorkerExited { .. }
        | Event::WorkerStopped { .. }
        | Event::SnapshotLost { .. } => Said::Repeatedly,
        Event::HostAdded { .. }
        | Event::HostLost { .. }
        | Event::HostReturned { .. }
        | Event::EndpointCreated { .. }
        | Event::EndpointUpdated { .. }
        | Event::EndpointDeleted { .. }
        | Event::JobSubmitted { .. }
        | Event::CancelRequested { .. }
        | Event::PurgeRequested { .. }
        | Event::ImageAdded { .. }
        | Event::GpuClassAdded { .. }
        | Event::DeadlineReached => Said::Surely,
    }
}

impl Channel {
    pub fn new(plan: &FaultPlan, streams: &Streams) -> Channel {
        let delay = plan.fact_delay.as_ref().map(|delay| delay.sampler());
        let late = if delay.is_some() { plan.late_fact_probability } else { 0.0 };
        Channel {
            unreliable: plan.lost_fact_probability > 0.0 || plan.duplicate_fact_probability > 0.0 || late > 0.0,
            lost: plan.lost_fact_probability,
            duplicate: plan.duplicate_fact_probability,
            late,
            delay,
            stream: streams.stream(Purpose::Fact, 0),
            pending: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Facts may not arrive as they were said: the scheduler's picture may be wrong without any fault of its own.
    #[inline]
    pub fn is_unreliable(&self) -> bool {
        self.unreliable
    }

    /// Facts on their way.
    pub fn pending(&self) -> usize {
        self.pending.len() - self.free.len()
    }

    fn hold(&mut self, event: Event) -> Due {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.pending.push(None);
            (self.pending.len() - 1) as u32
        });
        self.pending[slot as usize] = Some(event);
        Due::LateFact { slot }
    }
}

impl World {
    /// A worker or a host says something.
    #[inline]
    pub(super) fn report(&mut self, now: Time, event: Event) {
        if self.channel.unreliable {
            self.report_through_faults(now, event);
        } else {
            self.outbox.push_back(event);
        }
    }

    fn report_through_faults(&mut self, now: Time, event: Event) {
        let said = said(&event);
        if matches!(said, Said::Surely) || self.deploying {
            self.outbox.push_back(event);
            return;
        }
        let channel = &mut self.channel;
        let lost = chance(channel.lost, &mut channel.stream);
        let twice = chance(channel.duplicate, &mut channel.stream);
        let late = chance(channel.late, &mut channel.stream);
        let delay = channel.delay.as_ref().map_or(Span::ZERO, |delay| delay.span(&mut channel.stream));
        if twice {
            let due = channel.hold(event.clone());
            self.agenda.add(now + delay, due);
        }
        if lost {
            if matches!(said, Said::Repeatedly) {
                let due = channel.hold(event);
                self.agenda.add(now + AGENT_INTERVAL, due);
            }
        } else if late {
            let due = channel.hold(event);
            self.agenda.add(now + delay, due);
        } else {
            self.outbox.push_back(event);
        }
    }

    /// A fact that was held back arrives. A host's capacity is told as it is now, not as it was.
    pub(super) fn late_fact_due(&mut self, slot: u32) {
        let event = self.channel.pending[slot as usize].take().expect("a late fact is due once");
        self.channel.free.push(slot);
        let event = match event {
            Event::HostCapacityChanged { host, .. } => self.capacity_fact(host),
            other => other,
        };
        self.outbox.push_back(event);
    }

    /// How many GPUs of the host are ours.
    pub(super) fn capacity_fact(&self, host: HostId) -> Event {
        Event::HostCapacityChanged { host, gpus: self.hosts[host.index()].capacity() }
    }
}
