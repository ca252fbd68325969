//! Other tenants of a host: they come, take GPUs that are free, and go. We are told how many are left to us.
//!
//! How often a host's GPUs are taken is published nowhere (gpu-workloads 5): an on/off process per host, and its rate is an
//! assumption of the scenario.

use super::agenda::Due;
use super::plan::{Plan, TenantPlan};
use super::streams::{Purpose, Stream};
use super::world::World;
use crate::units::{HostId, Time};
use crate::workload::Sampler;

/// The tenants of one host, one at a time.
#[derive(Clone, Debug)]
pub(super) struct Tenant {
    away: Sampler,
    stay: Sampler,
    gpus: Sampler,
    stream: Stream,
    present: bool,
}

impl Tenant {
    fn new(plan: &TenantPlan, stream: Stream) -> Tenant {
        let (away, stay, gpus) = (plan.away.sampler(), plan.stay.sampler(), plan.gpus.sampler());
        Tenant { away, stay, gpus, stream, present: false }
    }
}

impl World {
    /// Sets every host's first visit.
    pub(super) fn invite_tenants(&mut self, plan: &Plan) {
        for (host, plan) in (0..).zip(&plan.hosts) {
            let stream = self.streams.stream(Purpose::Tenant, u64::from(host));
            let mut tenant = plan.tenants.as_ref().map(|tenant| Tenant::new(tenant, stream));
            if let Some(tenant) = &mut tenant {
                let away = tenant.away.span(&mut tenant.stream);
                self.agenda.add(Time::ZERO + away, Due::TenantTurns { host });
            }
            self.tenants.push(tenant);
        }
    }

    /// A tenant comes or goes. What it wants is drawn in any case, what it gets is what is free.
    pub(super) fn tenant_due(&mut self, now: Time, number: u32) {
        let Some(tenant) = &mut self.tenants[number as usize] else { return };
        let host = &mut self.hosts[number as usize];
        tenant.present = !tenant.present;
        let span = if tenant.present {
            let wanted = tenant.gpus.sample(&mut tenant.stream).round().max(1.0) as u32;
            host.tenant = if host.up { wanted.min(host.free()) } else { 0 };
            tenant.stay.span(&mut tenant.stream)
        } else {
            host.tenant = 0;
            tenant.away.span(&mut tenant.stream)
        };
        self.agenda.add(now + span, Due::TenantTurns { host: number });
        self.tell_capacity(now, HostId(number));
    }

    /// Tells how many GPUs are ours, if that has changed.
    pub(super) fn tell_capacity(&mut self, now: Time, id: HostId) {
        let host = &mut self.hosts[id.index()];
        if host.up && host.told != host.capacity() {
            host.told = host.capacity();
            let event = self.capacity_fact(id);
            self.report(now, event);
        }
    }
}
