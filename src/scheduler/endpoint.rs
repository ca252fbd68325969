//! What the scheduler keeps per endpoint: settings, policies, queues, counts of workers.

use std::collections::{BTreeSet, VecDeque};

use super::config::{EndpointSpec, SchedulerConfig};
use super::job::Queue;
use super::worker::Class;
use crate::policy::ScaleReason;
use crate::policy::{
    Advice, AskedAt, DispatchPolicy, KeepAlivePolicy, Observation, ParamError, PlacementPolicy, ScalingPolicy, Surplus,
    registry,
};
use crate::units::{JobId, Span, Time, UsdPerSecond, WorkerId};

/// The pluggable decisions, built.
pub(super) struct Policies {
    pub(super) scaling: Box<dyn ScalingPolicy>,
    pub(super) keep_alive: Box<dyn KeepAlivePolicy>,
    pub(super) dispatch: Box<dyn DispatchPolicy>,
    pub(super) placement: Box<dyn PlacementPolicy>,
}

impl Policies {
    /// Builds the policies that `spec` names.
    pub(super) fn build(spec: &EndpointSpec) -> Result<Policies, ParamError> {
        Ok(Policies {
            scaling: registry::scaling(&spec.policies.scaling)?,
            keep_alive: registry::keep_alive(&spec.policies.keep_alive)?,
            dispatch: registry::dispatch(&spec.policies.dispatch)?,
            placement: registry::placement(&spec.policies.placement)?,
        })
    }
}

/// Stands in for a scaling policy while that one is being asked.
pub(super) struct Absent;

impl ScalingPolicy for Absent {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let workers = seen.up_or_coming();
        Advice { workers, surplus: Surplus::KeepAlive, reason: ScaleReason::PolicyFault, ask_again: None }
    }
}

/// Workers by class, kept up to date at every transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([u32; 7]);

impl Tally {
    #[inline]
    pub(super) fn get(&self, class: Class) -> u32 {
        self.0[class as usize]
    }

    #[inline]
    pub(super) fn shift(&mut self, from: Class, to: Class) {
        self.0[from as usize] -= 1;
        self.0[to as usize] += 1;
    }

    #[inline]
    pub(super) fn add(&mut self, class: Class) {
        self.0[class as usize] += 1;
    }

    #[inline]
    pub(super) fn remove(&mut self, class: Class) {
        self.0[class as usize] -= 1;
    }

    /// Workers up or coming: the N of the platform's rules.
    #[inline]
    pub(super) fn up_or_coming(&self) -> u32 {
        self.get(Class::Idle) + self.get(Class::Busy) + self.get(Class::Coming)
    }

    /// As [`Self::up_or_coming`], with those whose host is full: what policies count and the scaler's decisions are about.
    #[inline]
    pub(super) fn wanted(&self) -> u32 {
        self.up_or_coming() + self.get(Class::Throttled)
    }
}

/// An endpoint.
pub(super) struct Endpoint {
    pub(super) spec: EndpointSpec,
    pub(super) policies: Policies,
    /// When the scaling policy wants to be asked.
    pub(super) asked_at: AskedAt,
    /// Whether idle workers leave by their idle timeout.
    pub(super) uses_idle_timeout: bool,
    /// Whether the keep-alive policy wants to know how idle periods end.
    pub(super) keep_alive_learns: bool,
    /// The policy's last answer leaves workers beyond it to their timeouts; if not, it brings them down itself.
    pub(super) keeps_surplus: bool,
    pub(super) deleted: bool,
    /// Bounds in force: the settings, unless dormant or suspended.
    pub(super) active: u32,
    pub(super) max: u32,
    pub(super) version: u32,
    /// Settings to go back to while no worker of the current release has come up.
    pub(super) previous: Option<Box<EndpointSpec>>,
    /// The release that had those settings.
    pub(super) previous_version: u32,
    pub(super) rolling: bool,
    pub(super) release_failures: u32,
    /// Workers in the current batch of a rollout.
    pub(super) replacing: u32,
    pub(super) consecutive_failures: u32,
    /// Slots whose worker gave up for good; not filled again before the next update.
    pub(super) gave_up: u32,
    pub(super) workers: Vec<WorkerId>,
    pub(super) tally: Tally,
    /// Workers of kind extra.
    pub(super) extras: u32,
    /// Workers with a free place, best first.
    pub(super) available: VecDeque<((u8, u64), WorkerId)>,
    pub(super) queue: Queue,
    pub(super) queue_low: Queue,
    /// Jobs that wait for their own worker (early binding).
    pub(super) bound: u32,
    pub(super) in_progress: u32,
    pub(super) arrived: u64,
    pub(super) ended: u64,
    pub(super) service_total: Span,
    pub(super) last_start: Option<Span>,
    /// Mean of the starts that became ready; each new one weighs an eighth.
    pub(super) mean_start: Option<Span>,
    /// Mean of the stops that were carried out; each new one weighs an eighth.
    pub(super) mean_stop: Option<Span>,
    /// Idle periods so far.
    pub(super) idle_ordinal: u64,
    pub(super) next_tick: Time,
    pub(super) next_ask: Time,
    /// TTL ends that do not follow the order of the queue.
    pub(super) own_ttls: BTreeSet<(Time, JobId)>,
    /// TTL of the jobs whose end does follow it.
    pub(super) uniform_ttl: Span,
    pub(super) last_request: Time,
    pub(super) flex_price: UsdPerSecond,
    pub(super) active_price: UsdPerSecond,
    /// In the list of endpoints to settle.
    pub(super) unsettled: bool,
}

impl Endpoint {
    pub(super) fn new(spec: EndpointSpec, config: &SchedulerConfig, now: Time) -> Result<Endpoint, ParamError> {
        let policies = Policies::build(&spec)?;
        let (flex_price, active_price) = prices(&spec, config);
        Ok(Endpoint {
            asked_at: policies.scaling.asked_at(),
            uses_idle_timeout: policies.scaling.uses_idle_timeout(),
            keep_alive_learns: policies.keep_alive.learns(),
            keeps_surplus: true,
            policies,
            deleted: false,
            active: spec.active.min(spec.max),
            max: spec.max,
            version: 1,
            previous: None,
            previous_version: 0,
            rolling: false,
            release_failures: 0,
            replacing: 0,
            consecutive_failures: 0,
            gave_up: 0,
            workers: Vec::new(),
            tally: Tally::default(),
            extras: 0,
            available: VecDeque::new(),
            queue: Queue::default(),
            queue_low: Queue::default(),
            bound: 0,
            in_progress: 0,
            arrived: 0,
            ended: 0,
            service_total: Span::ZERO,
            last_start: None,
            mean_start: None,
            mean_stop: None,
            idle_ordinal: 0,
            next_tick: Time::MAX,
            next_ask: Time::MAX,
            own_ttls: BTreeSet::new(),
            uniform_ttl: spec.ttl,
            last_request: now,
            flex_price,
            active_price,
            unsettled: false,
            spec,
        })
    }

    /// Jobs that wait, of both priorities, bound ones included.
    #[inline]
    pub(super) fn waiting(&self) -> u32 {
        self.queue.len() + self.queue_low.len() + self.bound
    }

    /// Jobs of normal priority that wait: the only ones for which a worker may be started.
    #[inline]
    pub(super) fn waiting_normal(&self) -> u32 {
        self.queue.len() + self.bound
    }

    /// Workers that are needed now: with a job, on their way up, or throttled.
    #[inline]
    pub(super) fn needed(&self) -> u32 {
        self.tally.wanted() - self.tally.get(Class::Idle)
    }

    /// Takes up the length of a start that became ready.
    pub(super) fn note_start(&mut self, length: Span) {
        self.last_start = Some(length);
        self.mean_start = Some(latest_counting_most(self.mean_start, length));
    }

    /// Takes up the length of a stop that was carried out.
    pub(super) fn note_stop(&mut self, length: Span) {
        self.mean_stop = Some(latest_counting_most(self.mean_stop, length));
    }

    /// Workers that count against max: all but the extra ones.
    pub(super) fn regular_workers(&self) -> u32 {
        self.workers.len() as u32 - self.extras
    }

    /// Puts a worker among the available ones.
    #[inline]
    pub(super) fn insert_available(&mut self, key: (u8, u64), worker: WorkerId) {
        let entry = (key, worker);
        if self.available.front().is_none_or(|first| entry < *first) {
            self.available.push_front(entry);
        } else {
            let place = self.available.partition_point(|other| *other < entry);
            self.available.insert(place, entry);
        }
    }

    /// Takes it out again.
    #[inline]
    pub(super) fn remove_available(&mut self, key: (u8, u64), worker: WorkerId) {
        let entry = (key, worker);
        if self.available.front() == Some(&entry) {
            self.available.pop_front();
            return;
        }
        let place = self.available.partition_point(|other| *other < entry);
        debug_assert_eq!(self.available.get(place), Some(&entry), "an available worker is listed under its key");
        self.available.remove(place);
    }
}

/// Flex and active price of one worker of `spec`: of its most wanted GPU class.
pub(super) fn prices(spec: &EndpointSpec, config: &SchedulerConfig) -> (UsdPerSecond, UsdPerSecond) {
    let class = spec.gpu_classes.first().and_then(|class| config.gpu_classes.get(usize::from(class.0)));
    let gpus = u64::from(spec.gpus_per_worker.max(1));
    class
        .map_or_else(Default::default, |class| (UsdPerSecond(class.flex.0 * gpus), UsdPerSecond(class.active.0 * gpus)))
}

/// A mean in which each new length weighs an eighth.
fn latest_counting_most(mean: Option<Span>, length: Span) -> Span {
    mean.map_or(length, |mean| Span((mean.0 * 7 + length.0) / 8))
}
