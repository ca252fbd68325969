//! A worker's log: the last lines, or those and everything after them as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::super::launcher::LogLine;
use super::Gateway;
use super::jobs::{Shared, json_response};
use super::manage::ManageAnswer;
use super::manage_shape::rfc3339;
use super::problem::Problem;
use super::query::Query;
use super::stream::{HEARTBEAT, events_response};

/// Lines in one answer.
const TAIL_MAX: u64 = 5_000;
const TAIL: u64 = 100;

/// Which lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// From the worker itself, from the launcher, or both.
    container: Option<bool>,
    tail: usize,
    /// Not before this, ms since 1970.
    since_ms: u64,
}

/// A line's place: its ms, and its number within that ms.
type Mark = (u64, u32);

/// GET `/serverless/{id}/workers/{worker}/logs`.
pub async fn logs(
    State(gateway): Shared,
    Path((endpoint, worker)): Path<(String, String)>,
    request: Request,
) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let wanted = wanted(&parts)?;
    if !super::super::ids::is_id(&worker) {
        return Err(Problem::not_found("worker").into());
    }
    let lines = gateway.handle.logs(&endpoint, &worker, TAIL_MAX as usize).await?;
    let accepts = parts.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or("");
    if !accepts.contains("text/event-stream") {
        let lines: Vec<Value> = picked(&lines, wanted, None).iter().map(|(_, line)| shown(line)).collect();
        return Ok(json_response(json!({ "lines": lines }).to_string()));
    }
    let last = parts.headers.get("last-event-id").and_then(|id| mark(id.to_str().ok()?));
    let ready = picked(&lines, wanted, last).into_iter().map(|(at, line)| event(at, &line)).collect();
    let last = marked(&lines).last().map(|(at, _)| at).max(last);
    let follower = Follower { gateway, endpoint, worker, wanted, last, ready };
    Ok(events_response(Body::from_stream(stream::unfold(follower, Follower::next))))
}

fn wanted(parts: &Parts) -> Result<Wanted, Problem> {
    let query = Query::new(parts.uri.query());
    let container = match query.get("source").as_deref() {
        None => None,
        Some("container") => Some(true),
        Some("system") => Some(false),
        Some(_) => return Err(Problem::bad("`source` must be `container` or `system`")),
    };
    let tail = query.whole("tail", 0, TAIL_MAX)?.unwrap_or(TAIL) as usize;
    let since_ms = query.whole("since", 0, u64::MAX)?.unwrap_or(0);
    Ok(Wanted { container, tail, since_ms })
}

fn marked(lines: &[LogLine]) -> impl Iterator<Item = (Mark, &LogLine)> {
    let mut at: Mark = (0, 0);
    lines.iter().map(move |line| {
        at = if line.unix_ms == at.0 { (at.0, at.1 + 1) } else { (line.unix_ms, 0) };
        (at, line)
    })
}

/// The wanted lines after `last`; without a `last` the wanted number of the latest ones.
fn picked(lines: &[LogLine], wanted: Wanted, last: Option<Mark>) -> Vec<(Mark, LogLine)> {
    let fits = |line: &LogLine| {
        wanted.container.is_none_or(|container| container == line.container) && line.unix_ms >= wanted.since_ms
    };
    let after = |at: Mark| last.is_none_or(|last| at > last);
    let mut found: Vec<(Mark, LogLine)> =
        marked(lines).filter(|(at, line)| after(*at) && fits(line)).map(|(at, line)| (at, line.clone())).collect();
    if last.is_none() {
        found.drain(..found.len().saturating_sub(wanted.tail));
    }
    found
}

fn shown(line: &LogLine) -> Value {
    let source = if line.container { "container" } else { "system" };
    json!({ "ts": rfc3339(line.unix_ms), "source": source, "line": line.text })
}

fn mark(id: &str) -> Option<Mark> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

fn event((ms, number): Mark, line: &LogLine) -> Bytes {
    format!("id: {ms}-{number}\nevent: log\ndata: {}\n\n", shown(line)).into()
}

struct Follower {
    gateway: Arc<Gateway>,
    endpoint: String,
    worker: String,
    wanted: Wanted,
    last: Option<Mark>,
    ready: VecDeque<Bytes>,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Follower)> {
        let times = self.gateway.config.times;
        let mut quiet = std::time::Duration::ZERO;
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some((Ok(bytes), self));
            }
            if quiet >= times.heartbeat {
                return Some((Ok(Bytes::from_static(HEARTBEAT)), self));
            }
            tokio::select! {
                () = self.gateway.drain() => return None,
                () = tokio::time::sleep(times.log_poll) => quiet += times.log_poll,
            }
            // A worker that is gone with its log: the end.
            let lines = self.gateway.handle.logs(&self.endpoint, &self.worker, TAIL_MAX as usize).await.ok()?;
            let from = Some(self.last.unwrap_or_default());
            self.ready = picked(&lines, self.wanted, from).into_iter().map(|(at, line)| event(at, &line)).collect();
            self.last = marked(&lines).last().map(|(at, _)| at).max(self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_millisecond_are_told_apart() {
        let line = |ms, container, text: &str| LogLine { unix_ms: ms, container, text: text.to_owned() };
        let lines = [line(5, true, "a"), line(5, false, "b"), line(5, true, "c"), line(6, true, "d")];
        let all = Wanted { container: None, tail: 2, since_ms: 0 };
        let texts = |picked: Vec<(Mark, LogLine)>| picked.into_iter().map(|(_, line)| line.text).collect::<String>();
        assert_eq!(texts(picked(&lines, all, None)), "cd");
        assert_eq!(texts(picked(&lines, all, Some((5, 0)))), "bcd");
        assert_eq!(texts(picked(&lines, Wanted { container: Some(true), ..all }, Some((5, 0)))), "cd");
        assert_eq!(texts(picked(&lines, Wanted { since_ms: 6, ..all }, None)), "d");
        assert_eq!(mark("5-2"), Some((5, 2)));
        assert_eq!(mark("5"), None);
    }
}
