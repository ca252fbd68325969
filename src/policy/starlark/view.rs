//! The observation as a policy's file sees it: a struct with those fields that the file names, so that what it does not look at
//! costs nothing.

use std::cell::RefCell;

use starlark::environment::GlobalsBuilder;
use starlark::eval::Evaluator;
use starlark::starlark_module;
use starlark::values::list::AllocList;
use starlark::values::structs::AllocStruct;
use starlark::values::{Heap, Value};

use super::super::{IdleStart, Observation, Trigger, WorkerView};
use super::guard::{number, shown};
use super::limits::refused;
use crate::units::Span;

/// A field of the observation.
pub struct Field {
    /// Name, with the unit at the end.
    pub name: &'static str,
    /// What it is.
    pub doc: &'static str,
    read: fn(&Observation<'_>) -> Cell,
}

/// The content of a field.
enum Cell {
    Whole(u64),
    Number(f64),
    Seconds(Option<Span>),
    Word(&'static str),
    Workers,
}

const fn field(name: &'static str, doc: &'static str, read: fn(&Observation<'_>) -> Cell) -> Field {
    Field { name, doc, read }
}

fn count(number: u32) -> Cell {
    Cell::Whole(u64::from(number))
}

/// Everything that a policy may know.
pub static FIELDS: &[Field] = &[
    field("now_s", "the time in seconds, to the microsecond", |o| Cell::Number(o.now.as_secs())),
    field("trigger", "why it asks: tick, job_waits, job_taken, job_ended, worker_ready, worker_gone", |o| {
        Cell::Word(trigger(o.trigger))
    }),
    field("queued", "jobs of normal priority that wait (Q)", |o| count(o.queued)),
    field("queued_low", "jobs of low priority that wait", |o| count(o.queued_low)),
    field("in_progress", "jobs in progress (P)", |o| count(o.in_progress)),
    field("oldest_wait_s", "how long the oldest waiting job has waited; None without one", |o| {
        Cell::Seconds(o.oldest_wait)
    }),
    field("arrived", "jobs that arrived in all", |o| Cell::Whole(o.arrived)),
    field("ended", "jobs whose attempt ended in all", |o| Cell::Whole(o.ended)),
    field("service_total_s", "summed run time of those", |o| Cell::Number(o.service_total.as_secs())),
    field("up", "workers up or coming (N): idle, busy, starting, throttled", |o| count(o.up_or_coming())),
    field("idle", "workers up without a job", |o| count(o.idle)),
    field("busy", "workers up with a job", |o| count(o.busy)),
    field("starting", "workers wanted and on their way", |o| count(o.starting)),
    field("throttled", "workers wanted whose host is full", |o| count(o.throttled)),
    field("unhealthy", "workers waiting for their backoff", |o| count(o.unhealthy)),
    field("asleep", "workers placed and asleep or frozen", |o| count(o.asleep)),
    field("last_start_s", "length of the last start that became ready; None before the first", |o| {
        Cell::Seconds(o.last_start)
    }),
    field("mean_start_s", "mean length of starts, the latest counting most; None before the first", |o| {
        Cell::Seconds(o.mean_start)
    }),
    field("mean_stop_s", "mean length of stops, likewise: paid as well; None before the first", |o| {
        Cell::Seconds(o.mean_stop)
    }),
    field("active", "lower bound", |o| count(o.active)),
    field("max", "upper bound, extra workers not counted", |o| count(o.max)),
    field("extra", "extra workers allowed", |o| count(o.extra)),
    field("concurrency", "jobs per worker at once", |o| count(o.concurrency)),
    field("flex_price", "USD per second of a flex worker", |o| Cell::Number(o.flex_price.as_usd())),
    field("active_price", "USD per second of an active worker", |o| Cell::Number(o.active_price.as_usd())),
    field("workers", "a list of the workers, each as in `idle_timeout`", |_| Cell::Workers),
];

fn trigger(trigger: Trigger) -> &'static str {
    match trigger {
        Trigger::Tick => "tick",
        Trigger::JobWaits => "job_waits",
        Trigger::JobTaken => "job_taken",
        Trigger::JobEnded => "job_ended",
        Trigger::WorkerReady => "worker_ready",
        Trigger::WorkerGone => "worker_gone",
    }
}

/// Positions in [`FIELDS`] of those that one of `names` names.
pub(super) fn used<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<usize> {
    let named = |field: &Field| names.clone().any(|name| name == field.name);
    FIELDS.iter().enumerate().filter(|(_, field)| named(field)).map(|(index, _)| index).collect()
}

/// The observation with the fields at `used`.
pub(super) fn observation<'v>(seen: &Observation<'_>, used: &[usize], heap: Heap<'v>) -> Value<'v> {
    let fields = used.iter().map(|index| {
        let field = &FIELDS[*index];
        let value = match (field.read)(seen) {
            Cell::Whole(number) => heap.alloc(number),
            Cell::Number(number) => heap.alloc(number),
            Cell::Seconds(span) => seconds(span, heap),
            Cell::Word(word) => heap.alloc(word),
            Cell::Workers => {
                let workers = seen.details.workers();
                heap.alloc(AllocList(workers.iter().map(|view| worker(view, heap))))
            }
        };
        (field.name, value)
    });
    heap.alloc(AllocStruct(fields))
}

pub(super) fn seconds<'v>(span: Option<Span>, heap: Heap<'v>) -> Value<'v> {
    span.map_or_else(Value::new_none, |span| heap.alloc(span.as_secs()))
}

/// A worker.
pub(super) fn worker<'v>(view: &WorkerView, heap: Heap<'v>) -> Value<'v> {
    let host = view.host.map_or_else(Value::new_none, |host| heap.alloc(host.index() as u64));
    heap.alloc(AllocStruct([
        ("id", heap.alloc(view.id.sequence())),
        ("kind", heap.alloc(view.kind.as_str())),
        ("phase", heap.alloc(view.phase.as_str())),
        ("since_s", heap.alloc(view.since.as_secs())),
        ("in_hand", heap.alloc(view.in_hand)),
        ("started_s", heap.alloc(view.started.as_secs())),
        ("last_used_s", heap.alloc(view.last_used.as_secs())),
        ("version", heap.alloc(view.version)),
        ("outdated", heap.alloc(view.outdated)),
        ("host", host),
        ("gpus", heap.alloc(view.gpus)),
        ("price", heap.alloc(view.price.as_usd())),
    ]))
}

/// What is known of the beginning of an idle period, beside the worker.
pub(super) fn idle<'v>(idle: &IdleStart<'_>, heap: Heap<'v>) -> Value<'v> {
    heap.alloc(AllocStruct([
        ("now_s", heap.alloc(idle.now.as_secs())),
        ("ordinal", heap.alloc(idle.ordinal)),
        ("rank", heap.alloc(idle.rank)),
        ("mean_start_s", seconds(idle.mean_start, heap)),
        ("mean_stop_s", seconds(idle.mean_stop, heap)),
        ("flex_price", heap.alloc(idle.flex_price.as_usd())),
        ("active_price", heap.alloc(idle.active_price.as_usd())),
    ]))
}

/// Answers to `waiting_longer_than`, as pairs of seconds and a count. A file cannot call back into the queue: what it asked for
/// and is not there is noted with a count that is no number, looked up, and the call is made again.
pub(super) type Overdue = RefCell<Vec<f64>>;

/// Questions of that kind in one file, at most: each new one costs a second call.
const OVERDUE_MAX: usize = 8;

/// Fills in what a call asked for; false if it asked for nothing new.
pub(super) fn answer_overdue(overdue: &Overdue, seen: &Observation<'_>) -> bool {
    let mut asked = false;
    for pair in overdue.borrow_mut().chunks_exact_mut(2).filter(|pair| pair[1].is_nan()) {
        pair[1] = f64::from(seen.details.waiting_longer_than(Span::from_secs(pair[0])));
        asked = true;
    }
    asked
}

/// The pairs of the questions asked so far, unanswered.
pub(super) fn open_overdue(seconds: &[f64]) -> Overdue {
    RefCell::new(seconds.iter().flat_map(|seconds| [*seconds, f64::NAN]).collect())
}

/// The questions that were asked.
pub(super) fn asked_overdue(overdue: Overdue) -> Vec<f64> {
    overdue.into_inner().chunks_exact(2).map(|pair| pair[0]).collect()
}

#[starlark_module]
pub(super) fn functions(builder: &mut GlobalsBuilder) {
    /// Jobs of normal priority that have waited for longer than so many seconds.
    fn waiting_longer_than<'v>(
        #[starlark(require = pos)] seconds: Value<'v>,
        eval: &mut Evaluator<'v, '_, '_>,
    ) -> starlark::Result<u32> {
        let Some(span) = number(seconds).filter(|span| (0.0..=1e9).contains(span)) else {
            return Err(refused(format!("waiting_longer_than() wants seconds from 0 on, got {}", shown(seconds))));
        };
        let Some(overdue) = eval.extra.and_then(|extra| extra.downcast_ref::<Overdue>()) else {
            return Err(refused("waiting_longer_than() can be asked in `advise` only"));
        };
        let mut pairs = overdue.borrow_mut();
        match pairs.chunks_exact(2).find(|pair| pair[0] == span) {
            Some(pair) if !pair[1].is_nan() => Ok(pair[1] as u32),
            _ if pairs.len() >= 2 * OVERDUE_MAX => {
                Err(refused(format!("waiting_longer_than() of more than {OVERDUE_MAX} different times")))
            }
            _ => {
                pairs.extend([span, f64::NAN]);
                Err(refused("not looked up yet"))
            }
        }
    }
}
