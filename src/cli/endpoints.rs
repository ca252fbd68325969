//! `endpoints`: what a running gateway serves, what became of its releases, and what it cost.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Client, ClientArgs, answer, cell, list, managed, table};
use super::{Failure, output};

/// What can be typed after `endpoints`.
#[derive(Debug, Args)]
pub struct EndpointsArgs {
    #[command(subcommand)]
    verb: EndpointsVerb,
    #[command(flatten)]
    client: ClientArgs,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum EndpointsVerb {
    /// Every endpoint with its jobs and workers
    List,
    /// One endpoint with all its settings
    Show {
        /// Endpoint
        endpoint: String,
    },
    /// Delete an endpoint: queued jobs are cancelled, running ones finish, its name is never used again
    Delete {
        /// Endpoint
        endpoint: String,
    },
    /// The releases of an endpoint, newest first, and what changed in each
    Releases {
        /// Endpoint
        endpoint: String,
    },
    /// What an endpoint cost so far, under both readings of the platform's billing; all endpoints unless given
    Bill {
        /// Endpoint
        endpoint: Option<String>,
    },
}

pub(super) fn run(args: &EndpointsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    match &args.verb {
        EndpointsVerb::List => answer(args.json, &client.get(&managed(&["serverless"]))?, listing),
        EndpointsVerb::Show { endpoint } => {
            let shown = client.get(&managed(&["serverless", endpoint]))?;
            // Settings are a tree: JSON reads well enough.
            output::answer_json(&shown)
        }
        EndpointsVerb::Delete { endpoint } => {
            client.delete(&managed(&["serverless", endpoint]))?;
            if args.json { Ok(()) } else { output::answer("deleted\n") }
        }
        EndpointsVerb::Releases { endpoint } => {
            answer(args.json, &client.get(&managed(&["serverless", endpoint, "releases"]))?, releases)
        }
        EndpointsVerb::Bill { endpoint } => {
            let query = endpoint
                .as_ref()
                .map_or_else(String::new, |endpoint| format!("?serverlessId={}", crate::worker::encoded(endpoint)));
            answer(args.json, &client.get(&format!("{}{query}", managed(&["billing", "serverless"])))?, bills)
        }
    }
}

fn listing(page: &Value) -> String {
    let row = |endpoint: &Value| {
        let (jobs, workers) = (&endpoint["health"]["jobs"], &endpoint["health"]["workers"]);
        vec![
            cell(&endpoint["id"]),
            cell(&endpoint["type"]),
            cell(&endpoint["version"]),
            cell(&jobs["inQueue"]),
            cell(&jobs["inProgress"]),
            cell(&jobs["completed"]),
            cell(&jobs["failed"]),
            cell(&workers["running"]),
            cell(&workers["idle"]),
            cell(&workers["initializing"]),
            cell(&endpoint["image"]),
        ]
    };
    let header =
        ["endpoint", "type", "release", "queued", "in hand", "done", "failed", "running", "idle", "starting", "image"];
    table(&header, list(page, "endpoints").iter().map(row).collect())
}

fn releases(page: &Value) -> String {
    let row = |release: &Value| {
        let changed: Vec<String> = list(&release["diff"], "").iter().map(|change| cell(&change["field"])).collect();
        vec![
            cell(&release["version"]),
            cell(&release["status"]),
            cell(&release["workerCount"]),
            cell(&release["createdAt"]),
            changed.join(", "),
        ]
    };
    table(&["release", "state", "workers", "since", "changed"], list(page, "releases").iter().map(row).collect())
}

fn bills(page: &Value) -> String {
    let money = |value: &Value| value.as_f64().map_or_else(String::new, |usd| format!("{usd:.4}"));
    let row = |record: &Value| {
        let seconds =
            |kind: &str| record["billedSeconds"][kind].as_f64().map_or_else(String::new, |s| format!("{s:.0}"));
        vec![
            cell(&record["serverlessId"]),
            money(&record["profiles"]["seed"]),
            money(&record["profiles"]["documented"]),
            seconds("active"),
            seconds("flex"),
            seconds("extra"),
        ]
    };
    let header = ["endpoint", "USD (seed)", "USD (documented)", "active s", "flex s", "extra s"];
    table(&header, list(page, "records").iter().map(row).collect())
}
