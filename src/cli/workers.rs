//! `workers`: the workers of one endpoint, or of all, at a running gateway.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Failure;
use super::client::{Client, ClientArgs, answer, cell, list, managed, table, time};

/// What can be typed after `workers`.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    #[command(subcommand)]
    verb: WorkersVerb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum WorkersVerb {
    /// Every worker with its state and why it is in it
    List {
        /// Endpoint; all unless given
        endpoint: Option<String>,
    },
}

pub(super) fn run(args: &WorkersArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let WorkersVerb::List { endpoint } = &args.verb;
    let endpoints = match endpoint {
        Some(endpoint) => vec![endpoint.clone()],
        None => names(&client)?,
    };
    let mut all = Vec::new();
    for endpoint in endpoints {
        let page = client.get(&managed(&["serverless", &endpoint, "workers"]))?;
        for worker in list(&page, "workers") {
            let mut worker = worker.clone();
            worker["endpoint"] = json!(endpoint);
            all.push(worker);
        }
    }
    answer(args.json, &json!({ "workers": all }), |all| listing(list(all, "workers")))
}

/// The ids of all endpoints.
pub fn names(client: &Client) -> Result<Vec<String>, Failure> {
    let page = client.get(&managed(&["serverless"]))?;
    Ok(list(&page, "endpoints").iter().filter_map(|endpoint| Some(endpoint["id"].as_str()?.to_owned())).collect())
}

fn listing(workers: &[Value]) -> String {
    if workers.is_empty() {
        return "no workers\n".to_owned();
    }
    table(&HEADER, workers.iter().map(row).collect())
}

/// The columns of [`row`].
pub const HEADER: [&str; 10] = ["endpoint", "worker", "state", "phase", "kind", "host", "jobs", "up", "busy", "why"];

/// A worker as a row.
pub fn row(worker: &Value) -> Vec<String> {
    let state = if worker["isStale"] == true {
        format!("{}, outdated", cell(&worker["status"]))
    } else {
        cell(&worker["status"])
    };
    let up = worker["uptimeSeconds"].as_f64().map_or(Value::Null, |seconds| json!(seconds * 1e3));
    let why = match cell(&worker["detail"]) {
        detail if detail.is_empty() => cell(&worker["reason"]),
        detail => format!("{}: {detail}", cell(&worker["reason"])),
    };
    vec![
        cell(&worker["endpoint"]),
        cell(&worker["id"]),
        state,
        cell(&worker["phase"]),
        cell(&worker["kind"]),
        cell(&worker["host"]),
        list(&worker["jobs"], "").len().to_string(),
        time(&up),
        worker["utilization"].as_f64().map_or_else(String::new, |share| format!("{:.0} %", share * 100.0)),
        why.chars().take(80).collect(),
    ]
}
