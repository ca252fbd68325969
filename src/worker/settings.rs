//! What a worker is told by its environment: where to ask for jobs, where to post results, who it is.

use std::time::Duration;

use thiserror::Error;

/// Why a program cannot be a worker.
#[derive(Debug, Error)]
pub enum WorkerError {
    /// A variable that every worker needs is not there.
    #[error(
        "the environment has no {0}: workers are started by a gateway, or by hand with the variables that \
         `thermocline worker env FILE ENDPOINT` prints"
    )]
    Missing(&'static str),
    /// A variable makes no sense.
    #[error("{name}: `{value}`; allowed: {allowed}")]
    Invalid {
        /// Variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// The HTTP client, the runtime or a thread could not be made.
    #[error("the worker cannot start: {0}")]
    Start(String),
}

/// The environment of a worker, read. Templates are those of worker SDK 1.12: `$RUNPOD_POD_ID` stands for the worker; `$ID` for
/// the worker in a take and for the job in a post.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// Name of this worker (`RUNPOD_POD_ID`).
    pub id: String,
    /// `RUNPOD_WEBHOOK_GET_JOB`.
    pub take: String,
    /// `RUNPOD_WEBHOOK_POST_OUTPUT`.
    pub done: String,
    /// `RUNPOD_WEBHOOK_POST_STREAM`; results only unless given.
    pub stream: Option<String>,
    /// `RUNPOD_WEBHOOK_PING`; no pings unless given.
    pub ping: Option<String>,
    /// Time between pings (`RUNPOD_PING_INTERVAL`, milliseconds). Default 10 s.
    pub ping_interval: Duration,
    /// `RUNPOD_AI_API_KEY`: sent as it is, without `Bearer`. Never shown.
    pub token: Option<String>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("id", &self.id).field("take", &self.take).finish_non_exhaustive()
    }
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// When a variable is missing or makes no sense.
    pub fn from_env() -> Result<Settings, WorkerError> {
        Settings::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// Reads variables from `get`.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Settings, WorkerError> {
        let needed = |name| get(name).ok_or(WorkerError::Missing(name));
        let interval = "RUNPOD_PING_INTERVAL";
        let millis = match get(interval) {
            None => 10_000,
            Some(value) => match value.trim().parse::<u64>() {
                Ok(millis) if (100..=600_000).contains(&millis) => millis,
                _ => {
                    return Err(WorkerError::Invalid {
                        name: interval,
                        value,
                        allowed: "100 to 600000 (milliseconds)",
                    });
                }
            },
        };
        Ok(Settings {
            take: needed("RUNPOD_WEBHOOK_GET_JOB")?,
            done: needed("RUNPOD_WEBHOOK_POST_OUTPUT")?,
            stream: get("RUNPOD_WEBHOOK_POST_STREAM"),
            ping: get("RUNPOD_WEBHOOK_PING"),
            ping_interval: Duration::from_millis(millis),
            token: get("RUNPOD_AI_API_KEY"),
            id: get("RUNPOD_POD_ID").unwrap_or_else(|| "unknown".to_owned()),
        })
    }

    /// Where to ask for up to `slots` jobs.
    pub fn take_url(&self, slots: usize, in_progress: bool) -> String {
        let url = self.take.replace("$RUNPOD_POD_ID", &self.id).replace("$ID", &self.id);
        let flag = u8::from(in_progress);
        if slots > 1 {
            let batch = url.replace("/job-take/", "/job-take-batch/");
            return with_query(&batch, &format!("batch_size={slots}&job_in_progress={flag}"));
        }
        with_query(&url, &format!("job_in_progress={flag}"))
    }

    /// Where to wait for stop signals; `None` when the gateway has no such place.
    pub fn stop_url(&self) -> Option<String> {
        let url = self.take.replace("$RUNPOD_POD_ID", &self.id).replace("$ID", &self.id);
        url.contains("/job-take/").then(|| url.replace("/job-take/", "/job-stop/"))
    }

    /// Where the result of a job goes.
    pub fn done_url(&self, job: &str, streamed: bool) -> String {
        with_query(&self.post(&self.done, job), &format!("isStream={streamed}"))
    }

    /// Where a piece of a job's output goes.
    pub fn stream_url(&self, job: &str) -> Option<String> {
        Some(with_query(&self.post(self.stream.as_deref()?, job), "isStream=false"))
    }

    /// Where to tell that the worker lives and which jobs it holds.
    pub fn ping_url(&self, jobs: &[String]) -> Option<String> {
        let url = self.ping.as_deref()?.replace("$RUNPOD_POD_ID", &self.id);
        let version = concat!("runpod_version=thermocline-", env!("CARGO_PKG_VERSION"));
        if jobs.is_empty() {
            return Some(with_query(&url, version));
        }
        let jobs: Vec<String> = jobs.iter().map(|job| encoded(job)).collect();
        Some(with_query(&url, &format!("job_id={}&{version}", jobs.join(","))))
    }

    fn post(&self, template: &str, job: &str) -> String {
        template.replace("$RUNPOD_POD_ID", &self.id).replace("$ID", &encoded(job))
    }
}

/// Templates carry a query already (the SDK insists); one that does not gets its `?`.
fn with_query(url: &str, query: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}{query}")
}

/// Percent-encoded, so that an id can neither leave its place in a path nor end a query.
pub fn encoded(text: &str) -> String {
    let mut url = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => url.push(byte as char),
            _ => url.push_str(&format!("%{byte:02X}")),
        }
    }
    url
}
