//! The verbs' way to a running gateway: its HTTP API, with the address and the key from flags or from the environment.

use std::time::Duration;

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::{Failure, output};
use crate::scenario::node::printable;
use crate::worker::encoded;

/// Where a gateway is asked for when nobody says.
pub const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Largest answer that is read.
const ANSWER_BYTES: usize = 256 << 20;
/// An answer must begin within this time; calls that wait for a job ask for less.
const PATIENCE: Duration = Duration::from_secs(330);

/// How to reach the gateway.
#[derive(Clone, Debug, Default, Args)]
pub struct ClientArgs {
    /// Where the gateway is [environment: THERMOCLINE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", global = true)]
    pub url: Option<String>,
    /// API key [environment: THERMOCLINE_API_KEY, which others on this machine cannot see]
    #[arg(long, value_name = "KEY", hide_default_value = true, global = true)]
    pub key: Option<String>,
}

impl ClientArgs {
    /// The address, if somebody gave one.
    pub fn given_url(&self) -> Option<String> {
        self.url.clone().or_else(|| std::env::var("THERMOCLINE_URL").ok().filter(|url| !url.is_empty()))
    }
}

/// A gateway's client. Its calls wait for the answer.
pub struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    base: String,
    key: Option<String>,
}

impl Client {
    /// As the flags and the environment say.
    pub fn new(args: &ClientArgs) -> Result<Client, Failure> {
        let base = args.given_url().unwrap_or_else(|| DEFAULT_URL.to_owned());
        let base = base.trim_end_matches('/').trim_end_matches("/v2").to_owned();
        if !base.starts_with("http://") && !base.starts_with("https://") {
            let shown = printable(&base);
            return Err(Failure::input(format!("--url {shown}: allowed: http://... or https://...")));
        }
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = http.timeout(PATIENCE).build().map_err(Failure::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::other)?;
        let from_environment = || std::env::var("THERMOCLINE_API_KEY").ok().filter(|key| !key.is_empty());
        Ok(Client { http, runtime, base, key: args.key.clone().or_else(from_environment) })
    }

    /// GET: a JSON value.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(Method::GET, path, None)
    }

    /// POST with a JSON body: a JSON value.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.json(Method::POST, path, Some(body))
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<(), Failure> {
        self.json(Method::DELETE, path, None).map(drop)
    }

    /// Whether something answers there at all.
    pub fn answers(&self) -> bool {
        let request = self.http.get(format!("{}/healthz", self.base)).timeout(Duration::from_secs(2));
        self.runtime.block_on(async { request.send().await.is_ok() })
    }

    /// GET of server-sent events: `each` gets the data of each as JSON, until the stream ends.
    pub fn events(&self, path: &str, mut each: impl FnMut(&Value) -> Result<(), Failure>) -> Result<(), Failure> {
        self.runtime.block_on(async {
            // A quiet stream says something every few seconds: only silence ends it.
            let http = reqwest::Client::builder().no_proxy().read_timeout(Duration::from_secs(90)).build();
            let request = http.map_err(Failure::other)?.get(format!("{}{path}", self.base));
            let request = request.header("Accept", "text/event-stream");
            let mut answer = self.accepted(self.signed(request).send().await).await?;
            let mut buffer = Vec::new();
            while let Some(piece) = answer.chunk().await.map_err(|error| self.lost(&error))? {
                buffer.extend_from_slice(&piece);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    if let Some(data) = line.strip_prefix(b"data: ")
                        && let Ok(value) = serde_json::from_slice(data)
                    {
                        each(&value)?;
                    }
                }
                if buffer.len() > ANSWER_BYTES {
                    return Err(Failure::other("the gateway sent a line without an end"));
                }
            }
            Ok(())
        })
    }

    fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        self.runtime.block_on(async {
            let request = self.http.request(method, format!("{}{path}", self.base));
            let request = if let Some(body) = body { request.json(body) } else { request };
            let answer = self.accepted(self.signed(request).send().await).await?;
            let body = whole(answer).await.map_err(Failure::other)?;
            if body.is_empty() {
                return Ok(Value::Null);
            }
            serde_json::from_slice(&body)
                .map_err(|error| Failure::other(format!("{} did not answer as a gateway does: {error}", self.base)))
        })
    }

    fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// An answer that is not a refusal.
    async fn accepted(&self, sent: reqwest::Result<Response>) -> Result<Response, Failure> {
        let answer = sent.map_err(|error| self.lost(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = whole(answer).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let said = ["error", "detail", "title"].iter().find_map(|key| body[*key].as_str());
        let mut text = printable(said.unwrap_or(status.canonical_reason().unwrap_or("refused")));
        for field in body["errors"].as_array().into_iter().flatten() {
            text.push_str(&format!("; {}", printable(&field.to_string())));
        }
        Err(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::input(format!("{text}; give a key with THERMOCLINE_API_KEY or --key"))
            }
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => Failure::input(text),
            status => Failure::other(format!("{text} ({status})")),
        })
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        let base = &self.base;
        if error.is_connect() {
            let fix = "start one with `thermocline serve FILE`, or tell where it is with --url";
            return Failure::other(format!("no gateway answers at {base}; {fix}"));
        }
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Failure::other(format!("{base}: {cause}"))
    }
}

async fn whole(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
        if body.len() + piece.len() > ANSWER_BYTES {
            return Err("the answer is too large".to_owned());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// A path of steps, each of which may hold anything.
pub fn path(steps: &[&str]) -> String {
    steps.iter().map(|step| format!("/{}", encoded(step))).collect()
}

/// Path of the management API.
pub fn managed(steps: &[&str]) -> String {
    format!("/management/v2{}", path(steps))
}

/// A list in an answer: `value[key]`, or the value itself where that is the list.
pub fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().or_else(|| value.as_array()).map_or(&[], Vec::as_slice)
}

/// A value for a cell: texts as they are, nothing for null, no control characters.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// Milliseconds for people.
pub fn time(ms: &Value) -> String {
    match ms.as_f64() {
        None => String::new(),
        Some(ms) if ms < 1_000.0 => format!("{ms:.0} ms"),
        Some(ms) if ms < 120_000.0 => format!("{:.1} s", ms / 1e3),
        Some(ms) => format!("{:.0} min", ms / 6e4),
    }
}

/// A table for people. Lines are as long as they must be: ids are copied from it.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    format!("{}\n", table.trim_fmt())
}

/// The answer: as JSON, or as `text` says it.
pub fn answer(json: bool, value: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
    if json { output::answer_json(value) } else { output::answer(&text(value)) }
}
