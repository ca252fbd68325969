//! Attempts: how long jobs run on a worker, what becomes of them, and how they are told to stop.

use super::agenda::{At, Due};
use super::endpoints::{Endpoint, Release, attempt_index};
use super::starts::scaled;
use super::workers::{Attempt, Fate, State, Step, Worker};
use super::world::World;
use crate::scheduler::{Event, ExitCause, JobResult};
use crate::units::{JobId, Span, Time, WorkerId};
use crate::workload::deviate::{chance, uniform};
use crate::workload::{Demand, SharedSpeed};

/// From a job's stop signal to its end: the SDK cancels the handler's task at once and reports it [ours: 50 ms].
const STOP_JOB_DELAY: Span = Span::from_millis(50);

/// How often a worker pings (SDK default, worker-protocol 3.6).
const PING_INTERVAL: Span = Span::from_whole_secs(10);

/// What an `AssignJob` hands out.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandOut {
    pub job: JobId,
    pub client_ref: u64,
    pub worker: WorkerId,
    pub epoch: u32,
    pub attempt: u32,
}

impl World {
    /// A job is handed to a worker. One that is no longer there never gets it: the fact of its end is on its way.
    pub(super) fn assign(&mut self, now: Time, order: HandOut) {
        self.progress = now;
        let slot = order.worker.slot();
        let Some(worker) = self.workers.get_mut(slot) else { return };
        if worker.id != order.worker || worker.epoch != order.epoch || worker.state != State::Ready {
            return;
        }
        let Some(live) = self.jobs.get_mut(order.client_ref) else {
            panic!("t={now}: {} was handed to {} after its outcome", order.job, order.worker);
        };
        let endpoint = &self.endpoints[worker.endpoint as usize];
        assert!(
            (worker.attempts.len() as u32) < endpoint.spec.concurrency || self.channel.is_unreliable(),
            "t={now}: {} has {} jobs in hand and got {} as well",
            worker.id,
            worker.attempts.len(),
            order.job
        );
        let release = &endpoint.releases[worker.release as usize];
        let index = attempt_index(live.index, order.attempt);
        let mut demand = release.service.demand(&live.work, &mut endpoint.streams.service.at(index));
        let warming = worker.taken < release.warm_up_jobs;
        let factor = if warming { worker.slowdown * release.warm_up_factor } else { worker.slowdown };
        if factor != 1.0 {
            demand = Demand { fixed: scaled(demand.fixed, factor), shared: demand.shared * factor };
        }
        worker.taken += 1;
        let mut fate = Fate::Result { result: JobResult::Completed, refresh: false };
        let mut hangs = false;
        if release.attempts_fail {
            (fate, hangs) = fate_of(endpoint, release, index, &mut demand);
        }
        let latency = endpoint.latency.as_ref().map(|latency| latency.span(&mut endpoint.streams.pick_up.at(index)));
        let begins = now + latency.unwrap_or(Span::ZERO);
        worker.clock.advance(now);
        let step = if hangs {
            Step::Hung
        } else {
            worker.first_step(now, begins, demand, endpoint.spec.concurrency == 1, release.speed)
        };
        worker.silent |= hangs && release.faults.hang_silent;
        worker.attempts.push(Attempt { job: order.job, number: order.attempt, index, step, fate });
        if endpoint.spec.lease.is_some() && !worker.pinging {
            worker.pinging = true;
            self.agenda.add(now + PING_INTERVAL, Due::Ping(worker.at()));
        }
        if endpoint.pulls_jobs() {
            let places = endpoint.spec.concurrency.saturating_sub(worker.attempts.len() as u32);
            worker.took(now, places);
        }
        let next = worker.next_time(now);
        self.timers.set(slot, next);
    }

    /// The usual case of [`World::worker_due`], done quickly: the only job of a worker that accepts jobs at once is over. The
    /// fact is given to be told at once instead of put in the outbox.
    #[inline]
    pub(super) fn sole_job_due(&mut self, now: Time, slot: usize) -> Option<Event> {
        let worker = &mut self.workers[slot];
        let [Attempt { job, number, step: Step::Fixed { until, work }, fate, .. }] = worker.attempts[..] else {
            return None;
        };
        let Fate::Result { result, refresh } = fate else { return None };
        let pulls = self.endpoints[worker.endpoint as usize].pulls_jobs();
        if until > now || work > 0.0 || pulls || self.channel.is_unreliable() {
            return None;
        }
        worker.attempts.clear();
        self.timers.clear(slot);
        Some(Event::JobFinished { worker: worker.id, epoch: worker.epoch, job, attempt: number, result, refresh })
    }

    /// Something happens on a worker: attempts end or go on to their shared part, or it asks for work.
    pub(super) fn worker_due(&mut self, now: Time, slot: usize) {
        let worker = &mut self.workers[slot];
        let (id, epoch) = (worker.id, worker.epoch);
        let endpoint = &self.endpoints[worker.endpoint as usize];
        let speed = endpoint.releases[worker.release as usize].speed;
        let (pulls, period) = (endpoint.pulls_jobs(), endpoint.period);
        worker.clock.advance(now);
        let mut freed = false;
        while let Some(Attempt { job, number, step, fate, .. }) = self.workers[slot].end_one(now, speed) {
            freed = true;
            let event = match (step, fate) {
                (Step::Stopping { .. }, _) => Event::JobStopped { worker: id, epoch, job, attempt: number },
                (_, Fate::Result { result, refresh }) => {
                    Event::JobFinished { worker: id, epoch, job, attempt: number, result, refresh }
                }
                (_, Fate::Crash) => return self.exit(now, slot, ExitCause::Crashed),
            };
            self.report(now, event);
        }
        let worker = &mut self.workers[slot];
        if pulls && worker.state == State::Ready {
            if freed {
                worker.place_freed(now, period);
            }
            if worker.taking.at <= now {
                self.open_take(now, slot);
            }
        }
        let next = self.workers[slot].next_time(now);
        self.timers.set(slot, next);
    }

    /// A job's stop signal reaches its worker.
    pub(super) fn stop_job(&mut self, now: Time, order: StopOrder) {
        let alive = |worker: &&mut Worker| {
            worker.id == order.worker
                && worker.epoch == order.epoch
                && matches!(worker.state, State::Ready | State::Stopping)
        };
        let Some(worker) = self.workers.get_mut(order.worker.slot()).filter(alive) else {
            return; // The process is gone, and the scheduler is about to hear of it.
        };
        let same = |attempt: &&mut Attempt| attempt.job == order.job && attempt.number == order.attempt;
        let Some(attempt) = worker.attempts.iter_mut().find(same) else {
            let StopOrder { worker, epoch, job, attempt } = order;
            self.report(now, Event::JobStopped { worker, epoch, job, attempt });
            return;
        };
        let endpoint = &self.endpoints[worker.endpoint as usize];
        let release = &endpoint.releases[worker.release as usize];
        let ignored = release.faults.ignore_stop_probability;
        if matches!(attempt.step, Step::Stopping { .. })
            || ignored > 0.0 && chance(ignored, &mut endpoint.streams.stop_signal.at(attempt.index))
        {
            return;
        }
        worker.clock.advance(now);
        if matches!(attempt.step, Step::Shared { .. }) {
            worker.clock.leave(release.speed);
        }
        attempt.step = Step::Stopping { until: now + STOP_JOB_DELAY };
        let next = worker.next_time(now);
        self.timers.set(order.worker.slot(), next);
    }

    /// Time for a proof of life, for as long as the worker holds jobs.
    pub(super) fn ping_due(&mut self, now: Time, at: At) {
        let worker = &mut self.workers[at.slot as usize];
        if worker.generation != at.generation {
            return;
        }
        worker.pinging = !worker.attempts.is_empty();
        if !worker.pinging {
            return;
        }
        let (id, epoch, silent) = (worker.id, worker.epoch, worker.silent);
        self.agenda.add(now + PING_INTERVAL, Due::Ping(at));
        if !silent {
            self.report(now, Event::WorkerPinged { worker: id, epoch });
        }
    }
}

/// What a `StopJob` names.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopOrder {
    pub worker: WorkerId,
    pub epoch: u32,
    pub job: JobId,
    pub attempt: u32,
}

impl Worker {
    /// Takes out one attempt that ends now, after moving those on that go from their fixed to their shared part.
    fn end_one(&mut self, now: Time, speed: SharedSpeed) -> Option<Attempt> {
        for place in 0..self.attempts.len() {
            match self.attempts[place].step {
                Step::Fixed { until, work } if until <= now && work > 0.0 => {
                    self.attempts[place].step = Step::Shared { target: self.clock.enter(work, speed) };
                }
                Step::Fixed { until, .. } | Step::Stopping { until } if until <= now => {
                    return Some(self.attempts.remove(place));
                }
                Step::Shared { target } if self.clock.until(target).is_zero() => {
                    self.clock.leave(speed);
                    return Some(self.attempts.remove(place));
                }
                _ => {}
            }
        }
        None
    }

    /// The first part of an attempt whose handler begins at `begins`. A job that nobody can slow down has one part only.
    fn first_step(&mut self, now: Time, begins: Time, demand: Demand, alone: bool, speed: SharedSpeed) -> Step {
        let fixed = begins + demand.fixed;
        if demand.shared <= 0.0 {
            Step::Fixed { until: fixed, work: 0.0 }
        } else if alone || speed == SharedSpeed::Independent {
            Step::Fixed { until: fixed + Span::from_secs(demand.shared / speed.rate(1)), work: 0.0 }
        } else if fixed <= now {
            Step::Shared { target: self.clock.enter(demand.shared, speed) }
        } else {
            Step::Fixed { until: fixed, work: demand.shared }
        }
    }
}

/// What becomes of an attempt, and whether it hangs. A crash comes at a uniform point of the work.
fn fate_of(endpoint: &Endpoint, release: &Release, index: u64, demand: &mut Demand) -> (Fate, bool) {
    let faults = &release.faults;
    let streams = &endpoint.streams;
    let strikes = |share: f64, keyed: super::streams::Keyed| share > 0.0 && chance(share, &mut keyed.at(index));
    let hangs = strikes(faults.hang_probability, streams.hang);
    if faults.crash_probability > 0.0 {
        let mut stream = streams.crash.at(index);
        if chance(faults.crash_probability, &mut stream) {
            let point = uniform(&mut stream);
            *demand = Demand { fixed: scaled(demand.fixed, point), shared: demand.shared * point };
            return (Fate::Crash, hangs);
        }
    }
    let fails = strikes(faults.handler_error_probability, streams.handler_error);
    let result = if fails { JobResult::Failed } else { JobResult::Completed };
    let refresh = strikes(faults.refresh_probability, streams.refresh);
    (Fate::Result { result, refresh }, hangs)
}
