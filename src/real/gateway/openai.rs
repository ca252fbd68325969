//! The OpenAI pass-through: `/openai/v1/…` becomes a job with the input that vLLM workers understand
//! (`{"openai_route", "openai_input"}`), or goes straight to the worker's own port.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::super::config::EndpointKind;
use super::super::core::api::{JobStatus, JobView, Submission};
use super::Gateway;
use super::body::{Bounds, receive_whole};
use super::jobs::{Answer, Shared, job_response, json_response};
use super::json::{self, Mode};
use super::problem::Problem;
use super::proxy;
use super::rates::{Ongoing, Op};
use super::stream::{HEARTBEAT, events_response};
use super::submit::made;

/// GET, POST `/openai/v1/{*path}`.
pub async fn pass(State(gateway): Shared, Path((endpoint, path)): Path<(String, String)>, request: Request) -> Answer {
    if gateway.draining() {
        return Err(Problem::shutting_down());
    }
    let (parts, body) = request.into_parts();
    let (known, ongoing) = gateway.admit(&parts, &endpoint, Op::Openai).await?;
    let route = format!("/v1/{path}");
    if known.config.kind == EndpointKind::LoadBalancer || known.config.run.openai_port.is_some() {
        return proxy::forward(&gateway, &known, ongoing, &route, Request::from_parts(parts, body)).await;
    }
    let bounds = Bounds::client(gateway.config.limits.runsync_body, &gateway.config.limits, &gateway.config.times);
    let body = receive_whole(&gateway.buffered, &parts.headers, body, bounds).await?;
    let (asked, streams) = asked(&parts.method, &body)?;
    let mut input = b"{\"openai_route\":".to_vec();
    json::push_text(&mut input, &route);
    input.extend_from_slice(b",\"openai_input\":");
    input.extend_from_slice(&asked);
    input.push(b'}');
    let watched = submitted(gateway, endpoint, made(&known, input.into())?, ongoing).await?;
    Ok(if streams { streamed(watched).await } else { whole(watched).await })
}

/// Submits a job that is to end with its client's connection.
///
/// In a task of its own: a client that goes while the core makes the job durable takes the handler's future with it, and nobody
/// would be left who knows the id to cancel.
async fn submitted(
    gateway: Arc<Gateway>,
    endpoint: String,
    submission: Submission,
    ongoing: Ongoing,
) -> Result<Watched, Problem> {
    let submitting = tokio::spawn(async move {
        let (id, _) = gateway.handle.submit(submission).await?;
        let until = Instant::now() + gateway.config.times.openai;
        Ok(Watched { gateway, endpoint, id, until, ended: false, _ongoing: ongoing })
    });
    submitting.await.unwrap_or_else(|_| Err(Problem::shutting_down()))
}

/// The client's body, and whether it wants a stream. A GET without a body is an empty object.
fn asked(method: &Method, body: &Bytes) -> Result<(Bytes, bool), Problem> {
    if body.is_empty() && *method == Method::GET {
        return Ok((Bytes::from_static(b"{}"), false));
    }
    let (members, _) = json::members(body, Mode::Strict)
        .map_err(|fault| Problem::bad(format!("the body must be a JSON object: {fault}")))?;
    let streams = members.last("stream").is_some_and(|range| &body[range] == b"true");
    Ok((body.slice_ref(body.trim_ascii()), streams))
}

/// A job whose client is waiting; cancelled when the client goes before it ends.
struct Watched {
    gateway: Arc<Gateway>,
    endpoint: String,
    id: String,
    until: Instant,
    ended: bool,
    _ongoing: Ongoing,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended {
            let (handle, endpoint, id) = (self.gateway.handle.clone(), self.endpoint.clone(), self.id.clone());
            tokio::spawn(async move {
                // Ended meanwhile, or the gateway is going down: nothing to do about it here.
                let _ = handle.cancel(&endpoint, &id).await;
            });
        }
    }
}

impl Watched {
    async fn view(&mut self) -> Result<JobView, Problem> {
        let view = self.gateway.job(&self.endpoint, &self.id).await?;
        self.ended = view.status.is_final();
        Ok(view)
    }
}

fn too_long() -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "no answer in time; the job was cancelled")
}

/// An error as clients of that API expect it.
fn failure(status: StatusCode, kind: &str, message: &str) -> Value {
    json!({ "error": { "message": message, "type": kind, "param": null, "code": status.as_u16() } })
}

fn failed_view(view: &JobView) -> (StatusCode, Value) {
    let text = view.error.as_deref().or(view.cause.as_deref()).unwrap_or("the job did not complete");
    match view.status {
        JobStatus::TimedOut => (StatusCode::GATEWAY_TIMEOUT, failure(StatusCode::GATEWAY_TIMEOUT, "timeout", text)),
        _ => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            (status, failure(status, "server_error", text))
        }
    }
}

async fn whole(mut job: Watched) -> Response<Body> {
    let gateway = Arc::clone(&job.gateway);
    tokio::select! {
        biased;
        _ = gateway.handle.ended(&job.id) => {}
        () = tokio::time::sleep_until(job.until.into()) => {}
        () = gateway.drain() => return Problem::shutting_down().into_response(),
    }
    let id = job.id.clone();
    let (status, body) = match job.view().await {
        Err(problem) => return problem.into_response(),
        Ok(view) if !view.status.is_final() => {
            let problem = too_long();
            (problem.status, failure(problem.status, "timeout", &problem.error).to_string().into())
        }
        Ok(view) if view.status != JobStatus::Completed => {
            let (status, body) = failed_view(&view);
            (status, body.to_string().into())
        }
        Ok(view) => {
            let output = match view.output {
                Some(output) if output.trim_ascii() != b"[]" => output,
                // A generator that does not aggregate: what it yielded is the answer.
                _ => match gateway.take_chunks(&id).await {
                    Ok(chunks) => chunks.concat().into(),
                    Err(problem) => return problem.into_response(),
                },
            };
            answer_of(&output)
        }
    };
    let mut response = job_response(&id, body);
    *response.status_mut() = status;
    response
}

/// The answer in an output: a list of one stands for its element; text is sent as it is; an object that is an error keeps its code.
fn answer_of(output: &Bytes) -> (StatusCode, Bytes) {
    let mut value: Value = match serde_json::from_slice(output) {
        Ok(value) => value,
        Err(_) => return (StatusCode::OK, output.clone()),
    };
    if let Value::Array(list) = &mut value
        && list.len() == 1
    {
        value = list.remove(0);
    }
    if let Value::String(text) = value {
        return (StatusCode::OK, text.into());
    }
    let error = value.get("error").filter(|error| error.is_object());
    let is_error = value.get("object").is_some_and(|object| object == "error") || error.is_some();
    let code = value.get("code").or_else(|| error?.get("code")).and_then(Value::as_u64);
    let status = code.and_then(|code| u16::try_from(code).ok()).and_then(|code| StatusCode::from_u16(code).ok());
    let status = match status.filter(|status| is_error && (400..600).contains(&status.as_u16())) {
        Some(status) => status,
        None if is_error => StatusCode::INTERNAL_SERVER_ERROR,
        None => StatusCode::OK,
    };
    (status, value.to_string().into())
}

/// What a piece of a job's stream is as server-sent events: text as it is, everything else as data.
fn events_of(chunk: &Bytes) -> Vec<u8> {
    match serde_json::from_slice::<Value>(chunk) {
        Ok(Value::String(text)) => text.into_bytes(),
        Ok(Value::Array(list)) => list.iter().flat_map(event_of).collect(),
        Ok(value) => event_of(&value),
        Err(_) => [b"data: ", &chunk[..], b"\n\n"].concat(),
    }
}

fn event_of(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        value => format!("data: {value}\n\n").into_bytes(),
    }
}

async fn streamed(mut job: Watched) -> Response<Body> {
    // A job that fails before it yields anything is an error with a status, not a stream.
    let first = match next_events(&mut job).await {
        Ok(first) => first,
        Err(response) => return response,
    };
    let header = HeaderValue::from_str(&job.id);
    let body = stream::unfold((first, Some(job)), |(ready, job)| async move {
        if let Some(bytes) = ready {
            return Some((Ok::<_, std::convert::Infallible>(bytes), (None, job)));
        }
        let mut job = job?;
        if job.ended {
            return None;
        }
        match next_events(&mut job).await {
            Ok(Some(bytes)) => Some((Ok(bytes), (None, Some(job)))),
            Ok(None) => None,
            Err(response) => {
                let text = format!("the stream broke off with {}", response.status());
                let event = event_of(&failure(response.status(), "server_error", &text));
                Some((Ok(event.into()), (None, None)))
            }
        }
    });
    let mut response = events_response(Body::from_stream(body));
    if let Ok(value) = header {
        response.headers_mut().insert("x-job-id", value);
    }
    response
}

/// The next events of a job; `None` after its end; an answer with a status if it went wrong.
async fn next_events(job: &mut Watched) -> Result<Option<Bytes>, Response<Body>> {
    let gateway = Arc::clone(&job.gateway);
    // The state before the pieces: what comes after it is there when the state was final.
    let view = job.view().await.map_err(IntoResponse::into_response)?;
    let mut chunks = gateway.take_chunks(&job.id).await.map_err(IntoResponse::into_response)?;
    if chunks.is_empty() && !view.status.is_final() {
        tokio::select! {
            biased;
            () = gateway.handle.chunk_there(&job.id) => {}
            () = tokio::time::sleep(gateway.config.times.heartbeat) => {
                if Instant::now() < job.until {
                    return Ok(Some(Bytes::from_static(HEARTBEAT)));
                }
                return Err(too_long().into_response());
            }
            () = tokio::time::sleep_until(job.until.into()) => return Err(too_long().into_response()),
            () = gateway.drain() => return Err(Problem::shutting_down().into_response()),
        }
        chunks = gateway.take_chunks(&job.id).await.map_err(IntoResponse::into_response)?;
        if chunks.is_empty() {
            let view = job.view().await.map_err(IntoResponse::into_response)?;
            // Pieces may have come between the two questions.
            chunks = gateway.take_chunks(&job.id).await.map_err(IntoResponse::into_response)?;
            if chunks.is_empty() {
                return ended(&view).map_err(failed_response);
            }
        }
    } else if chunks.is_empty() {
        return ended(&view).map_err(failed_response);
    }
    job.ended = false;
    Ok(Some(chunks.iter().flat_map(events_of).collect::<Vec<u8>>().into()))
}

/// What a stream without further pieces ends with: nothing if the job completed, the reason if it did not.
fn ended(view: &JobView) -> Result<Option<Bytes>, (StatusCode, Value)> {
    match view.status {
        JobStatus::Completed => Ok(None),
        JobStatus::InQueue | JobStatus::InProgress => Ok(Some(Bytes::from_static(HEARTBEAT))),
        JobStatus::Failed | JobStatus::Cancelled | JobStatus::TimedOut => Err(failed_view(view)),
    }
}

fn failed_response((status, body): (StatusCode, Value)) -> Response<Body> {
    let mut response = json_response(body.to_string());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_errors_are_taken_out_of_what_the_worker_returned() {
        let read = |text: &str| {
            let (status, body) = answer_of(&Bytes::from(text.to_owned()));
            (status.as_u16(), String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(read(r#"[{"id":"x"}]"#), (200, r#"{"id":"x"}"#.to_owned()));
        assert_eq!(read(r#"{"id":"x"}"#).0, 200);
        assert_eq!(read(r#""{\"raw\":1}""#), (200, r#"{"raw":1}"#.to_owned()));
        assert_eq!(read(r#"{"object":"error","code":404,"message":"no model"}"#).0, 404);
        assert_eq!(read(r#"{"error":{"code":400,"message":"bad"}}"#).0, 400);
        assert_eq!(read(r#"{"error":{"message":"bad"}}"#).0, 500);
    }

    #[test]
    fn pieces_become_events() {
        let read = |text: &str| String::from_utf8(events_of(&Bytes::from(text.to_owned()))).expect("text");
        assert_eq!(read(r#""data: {}\n\n""#), "data: {}\n\n");
        assert_eq!(read(r#"{"a":1}"#), "data: {\"a\":1}\n\n");
        assert_eq!(read(r#"[{"a":1},"data: x\n\n"]"#), "data: {\"a\":1}\n\ndata: x\n\n");
    }
}
