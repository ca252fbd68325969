//! A small world in which a scaling policy is alone: one endpoint, workers that start, serve and leave, in steps of one second.
//!
//! Not the scheduler: nothing here knows hosts, images and releases, so that what is seen is the policy's own doing. Bounds are
//! kept as the scheduler keeps them, and workers leave as the policy's answer says.

use std::collections::VecDeque;

use crate::policy::{
    Advice, AskedAt, Details, Observation, Phase, ScalingPolicy, Surplus, Trigger, WorkerKind, WorkerView,
};
use crate::units::{HostId, Span, Time, UsdPerSecond, WorkerId};

/// Idle timeout of workers that leave by one: the documented default.
const IDLE_TIMEOUT_S: u64 = 5;
/// Price of a worker, in USD per second: a 24 GB card.
const PRICE: f64 = 0.000_19;

/// What happens in a world.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Requests come this often, evenly: so many in `per_s` seconds. 0 = none.
    pub requests: u32,
    /// See `requests`.
    pub per_s: u32,
    /// From this second on there are none any more.
    pub until_s: u64,
    /// A silence in between: no requests from a second on for so many seconds, after which they go on where they were.
    pub pause: Option<(u64, u64)>,
    /// Work of each request in seconds.
    pub service_s: u64,
    /// Seconds of a start; `None` = it never ends.
    pub start_s: Option<u64>,
    /// Upper bound.
    pub max: u32,
}

/// A worker.
#[derive(Clone, Copy, Debug)]
struct Worker {
    id: u64,
    started: u64,
    /// Ready from then on.
    ready: Option<u64>,
    /// Busy until then.
    busy_until: u64,
    idle_since: u64,
}

/// The endpoint as it stands.
pub struct World<'a> {
    policy: &'a mut dyn ScalingPolicy,
    scene: Scene,
    now: u64,
    queue: VecDeque<u64>,
    workers: Vec<Worker>,
    next_ask: Option<u64>,
    arrived: u64,
    ended: u64,
    ids: u64,
    last_start_s: Option<u64>,
    /// Every answer, in order: the second, and what was advised.
    pub answers: Vec<(u64, Advice)>,
    /// Workers up or coming at the end of each second.
    pub up: Vec<u32>,
    /// Requests that wait at the end of each second.
    pub waiting: Vec<u32>,
    /// Starts that were asked for.
    pub starts: u64,
    /// Answers outside the bounds, which the scheduler clamps.
    pub clamped: u64,
}

impl<'a> World<'a> {
    /// An empty world.
    pub fn new(policy: &'a mut dyn ScalingPolicy, scene: Scene) -> World<'a> {
        World {
            next_ask: policy.first_ask().map(|after| after.0.div_ceil(1_000_000)),
            policy,
            scene,
            now: 0,
            queue: VecDeque::new(),
            workers: Vec::new(),
            arrived: 0,
            ended: 0,
            ids: 0,
            last_start_s: None,
            answers: Vec::new(),
            up: Vec::new(),
            waiting: Vec::new(),
            starts: 0,
            clamped: 0,
        }
    }

    /// Lives through the seconds up to `until_s`.
    pub fn run(&mut self, until_s: u64) {
        while self.now < until_s {
            self.second();
            self.up.push(self.workers.len() as u32);
            self.waiting.push(self.queue.len() as u32);
            self.now += 1;
        }
    }

    /// The policy in it: to be saved and loaded in between.
    pub fn policy(&mut self) -> &mut dyn ScalingPolicy {
        self.policy
    }

    /// Another policy takes over.
    pub fn hand_over(self, policy: &'a mut dyn ScalingPolicy) -> World<'a> {
        World { policy, ..self }
    }

    fn second(&mut self) {
        let mut triggers = Vec::new();
        self.workers_change(&mut triggers);
        self.requests_come(&mut triggers);
        self.assign();
        if self.policy.uses_idle_timeout() {
            let now = self.now;
            let mut may_leave = self.workers.len().saturating_sub(self.policy.floor() as usize);
            self.workers.retain(|worker| {
                let leaves = may_leave > 0 && worker.is_idle(now) && now - worker.idle_since >= IDLE_TIMEOUT_S;
                may_leave -= usize::from(leaves);
                !leaves
            });
        }
        let asked = match self.policy.asked_at() {
            AskedAt::Ticks(tick) => {
                let alive = !self.queue.is_empty() || !self.workers.is_empty();
                if alive && self.now.is_multiple_of(tick.0.div_ceil(1_000_000).max(1)) {
                    vec![Trigger::Tick]
                } else {
                    Vec::new()
                }
            }
            AskedAt::Events => triggers,
            AskedAt::WaitingJobs => {
                triggers.retain(|trigger| matches!(trigger, Trigger::JobWaits | Trigger::WorkerGone));
                triggers
            }
        };
        for trigger in asked {
            self.ask(trigger);
        }
        if self.next_ask.is_some_and(|at| at <= self.now) {
            self.next_ask = None;
            self.ask(Trigger::Tick);
        }
    }

    fn workers_change(&mut self, triggers: &mut Vec<Trigger>) {
        for worker in &mut self.workers {
            if worker.ready == Some(self.now) {
                worker.idle_since = self.now;
                self.last_start_s = Some(self.now - worker.started);
                triggers.push(Trigger::WorkerReady);
            } else if worker.busy_until == self.now && worker.ready.is_some() && worker.busy_until > 0 {
                worker.idle_since = self.now;
                self.ended += 1;
                triggers.push(Trigger::JobEnded);
            }
        }
    }

    fn requests_come(&mut self, triggers: &mut Vec<Trigger>) {
        let Scene { requests, per_s, until_s, pause, .. } = self.scene;
        if self.now >= until_s || per_s == 0 {
            return;
        }
        let (from, length) = pause.unwrap_or((u64::MAX, 0));
        if self.now >= from && self.now < from + length {
            return;
        }
        let second = if self.now < from { self.now } else { self.now - length };
        let due = |second: u64| second * u64::from(requests) / u64::from(per_s);
        for _ in due(second)..due(second + 1) {
            self.queue.push_back(self.now);
            self.arrived += 1;
            let idle = self.workers.iter().filter(|worker| worker.is_idle(self.now)).count();
            triggers.push(if self.queue.len() <= idle { Trigger::JobTaken } else { Trigger::JobWaits });
        }
    }

    fn assign(&mut self) {
        let now = self.now;
        for worker in self.workers.iter_mut().filter(|worker| worker.is_idle(now)) {
            if self.queue.pop_front().is_none() {
                break;
            }
            worker.busy_until = now + self.scene.service_s;
        }
    }

    fn ask(&mut self, trigger: Trigger) {
        let rows = Rows { now: self.now, queue: &self.queue, workers: &self.workers };
        let idle = self.workers.iter().filter(|worker| worker.is_idle(self.now)).count() as u32;
        let starting = self.workers.iter().filter(|worker| !worker.is_ready(self.now)).count() as u32;
        let busy = self.workers.len() as u32 - idle - starting;
        let seen = Seen {
            now_s: self.now,
            trigger,
            queued: self.queue.len() as u32,
            busy,
            idle,
            starting,
            oldest_wait_s: self.queue.front().map(|at| self.now - at),
            arrived: self.arrived,
            ended: self.ended,
            service_s: self.scene.service_s,
            last_start_s: self.last_start_s,
            max: self.scene.max,
        };
        let advice = self.policy.advise(&seen.observation(&rows));
        self.answers.push((self.now, advice));
        self.follow(advice);
    }

    fn follow(&mut self, advice: Advice) {
        if let Some(span) = advice.ask_again {
            self.next_ask = Some(self.now + span.0.div_ceil(1_000_000).max(1));
        }
        self.clamped += u64::from(advice.workers > self.scene.max);
        let wanted = advice.workers.min(self.scene.max) as usize;
        while self.workers.len() < wanted {
            self.ids += 1;
            self.starts += 1;
            self.workers.push(Worker {
                id: self.ids,
                started: self.now,
                ready: self.scene.start_s.map(|start| self.now + start.max(1)),
                busy_until: 0,
                idle_since: u64::MAX,
            });
        }
        let mut more = self.workers.len() - wanted;
        if advice.surplus == Surplus::KeepAlive {
            return;
        }
        let now = self.now;
        let stops_idle = advice.surplus == Surplus::StopIdle;
        // Starts first, youngest first; then idle ones.
        for idle_turn in [false, true] {
            for at in (0..self.workers.len()).rev() {
                let worker = self.workers[at];
                let goes = if idle_turn { stops_idle && worker.is_idle(now) } else { !worker.is_ready(now) };
                if more > 0 && goes {
                    self.workers.remove(at);
                    more -= 1;
                }
            }
        }
    }
}

impl Worker {
    fn is_ready(&self, now: u64) -> bool {
        self.ready.is_some_and(|ready| ready <= now)
    }

    fn is_idle(&self, now: u64) -> bool {
        self.is_ready(now) && self.busy_until <= now
    }
}

/// The numbers of an observation.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The second.
    pub now_s: u64,
    /// Why it is asked.
    pub trigger: Trigger,
    /// Waiting jobs.
    pub queued: u32,
    /// Workers with a job each.
    pub busy: u32,
    /// Idle workers.
    pub idle: u32,
    /// Workers that start.
    pub starting: u32,
    /// How long the oldest job has waited.
    pub oldest_wait_s: Option<u64>,
    /// Jobs that arrived.
    pub arrived: u64,
    /// Jobs that ended.
    pub ended: u64,
    /// Work of each.
    pub service_s: u64,
    /// The last start that became ready.
    pub last_start_s: Option<u64>,
    /// Upper bound.
    pub max: u32,
}

impl Seen {
    /// As a policy sees it.
    pub fn observation<'a>(&self, details: &'a dyn Details) -> Observation<'a> {
        let price = UsdPerSecond::from_usd(PRICE);
        Observation {
            now: at(self.now_s),
            trigger: self.trigger,
            queued: self.queued,
            queued_low: 0,
            in_progress: self.busy,
            oldest_wait: self.oldest_wait_s.map(Span::from_whole_secs),
            arrived: self.arrived,
            ended: self.ended,
            service_total: Span::from_whole_secs(self.ended * self.service_s),
            idle: self.idle,
            busy: self.busy,
            starting: self.starting,
            throttled: 0,
            unhealthy: 0,
            asleep: 0,
            last_start: self.last_start_s.map(Span::from_whole_secs),
            mean_start: self.last_start_s.map(Span::from_whole_secs),
            mean_stop: None,
            active: 0,
            max: self.max,
            extra: 0,
            concurrency: 1,
            flex_price: price,
            active_price: price,
            details,
        }
    }
}

fn at(second: u64) -> Time {
    Time::ZERO + Span::from_whole_secs(second)
}

/// The rows behind an observation.
struct Rows<'a> {
    now: u64,
    queue: &'a VecDeque<u64>,
    workers: &'a [Worker],
}

impl Details for Rows<'_> {
    fn waiting_longer_than(&self, span: Span) -> u32 {
        self.queue.iter().filter(|since| Span::from_whole_secs(self.now - **since) > span).count() as u32
    }

    fn workers(&self) -> Vec<WorkerView> {
        self.workers.iter().map(|worker| worker.view(self.now)).collect()
    }
}

impl Worker {
    fn view(&self, now: u64) -> WorkerView {
        let ready = self.is_ready(now);
        let idle = self.is_idle(now);
        let since = if ready { self.ready.unwrap_or(self.started) } else { self.started };
        WorkerView {
            id: WorkerId::new(self.id, 0),
            kind: WorkerKind::Flex,
            phase: if ready { Phase::Ready } else { Phase::Starting },
            since: at(since),
            in_hand: u32::from(ready && !idle),
            started: at(self.started),
            last_used: at(if idle { self.idle_since } else { since }),
            version: 1,
            outdated: false,
            host: Some(HostId(0)),
            gpus: 1,
            price: UsdPerSecond::from_usd(PRICE),
        }
    }
}

/// Rows of an observation that was made up: everything that waits has waited for too long.
pub struct AllOverdue(pub u32);

impl Details for AllOverdue {
    fn waiting_longer_than(&self, _: Span) -> u32 {
        self.0
    }

    fn workers(&self) -> Vec<WorkerView> {
        Vec::new()
    }
}
