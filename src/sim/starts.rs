//! Starts, resumes and stops of workers.

use super::agenda::{At, Due};
use super::streams::Purpose;
use super::workers::{State, Worker};
use super::world::World;
use crate::scheduler::{Event, ExitCause, StartStage, StopMode};
use crate::units::{EndpointId, HostId, MICROS_PER_S, Span, Time, WorkerId};
use crate::workload::deviate::chance;

/// Of the starts that fail, the share that fails in the fitness checks rather than in the image or its command [ours].
const UNFIT_SHARE: f64 = 0.25;

/// What a `StartWorker` asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartWish {
    pub worker: WorkerId,
    pub epoch: u32,
    pub endpoint: EndpointId,
    pub host: HostId,
    pub version: u32,
    pub resume: bool,
}

impl World {
    /// A worker's container is to start.
    pub(super) fn start_worker(&mut self, now: Time, wish: StartWish) {
        if !self.hosts[wish.host.index()].up {
            return; // The loss of the host is on its way to the scheduler.
        }
        let slot = wish.worker.slot();
        if slot >= self.workers.len() {
            self.workers.resize_with(slot + 1, Worker::vacant);
        }
        let endpoint = &mut self.endpoints[wish.endpoint.index()];
        let Some(release) = endpoint.release_of(wish.version) else {
            panic!(
                "t={now}: {} is to start version {} of {}, which nobody made",
                wish.worker, wish.version, wish.endpoint
            );
        };
        let (gpus, image) = (endpoint.releases[release as usize].gpus, endpoint.releases[release as usize].image);
        let host = &mut self.hosts[wish.host.index()];
        let possible = host.free() >= gpus && host.disk.holds(image);
        assert!(
            possible || self.channel.is_unreliable(),
            "t={now}: {} cannot start on {}: {} GPUs free of {gpus} needed, image {image} there: {}",
            wish.worker,
            wish.host,
            host.free(),
            host.disk.holds(image)
        );
        if !possible {
            // The scheduler acted on a fact that was late or lost; the container runtime refuses.
            let cause = ExitCause::StartFailed;
            self.report(now, Event::WorkerExited { worker: wish.worker, epoch: wish.epoch, cause });
            return;
        }
        host.hold(now, gpus);
        endpoint.up += 1;
        let worker = &mut self.workers[slot];
        assert!(
            worker.state == State::Down,
            "t={now}: {} starts, but {} still runs in its place",
            wish.worker,
            worker.id
        );
        worker.resumes = wish.resume && worker.snapshot && worker.id == wish.worker;
        worker.snapshot = false;
        worker.id = wish.worker;
        worker.epoch = wish.epoch;
        worker.endpoint = wish.endpoint.0;
        worker.host = wish.host.0;
        worker.release = release;
        worker.gpus = gpus;
        worker.start = host.starts;
        worker.slowdown = host.slowdown;
        worker.clear();
        host.starts += 1;
        self.starting += 1;
        if self.deploying {
            host.starting += 1;
            self.workers[slot].turn(State::Starting);
            self.ready(now, slot);
        } else if host.max_starts > 0 && host.starting >= host.max_starts {
            self.workers[slot].turn(State::Queued);
            host.waiting.push_back(self.workers[slot].at());
        } else {
            self.begin_start(now, slot);
        }
    }

    /// Draws the stages of the start, each with its end, and waits for the first.
    fn begin_start(&mut self, now: Time, slot: usize) {
        let worker = &mut self.workers[slot];
        worker.turn(State::Starting);
        self.hosts[worker.host as usize].starting += 1;
        let release = &self.endpoints[worker.endpoint as usize].releases[worker.release as usize];
        let mut end = now;
        let mut stage = |stage: StartStage, span: Span| {
            if !span.is_zero() {
                end = end + scaled(span, worker.slowdown);
                worker.stages.push((stage, end));
            }
        };
        if worker.resumes {
            let mut stream = self.streams.at(Purpose::Resume, u64::from(worker.host), worker.start);
            stage(StartStage::Resume, release.resume.span(&mut stream));
        } else {
            let mut stream = self.streams.at(Purpose::ColdStart, u64::from(worker.host), worker.start);
            for (kind, time) in &release.stages {
                stage(*kind, time.span(&mut stream));
            }
        }
        worker.stages.reverse();
        let first = worker.stages.last().map_or(now, |stage| stage.1);
        self.agenda.add(first, Due::Stage(worker.at()));
    }

    /// A stage is over, or the start had none.
    pub(super) fn stage_due(&mut self, now: Time, at: At) {
        let slot = at.slot as usize;
        let worker = &mut self.workers[slot];
        if worker.generation != at.generation {
            return;
        }
        let (id, epoch) = (worker.id, worker.epoch);
        let ended = worker.stages.pop();
        let next = worker.stages.last().copied();
        if let Some((stage, _)) = ended {
            self.report(now, Event::StageEnded { worker: id, epoch, stage });
        }
        match next {
            Some((_, end)) => self.agenda.add(end, Due::Stage(at)),
            None => match self.start_failure(slot) {
                Some(cause) => self.exit(now, slot, cause),
                None => self.ready(now, slot),
            },
        }
    }

    fn start_failure(&self, slot: usize) -> Option<ExitCause> {
        let worker = &self.workers[slot];
        let release = &self.endpoints[worker.endpoint as usize].releases[worker.release as usize];
        let share = release.faults.start_failure_probability;
        if share <= 0.0 {
            return None;
        }
        let mut stream = self.streams.at(Purpose::StartFailure, u64::from(worker.host), worker.start);
        let fails = chance(share, &mut stream);
        let cause = if chance(UNFIT_SHARE, &mut stream) { ExitCause::Unfit } else { ExitCause::StartFailed };
        fails.then_some(cause)
    }

    fn ready(&mut self, now: Time, slot: usize) {
        let worker = &mut self.workers[slot];
        worker.turn(State::Ready);
        let (id, epoch, host, start, at) = (worker.id, worker.epoch, worker.host, worker.start, worker.at());
        self.starting -= 1;
        self.progress = now;
        let endpoint = &self.endpoints[worker.endpoint as usize];
        if let Some(uptime) = &endpoint.releases[worker.release as usize].uptime {
            let span = uptime.span(&mut self.streams.at(Purpose::Uptime, u64::from(host), start));
            self.agenda.add(now + span, Due::Uptime(at));
        }
        let pulls = endpoint.pulls_jobs();
        self.report(now, Event::WorkerReady { worker: id, epoch });
        if pulls {
            self.open_take(now, slot);
        }
        self.start_over(now, host);
    }

    /// A start on the host has ended one way or another: the next one that waits may begin.
    fn start_over(&mut self, now: Time, host: u32) {
        let host = &mut self.hosts[host as usize];
        host.starting -= 1;
        while host.max_starts > 0 && host.starting < host.max_starts {
            let Some(at) = host.waiting.pop_front() else { return };
            if self.workers[at.slot as usize].generation == at.generation {
                self.begin_start(now, at.slot as usize);
                return;
            }
        }
    }

    /// A worker's process ends although nobody asked.
    pub(super) fn exit(&mut self, now: Time, slot: usize, cause: ExitCause) {
        let (worker, epoch) = (self.workers[slot].id, self.workers[slot].epoch);
        self.vanish(now, slot);
        self.report(now, Event::WorkerExited { worker, epoch, cause });
    }

    /// A crash of a worker that is up, busy or idle.
    pub(super) fn uptime_due(&mut self, now: Time, at: At) {
        if self.workers[at.slot as usize].generation == at.generation {
            self.exit(now, at.slot as usize, ExitCause::Crashed);
        }
    }

    /// The process is gone; its GPUs are free.
    pub(super) fn vanish(&mut self, now: Time, slot: usize) {
        let worker = &mut self.workers[slot];
        let (was, host) = (worker.state, worker.host);
        worker.clear();
        self.timers.clear(slot);
        self.hosts[host as usize].release(now, worker.gpus);
        self.endpoints[worker.endpoint as usize].up -= 1;
        match was {
            State::Starting => {
                self.starting -= 1;
                self.start_over(now, host);
            }
            State::Queued => self.starting -= 1,
            State::Stopping => self.stopping -= 1,
            State::Ready | State::Down => {}
        }
    }

    /// A worker is to stop.
    pub(super) fn stop_worker(&mut self, now: Time, id: WorkerId, epoch: u32, mode: StopMode) {
        let slot = id.slot();
        let there = |worker: &&mut Worker| worker.id == id && worker.epoch == epoch && worker.state != State::Down;
        let Some(worker) = self.workers.get_mut(slot).filter(there) else {
            // It has gone by itself, and that fact is late or lost: a stop of what is not there is complete.
            self.report(now, Event::WorkerStopped { worker: id, epoch, frozen: false });
            return;
        };
        let (was, endpoint, host) = (worker.state, worker.endpoint, worker.host);
        if mode == StopMode::Kill {
            self.vanish(now, slot);
            self.report(now, Event::WorkerStopped { worker: id, epoch, frozen: false });
            return;
        }
        if was == State::Stopping {
            return;
        }
        let release = &self.endpoints[endpoint as usize].releases[worker.release as usize];
        let number = self.hosts[host as usize].stops;
        self.hosts[host as usize].stops += 1;
        let span = release.stop.span(&mut self.streams.at(Purpose::Stop, u64::from(host), number));
        worker.freezes = mode == StopMode::Freeze
            && was == State::Ready
            && chance(release.freeze_probability, &mut self.streams.at(Purpose::Snapshot, u64::from(host), number));
        worker.turn(State::Stopping);
        worker.stages.clear();
        worker.taking.at = Time::MAX;
        worker.taking.open = false;
        self.agenda.add(now + span, Due::Stopped(worker.at()));
        self.stopping += 1;
        match was {
            State::Starting => {
                self.starting -= 1;
                self.start_over(now, host);
            }
            State::Queued => self.starting -= 1,
            _ => {}
        }
    }

    /// A stop is complete.
    pub(super) fn stopped_due(&mut self, now: Time, at: At) {
        let slot = at.slot as usize;
        if self.workers[slot].generation != at.generation {
            return;
        }
        self.vanish(now, slot);
        self.progress = now;
        let worker = &mut self.workers[slot];
        let (id, epoch, frozen) = (worker.id, worker.epoch, worker.freezes);
        worker.freezes = false;
        worker.snapshot = frozen;
        if frozen {
            let host = u64::from(worker.host);
            let release = &self.endpoints[worker.endpoint as usize].releases[worker.release as usize];
            if let Some(life) = &release.snapshot_life {
                // Keyed by the start whose state it is; the stop's number is the key of whether it is kept at all.
                let mut stream = self.streams.at(Purpose::Snapshot, host | 1 << 32, worker.start);
                self.agenda.add(now + life.span(&mut stream), Due::SnapshotEnds(worker.at()));
            }
        }
        self.report(now, Event::WorkerStopped { worker: id, epoch, frozen });
    }

    /// A snapshot has aged away, unless it was used before.
    pub(super) fn snapshot_due(&mut self, now: Time, at: At) {
        let worker = &mut self.workers[at.slot as usize];
        if worker.generation == at.generation && worker.snapshot {
            worker.snapshot = false;
            let (worker, epoch) = (worker.id, worker.epoch);
            self.report(now, Event::SnapshotLost { worker, epoch });
        }
    }

    /// The scheduler has removed the worker: nothing of it is kept.
    pub(super) fn removed(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(id.slot()).filter(|worker| worker.id == id) {
            worker.snapshot = false;
        }
    }
}

/// A span on a host on which everything takes `factor` times as long.
pub(super) fn scaled(span: Span, factor: f64) -> Span {
    if factor == 1.0 { span } else { Span::from_secs(span.0 as f64 / MICROS_PER_S as f64 * factor) }
}
