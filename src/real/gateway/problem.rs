//! Refusals: as the client API words them (`{"error", "reason"}`) and as the management API does (RFC 9457).

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::super::core::api::Refusal;

/// Why a request is refused. Holds no secrets and nothing of the request's body but the offending field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub reason: &'static str,
    /// For people: what is wrong and what to do.
    pub error: String,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u64>,
    /// The fields that are wrong, with what is wrong about them (management API).
    pub fields: Vec<(String, String)>,
}

/// The platform's words for a path of the other kind of endpoint.
pub const WRONG_KIND: &str = "not allowed for QB API";

impl Problem {
    /// A refusal.
    pub fn new(status: StatusCode, reason: &'static str, error: impl Into<String>) -> Problem {
        Problem { status, reason, error: error.into(), retry_after: None, fields: Vec::new() }
    }

    /// The request itself is wrong (400).
    pub fn bad(error: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", error)
    }

    /// No such thing (404).
    pub fn not_found(what: &str) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", format!("no such {what}"))
    }

    /// A path for the other kind of endpoint.
    pub fn wrong_kind() -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "wrong_kind", WRONG_KIND)
    }

    /// No new work while the gateway goes down.
    pub fn shutting_down() -> Problem {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "the gateway is going down").retry_after(5)
    }

    /// The same, with a hint when to try again.
    pub fn retry_after(mut self, seconds: u64) -> Problem {
        self.retry_after = Some(seconds);
        self
    }

    /// The same, with a wrong field.
    pub fn field(mut self, path: impl Into<String>, detail: impl Into<String>) -> Problem {
        self.fields.push((path.into(), detail.into()));
        self
    }

    fn respond(self, content_type: &'static str, body: &Value) -> Response<Body> {
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = json!({ "error": self.error, "reason": self.reason });
        self.respond("application/json", &body)
    }
}

/// A refusal by the management API.
#[derive(Debug)]
pub struct Managed(pub Problem);

impl From<Problem> for Managed {
    fn from(problem: Problem) -> Managed {
        Managed(problem)
    }
}

impl From<Refusal> for Managed {
    fn from(refusal: Refusal) -> Managed {
        Managed(refusal.into())
    }
}

impl IntoResponse for Managed {
    fn into_response(self) -> Response<Body> {
        let Managed(problem) = self;
        let errors: Vec<Value> =
            problem.fields.iter().map(|(path, detail)| json!({ "path": path, "detail": detail })).collect();
        let title = problem.status.canonical_reason().unwrap_or("Error");
        let mut body = json!({
            "title": title, "status": problem.status.as_u16(), "detail": problem.error, "reason": problem.reason,
        });
        if !errors.is_empty() {
            body["errors"] = Value::Array(errors);
        }
        problem.respond("application/problem+json", &body)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match refusal {
            Refusal::UnknownEndpoint => Problem::not_found("endpoint"),
            Refusal::UnknownJob => Problem::not_found("job"),
            Refusal::UnknownWorker => Problem::not_found("worker"),
            Refusal::QueueFull => {
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "queue_full", "the queue of this endpoint is full")
                    .retry_after(5)
            }
            Refusal::WrongState => {
                Problem::new(StatusCode::BAD_REQUEST, "wrong_state", "only a failed or timed-out job can be retried")
            }
            Refusal::WrongKind => Problem::wrong_kind(),
            Refusal::StoreUnavailable => {
                Problem::new(unavailable, "store_unavailable", "the store cannot take it now").retry_after(5)
            }
            Refusal::ShuttingDown => Problem::shutting_down(),
            Refusal::Exists => Problem::new(StatusCode::CONFLICT, "exists", "ids are never used again"),
            Refusal::Invalid => {
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the settings are not allowed")
            }
        }
    }
}
