//! What a policy's file may answer, and what is made of it.

use starlark::values::Value;
use starlark::values::dict::DictRef;
use starlark::values::structs::StructRef;
use starlark::values::tuple::TupleRef;

use super::super::{Advice, ScaleReason, Surplus};
use super::guard::{number, shown};
use crate::units::Span;

/// What `advise` may return.
const WANTED: &str = "a number of workers, a dict such as {\"workers\": 2, \"surplus\": \"keep_alive\"}, or one of them and \
                      the new state as a pair";

/// Longest time that can be asked for, in seconds: 100 years.
const SECONDS_MAX: f64 = 3.2e9;

/// Reasons that a policy may give by the scheduler's own words. Any other text counts as `policy` and is kept nowhere: reasons are
/// words of the transcript.
const REASONS: [ScaleReason; 6] = [
    ScaleReason::FromZero,
    ScaleReason::QueueDelay,
    ScaleReason::RequestCount,
    ScaleReason::PerJob,
    ScaleReason::Fixed,
    ScaleReason::LoadFell,
];

/// Splits an answer into itself and the state given with it, if any.
pub(super) fn split<'v>(value: Value<'v>) -> (Value<'v>, Option<Value<'v>>) {
    match TupleRef::from_value(value).map(TupleRef::content) {
        Some([answer, state]) => (*answer, Some(*state)),
        _ => (value, None),
    }
}

/// An answer of `advise`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What is passed on.
    pub advice: Advice,
    /// Workers that no idle timeout may go below.
    pub floor: u32,
}

/// Reads the answer of `advise`, without its state.
///
/// # Errors
/// What is wrong with it.
pub(super) fn advice(value: Value<'_>) -> Result<Answer, String> {
    let mut advice = Advice { workers: 0, surplus: Surplus::KeepAlive, reason: ScaleReason::Policy, ask_again: None };
    let mut floor = 0;
    if number(value).is_some() {
        advice.workers = workers(value)?;
        return Ok(Answer { advice, floor });
    }
    let mut given = false;
    for (key, item) in entries(value)? {
        match key {
            "workers" => {
                advice.workers = workers(item)?;
                given = true;
            }
            "reason" => advice.reason = reason(item)?,
            "ask_again_s" if item.is_none() => {}
            "ask_again_s" => {
                let seconds = seconds(item).ok_or_else(|| format!("`ask_again_s` is {}, no seconds", shown(item)))?;
                advice.ask_again = Some(seconds);
            }
            "surplus" => advice.surplus = surplus(item)?,
            "floor" => floor = workers(item)?,
            other => {
                let known = "workers, reason, ask_again_s, surplus, floor";
                return Err(format!("`advise` answers with `{}`; there is: {known}", super::error::excerpt(other)));
            }
        }
    }
    if given {
        Ok(Answer { advice, floor })
    } else {
        Err(format!("`advise` answers without `workers`; it wants {WANTED}"))
    }
}

/// Name and value of everything in a dict or struct.
fn entries<'v>(value: Value<'v>) -> Result<Vec<(&'v str, Value<'v>)>, String> {
    if let Some(fields) = StructRef::from_value(value) {
        return Ok(fields.iter().map(|(name, item)| (name.as_str(), item)).collect());
    }
    let Some(dict) = DictRef::from_value(value) else {
        let hint = if value.is_none() { " (is there a way out without `return`?)" } else { "" };
        return Err(format!("`advise` answers {}{hint}; it wants {WANTED}", shown(value)));
    };
    dict.iter()
        .map(|(key, item)| match key.unpack_str() {
            Some(key) => Ok((key, item)),
            None => Err(format!("`advise` answers with the key {}; keys are texts", shown(key))),
        })
        .collect()
}

fn workers(value: Value<'_>) -> Result<u32, String> {
    let Some(count) = number(value) else { return Err(format!("`workers` is {}, no number", shown(value))) };
    if count.fract() != 0.0 || !count.is_finite() {
        return Err(format!("{count} workers: round it, such as with `math.ceil()`"));
    }
    if count < 0.0 {
        return Err(format!("{count} workers: write `max(0, ...)`"));
    }
    Ok(count.min(f64::from(u32::MAX)) as u32)
}

fn reason(value: Value<'_>) -> Result<ScaleReason, String> {
    let Some(text) = value.unpack_str() else { return Err(format!("`reason` is {}, no text", shown(value))) };
    Ok(REASONS.into_iter().find(|reason| reason.as_str() == text).unwrap_or(ScaleReason::Policy))
}

fn surplus(value: Value<'_>) -> Result<Surplus, String> {
    match value.unpack_str() {
        Some("keep_alive") => Ok(Surplus::KeepAlive),
        Some("cancel_starts") => Ok(Surplus::CancelStarts),
        Some("stop_idle") => Ok(Surplus::StopIdle),
        _ => Err(format!("`surplus` is {}; there is: keep_alive, cancel_starts, stop_idle", shown(value))),
    }
}

fn seconds(value: Value<'_>) -> Option<Span> {
    number(value).filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds)).map(Span::from_secs)
}

/// Reads the answer of `idle_timeout`, without its state: seconds, or `None` for ever.
///
/// # Errors
/// What is wrong with it.
pub(super) fn timeout(value: Value<'_>) -> Result<Option<Span>, String> {
    if value.is_none() {
        return Ok(None);
    }
    let wanted = "`idle_timeout` answers seconds from 0 on, or None for ever";
    seconds(value).map(Some).ok_or_else(|| format!("{wanted}; here is {}", shown(value)))
}
