//! The handlers of the built-in workers. What `echo` does besides answering is told by the job itself, so that a client can try
//! out every way in which a job can go.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::super::output;
use crate::worker::{Cancel, Context, Failed, Job, Outcome};

/// Said at the end of `worker echo --help`.
pub const ECHO_HELP: &str = "\
Fields of a job's input that make it do more, in this order:
  progress: VALUE or [VALUE, ...]   report progress
  chunks: N or [VALUE, ...]         stream pieces, the numbers from 0 to N-1 or these values
  delay_s: SECONDS                  take this long; divided evenly between the pieces if there are any
  exit: CODE                        end the process with this code, saying nothing
  fail: TEXT                        fail with this text
  refresh: true                     ask for a fresh worker";

/// Longest that a job may ask for.
const LONGEST_S: f64 = 86_400.0;
/// Most pieces that a job may ask for by their number.
const MOST_PIECES: u64 = 100_000;

/// A sleep of nothing would still last until the timer's next millisecond.
pub async fn rest(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

/// Answers with the input, after doing what it asks for.
pub async fn echo(job: Job, context: Context) -> Result<Outcome, Failed> {
    let input = &job.input;
    for value in listed(input.get("progress")) {
        context.progress(&value).await;
    }
    let delay = match input.get("delay_s") {
        None => Duration::ZERO,
        Some(delay) => span(delay, "delay_s")?,
    };
    let pieces = pieces(input.get("chunks"))?;
    if pieces.is_empty() {
        rest(delay).await;
    }
    for piece in &pieces {
        context.stream(piece).await;
        rest(delay / u32::try_from(pieces.len()).unwrap_or(u32::MAX)).await;
    }
    if let Some(code) = input.get("exit") {
        let code = code.as_i64().and_then(|code| i32::try_from(code).ok());
        leave(code.ok_or_else(|| Failed::new("exit: allowed: an exit code"))?);
    }
    if let Some(text) = input.get("fail").filter(|fail| **fail != Value::Bool(false)) {
        return Err(Failed::new(text.as_str().map_or_else(|| "failed as told".to_owned(), str::to_owned)));
    }
    let outcome = if pieces.is_empty() { Outcome::output(job.input.clone()) } else { Outcome::output(json!(pieces)) };
    Ok(if input.get("refresh") == Some(&Value::Bool(true)) { outcome.and_refresh() } else { outcome })
}

/// Keeps one CPU busy; stops when the job is cancelled.
pub async fn burn(job: Job, context: Context, otherwise: f64) -> Result<Outcome, Failed> {
    let length = length(&job.input, otherwise)?;
    let cancel = context.cancel();
    tokio::task::spawn_blocking(move || spin(length, &cancel)).await?;
    Ok(slept(length))
}

fn spin(length: Duration, cancel: &Cancel) {
    let begin = Instant::now();
    let mut state = 1_u64;
    while begin.elapsed() < length && !cancel.is_cancelled() {
        for _ in 0..10_000 {
            state = std::hint::black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        }
    }
}

/// `input.seconds`, or `otherwise`.
pub fn length(input: &Value, otherwise: f64) -> Result<Duration, Failed> {
    match input.get("seconds") {
        None => Ok(Duration::from_secs_f64(otherwise)),
        Some(seconds) => span(seconds, "seconds"),
    }
}

/// What `sleep` and `burn` answer.
pub fn slept(length: Duration) -> Outcome {
    Outcome::output(json!({ "seconds": length.as_secs_f64() }))
}

fn span(value: &Value, field: &str) -> Result<Duration, Failed> {
    match value.as_f64() {
        Some(seconds) if (0.0..=LONGEST_S).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(Failed::new(format!("{field}: {value}; allowed: seconds from 0 to {LONGEST_S}"))),
    }
}

fn pieces(chunks: Option<&Value>) -> Result<Vec<Value>, Failed> {
    match chunks {
        Some(Value::Number(count)) => match count.as_u64() {
            Some(count) if count <= MOST_PIECES => Ok((0..count).map(Value::from).collect()),
            _ => Err(Failed::new(format!("chunks: {count}; allowed: 0 to {MOST_PIECES}, or a list"))),
        },
        other => Ok(listed(other)),
    }
}

fn listed(value: Option<&Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::Array(values)) => values.clone(),
        Some(value) => vec![value.clone()],
    }
}

#[allow(clippy::exit, reason = "imitates a handler that ends its process: nothing is posted, nothing is tidied up")]
fn leave(code: i32) -> ! {
    output::note(&format!("leaving with code {code}, as the job asked for"));
    std::process::exit(code)
}
