//! What a job yields while it runs: `/stream` (a cursor that consumes) and server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Response, header};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::super::core::api::JobNotice;
use super::Gateway;
use super::body::Pieces;
use super::document::{blocking, status_pieces, status_word};
use super::jobs::{Answer, Shared, job_response, unreadable};
use super::problem::Problem;
use super::rates::{Ongoing, Op};

/// Pieces that were handed out a moment ago, while the core has not yet recorded it: without this, two quick calls would get the
/// same piece twice, and the SDK would show it twice.
#[derive(Debug, Default)]
pub struct Cursors(Mutex<BTreeMap<String, (u64, Instant)>>);

/// The core needs milliseconds to record what was taken.
const CURSOR_LIFE: Duration = Duration::from_secs(30);
const CURSORS_MAX: usize = 10_000;
/// Most bytes of pieces in one answer; the rest comes with the next.
const ANSWER_MAX: usize = 8 << 20;

impl Cursors {
    /// Takes what of `first..first + count` has not been handed out: how many to skip. Up to `next` counts as handed out then.
    fn take(&self, id: &str, first: u64, next: u64) -> u64 {
        let mut cursors = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if cursors.len() >= CURSORS_MAX {
            cursors.retain(|_, (_, at)| now.duration_since(*at) < CURSOR_LIFE);
        }
        let known =
            cursors.get(id).filter(|(_, at)| now.duration_since(*at) < CURSOR_LIFE).map_or(0, |(next, _)| *next);
        if next > known {
            cursors.insert(id.to_owned(), (next, now));
        }
        known.saturating_sub(first)
    }

    /// The job begins again: its pieces are numbered from 0.
    pub fn forget(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

impl Gateway {
    /// Pieces of a job's stream that nobody has had yet, now counted as fetched.
    pub async fn take_chunks(&self, id: &str) -> Result<Vec<Bytes>, Problem> {
        let (reader, name) = (Arc::clone(self.handle.reader()), id.to_owned());
        let (first, mut chunks) = blocking(move || reader.chunks(&name)).await.map_err(|error| unreadable(&error))?;
        let mut bytes = 0;
        let fit = chunks.iter().take_while(|chunk| {
            let fits = bytes == 0 || bytes + chunk.len() <= ANSWER_MAX;
            bytes += chunk.len();
            fits
        });
        let fit = fit.count();
        chunks.truncate(fit);
        if chunks.is_empty() {
            return Ok(chunks);
        }
        let next = first + chunks.len() as u64;
        let had = usize::try_from(self.cursors.take(id, first, next)).unwrap_or(usize::MAX).min(chunks.len());
        chunks.drain(..had);
        if !chunks.is_empty() {
            self.handle.chunks_taken(id, next);
        }
        Ok(chunks)
    }
}

/// GET, POST `/stream/{id}`: `{"status", "stream": [{"output"}]}`. Held a little while there is nothing, well within the SDK's 10 s.
pub async fn stream(State(gateway): Shared, Path((endpoint, id)): Path<(String, String)>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, _ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Stream).await?;
    let mut status = gateway.job(&endpoint, &id).await?.status;
    let mut chunks = gateway.take_chunks(&id).await?;
    if chunks.is_empty() && !status.is_final() {
        tokio::select! {
            biased;
            () = gateway.handle.chunk_there(&id) => {}
            () = tokio::time::sleep(gateway.config.times.stream_hold) => {}
            () = gateway.drain() => {}
        }
        // The state first: pieces that come after it are there when the state says that it was the end.
        status = gateway.job(&endpoint, &id).await?.status;
        chunks = gateway.take_chunks(&id).await?;
    }
    let mut pieces = vec![Bytes::from(format!("{{\"status\":\"{}\",\"stream\":[", status_word(status)))];
    for (number, chunk) in chunks.into_iter().enumerate() {
        pieces.push(Bytes::from_static(if number == 0 { b"{\"output\":" } else { b",{\"output\":" }));
        pieces.push(chunk);
        pieces.push(Bytes::from_static(b"}"));
    }
    pieces.push(Bytes::from_static(b"]}"));
    Ok(job_response(&id, Pieces::body(pieces)))
}

/// A response of server-sent events.
pub fn events_response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A comment that keeps the connection in use.
pub const HEARTBEAT: &[u8] = b": still here\n\n";

struct Following {
    gateway: Arc<Gateway>,
    notices: Receiver<JobNotice>,
    endpoint: String,
    /// One job only.
    id: Option<String>,
    /// To be said before the next notice.
    opening: Option<Bytes>,
    over: bool,
    _ongoing: Ongoing,
}

impl Following {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Following)> {
        if let Some(opening) = self.opening.take() {
            return Some((Ok(opening), self));
        }
        while !self.over {
            let gateway = Arc::clone(&self.gateway);
            tokio::select! {
                biased;
                () = gateway.drain() => return None,
                notice = self.notices.recv() => match notice {
                    Ok(notice) => {
                        let ours = notice.endpoint == self.endpoint
                            && self.id.as_ref().is_none_or(|id| *id == notice.id);
                        if !ours {
                            continue;
                        }
                        self.over = self.id.is_some() && notice.status.is_final();
                        let data = serde_json::to_string(&notice).expect("a notice can be written as JSON");
                        return Some((Ok(format!("event: job\ndata: {data}\n\n").into()), self));
                    }
                    Err(RecvError::Lagged(missed)) => {
                        let text = format!("event: missed\ndata: {{\"missed\":{missed}}}\n\n");
                        return Some((Ok(text.into()), self));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = tokio::time::sleep(gateway.config.times.heartbeat) => {
                    return Some((Ok(Bytes::from_static(HEARTBEAT)), self));
                }
            }
        }
        None
    }
}

/// GET `/events`: every change of every job of the endpoint.
pub async fn events(State(gateway): Shared, Path(endpoint): Path<String>, request: Request) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Stream).await?;
    let notices = gateway.handle.notices();
    let opening = Some(Bytes::from_static(HEARTBEAT));
    let following = Following { gateway, notices, endpoint, id: None, opening, over: false, _ongoing: ongoing };
    Ok(events_response(Body::from_stream(stream::unfold(following, Following::next))))
}

/// GET `/events/{id}`: the job's document as it is now, then every change up to its end.
pub async fn job_events(
    State(gateway): Shared,
    Path((endpoint, id)): Path<(String, String)>,
    request: Request,
) -> Answer {
    let (parts, _) = request.into_parts();
    let (_, ongoing) = gateway.admit_to_queue(&parts, &endpoint, Op::Stream).await?;
    // Listen first: a change between the two would be lost otherwise.
    let notices = gateway.handle.notices();
    let view = gateway.job(&endpoint, &id).await?;
    let document = status_pieces(&view).concat();
    let opening = Some([b"event: status\ndata: ", &one_line(document)[..], b"\n\n"].concat().into());
    let over = view.status.is_final();
    let following = Following { gateway, notices, endpoint, id: Some(id), opening, over, _ongoing: ongoing };
    Ok(events_response(Body::from_stream(stream::unfold(following, Following::next))))
}

/// JSON without line breaks: outside of texts they are spaces, inside they are escaped already.
fn one_line(mut json: Vec<u8>) -> Vec<u8> {
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_handed_out_once_however_slowly_the_core_records_it() {
        let cursors = Cursors::default();
        assert_eq!(cursors.take("a", 0, 3), 0);
        assert_eq!(cursors.take("a", 0, 4), 3, "the core has not recorded the first three yet");
        assert_eq!(cursors.take("a", 4, 6), 0, "it has");
        assert_eq!(cursors.take("b", 0, 2), 0);
        cursors.forget("a");
        assert_eq!(cursors.take("a", 0, 1), 0, "a retried job begins at 0 again");
    }
}
