//! Hosts that are lost with everything on them, and come back.

use super::agenda::Due;
use super::plan::Plan;
use super::streams::{Purpose, Stream};
use super::workers::State;
use super::world::World;
use crate::scheduler::Event;
use crate::units::{HostId, Time};
use crate::workload::Sampler;
use crate::workload::deviate::chance;

/// What chance does to one host.
#[derive(Clone, Debug)]
pub(super) struct HostLuck {
    uptime: Sampler,
    downtime: Option<Sampler>,
    return_probability: f64,
    stream: Stream,
    lost: bool,
}

impl World {
    /// Sets every host's first loss.
    pub(super) fn tempt_fate(&mut self, plan: &Plan) {
        let Some(uptime) = &plan.faults.host_uptime else { return };
        for host in 0..plan.hosts.len() as u32 {
            let mut luck = HostLuck {
                uptime: uptime.sampler(),
                downtime: plan.faults.host_downtime.as_ref().map(|downtime| downtime.sampler()),
                return_probability: plan.faults.host_return_probability,
                stream: self.streams.stream(Purpose::HostFault, u64::from(host)),
                lost: false,
            };
            self.agenda.add(Time::ZERO + luck.uptime.span(&mut luck.stream), Due::HostTurns { host });
            self.luck.push(luck);
        }
    }

    /// Chance takes a host or gives it back.
    pub(super) fn host_luck_due(&mut self, now: Time, host: u32) {
        let luck = &mut self.luck[host as usize];
        luck.lost = !luck.lost;
        let lost = luck.lost;
        let next = if lost {
            let returns = chance(luck.return_probability, &mut luck.stream);
            luck.downtime.as_ref().map(|downtime| downtime.span(&mut luck.stream)).filter(|_| returns)
        } else {
            Some(luck.uptime.span(&mut luck.stream))
        };
        if let Some(span) = next {
            self.agenda.add(now + span, Due::HostTurns { host });
        }
        if lost { self.lose_host(now, HostId(host)) } else { self.return_host(now, HostId(host)) }
    }

    /// The host goes down with everything on it; its disk stays as it is.
    pub(super) fn lose_host(&mut self, now: Time, id: HostId) {
        if !self.hosts[id.index()].up {
            return;
        }
        self.hosts[id.index()].up = false;
        self.hosts[id.index()].waiting.clear();
        for slot in 0..self.workers.len() {
            let worker = &mut self.workers[slot];
            if worker.host != id.0 {
                continue;
            }
            worker.snapshot = false;
            if worker.state != State::Down {
                self.vanish(now, slot);
            }
        }
        let host = &mut self.hosts[id.index()];
        host.tenant = 0;
        debug_assert!(host.held == 0 && host.starting == 0, "t={now}: something still runs on {id}");
        self.pulls.host_lost(now, host, &self.catalogue);
        self.outbox.push_back(Event::HostLost { host: id });
    }

    /// The host is back, nothing running.
    pub(super) fn return_host(&mut self, now: Time, id: HostId) {
        let host = &mut self.hosts[id.index()];
        if host.up {
            return;
        }
        host.up = true;
        self.outbox.push_back(Event::HostReturned { host: id });
        self.tell_capacity(now, id);
    }
}
