//! Workers, and the six public states that they show.

use serde::{Deserialize, Serialize};

use super::compact::as_array;
use super::reason::WorkerReason;
use crate::policy::{Phase, WorkerKind, WorkerView};
use crate::units::{EndpointId, HostId, ImageId, JobId, Time, UsdPerSecond, WorkerId};

/// The state that users see (contract §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicState {
    /// Image download and preparation, container start, code load.
    Initializing,
    /// Ready or asleep, not processing.
    Idle,
    /// Processing.
    Running,
    /// The host lacks the resources.
    Throttled,
    /// Marked for replacement.
    Outdated,
    /// Crashed; waits for its backoff.
    Unhealthy,
}

impl PublicState {
    /// Every state, in order.
    pub const ALL: [PublicState; 6] = [
        PublicState::Initializing,
        PublicState::Idle,
        PublicState::Running,
        PublicState::Throttled,
        PublicState::Outdated,
        PublicState::Unhealthy,
    ];

    /// The public state of a worker; `None` once it is removed. An unhealthy worker is unhealthy, outdated or not.
    #[inline]
    pub fn of(phase: Phase, jobs_in_hand: u32, outdated: bool) -> Option<PublicState> {
        Some(match phase {
            Phase::Removed => return None,
            Phase::Unhealthy => PublicState::Unhealthy,
            _ if outdated => PublicState::Outdated,
            Phase::Placing | Phase::Pulling | Phase::Starting => PublicState::Initializing,
            Phase::Throttled => PublicState::Throttled,
            Phase::Ready | Phase::Draining if jobs_in_hand > 0 => PublicState::Running,
            Phase::Asleep | Phase::Frozen | Phase::Ready | Phase::Draining | Phase::Stopping => PublicState::Idle,
        })
    }
}

/// What becomes of a worker's slot once its stop is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum AfterStop {
    /// Asleep or frozen in its slot (extra and on-demand workers: removed).
    Sleep,
    /// Started again in its slot (`refresh_worker`).
    Restart,
    /// Gone; a worker of the current release takes its place.
    Replace,
    /// Gone.
    Remove,
    /// Unhealthy for this reason.
    Fail(WorkerReason),
}

/// A job in a worker's hands. It stays here after its outcome is recorded until the worker is known to have let go of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) job: JobId,
    pub(super) attempt: u32,
    pub(super) started: Time,
    /// When the attempt times out; once `stopping`, when the worker is killed for ignoring the stop signal.
    pub(super) deadline: Time,
    /// The job already has its outcome; the worker was told to stop it.
    pub(super) stopping: bool,
}

as_array!(Held { job, attempt, started, deadline, stopping });

/// How the endpoint counts a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Idle,
    Busy,
    Coming,
    Throttled,
    Unhealthy,
    Asleep,
    Leaving,
}

/// A worker: a slot on a host that holds the image, and what runs in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) endpoint: EndpointId,
    pub(super) host: Option<HostId>,
    pub(super) kind: WorkerKind,
    pub(super) version: u32,
    pub(super) image: ImageId,
    pub(super) gpus: u32,
    pub(super) phase: Phase,
    pub(super) since: Time,
    pub(super) reason: WorkerReason,
    pub(super) outdated: bool,
    /// Why its current or next start was asked for.
    pub(super) cause: WorkerReason,
    /// Should be up: starts as soon as its image and its GPUs are there.
    pub(super) wanted: bool,
    pub(super) epoch: u32,
    pub(super) held: Vec<Held>,
    /// Jobs that the worker has asked for (pull pick-up).
    pub(super) open_takes: u32,
    /// The key under which it stands among the available ones.
    pub(super) available: Option<(u8, u64)>,
    pub(super) frozen: bool,
    pub(super) after_stop: AfterStop,
    /// Takes part in the current batch of a rollout.
    pub(super) replacing: bool,
    pub(super) idle_deadline: Time,
    /// Init timeout, backoff, re-placement, repeat of an unanswered command: whatever its phase waits for.
    pub(super) phase_deadline: Time,
    pub(super) lease_deadline: Time,
    pub(super) started: Time,
    pub(super) ready_since: Time,
    pub(super) last_used: Time,
    pub(super) failures: u32,
    pub(super) first_failure: Time,
    /// The job that waits for this worker (early binding).
    pub(super) bound: Option<JobId>,
}

impl Worker {
    /// The next time at which something about this worker is due.
    #[inline]
    pub(super) fn deadline(&self) -> Time {
        let own = self.idle_deadline.min(self.phase_deadline).min(self.lease_deadline);
        self.held.iter().fold(own, |earliest, held| earliest.min(held.deadline))
    }

    #[inline]
    pub(super) fn in_hand(&self) -> u32 {
        self.held.len() as u32
    }

    #[inline]
    pub(super) fn class(&self) -> Class {
        match self.phase {
            Phase::Ready if self.held.is_empty() => Class::Idle,
            Phase::Ready => Class::Busy,
            Phase::Starting => Class::Coming,
            Phase::Placing | Phase::Pulling if self.wanted => Class::Coming,
            Phase::Placing | Phase::Pulling | Phase::Asleep | Phase::Frozen => Class::Asleep,
            Phase::Throttled => Class::Throttled,
            Phase::Unhealthy => Class::Unhealthy,
            Phase::Draining | Phase::Stopping | Phase::Removed => Class::Leaving,
        }
    }

    /// True where a fact about start number `epoch` still concerns the worker.
    #[inline]
    pub(super) fn is_current(&self, epoch: u32) -> bool {
        self.epoch == epoch && self.phase.holds_gpus()
    }

    pub(super) fn view(&self, price: UsdPerSecond) -> WorkerView {
        WorkerView {
            id: self.id,
            kind: self.kind,
            phase: self.phase,
            since: self.since,
            in_hand: self.in_hand(),
            started: self.started,
            last_used: self.last_used,
            version: self.version,
            outdated: self.outdated,
            host: self.host,
            gpus: self.gpus,
            price,
        }
    }
}
