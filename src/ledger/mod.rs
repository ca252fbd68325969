//! What every worker-second cost, under both billing profiles, and who pays: a fold over the transcript.
//!
//! All amounts are exact integers ([`crate::units::Money`]); nothing is rounded but sessions, upwards, as the platform
//! does, and that rounding is a line of its own. Charges are booked twice, against an endpoint and for a host, and the two
//! books always agree.

pub mod account;
pub mod billing;
pub mod meter;
pub mod timeline;

pub use account::{Bill, CauseBill, EndpointAccount};
pub use billing::{CostPhase, Profile, Situation, billable, billed};
pub use meter::{Meter, Rounding, Spent};
pub use timeline::Timeline;

use serde::{Deserialize, Serialize};

use crate::scheduler::follow::Follower;
use crate::scheduler::watch::{LiveJob, Member, StartCause, Watcher, Window};
use crate::scheduler::{EndpointSpec, Event, FinishCause, GpuClass, GpuClassId, HostSpec, JobOutcome, RequeueCause};
use crate::scheduler::{Phase, WorkerKind};
use crate::units::{EndpointId, HostId, Money, Time, UsdPerSecond, WorkerId};

/// One worker's place in the books.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Row {
    id: WorkerId,
    endpoint: EndpointId,
    host: Option<HostId>,
    kind: WorkerKind,
    cause: StartCause,
    /// It began to start as an active worker.
    enabled: bool,
    /// What the present phase bills without and with a job in hand, so that the hot path has nothing to decide.
    turns: [[Option<CostPhase>; 2]; 2],
    meter: Meter,
}

impl Row {
    /// Looks the worker's situation up in the table and turns the meter accordingly.
    fn follow(&mut self, now: Time, worker: &Member) {
        self.enabled = enabled_as_active(self.enabled, worker);
        let at = Situation::of(worker, self.enabled);
        self.turns = [false, true].map(|busy| billed(Situation { busy, ..at }));
        self.meter.turn(now, self.turns[usize::from(at.busy)]);
    }
}

/// The books of a run. Use it as the watcher of a [`Follower`], alone ([`Ledger::recorder`]) or in a tuple. A run without an end
/// reads them with [`Ledger::so_far`] and saves them with the follower.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    classes: Vec<GpuClass>,
    window: Window,
    rounding: Rounding,
    hosts: Vec<(GpuClassId, [Money; 2])>,
    endpoints: Vec<EndpointAccount>,
    rows: Vec<Option<Row>>,
}

impl Ledger {
    /// Empty books. Only time inside `window` is billed.
    pub fn new(classes: &[GpuClass], rounding: Rounding, window: Window) -> Ledger {
        let classes = classes.to_vec();
        Ledger { classes, window, rounding, hosts: Vec::new(), endpoints: Vec::new(), rows: Vec::new() }
    }

    /// A recorder that keeps these books and nothing else.
    pub fn recorder(classes: &[GpuClass], rounding: Rounding) -> Follower<Ledger> {
        Follower::new(Ledger::new(classes, rounding, Window::ALL))
    }

    /// The account of an endpoint; empty for one that never had a worker.
    pub fn endpoint(&self, endpoint: EndpointId) -> EndpointAccount {
        self.endpoints.get(endpoint.index()).cloned().unwrap_or_default()
    }

    /// All endpoints together.
    pub fn total(&self) -> EndpointAccount {
        let mut sum = EndpointAccount::default();
        self.endpoints.iter().for_each(|account| sum.add(account));
        sum
    }

    /// The books as they would be closed at `now`, the time of the last event or later: what is still open is billed up to then
    /// and rounded up. The books themselves go on. Nothing in it ever becomes less.
    pub fn so_far(&self, now: Time) -> Ledger {
        let mut closed = self.clone();
        closed.run_ended(now);
        closed
    }

    /// What a host earned.
    pub fn host(&self, host: HostId, profile: Profile) -> Money {
        self.hosts.get(host.index()).map_or(Money::ZERO, |(_, earned)| earned[profile.index()])
    }

    /// What all hosts of a GPU class earned.
    pub fn gpu_class(&self, class: GpuClassId, profile: Profile) -> Money {
        self.hosts.iter().filter(|(of, _)| *of == class).map(|(_, earned)| earned[profile.index()]).sum()
    }

    fn price(&self, worker: &Member) -> UsdPerSecond {
        let class = worker.host.and_then(|host| self.hosts.get(host.index())).map(|(class, _)| *class);
        price_of_worker(&self.classes, class, worker)
    }

    fn book(&mut self, slot: usize, spent: [Spent; 2], price: UsdPerSecond) {
        let Some(row) = &self.rows[slot] else { return };
        let (endpoint, host, kind, cause) = (row.endpoint, row.host, row.kind, row.cause);
        let account = account(&mut self.endpoints, endpoint);
        for (profile, spent) in spent.iter().enumerate() {
            account.bills[profile][kind as usize].charge(spent, price);
            let cost = spent.cost(price);
            let total = cost.iter().copied().sum();
            let caused = account.causes.entry(cause).or_default();
            caused.start_cost[profile] += cost[CostPhase::Start.index()];
            caused.total[profile] += total;
            if let Some((_, earned)) = host.and_then(|host| self.hosts.get_mut(host.index())) {
                earned[profile] += total;
            }
        }
    }

    /// Books what was spent so far, so that what follows can be attributed to somebody else.
    fn settle(&mut self, now: Time, slot: usize) -> [Spent; 2] {
        let Some(row) = &mut self.rows[slot] else { return Default::default() };
        let (spent, price) = (row.meter.take(now), row.meter.price());
        self.book(slot, spent, price);
        spent
    }

    fn waste(&mut self, now: Time, job: &LiveJob) {
        let now = self.window.clamp(now);
        let account = account(&mut self.endpoints, job.endpoint);
        account.wasted_attempts += 1;
        let held = job.worker.and_then(|worker| self.rows.get(worker.slot())?.as_ref().filter(|row| row.id == worker));
        if let Some(row) = held {
            account.wasted_cost += row.meter.price().cost(now.since(self.window.clamp(job.assigned)));
        }
    }

    fn end(&mut self, now: Time, slot: usize) {
        let Some(row) = self.rows[slot].as_mut() else { return };
        let (spent, price) = (row.meter.end(now), row.meter.price());
        self.book(slot, spent, price);
    }
}

/// The price per second of a worker on a host of `class`: class price by kind, times its GPUs.
pub fn price_of_worker(classes: &[GpuClass], class: Option<GpuClassId>, worker: &Member) -> UsdPerSecond {
    let Some(class) = class.and_then(|class| classes.get(usize::from(class.0))) else { return UsdPerSecond(0) };
    let per_gpu = if worker.kind == WorkerKind::Active { class.active } else { class.flex };
    UsdPerSecond(per_gpu.0 * u64::from(worker.gpus))
}

/// An active worker is billed from its first start on; one that stops being active loses that.
pub fn enabled_as_active(before: bool, worker: &Member) -> bool {
    worker.kind == WorkerKind::Active && (before || worker.is_up())
}

fn account(accounts: &mut Vec<EndpointAccount>, endpoint: EndpointId) -> &mut EndpointAccount {
    if accounts.len() <= endpoint.index() {
        accounts.resize_with(endpoint.index() + 1, EndpointAccount::default);
    }
    &mut accounts[endpoint.index()]
}

impl Watcher for Ledger {
    fn host_added(&mut self, _: Time, _: HostId, spec: &HostSpec) {
        self.hosts.push((spec.gpu_class, [Money::ZERO; 2]));
    }

    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, _: &EndpointSpec) {
        account(&mut self.endpoints, endpoint);
    }

    fn worker_placed(&mut self, now: Time, worker: &Member, was: Option<&Member>) {
        let now = self.window.clamp(now);
        let slot = worker.id.slot();
        let price = self.price(worker);
        if self.rows.len() <= slot {
            self.rows.resize_with(slot + 1, || None);
        }
        if was.is_none() {
            self.rows[slot] = Some(Row {
                id: worker.id,
                endpoint: worker.endpoint,
                host: worker.host,
                kind: worker.kind,
                cause: worker.cause,
                enabled: enabled_as_active(false, worker),
                turns: Default::default(),
                meter: Meter::new(now, price, self.rounding),
            });
            return;
        }
        let Some(row) = &mut self.rows[slot] else { return };
        let (spent, old) = row.meter.reprice(now, price);
        self.book(slot, spent, old);
        if let Some(row) = &mut self.rows[slot] {
            (row.host, row.kind) = (worker.host, worker.kind);
            row.follow(now, worker);
        }
    }

    fn phase_changed(&mut self, now: Time, worker: &Member, was: &Member) {
        let (asked, now) = (now, self.window.clamp(now));
        let slot = worker.id.slot();
        let begins = worker.phase == Phase::Starting && was.phase != Phase::Starting;
        if begins {
            self.settle(now, slot);
        }
        let Some(row) = self.rows.get_mut(slot).and_then(Option::as_mut) else { return };
        row.follow(now, worker);
        if begins {
            row.cause = worker.cause;
            if self.window.contains(asked) {
                account(&mut self.endpoints, worker.endpoint).causes.entry(worker.cause).or_default().starts += 1;
            }
        } else if worker.failed_to_start(was) == Some(true) {
            let price = row.meter.price();
            let spent = self.settle(now, slot);
            let account = account(&mut self.endpoints, worker.endpoint);
            account.failed_starts += 1;
            for (cost, spent) in account.failed_start_cost.iter_mut().zip(spent) {
                *cost += spent.cost(price).into_iter().sum();
            }
        }
        if worker.phase == Phase::Removed {
            self.end(now, slot);
        }
    }

    #[inline]
    fn hands_changed(&mut self, now: Time, worker: &Member, was: u32) {
        if (was == 0) != (worker.in_hand == 0) {
            let now = self.window.clamp(now);
            if let Some(row) = self.rows.get_mut(worker.id.slot()).and_then(Option::as_mut) {
                row.meter.turn(now, row.turns[usize::from(worker.in_hand > 0)]);
            }
        }
    }

    fn job_requeued(&mut self, now: Time, job: &LiveJob, cause: RequeueCause) {
        if cause != RequeueCause::TakeLost && self.window.contains(now) {
            self.waste(now, job);
        }
    }

    #[inline]
    fn job_finished(&mut self, now: Time, job: &LiveJob, _: JobOutcome, cause: FinishCause) {
        use FinishCause as C;
        let wasteful = matches!(cause, C::ExecutionTimeout | C::TtlRunning | C::AttemptsExhausted);
        if wasteful && job.worker.is_some() && self.window.contains(now) {
            self.waste(now, job);
        }
    }

    fn fact(&mut self, _: Time, event: &Event) {
        if let Event::GpuClassAdded { class } = event {
            self.classes.push((**class).clone());
        }
    }

    fn run_ended(&mut self, now: Time) {
        let now = self.window.clamp(now);
        for slot in 0..self.rows.len() {
            self.end(now, slot);
        }
    }
}

#[cfg(test)]
mod tests;
