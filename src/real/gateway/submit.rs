//! A client's job request: read, checked, turned into a submission (contract §4.2).

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde_json::Value;

use super::super::core::api::Submission;
use super::super::spans::TraceParent;
use super::catalog::Known;
use super::json::{self, Fault, Members, Mode};
use super::problem::Problem;
use crate::scheduler::JobPolicy;
use crate::units::Millis;

/// Longest TTL and execution timeout: 7 days in ms.
const WEEK_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Shortest execution timeout in ms.
const EXECUTION_MIN_MS: u64 = 5_000;
/// Shortest TTL in ms.
pub const TTL_MIN_MS: u64 = 10_000;
/// Longest TTL in ms.
pub const TTL_MAX_MS: u64 = WEEK_MS;
/// Longest webhook address and idempotency key.
const TEXT_MAX: usize = 2_048;
const KEY_MAX: usize = 255;

/// Reads a job request. The top level's unknown members are dropped, as the platform does.
pub fn submission(known: &Known, sync: bool, headers: &HeaderMap, body: &Bytes) -> Result<Submission, Problem> {
    let (members, _) = json::members(body, Mode::Strict)
        .map_err(|fault| Problem::bad(format!("the body must be a JSON object with `input`: {fault}")))?;
    let Some(input) = member(&members, body, "input")? else {
        return Err(Problem::bad("`input` is missing: send {\"input\": {...}}"));
    };
    check_schema(known, &input)?;
    let s3 = member(&members, body, "s3Config")?.filter(|s3| &s3[..] != b"null");
    if s3.as_ref().is_some_and(|s3| s3[0] != b'{') {
        return Err(Problem::bad("`s3Config` must be an object"));
    }
    Ok(Submission {
        endpoint: known.config.id.clone(),
        sync,
        input,
        s3,
        webhook: webhook(&members, body)?,
        policy: policy(&members, body)?,
        idempotency_key: idempotency_key(headers)?,
        trace: headers.get("traceparent").and_then(|text| TraceParent::parse(text.to_str().ok()?)),
    })
}

/// A submission made by the gateway itself, for the OpenAI routes.
pub fn made(known: &Known, input: Bytes) -> Result<Submission, Problem> {
    check_schema(known, &input)?;
    Ok(Submission {
        endpoint: known.config.id.clone(),
        sync: true,
        input,
        s3: None,
        webhook: None,
        policy: JobPolicy::default(),
        idempotency_key: None,
        trace: None,
    })
}

fn member(members: &Members<'_>, body: &Bytes, name: &str) -> Result<Option<Bytes>, Problem> {
    let twice = |fault: Fault| Problem::bad(format!("`{name}`: {fault}"));
    Ok(members.only(name).map_err(twice)?.map(|range| body.slice(range)))
}

fn check_schema(known: &Known, input: &Bytes) -> Result<(), Problem> {
    let validator = match &known.schema {
        None => return Ok(()),
        Some(Ok(validator)) => validator,
        Some(Err(why)) => {
            let text = format!("the input schema of this endpoint is no JSON Schema ({why}); mend it first");
            return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "bad_input_schema", text));
        }
    };
    let value: Value =
        serde_json::from_slice(input).map_err(|error| Problem::bad(format!("`input` cannot be read: {error}")))?;
    let Err(error) = validator.validate(&value) else { return Ok(()) };
    let place = error.instance_path().to_string();
    let what: String = error.to_string().chars().take(400).collect();
    let text = format!("`input{place}` does not fit the endpoint's input schema: {what}");
    Err(Problem::new(StatusCode::BAD_REQUEST, "input_schema", text).field(format!("/input{place}"), what))
}

fn webhook(members: &Members<'_>, body: &Bytes) -> Result<Option<String>, Problem> {
    let value = match member(members, body, "webhook")? {
        Some(value) if !matches!(&value[..], b"null" | b"\"\"") => value,
        Some(_) | None => return Ok(None),
    };
    let wrong = || {
        let what = "`webhook` must be an http or https address without user name and password";
        Problem::bad(format!("{what}, at most {TEXT_MAX} characters"))
    };
    let text: String = serde_json::from_slice(&value).map_err(|_| wrong())?;
    let url = reqwest::Url::parse(&text).map_err(|_| wrong())?;
    let fine = ["http", "https"].contains(&url.scheme())
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && text.len() <= TEXT_MAX;
    if fine { Ok(Some(text)) } else { Err(wrong()) }
}

fn policy(members: &Members<'_>, body: &Bytes) -> Result<JobPolicy, Problem> {
    let value = match member(members, body, "policy")? {
        Some(value) if &value[..] != b"null" => value,
        Some(_) | None => return Ok(JobPolicy::default()),
    };
    let (fields, _) =
        json::members(&value, Mode::Strict).map_err(|fault| Problem::bad(format!("`policy`: {fault}")))?;
    let field = |name: &str| -> Result<Option<Value>, Problem> {
        let raw = member(&fields, &value, name)?;
        let parsed = raw.map(|raw| serde_json::from_slice(&raw)).transpose();
        let parsed = parsed.map_err(|error| Problem::bad(format!("`policy.{name}`: {error}")))?;
        Ok(parsed.filter(|value: &Value| !value.is_null()))
    };
    let ms = |name: &str, least: u64, or_zero: bool| -> Result<Option<u64>, Problem> {
        let Some(value) = field(name)? else { return Ok(None) };
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64));
        let fits = |ms: &u64| (least..=WEEK_MS).contains(ms) || (or_zero && *ms == 0);
        let zero = if or_zero { ", or 0 for none" } else { "" };
        let range = format!("`policy.{name}` is {value}; allowed are whole ms from {least} to {WEEK_MS}{zero}");
        whole.filter(fits).map(Some).ok_or_else(|| Problem::bad(range))
    };
    let low_priority = match field("lowPriority")? {
        None => false,
        Some(Value::Bool(low)) => low,
        Some(_) => return Err(Problem::bad("`policy.lowPriority` must be true or false")),
    };
    // 0 switches the timeout off: 49 days, longer than any TTL.
    let execution =
        ms("executionTimeout", EXECUTION_MIN_MS, true)?.map(|ms| if ms == 0 { u64::from(u32::MAX) } else { ms });
    let millis = |ms: Option<u64>| ms.and_then(|ms| u32::try_from(ms).ok()).and_then(Millis::new);
    Ok(JobPolicy { ttl: millis(ms("ttl", TTL_MIN_MS, false)?), execution_timeout: millis(execution), low_priority })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok(text) if (1..=KEY_MAX).contains(&text.len()) => Ok(Some(text.to_owned())),
        _ => Err(Problem::bad(format!("`Idempotency-Key` must have 1 to {KEY_MAX} visible ASCII characters"))),
    }
}
