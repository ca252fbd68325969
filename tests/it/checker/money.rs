//! The bill, worked out a second time: every worker's life is cut into stretches, and what is billed is added up at the end.
//!
//! Nothing is shared with the ledger but the types of amounts. The rules are written down anew from the contract: seed: jobs
//! only; documented: from the wake signal to fully stopped, a restart that a result asked for is free; active workers without a
//! break from their first start on; never while pulling, throttled or unhealthy. A stretch of billed time at one price is
//! rounded up to whole seconds.

use std::collections::BTreeMap;

use thermocline::scheduler::{Phase, WorkerKind, WorkerReason};
use thermocline::units::{EndpointId, Money, Span, Time, UsdPerSecond, WorkerId};

use super::model::{Model, WorkerNow};

/// What a worker costs from some time on: whether each profile bills (seed, documented), at which price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate {
    endpoint: EndpointId,
    price: UsdPerSecond,
    billed: [bool; 2],
}

#[derive(Clone, Debug)]
struct Life {
    created: Time,
    removed: Option<Time>,
    since: Time,
    rate: Rate,
    active_since_start: bool,
    refreshing: bool,
    /// Stretches that are over: from, to, rate.
    past: Vec<(Time, Time, Rate)>,
}

/// Every worker's life.
#[derive(Clone, Debug, Default)]
pub struct Books {
    lives: BTreeMap<WorkerId, Life>,
}

impl Books {
    /// Looks at every worker after a record.
    pub fn look(&mut self, model: &Model) {
        for (id, worker) in &model.workers {
            let before = self.lives.get(id);
            let up = worker.holds_gpus();
            let enabled =
                worker.kind == WorkerKind::Active && (up || before.is_some_and(|life| life.active_since_start));
            let restarts = worker.is(Phase::Stopping) || worker.is(Phase::Starting);
            let asked = worker.reason == Some(WorkerReason::Refresh);
            let refreshing = restarts && (asked || before.is_some_and(|life| life.refreshing));
            let rate = Rate {
                endpoint: worker.endpoint,
                price: price(model, worker),
                billed: billed(worker, enabled, refreshing),
            };
            let life = self.lives.entry(*id).or_insert_with(|| Life {
                created: model.now,
                removed: None,
                since: model.now,
                rate,
                active_since_start: false,
                refreshing: false,
                past: Vec::new(),
            });
            (life.active_since_start, life.refreshing) = (enabled, refreshing);
            life.turn(model.now, rate);
            if worker.is(Phase::Removed) {
                life.removed = life.removed.or(Some(model.now));
            }
        }
    }

    /// Microseconds that the workers of each endpoint existed, up to `end`.
    pub fn lifetimes(&self, end: Time) -> BTreeMap<EndpointId, u64> {
        let mut lifetimes: BTreeMap<EndpointId, u64> = BTreeMap::new();
        for life in self.lives.values() {
            *lifetimes.entry(life.rate.endpoint).or_default() += life.removed.unwrap_or(end).since(life.created).0;
        }
        lifetimes
    }

    /// What every endpoint owes if all ends at `end`: seed and documented.
    pub fn bills(&self, end: Time) -> BTreeMap<EndpointId, [Money; 2]> {
        let mut bills: BTreeMap<EndpointId, [Money; 2]> = BTreeMap::new();
        for life in self.lives.values() {
            let mut life = life.clone();
            let nothing = Rate { billed: [false; 2], ..life.rate };
            life.turn(end, nothing);
            let bill = bills.entry(life.rate.endpoint).or_default();
            for (profile, sum) in bill.iter_mut().enumerate() {
                *sum += life.bill(profile);
            }
        }
        bills
    }
}

impl Life {
    fn turn(&mut self, now: Time, rate: Rate) {
        if rate != self.rate {
            if now > self.since {
                self.past.push((self.since, now, self.rate));
            }
            (self.since, self.rate) = (now, rate);
        }
    }

    fn bill(&self, profile: usize) -> Money {
        let mut sum = Money::ZERO;
        let mut session: Option<(Time, Time, UsdPerSecond)> = None;
        for (from, to, rate) in self.past.iter().filter(|(.., rate)| rate.billed[profile]) {
            session = match session {
                Some((begin, end, price)) if end == *from && price == rate.price => Some((begin, *to, price)),
                other => {
                    sum += other.map_or(Money::ZERO, rounded);
                    Some((*from, *to, rate.price))
                }
            };
        }
        sum + session.map_or(Money::ZERO, rounded)
    }
}

fn rounded((begin, end, price): (Time, Time, UsdPerSecond)) -> Money {
    price.cost(Span::from_whole_secs(end.since(begin).ceil_secs()))
}

fn price(model: &Model, worker: &WorkerNow) -> UsdPerSecond {
    let Some(host) = worker.host.and_then(|host| model.host(host)) else { return UsdPerSecond(0) };
    let Some(class) = model.classes.get(usize::from(host.spec.gpu_class.0)) else { return UsdPerSecond(0) };
    let gpus = model.release_of(worker).map_or(1, |spec| spec.gpus_per_worker);
    let price = if worker.kind == WorkerKind::Active { class.active } else { class.flex };
    UsdPerSecond(price.0 * u64::from(gpus))
}

fn billed(worker: &WorkerNow, enabled: bool, refreshing: bool) -> [bool; 2] {
    let Some(phase) = worker.phase else { return [false; 2] };
    if matches!(phase, Phase::Placing | Phase::Pulling | Phase::Throttled | Phase::Unhealthy | Phase::Removed) {
        return [false; 2];
    }
    if enabled {
        return [true; 2];
    }
    let works = worker.in_hand() > 0 && matches!(phase, Phase::Ready | Phase::Draining);
    [works, works || (phase.holds_gpus() && !refreshing)]
}
