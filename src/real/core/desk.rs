//! The desk: conversations that are open right now. Polls of workers, answers that clients wait for, stop signals under way.
//!
//! Nothing here outlives a restart: whoever was connected connects again. What must not be lost is in the tables and the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::super::spans::TraceParent;
use super::api::{HandedJob, JobView, Taken};
use super::handle::Answer;
use crate::scheduler::StartStage;
use crate::units::{JobId, Span, Time, WorkerId};

/// A signal that a worker has not confirmed is sent again after this long (SDK 1.12 asks again at once after a non-empty answer).
pub const STOP_REPEAT: Span = Span::SECOND;
/// Stop polls are held this long; the SDK gives up after 90 s.
pub const STOP_HOLD: Span = Span::from_whole_secs(30);
/// Pings that must lack a job that was handed out, before it counts as never received.
pub const PINGS_LACKING: u32 = 2;

type TakeAnswer = Answer<Result<Taken, super::api::Refusal>>;
type StopAnswer = Answer<Result<Vec<String>, super::api::Refusal>>;

/// An open take of a worker.
pub struct OpenTake {
    /// The gateway's number for it.
    pub ticket: u64,
    /// Jobs that it would take.
    pub slots: u32,
    /// Where the jobs go.
    pub answer: TakeAnswer,
}

/// A job that a worker is told to stop.
#[derive(Clone, Debug)]
pub struct StopSignal {
    /// Public id.
    pub id: String,
    /// When it is (again) to be sent.
    pub next: Time,
    /// It was sent at least once.
    pub sent: bool,
}

/// The conversation with one worker.
#[derive(Default)]
pub struct Seat {
    /// The start that it belongs to.
    pub epoch: u32,
    /// Its open take.
    pub take: Option<OpenTake>,
    /// Jobs assigned in this batch, handed over when it is durable.
    pub pending: Vec<(JobId, u32, HandedJob)>,
    /// Jobs that wait until an earlier attempt at the same job has let go of the worker: the SDK keys its tasks by job id.
    pub withheld: Vec<(JobId, u32, HandedJob)>,
    /// Its open stop poll, and until when it is held.
    pub stop_poll: Option<(StopAnswer, Time)>,
    /// Signals not yet confirmed.
    pub stops: BTreeMap<JobId, StopSignal>,
    /// Jobs handed over that its pings lack, and how many pings.
    pub lacking: BTreeMap<JobId, u32>,
    /// When it was asked to start.
    pub began: Time,
    /// Stages of the start that have been told, and when.
    pub stages: BTreeMap<StartStage, Time>,
    /// It was told that it is ready.
    pub ready: bool,
    /// It was asked to leave: polls are answered at once, empty.
    pub leaving: bool,
    /// Nobody has started it (again) since the gateway began: a start that was cut short is made up for.
    pub restart_owed: bool,
    /// Last sign of life.
    pub last_seen: Time,
    /// `host:port` by port.
    pub ports: Vec<(u16, String)>,
    /// Somebody else's name for it (external workers, thawed workers).
    pub alias: Option<String>,
    /// What people should know about its last failure.
    pub detail: Option<String>,
}

/// What a client waits for, and what is kept at hand of a job.
#[derive(Default)]
pub struct JobDesk {
    /// `input` and `s3Config`, if they are not too large to keep at hand.
    pub payload: Option<(Bytes, Option<Bytes>)>,
    /// The trace that it belongs to.
    pub trace: Option<TraceParent>,
    /// Latest progress.
    pub progress: Option<Bytes>,
    /// Output and error of the result that is being recorded.
    pub result: Option<(Option<Bytes>, Option<String>)>,
    /// Answered at the end.
    pub waiters: Vec<Answer<Option<Box<JobView>>>>,
    /// Answered when a piece of its stream arrives, or at the end.
    pub chunk_waiters: Vec<Answer<()>>,
    /// Pieces of its stream so far.
    pub chunks: u64,
    /// Pieces fetched.
    pub chunks_taken: u64,
}

/// All of it.
#[derive(Default)]
pub struct Desk {
    seats: BTreeMap<WorkerId, Seat>,
    jobs: BTreeMap<u64, JobDesk>,
    aliases: BTreeMap<String, WorkerId>,
    /// Bytes of payloads kept at hand.
    pub payload_bytes: usize,
    /// Workers with something to hand over when the batch is durable.
    pub to_deliver: BTreeSet<WorkerId>,
}

impl Desk {
    /// The conversation with a worker, opened if there is none.
    pub fn seat(&mut self, id: WorkerId) -> &mut Seat {
        self.seats.entry(id).or_default()
    }

    /// The conversation with a worker, if there is one.
    pub fn known_seat(&self, id: WorkerId) -> Option<&Seat> {
        self.seats.get(&id)
    }

    /// As [`Desk::known_seat`], to change it.
    pub fn known_seat_mut(&mut self, id: WorkerId) -> Option<&mut Seat> {
        self.seats.get_mut(&id)
    }

    /// A new start of a worker: nothing of the earlier conversation holds. Polls still open are ended.
    pub fn begin(&mut self, id: WorkerId, epoch: u32) -> &mut Seat {
        let old = self.end(id);
        let detail = old.and_then(|old| old.detail);
        let seat = self.seats.entry(id).or_default();
        (seat.epoch, seat.detail) = (epoch, detail);
        seat
    }

    /// Ends a conversation: held polls are answered empty.
    pub fn end(&mut self, id: WorkerId) -> Option<Seat> {
        self.to_deliver.remove(&id);
        let mut seat = self.seats.remove(&id)?;
        seat.dismiss();
        if let Some(alias) = &seat.alias {
            self.aliases.remove(alias);
        }
        Some(seat)
    }

    /// From now on `alias` is another name of the worker.
    pub fn name(&mut self, id: WorkerId, alias: &str) {
        let seat = self.seat(id);
        if let Some(old) = seat.alias.replace(alias.to_owned()) {
            self.aliases.remove(&old);
        }
        self.aliases.insert(alias.to_owned(), id);
    }

    /// Whose other name that is.
    pub fn by_alias(&self, alias: &str) -> Option<WorkerId> {
        self.aliases.get(alias).copied()
    }

    /// What is at hand of a job.
    pub fn job(&mut self, number: u64) -> &mut JobDesk {
        self.jobs.entry(number).or_default()
    }

    /// What is at hand of a job, if anything is.
    pub fn known_job(&self, number: u64) -> Option<&JobDesk> {
        self.jobs.get(&number)
    }

    /// Takes everything of a job away; its waiters are the caller's to answer.
    pub fn take_job(&mut self, number: u64) -> Option<JobDesk> {
        let job = self.jobs.remove(&number)?;
        if let Some((input, _)) = &job.payload {
            self.payload_bytes -= input.len();
        }
        Some(job)
    }

    /// Keeps a payload at hand if there is room for it in `budget` bytes.
    pub fn keep_payload(&mut self, number: u64, input: &Bytes, s3: Option<&Bytes>, budget: usize) {
        if self.payload_bytes + input.len() <= budget {
            self.payload_bytes += input.len();
            self.job(number).payload = Some((input.clone(), s3.cloned()));
        }
    }

    /// The earliest moment at which a stop signal is to be repeated or a stop poll ends.
    pub fn next_deadline(&self) -> Option<Time> {
        self.seats.values().filter_map(Seat::next_deadline).min()
    }

    /// Answers the stop polls that have something to say or have been held long enough.
    pub fn answer_stop_polls(&mut self, now: Time) {
        for seat in self.seats.values_mut() {
            seat.answer_stop_poll(now);
        }
    }
}

impl Seat {
    fn next_deadline(&self) -> Option<Time> {
        let (_, until) = self.stop_poll.as_ref()?;
        let signal = self.stops.values().map(|signal| signal.next).min();
        Some(signal.map_or(*until, |signal| signal.min(*until)))
    }

    /// Answers the stop poll if a signal is due or it was held long enough.
    pub fn answer_stop_poll(&mut self, now: Time) {
        let Some((_, until)) = &self.stop_poll else { return };
        let until = *until;
        let due: Vec<String> =
            self.stops.values().filter(|signal| signal.next <= now).map(|signal| signal.id.clone()).collect();
        if due.is_empty() && now < until && !self.leaving {
            return;
        }
        let Some((answer, _)) = self.stop_poll.take() else { return };
        if answer.send(Ok(due)).is_ok() {
            for signal in self.stops.values_mut().filter(|signal| signal.next <= now) {
                signal.sent = true;
                signal.next = now + STOP_REPEAT;
            }
        }
    }

    /// Ends its polls, empty.
    pub fn dismiss(&mut self) {
        if let Some(take) = self.take.take() {
            let _ = take.answer.send(Ok(Taken::Nothing));
        }
        if let Some((answer, _)) = self.stop_poll.take() {
            let _ = answer.send(Ok(Vec::new()));
        }
    }
}
