//! API keys by the management API: made (shown once), listed without themselves, revoked.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::ids::is_id;
use super::super::keys;
use super::super::store::KeyRow;
use super::body::{Bounds, receive_whole};
use super::jobs::{Shared, json_response};
use super::manage::ManageAnswer;
use super::problem::Problem;

/// What a new key is to be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewKey {
    /// For people; at most 100 characters.
    #[serde(default)]
    label: String,
    /// Endpoints that it is good for; all, and this API, unless given.
    #[serde(default)]
    endpoints: Vec<String>,
}

fn document(row: &KeyRow) -> Value {
    json!({
        "id": row.id, "label": row.label, "endpoints": row.endpoints, "createdMs": row.created_ms,
        "revokedMs": row.revoked_ms,
    })
}

fn unreadable(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "the keys cannot be read");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the keys cannot be read now")
}

async fn stored(gateway: &super::Gateway) -> Result<Vec<KeyRow>, Problem> {
    let reader = Arc::clone(gateway.handle.reader());
    let read = tokio::task::spawn_blocking(move || reader.keys()).await;
    read.map_err(unreadable)?.map_err(unreadable)
}

/// GET `/keys`.
pub async fn list(State(gateway): Shared, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let rows = stored(&gateway).await?;
    let all: Vec<Value> = rows.iter().map(document).collect();
    Ok(json_response(json!({ "keys": all }).to_string()))
}

/// POST `/keys`: 201 and the key, this once.
pub async fn create(State(gateway): Shared, request: Request) -> ManageAnswer {
    let (parts, body) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let bounds = Bounds::client(gateway.config.limits.manage_body, &gateway.config.limits, &gateway.config.times);
    let body = receive_whole(&gateway.buffered, &parts.headers, body, bounds).await?;
    let wanted: NewKey = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("the body does not fit: {error}"))
    })?;
    let label_fits = wanted.label.chars().count() <= 100 && !wanted.label.chars().any(char::is_control);
    if !label_fits || !wanted.endpoints.iter().all(|id| is_id(id)) {
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "some settings are not allowed");
        let problem = if label_fits { problem } else { problem.field("/label", "at most 100 printable characters") };
        return Err(problem.field("/endpoints", "ids of 1 to 64 letters, digits, `-` and `_`").into());
    }
    let (key, row) = keys::create(&wanted.label, wanted.endpoints);
    let mut shown = document(&row);
    gateway.handle.key(row).await.map_err(Problem::from)?;
    shown["key"] = json!(key);
    let mut response: Response<_> = json_response(shown.to_string());
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

/// DELETE `/keys/{id}`: 204; a key that was revoked before stays so.
pub async fn revoke(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let rows = stored(&gateway).await?;
    let row = rows.iter().find(|row| row.id == id).ok_or_else(|| Problem::not_found("key"))?;
    gateway.handle.key(keys::revoke(row)).await.map_err(Problem::from)?;
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
