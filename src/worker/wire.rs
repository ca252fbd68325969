//! The worker's requests to the gateway. Wire format: worker SDK 1.12. What may be repeated is repeated with growing pauses.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{debug, error, warn};

use super::handler::{Failed, Job, Outcome};
use super::settings::{Settings, WorkerError};

/// A poll is given up after this long, as by the SDK; the gateway answers well before.
const POLL: Duration = Duration::from_secs(90);
/// Longest time for a post with its answer, as in the SDK.
const POST: Duration = Duration::from_secs(600);
/// Largest answer to a take: a few jobs of the platform's 20 MB each.
const ANSWER_BYTES: usize = 256 << 20;
/// Pauses between the posts of one result: two minutes, more than a gateway needs to restart.
const DONE_PAUSES_S: [u64; 9] = [2, 3, 5, 8, 13, 20, 20, 20, 30];
/// Pauses between the posts of a piece or a progress report, which a result makes up for.
const PIECE_PAUSES_S: [u64; 2] = [2, 3];
/// What a 429 without `Retry-After` means, as in the SDK.
pub const KEEP_OFF: Duration = Duration::from_secs(5);

/// What a poll gave.
#[derive(Debug, PartialEq)]
pub enum Polled<T> {
    /// Something to do.
    Some(T),
    /// Nothing for now.
    Nothing,
    /// Come back after this time.
    KeepOff(Duration),
    /// The gateway could not be asked, or said something else.
    Failed,
}

/// A client of one gateway.
pub struct Wire {
    settings: Settings,
    client: Client,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Taken {
    Many(Vec<Map<String, Value>>),
    One(Map<String, Value>),
}

#[derive(Deserialize)]
struct Stops {
    #[serde(rename = "jobsToStop", default)]
    jobs: Vec<String>,
}

impl Wire {
    /// A client with its own connections.
    pub fn new(settings: Settings) -> Result<Wire, WorkerError> {
        // Whoever uses this library may have chosen a provider before: then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let agent = concat!("thermocline-worker/", env!("CARGO_PKG_VERSION"));
        let client = Client::builder().user_agent(agent).no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client.build().map_err(|error| WorkerError::Start(error.to_string()))?;
        Ok(Wire { settings, client })
    }

    /// Asks for up to `slots` jobs.
    pub async fn take(&self, slots: usize, in_progress: bool) -> Polled<Vec<Job>> {
        let request = self.client.get(self.settings.take_url(slots, in_progress)).timeout(POLL);
        let body = match self.poll(request, "job-take").await {
            Polled::Some(body) => body,
            Polled::Nothing => return Polled::Nothing,
            Polled::KeepOff(pause) => return Polled::KeepOff(pause),
            Polled::Failed => return Polled::Failed,
        };
        let taken = match serde_json::from_slice::<Taken>(&body) {
            Ok(Taken::Many(jobs)) => jobs,
            Ok(Taken::One(job)) => vec![job],
            Err(error) => {
                error!("job-take: the answer is not a job: {error}");
                return Polled::Failed;
            }
        };
        let jobs: Vec<Job> = taken.into_iter().filter_map(job).collect();
        if jobs.is_empty() { Polled::Nothing } else { Polled::Some(jobs) }
    }

    /// Waits for stop signals.
    pub async fn stops(&self) -> Polled<Vec<String>> {
        let Some(url) = self.settings.stop_url() else { return Polled::KeepOff(POLL) };
        match self.poll(self.client.get(url).timeout(POLL), "job-stop").await {
            Polled::Some(body) => match serde_json::from_slice::<Stops>(&body) {
                Ok(stops) if stops.jobs.is_empty() => Polled::Nothing,
                Ok(stops) => Polled::Some(stops.jobs),
                Err(error) => {
                    warn!("job-stop: the answer makes no sense: {error}");
                    Polled::Failed
                }
            },
            Polled::Nothing => Polled::Nothing,
            Polled::KeepOff(pause) => Polled::KeepOff(pause),
            Polled::Failed => Polled::Failed,
        }
    }

    /// Tells that the worker lives.
    pub async fn ping(&self, jobs: &[String]) {
        let Some(url) = self.settings.ping_url(jobs) else { return };
        let request = self.client.get(url).timeout(2 * self.settings.ping_interval);
        if let Err(error) = self.send(request).await {
            debug!("ping: {}", plain(&error));
        }
    }

    /// Posts how a job ended, until the gateway has it.
    pub async fn done(&self, job: &str, result: Result<Outcome, Failed>, streamed: bool) {
        let body = match result {
            Ok(Outcome { output, refresh }) => {
                let mut body = Map::new();
                if let Some(output) = output.or_else(|| streamed.then(|| json!([]))) {
                    body.insert("output".to_owned(), output);
                }
                if refresh {
                    body.insert("stopPod".to_owned(), json!(true));
                }
                Value::Object(body)
            }
            Err(failed) => json!({ "error": self.error_text(&failed) }),
        };
        if !self.post(&self.settings.done_url(job, streamed), &body, &DONE_PAUSES_S).await {
            error!(job, "the result could not be delivered");
        }
    }

    /// Posts a piece of a job's output.
    pub async fn stream(&self, job: &str, piece: &Value) {
        let Some(url) = self.settings.stream_url(job) else {
            return warn!(job, "the gateway takes no streams: a piece is lost");
        };
        if !self.post(&url, &json!({ "output": piece }), &PIECE_PAUSES_S).await {
            warn!(job, "a piece of the stream could not be delivered");
        }
    }

    /// Posts how far a job is.
    pub async fn progress(&self, job: &str, value: &Value) {
        let body = json!({ "status": "IN_PROGRESS", "output": value });
        if !self.post(&self.settings.done_url(job, false), &body, &PIECE_PAUSES_S).await {
            warn!(job, "a progress report could not be delivered");
        }
    }

    /// An error in the SDK's shape: a JSON text.
    fn error_text(&self, failed: &Failed) -> String {
        json!({
            "error_type": "HandlerError",
            "error_message": failed.text(),
            "error_traceback": "",
            "worker_id": self.settings.id,
            "runpod_version": concat!("thermocline-", env!("CARGO_PKG_VERSION")),
        })
        .to_string()
    }

    async fn send(&self, request: RequestBuilder) -> reqwest::Result<Response> {
        match &self.settings.token {
            Some(token) => request.header("Authorization", token.as_str()),
            None => request,
        }
        .send()
        .await
    }

    async fn poll(&self, request: RequestBuilder, name: &str) -> Polled<Vec<u8>> {
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return Polled::Nothing,
            Err(error) => {
                warn!("{name}: {}", plain(&error));
                return Polled::Failed;
            }
        };
        match answer.status() {
            StatusCode::OK => match bounded(answer).await {
                Ok(body) if body.is_empty() => Polled::Nothing,
                Ok(body) => Polled::Some(body),
                Err(error) => {
                    warn!("{name}: {error}");
                    Polled::Failed
                }
            },
            StatusCode::NO_CONTENT | StatusCode::BAD_REQUEST => Polled::Nothing,
            StatusCode::TOO_MANY_REQUESTS => Polled::KeepOff(retry_after(&answer).unwrap_or(KEEP_OFF)),
            status => {
                warn!("{name}: {status}");
                Polled::Failed
            }
        }
    }

    /// Posts `body`, again after each of `pauses` while the gateway cannot be reached or asks for it; whether it was taken.
    async fn post(&self, url: &str, body: &Value, pauses_s: &[u64]) -> bool {
        let mut pauses = pauses_s.iter();
        loop {
            let again = match self.send(self.client.post(url).timeout(POST).json(body)).await {
                Ok(answer) if answer.status().is_success() => return true,
                Ok(answer) => {
                    warn!("post: {}", answer.status());
                    answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(error) => {
                    warn!("post: {}", plain(&error));
                    !error.is_builder()
                }
            };
            match pauses.next().filter(|_| again) {
                Some(pause) => tokio::time::sleep(Duration::from_secs(*pause)).await,
                None => return false,
            }
        }
    }
}

fn job(mut map: Map<String, Value>) -> Option<Job> {
    let id = map.remove("id");
    let input = map.remove("input");
    match (id, input) {
        (Some(Value::String(id)), Some(input)) if !id.is_empty() => Some(Job { id, input, more: map }),
        _ => {
            error!("job-take: a job without `id` or `input`");
            None
        }
    }
}

async fn bounded(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|error| plain(&error))? {
        if body.len() + piece.len() > ANSWER_BYTES {
            return Err("the answer is too large".to_owned());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

fn retry_after(answer: &Response) -> Option<Duration> {
    let seconds = answer.headers().get("retry-after")?.to_str().ok()?.parse::<u64>().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, 60)))
}

/// An error with its causes, without the URL: that may hold a token.
fn plain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    if text.is_empty() { "the request failed".to_owned() } else { text }
}
