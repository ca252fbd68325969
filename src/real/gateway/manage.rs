//! The management API: endpoints, their workers, releases and bills. Errors are problem documents (RFC 9457).

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::super::core::api::{EndpointView, Refusal};
use super::super::ids::{hex, is_id, random_bytes};
use super::Gateway;
use super::auth::Need;
use super::body::{Bounds, receive_whole};
use super::jobs::{Shared, json_response};
use super::json::{self, Mode};
use super::listen::Peer;
use super::manage_shape::{Wanted, Wrong, changed, created, endpoint, release, worker};
use super::problem::{Managed, Problem};
use super::query::Query;

/// The answer of a management handler.
pub type ManageAnswer = Result<Response<Body>, Managed>;

impl Gateway {
    /// Lets an operator's request in.
    pub fn admit_operator(&self, parts: &Parts) -> Result<(), Problem> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        self.authorize(&parts.headers, peer, Need::Management)
    }

    async fn endpoint_view(&self, id: &str) -> Result<EndpointView, Problem> {
        let views = self.handle.endpoints().await;
        views.into_iter().find(|view| view.config.id == id).ok_or_else(|| Problem::not_found("endpoint"))
    }

    async fn wanted(&self, parts: &Parts, body: Body) -> Result<Wanted, Problem> {
        let bounds = Bounds::client(self.config.limits.manage_body, &self.config.limits, &self.config.times);
        let body = receive_whole(&self.buffered, &parts.headers, body, bounds).await?;
        json::members(&body, Mode::Strict)
            .map_err(|fault| Problem::bad(format!("the body must be a JSON object: {fault}")))?;
        let unfit = |error| {
            let text = format!("the body does not fit: {error}");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text)
        };
        let mut value: Value = serde_json::from_slice(&body).map_err(unfit)?;
        let mut wrong = Vec::new();
        plain(&mut value, "", &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong_fields(wrong));
        }
        serde_json::from_value(value).map_err(unfit)
    }
}

/// 5.0 is a whole number, as JSON Schema has it; a null is not a setting that was left out.
fn plain(value: &mut Value, path: &str, wrong: &mut Vec<Wrong>) {
    match value {
        Value::Null => wrong.push((path.to_owned(), "a value; leave the setting out for its default".to_owned())),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|n| number.is_f64() && n.fract() == 0.0 && (0.0..1e15).contains(n));
            if let Some(whole) = whole {
                *value = json!(whole as u64);
            }
        }
        Value::Array(items) => {
            items.iter_mut().enumerate().for_each(|(at, item)| plain(item, &format!("{path}/{at}"), wrong));
        }
        // The schema of the inputs is the user's own: nothing in it is a setting.
        Value::Object(map) => map
            .iter_mut()
            .filter(|(name, _)| *name != "inputSchema")
            .for_each(|(name, value)| plain(value, &format!("{path}/{name}"), wrong)),
        Value::Bool(_) | Value::String(_) => {}
    }
}

/// Scheme and host under which the client sees us.
fn base(gateway: &Gateway, parts: &Parts) -> String {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if gateway.config.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{host}")
}

fn wrong_fields(wrong: Vec<Wrong>) -> Problem {
    let text = "some settings are not allowed";
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text);
    wrong.into_iter().fold(problem, |problem, (path, detail)| problem.field(path, detail))
}

fn refused((refusal, text): (Refusal, String)) -> Managed {
    let mut problem = Problem::from(refusal);
    if !text.is_empty() {
        problem.error = text;
    }
    Managed(problem)
}

/// GET `/serverless`.
pub async fn list(State(gateway): Shared, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let base = base(&gateway, &parts);
    let views = gateway.handle.endpoints().await;
    let all: Vec<Value> = views.iter().map(|view| endpoint(view, &base, &gateway.config.gpu_classes)).collect();
    Ok(json_response(json!({ "endpoints": all }).to_string()))
}

/// POST `/serverless`: 201 and the endpoint.
pub async fn create(State(gateway): Shared, request: Request) -> ManageAnswer {
    let (parts, body) = request.into_parts();
    gateway.admit_operator(&parts)?;
    if gateway.draining() {
        return Err(Problem::shutting_down().into());
    }
    let base = base(&gateway, &parts);
    let wanted = gateway.wanted(&parts, body).await?;
    let id = match &wanted.id {
        Some(id) if is_id(id) => id.clone(),
        Some(_) => {
            let what = "1 to 64 letters, digits, `-` and `_`".to_owned();
            return Err(wrong_fields(vec![("/id".to_owned(), what)]).into());
        }
        None => fresh_id(wanted.name.as_deref().unwrap_or("")),
    };
    let config = created(wanted, id, &gateway.config.gpu_classes).map_err(wrong_fields)?;
    let view = gateway.handle.create(config).await.map_err(refused)?;
    gateway.catalog.forget();
    let body = endpoint(&view, &base, &gateway.config.gpu_classes).to_string();
    let mut response = json_response(body);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(place) = HeaderValue::from_str(&format!("/management/v2/serverless/{}", view.config.id)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    Ok(response)
}

/// A name that says whose it is and was never used: the platform's ids are random, too.
fn fresh_id(name: &str) -> String {
    let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
    let random = hex(&random_bytes()[..5]);
    if plain.is_empty() { random } else { format!("{plain}-{random}") }
}

/// GET `/serverless/{id}`.
pub async fn show(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let view = gateway.endpoint_view(&id).await?;
    let body = endpoint(&view, &base(&gateway, &parts), &gateway.config.gpu_classes);
    Ok(json_response(body.to_string()))
}

/// PATCH `/serverless/{id}`.
pub async fn update(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, body) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let base = base(&gateway, &parts);
    let view = gateway.endpoint_view(&id).await?;
    let wanted = gateway.wanted(&parts, body).await?;
    if wanted.id.as_ref().is_some_and(|other| *other != id) || wanted.kind.is_some_and(|kind| kind != view.config.kind)
    {
        let field = if wanted.kind.is_some() { "/type" } else { "/id" };
        return Err(wrong_fields(vec![(field.to_owned(), "cannot be changed".to_owned())]).into());
    }
    let config = changed(view.config, wanted, &gateway.config.gpu_classes).map_err(wrong_fields)?;
    let view = gateway.handle.update(config).await.map_err(refused)?;
    gateway.catalog.forget();
    Ok(json_response(endpoint(&view, &base, &gateway.config.gpu_classes).to_string()))
}

/// DELETE `/serverless/{id}`: 204.
pub async fn delete(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    gateway.handle.delete(&id).await?;
    gateway.catalog.forget();
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// GET `/serverless/{id}/workers`.
pub async fn workers(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let view = gateway.endpoint_view(&id).await?;
    let views = gateway.handle.workers(&id).await?;
    let now_ms = gateway.handle.clock().unix_ms(gateway.handle.clock().now());
    let all: Vec<Value> = views.iter().map(|view| worker(view, now_ms)).collect();
    let count = |state: &str| all.iter().filter(|worker| worker["status"] == state).count();
    let summary = json!({
        "running": count("RUNNING"), "idle": count("IDLE"), "initializing": count("INITIALIZING"),
        "throttled": count("THROTTLED"), "unhealthy": count("UNHEALTHY"), "total": all.len(),
    });
    let body = json!({ "workers": all, "summary": summary, "endpointVersion": view.version });
    Ok(json_response(body.to_string()))
}

/// GET `/serverless/{id}/releases`: newest first.
pub async fn releases(State(gateway): Shared, Path(id): Path<String>, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let views = gateway.handle.releases(&id).await?;
    let classes = &gateway.config.gpu_classes;
    let all: Vec<Value> =
        views.iter().enumerate().map(|(at, view)| release(view, views.get(at + 1), classes)).collect();
    let latest = views.first().map_or(0, |view| view.workers);
    let total: u32 = views.iter().map(|view| view.workers).sum();
    let percent = if total == 0 { 100.0 } else { f64::from(latest) * 100.0 / f64::from(total) };
    let rollout = json!({
        "inProgress": latest < total, "workersOnLatest": latest, "workersTotal": total, "percentOnLatest": percent,
    });
    Ok(json_response(json!({ "rollout": rollout, "releases": all }).to_string()))
}

/// GET `/billing/serverless?serverlessId=`: totals since the store was made, both profiles.
pub async fn bills(State(gateway): Shared, request: Request) -> ManageAnswer {
    let (parts, _) = request.into_parts();
    gateway.admit_operator(&parts)?;
    let query = Query::new(parts.uri.query());
    for name in ["startTime", "endTime", "bucketSize", "lastN"] {
        if query.get(name).is_some() {
            let text = format!("`{name}` cannot be used: the bill is one total since the store was made");
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", text)
                .field(name, "leave it out")
                .into());
        }
    }
    let wanted = query.get("serverlessId");
    if let Some(id) = &wanted {
        gateway.endpoint_view(id).await?;
    }
    let bills = gateway.handle.bills(wanted.as_deref()).await;
    let records: Vec<Value> = bills
        .iter()
        .map(|bill| {
            let billed: serde_json::Map<String, Value> =
                bill.billed_s.iter().map(|(kind, seconds)| (kind.clone(), json!(seconds))).collect();
            json!({
                "serverlessId": bill.endpoint, "totalAmount": bill.documented_usd, "gpuAmount": bill.documented_usd,
                "cpuAmount": 0.0, "diskAmount": 0.0, "feeAmount": 0.0, "profiles":
                { "seed": bill.seed_usd, "documented": bill.documented_usd }, "billedSeconds": billed,
            })
        })
        .collect();
    Ok(json_response(json!({ "records": records }).to_string()))
}
