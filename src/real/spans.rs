//! Traces for OpenTelemetry: what became of a job, and how long each phase of a worker's start took, as spans sent to a collector
//! over OTLP/HTTP in its JSON encoding (OpenTelemetry specification, OTLP 1.5).
//!
//! A span is made when its end is on record, from the record: one per job from its acceptance to its end, below it one for the time
//! in the queue and one for each attempt; one per start of a worker, below it one for each phase. A job continues the trace of the
//! request that brought it, if that had a `traceparent` (W3C Trace Context); it is kept in memory, so a job that outlives its
//! gateway begins a trace of its own. A collector that is away or slow costs spans, never jobs: they are counted and said.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::store::{JobEnd, JobRow};
use crate::scheduler::JobOutcome;

/// Groups of spans (a job, a start) that wait to be sent; more are dropped.
const WAITING: usize = 4_096;
/// Spans in one request.
const BATCH: usize = 512;
/// Longest wait of a span for company.
const LINGER: Duration = Duration::from_secs(1);
/// A collector has this long to answer, and is asked this often.
const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;

/// Which trace a request belongs to, and which of its spans it was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
}

impl TraceParent {
    /// Reads the value of a `traceparent` header: `00-{trace}-{span}-{flags}`. What is not one is no parent.
    pub fn parse(text: &str) -> Option<TraceParent> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let later = version != "00";
        if version.len() != 2 || version == "ff" || flags.len() != 2 || (parts.next().is_some() && !later) {
            return None;
        }
        let parent = TraceParent { trace: bytes(trace)?, span: bytes(span)? };
        (parent.trace != [0; 16] && parent.span != [0; 8]).then_some(parent)
    }
}

/// Lower-case hexadecimal digits, exactly as many as fit.
fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut found = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return None;
    }
    for (at, byte) in found.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(found)
}

/// A finished piece of work.
#[derive(Clone, Debug)]
pub struct Span {
    trace: [u8; 16],
    id: [u8; 8],
    parent: Option<[u8; 8]>,
    name: String,
    /// OTLP: 1 internal, 2 server, 4 producer, 5 consumer.
    kind: u8,
    start_us: u64,
    end_us: u64,
    attributes: Vec<(&'static str, Value)>,
    error: Option<String>,
}

/// The spans of a job that has ended.
pub fn of_job(row: &JobRow, end: &JobEnd, parent: Option<TraceParent>) -> Vec<Span> {
    let key = key(row);
    let TraceParent { trace, span: root } = below(row, parent);
    let part = |name: String, kind: u8, start_ms: u64, end_ms: u64| Span {
        trace,
        id: first(&key, &name),
        parent: Some(root),
        name,
        kind,
        start_us: start_ms * 1_000,
        end_us: end_ms.max(start_ms) * 1_000,
        attributes: Vec::new(),
        error: None,
    };
    let mut job = part(format!("job {}", row.endpoint), 2, row.submitted_ms, end.finished_ms);
    (job.id, job.parent) = (root, parent.map(|parent| parent.span));
    job.attributes = vec![
        ("thermocline.endpoint", json!(row.endpoint)),
        ("thermocline.job.id", json!(row.id)),
        ("thermocline.job.outcome", json!(outcome_name(end.outcome))),
        ("thermocline.job.cause", json!(end.cause)),
        ("thermocline.job.retries", json!(end.retries)),
    ];
    let good = end.outcome == JobOutcome::Completed;
    job.error = (!good).then(|| end.error.clone().unwrap_or_else(|| end.cause.clone()));
    let mut spans = vec![job];
    let first_start = end.attempts.first().map_or(end.finished_ms, |attempt| attempt.started_ms);
    spans.push(part("queue".to_owned(), 1, row.submitted_ms, first_start));
    for (number, attempt) in (1..).zip(&end.attempts) {
        let ended = attempt.ended_ms.unwrap_or(end.finished_ms);
        let mut span = part(format!("attempt {number}"), 5, attempt.started_ms, ended);
        span.attributes = vec![("thermocline.worker", json!(attempt.worker)), ("thermocline.end", json!(attempt.end))];
        span.error = (attempt.end != "completed").then(|| attempt.end.clone());
        spans.push(span);
    }
    spans
}

/// Where the spans of a job that this one feeds belong: below its own.
pub fn below(row: &JobRow, parent: Option<TraceParent>) -> TraceParent {
    let key = key(row);
    TraceParent { trace: parent.map_or_else(|| first(&key, "trace"), |parent| parent.trace), span: first(&key, "job") }
}

fn key(row: &JobRow) -> String {
    format!("{}/{}/{}", row.endpoint, row.id, row.generation)
}

/// The spans of a worker's start: `phases` are the ends of its phases, in their order, in µs since 1970 like `began_us`.
pub fn of_start(endpoint: &str, worker: &str, began_us: u64, phases: &[(&'static str, u64)]) -> Vec<Span> {
    let key = format!("{endpoint}/{worker}/{began_us}");
    let (trace, root) = (first(&key, "trace"), first(&key, "start"));
    let ready_us = phases.iter().map(|(_, at)| *at).max().unwrap_or(began_us);
    let span = |id, parent, name: String, start_us: u64, end_us: u64, attributes| Span {
        trace,
        id,
        parent,
        name,
        kind: 1,
        start_us,
        end_us: end_us.max(start_us),
        attributes,
        error: None,
    };
    let about = vec![("thermocline.endpoint", json!(endpoint)), ("thermocline.worker", json!(worker))];
    let mut spans = vec![span(root, None, format!("cold start {endpoint}"), began_us, ready_us, about)];
    let mut since = began_us;
    for (phase, at) in phases {
        spans.push(span(first(&key, phase), Some(root), (*phase).to_owned(), since, *at, Vec::new()));
        since = *at;
    }
    spans
}

fn outcome_name(outcome: JobOutcome) -> &'static str {
    match outcome {
        JobOutcome::Completed => "completed",
        JobOutcome::Failed => "failed",
        JobOutcome::TimedOut => "timed_out",
        JobOutcome::Cancelled => "cancelled",
    }
}

/// An id that follows from what it is the id of: a span that is sent twice is the same span.
fn first<const N: usize>(key: &str, what: &str) -> [u8; N] {
    let digest = Sha256::new().chain_update(key).chain_update([0]).chain_update(what).finalize();
    let mut id = [0; N];
    id.copy_from_slice(&digest[..N]);
    id
}

/// Where finished spans go. Never blocks.
#[derive(Clone, Debug)]
pub struct Sink {
    groups: Sender<Vec<Span>>,
    dropped: Arc<AtomicU64>,
}

impl Sink {
    /// Hands spans over, or counts them as dropped.
    pub fn send(&self, spans: Vec<Span>) {
        let count = spans.len() as u64;
        if self.groups.try_send(spans).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Spans that never reached the collector so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Sends what comes in to `collector` (`http://host:4318`; the path `/v1/traces` is added unless it has one) until every
/// [`Sink`] is gone, then what is left.
///
/// # Errors
/// If `collector` is no http(s) address.
pub fn exporter(collector: &str) -> Result<(Sink, impl Future<Output = ()> + Send + use<>), String> {
    let wrong = |why: &str| format!("`{collector}` is no address of a collector ({why}); write http://host:4318");
    let mut url = reqwest::Url::parse(collector).map_err(|error| wrong(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) {
        return Err(wrong("neither http nor https"));
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    // Installed by whoever comes first; a second time is refused and harmless.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client =
        reqwest::Client::builder().timeout(TIMEOUT).user_agent(concat!("thermocline/", env!("CARGO_PKG_VERSION")));
    let client = client.build().map_err(|error| wrong(&error.to_string()))?;
    let (groups, waiting) = channel(WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let sink = Sink { groups, dropped: Arc::clone(&dropped) };
    Ok((sink, export(client, url, waiting, dropped)))
}

async fn export(client: reqwest::Client, url: reqwest::Url, mut groups: Receiver<Vec<Span>>, dropped: Arc<AtomicU64>) {
    let mut away = false;
    while let Some(mut batch) = groups.recv().await {
        let full = async {
            while batch.len() < BATCH {
                let Some(more) = groups.recv().await else { return };
                batch.extend(more);
            }
        };
        // Whatever came until then goes.
        let _ = tokio::time::timeout(LINGER, full).await;
        let sent = post(&client, &url, &document(&batch)).await;
        if let Err(error) = &sent {
            dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
            if !away {
                tracing::warn!(error, "spans cannot be sent to the collector; they are dropped until it answers");
            }
        } else if away {
            tracing::info!("the collector takes spans again");
        }
        away = sent.is_err();
    }
}

async fn post(client: &reqwest::Client, url: &reqwest::Url, document: &Value) -> Result<(), String> {
    let mut pause = Duration::from_millis(200);
    for attempt in 1.. {
        let answer = client.post(url.clone()).json(document).send().await;
        let (why, again) = match answer {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            // OTLP/HTTP: these may be tried again, any other answer is final.
            Ok(answer) => {
                (format!("status {}", answer.status()), [429, 502, 503, 504].contains(&answer.status().as_u16()))
            }
            Err(error) => (error.without_url().to_string(), true),
        };
        if !again || attempt == TRIES {
            return Err(why);
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    Ok(())
}

/// The request: `ExportTraceServiceRequest` in its JSON encoding (ids in hexadecimal, 64-bit numbers as texts).
fn document(spans: &[Span]) -> Value {
    let spans: Vec<Value> = spans.iter().map(encoded).collect();
    let attributes =
        attributes(&[("service.name", json!("thermocline")), ("service.version", json!(env!("CARGO_PKG_VERSION")))]);
    json!({ "resourceSpans": [{
        "resource": { "attributes": attributes },
        "scopeSpans": [{ "scope": { "name": "thermocline", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
}

fn encoded(span: &Span) -> Value {
    let nanos = |us: u64| format!("{us}000");
    let mut encoded = json!({
        "traceId": hex(&span.trace),
        "spanId": hex(&span.id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": nanos(span.start_us),
        "endTimeUnixNano": nanos(span.end_us),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = &span.parent {
        encoded["parentSpanId"] = json!(hex(parent));
    }
    if let Some(error) = &span.error {
        let message: String = error.chars().take(1_000).collect();
        encoded["status"] = json!({ "code": 2, "message": message });
    }
    encoded
}

fn attributes(all: &[(&'static str, Value)]) -> Value {
    let encoded = all.iter().map(|(key, value)| {
        let value = match value {
            Value::Number(number) => json!({ "intValue": number.to_string() }),
            other => json!({ "stringValue": other.as_str().unwrap_or_default() }),
        };
        json!({ "key": key, "value": value })
    });
    encoded.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::store::Attempt;
    use super::*;
    use crate::scheduler::JobPolicy;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn job() -> (JobRow, JobEnd) {
        let attempt = |worker: &str, started_ms, ended_ms, end: &str| Attempt {
            worker: worker.to_owned(),
            started_ms,
            ended_ms: Some(ended_ms),
            end: end.to_owned(),
        };
        let end = JobEnd {
            outcome: JobOutcome::Completed,
            cause: "completed".to_owned(),
            finished_ms: 9_000,
            delay_ms: 5_000,
            execution_ms: 3_000,
            worker: Some("w2-1".to_owned()),
            retries: 1,
            error: None,
            attempts: vec![attempt("w1-1", 2_000, 4_000, "worker_lost"), attempt("w2-1", 6_000, 9_000, "completed")],
            expires_ms: 0,
        };
        let row = JobRow {
            client_ref: 1,
            id: "j1".to_owned(),
            endpoint: "e".to_owned(),
            generation: 1,
            sync: false,
            policy: JobPolicy::default(),
            submitted_ms: 1_000,
            webhook: None,
            end: None,
        };
        (row, end)
    }

    #[test]
    fn a_parent_is_read_as_the_recommendation_says() {
        assert!(TraceParent::parse(PARENT).is_some());
        let zeros = "00000000000000000000000000000000";
        for wrong in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", zeros),
            &PARENT.replace("00f067aa0ba902b7", "0000000000000000"),
            &PARENT.replacen("00", "ff", 1),
            &format!("{PARENT}-more"),
            &PARENT[..54],
        ] {
            assert_eq!(TraceParent::parse(wrong), None, "{wrong}");
        }
        // A later version may say more.
        assert!(TraceParent::parse(&format!("{}-more", PARENT.replacen("00", "01", 1))).is_some());
    }

    #[test]
    fn a_job_is_a_tree_below_its_request() {
        let (row, end) = job();
        let spans = of_job(&row, &end, TraceParent::parse(PARENT));
        let shown: Vec<String> = spans
            .iter()
            .map(|span| format!("{} {}..{} {:?}", span.name, span.start_us / 1_000, span.end_us / 1_000, span.error))
            .collect();
        assert_eq!(
            shown,
            [
                "job e 1000..9000 None",
                "queue 1000..2000 None",
                "attempt 1 2000..4000 Some(\"worker_lost\")",
                "attempt 2 6000..9000 None"
            ]
        );
        assert_eq!(hex(&spans[0].parent.expect("the request's")), "00f067aa0ba902b7");
        assert!(spans.iter().all(|span| hex(&span.trace) == "4bf92f3577b34da6a3ce929d0e0e4736"));
        assert!(spans[1..].iter().all(|span| span.parent == Some(spans[0].id)));
        let ids: std::collections::BTreeSet<[u8; 8]> = spans.iter().map(|span| span.id).collect();
        assert_eq!(ids.len(), spans.len());
    }

    #[test]
    fn the_document_has_the_encoding_of_otlp() {
        let spans = of_start("e", "w1-1", 1_000_000, &[("container", 1_500_000), ("first_take", 3_000_000)]);
        let document = document(&spans);
        let sent = document.pointer("/resourceSpans/0/scopeSpans/0/spans").expect("spans");
        assert_eq!(sent[0]["name"], "cold start e");
        assert_eq!(sent[0]["startTimeUnixNano"], "1000000000");
        assert_eq!(sent[0]["endTimeUnixNano"], "3000000000");
        assert_eq!(sent[2]["startTimeUnixNano"], "1500000000");
        assert_eq!(sent[1]["parentSpanId"], sent[0]["spanId"]);
        assert_eq!(
            sent[0]["attributes"][1],
            json!({ "key": "thermocline.worker", "value": { "stringValue": "w1-1" } })
        );
        let (row, end) = job();
        let retried = encoded(&of_job(&row, &end, None)[0]);
        assert_eq!(retried["attributes"][4]["value"], json!({ "intValue": "1" }));
        assert_eq!(retried["traceId"].as_str().map(str::len), Some(32));
    }

    #[test]
    fn what_is_no_collector_is_refused() {
        for wrong in ["", "collector:4318", "ftp://collector"] {
            assert!(exporter(wrong).is_err(), "{wrong}");
        }
        assert!(exporter("http://127.0.0.1:4318").is_ok());
    }
}
