//! `jobs`: submit, look at, cancel and retry the jobs of an endpoint at a running gateway.

use std::io::Read;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Client, ClientArgs, answer, cell, list, path, table, time};
use super::{Failure, output};
use crate::scenario::node::printable;

/// Largest input that is read, the platform's limit for `/runsync`.
const INPUT_BYTES: u64 = 20_000_000;

/// What can be typed after `jobs`.
#[derive(Debug, Args)]
pub struct JobsArgs {
    #[command(subcommand)]
    verb: JobsVerb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum JobsVerb {
    /// The latest jobs, newest first
    List {
        /// Endpoint
        endpoint: String,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Pass over this many
        #[arg(long, value_name = "N", default_value_t = 0)]
        offset: u32,
    },
    /// One job: state, times, attempts, output
    Show {
        /// Endpoint
        endpoint: String,
        /// Job
        job: String,
    },
    /// Submit a job
    Run(RunArgs),
    /// Cancel a job
    Cancel {
        /// Endpoint
        endpoint: String,
        /// Job
        job: String,
    },
    /// Put a job that failed or timed out back into the queue
    Retry {
        /// Endpoint
        endpoint: String,
        /// Job
        job: String,
    },
    /// Drop every queued job; running ones go on
    Purge {
        /// Endpoint
        endpoint: String,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Endpoint
    endpoint: String,
    /// The job's input: JSON, `@FILE`, or `-` for stdin
    #[arg(long, short, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Wait for the outcome and print it; the exit code is 1 unless the job completed
    #[arg(long)]
    wait: bool,
    /// Print the pieces of its stream as they come, one JSON value a line
    #[arg(long, conflicts_with = "wait")]
    stream: bool,
    /// Where the outcome is to be posted
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// Longest run of one attempt, in seconds
    #[arg(long, value_name = "SECONDS")]
    execution_timeout_s: Option<f64>,
    /// Life of the job from now on, in seconds
    #[arg(long, value_name = "SECONDS")]
    ttl_s: Option<f64>,
    /// Never causes a scale-up, never overtakes a job of normal priority
    #[arg(long)]
    low_priority: bool,
}

pub(super) fn run(args: &JobsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let of = |endpoint: &str, operation: &str, job: &str| path(&["v2", endpoint, operation, job]);
    match &args.verb {
        JobsVerb::List { endpoint, limit, offset } => {
            let query = format!("{}?limit={limit}&offset={offset}", path(&["v2", endpoint, "requests"]));
            answer(args.json, &client.get(&query)?, listing)
        }
        JobsVerb::Show { endpoint, job } => answer(args.json, &client.get(&of(endpoint, "status", job))?, details),
        JobsVerb::Run(run) => submit(&client, run, args.json),
        JobsVerb::Cancel { endpoint, job } => {
            answer(args.json, &client.post(&of(endpoint, "cancel", job), &json!({}))?, state)
        }
        JobsVerb::Retry { endpoint, job } => {
            answer(args.json, &client.post(&of(endpoint, "retry", job), &json!({}))?, state)
        }
        JobsVerb::Purge { endpoint } => {
            let purged = client.post(&path(&["v2", endpoint, "purge-queue"]), &json!({}))?;
            answer(args.json, &purged, |purged| format!("removed {} jobs\n", cell(&purged["removed"])))
        }
    }
}

fn submit(client: &Client, args: &RunArgs, json: bool) -> Result<(), Failure> {
    let mut request = json!({ "input": input(&args.input)? });
    if let Some(webhook) = &args.webhook {
        request["webhook"] = json!(webhook);
    }
    let mut policy = serde_json::Map::new();
    for (key, seconds) in [("executionTimeout", args.execution_timeout_s), ("ttl", args.ttl_s)] {
        if let Some(seconds) = seconds {
            if !(0.0..=604_800.0).contains(&seconds) {
                return Err(Failure::input(format!("{seconds} s; allowed: up to 7 days (604800)")));
            }
            policy.insert(key.to_owned(), json!((seconds * 1e3).round() as u64));
        }
    }
    if args.low_priority {
        policy.insert("lowPriority".to_owned(), json!(true));
    }
    if !policy.is_empty() {
        request["policy"] = Value::Object(policy);
    }
    let accepted = client.post(&path(&["v2", &args.endpoint, "run"]), &request)?;
    let id = accepted["id"].as_str().ok_or_else(|| Failure::other("the gateway gave no job id"))?;
    if args.stream {
        return follow(client, &args.endpoint, id);
    }
    if !args.wait {
        return answer(json, &accepted, |accepted| format!("{}\n", cell(&accepted["id"])));
    }
    let ended = loop {
        let job = client.get(&format!("{}?wait=60000", path(&["v2", &args.endpoint, "status-sync", id])))?;
        if is_final(&job) {
            break job;
        }
    };
    answer(json, &ended, details)?;
    outcome(&ended)
}

/// Prints the pieces of a job's stream until it has ended and none is left.
fn follow(client: &Client, endpoint: &str, id: &str) -> Result<(), Failure> {
    loop {
        let answer = client.get(&path(&["v2", endpoint, "stream", id]))?;
        let pieces = list(&answer, "stream");
        for piece in pieces {
            output::answer(&format!("{}\n", piece["output"]))?;
        }
        if pieces.is_empty() && is_final(&answer) {
            return outcome(&client.get(&path(&["v2", endpoint, "status", id]))?);
        }
    }
}

fn is_final(job: &Value) -> bool {
    !matches!(job["status"].as_str(), Some("IN_QUEUE" | "IN_PROGRESS"))
}

/// A failure unless the job completed.
fn outcome(job: &Value) -> Result<(), Failure> {
    if job["status"] == "COMPLETED" {
        return Ok(());
    }
    let error = job["error"].as_str().map_or_else(String::new, |error| format!(": {}", message(error)));
    Err(Failure::other(format!("the job is {}{error}", cell(&job["status"]))))
}

fn input(text: &str) -> Result<Value, Failure> {
    let (shown, content) = match text.strip_prefix('@') {
        Some(file) => {
            let opened = std::fs::File::open(file);
            let opened = opened.map_err(|error| Failure::input(format!("{}: {error}", printable(file))))?;
            (printable(file), read(opened)?)
        }
        None if text == "-" => ("stdin".to_owned(), read(std::io::stdin().lock())?),
        None => ("--input".to_owned(), text.as_bytes().to_vec()),
    };
    serde_json::from_slice(&content).map_err(|error| Failure::input(format!("{shown}: {error}; allowed: JSON")))
}

fn read(source: impl Read) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    source.take(INPUT_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > INPUT_BYTES {
        return Err(Failure::input("the input has more than 20 MB; put it somewhere and send its address"));
    }
    Ok(content)
}

fn listing(page: &Value) -> String {
    let jobs = list(page, "requests");
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let row = |job: &Value| {
        let why = ["error", "reason", "cause"].iter().map(|key| cell(&job[*key])).find(|text| !text.is_empty());
        vec![
            cell(&job["id"]),
            cell(&job["status"]),
            time(&job["delayTime"]),
            time(&job["executionTime"]),
            cell(&job["workerId"]),
            cell(&job["retries"]),
            message(&why.unwrap_or_default()).chars().take(60).collect(),
        ]
    };
    let mut text =
        table(&["job", "state", "waited", "ran", "worker", "retries", "why"], jobs.iter().map(row).collect());
    if page["hasMore"] == true {
        text.push_str(&format!("{} in all; see --offset\n", cell(&page["total"])));
    }
    text
}

/// What an error says: the SDK wraps its own in JSON.
fn message(error: &str) -> String {
    let inner = serde_json::from_str::<Value>(error).ok();
    printable(inner.as_ref().and_then(|error| error["error_message"].as_str()).unwrap_or(error))
}

fn details(job: &Value) -> String {
    let mut text = String::new();
    for (key, value) in job.as_object().into_iter().flatten() {
        let shown = match (key.as_str(), value) {
            ("delayTime" | "executionTime", ms) => time(ms),
            (_, Value::Object(_) | Value::Array(_)) => serde_json::to_string_pretty(value).unwrap_or_default(),
            (_, value) => cell(value),
        };
        text.push_str(&format!("{key:14} {shown}\n"));
    }
    text
}

fn state(job: &Value) -> String {
    format!("{} {}\n", cell(&job["id"]), cell(&job["status"]))
}
