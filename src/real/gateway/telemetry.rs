//! The gateway's own numbers and traces: requests by path, method and status, their latency, connections refused.

use std::sync::atomic::AtomicU64;
use std::time::Instant;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tracing::Instrument;

/// Labels of the request counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    path: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

/// Seconds; the last ones are for polls that are held.
const LATENCIES_S: [f64; 14] =
    [0.000_25, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 90.0];

/// The numbers.
pub struct Telemetry {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<PathLabel, Histogram, fn() -> Histogram>,
    /// Connections closed because there were too many.
    pub refused_connections: Counter,
    /// Connections closed because their head, their idleness or their reader took too long.
    pub timed_out_connections: Counter,
    /// Bare NaN and Infinity in workers' results, stored as null.
    pub odd_numbers: Counter,
    /// Results and pieces of streams too large to be kept.
    pub oversized_results: Counter<u64, AtomicU64>,
}

impl Default for Telemetry {
    fn default() -> Telemetry {
        let mut registry = Registry::with_prefix("thermocline_gateway");
        let requests = Family::default();
        let latency: Family<PathLabel, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(LATENCIES_S));
        let [refused, timed_out, odd] = [(); 3].map(|()| Counter::default());
        let oversized = Counter::default();
        registry.register("requests", "Requests answered", requests.clone());
        registry.register("request_seconds", "Time from a request's head to its answer's head", latency.clone());
        registry.register("connections_refused", "Connections closed: too many", refused.clone());
        registry.register("connections_timed_out", "Connections closed: too slow", timed_out.clone());
        registry.register("results_with_nan", "Results in which NaN or Infinity became null", odd.clone());
        registry.register("results_too_large", "Results and stream pieces that were too large", oversized.clone());
        Telemetry {
            registry,
            requests,
            latency,
            refused_connections: refused,
            timed_out_connections: timed_out,
            odd_numbers: odd,
            oversized_results: oversized,
        }
    }
}

impl Telemetry {
    /// Appends the numbers to those of the platform, which may end in the end mark of the text format.
    pub fn append_to(&self, platform: String) -> String {
        let mut text = platform;
        let body = text.trim_end().trim_end_matches("# EOF").len();
        text.truncate(body);
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        let mut own = String::new();
        if encode(&mut own, &self.registry).is_ok() {
            text.push_str(&own);
        }
        text
    }
}

/// One request.
pub struct Trace {
    path: &'static str,
    method: &'static str,
    begun: Instant,
    span: tracing::Span,
}

impl Trace {
    /// From its head on.
    pub fn begin(_: &Telemetry, request: &Request<Body>) -> Trace {
        let path = template(request.uri().path());
        let method = method_word(request.method());
        let span = tracing::debug_span!("request", method, path, status = tracing::field::Empty);
        Trace { path, method, begun: Instant::now(), span }
    }

    /// `work` within its span.
    pub fn inside<F: Future>(&self, work: F) -> impl Future<Output = F::Output> + use<F> {
        work.instrument(self.span.clone())
    }

    /// Up to its answer's head.
    pub fn end(self, telemetry: &Telemetry, status: StatusCode) {
        let took = self.begun.elapsed();
        self.span.record("status", status.as_u16());
        let labels = RequestLabels { path: self.path, method: self.method, status: status.as_u16() };
        telemetry.requests.get_or_create(&labels).inc();
        telemetry.latency.get_or_create(&PathLabel { path: self.path }).observe(took.as_secs_f64());
        let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.span.in_scope(|| tracing::debug!(status = status.as_u16(), latency_us, "answered"));
    }
}

fn method_word(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        _ => "other",
    }
}

/// The path with placeholders for names, so that there are a few dozen of them however many jobs there are.
fn template(path: &str) -> &'static str {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some("v2"), Some(_), Some(op)) => match op {
            "run" => "/v2/{endpoint}/run",
            "runsync" => "/v2/{endpoint}/runsync",
            "status" => "/v2/{endpoint}/status/{id}",
            "status-sync" => "/v2/{endpoint}/status-sync/{id}",
            "stream" => "/v2/{endpoint}/stream/{id}",
            "events" => "/v2/{endpoint}/events",
            "cancel" => "/v2/{endpoint}/cancel/{id}",
            "retry" => "/v2/{endpoint}/retry/{id}",
            "purge-queue" => "/v2/{endpoint}/purge-queue",
            "health" => "/v2/{endpoint}/health",
            "requests" => "/v2/{endpoint}/requests",
            "openai" => "/v2/{endpoint}/openai/v1/{path}",
            "lb" => "/v2/{endpoint}/lb/{path}",
            "job-take" => "/v2/{endpoint}/job-take/{worker}",
            "job-take-batch" => "/v2/{endpoint}/job-take-batch/{worker}",
            "job-stop" => "/v2/{endpoint}/job-stop/{worker}",
            "job-done" => "/v2/{endpoint}/job-done/{worker}/{id}",
            "job-stream" => "/v2/{endpoint}/job-stream/{worker}/{id}",
            "ping" => "/v2/{endpoint}/ping/{worker}",
            _ => "other",
        },
        (Some("management"), ..) => "/management/v2",
        (Some("healthz"), None, None) => "/healthz",
        (Some("metrics"), None, None) => "/metrics",
        (Some("openapi.json"), None, None) => "/openapi.json",
        _ => "other",
    }
}
