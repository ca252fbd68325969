//! `logs ENDPOINT WORKER`: the last lines of a worker, and those to come.

use clap::Args;
use serde_json::Value;

use super::client::{Client, ClientArgs, cell, list, managed};
use super::{Failure, output};

/// What can be typed after `logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// Endpoint
    endpoint: String,
    /// Worker, as in `workers list`
    worker: String,
    /// Go on with the lines to come
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=5_000))]
    tail: u32,
    /// Only what the worker itself said, or what the launcher said about it
    #[arg(long, value_name = "SOURCE", value_parser = ["container", "system"])]
    source: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &LogsArgs) -> Result<(), Failure> {
    let client = Client::new(&args.client)?;
    let source = args.source.as_ref().map_or_else(String::new, |source| format!("&source={source}"));
    let path = managed(&["serverless", &args.endpoint, "workers", &args.worker, "logs"]);
    let path = format!("{path}?tail={}{source}", args.tail);
    if args.follow {
        return client.events(&path, |line| print(line, args.json));
    }
    let page = client.get(&path)?;
    list(&page, "lines").iter().try_for_each(|line| print(line, args.json))
}

fn print(line: &Value, json: bool) -> Result<(), Failure> {
    if json {
        return output::answer(&format!("{line}\n"));
    }
    let mark = if line["source"] == "system" { " *" } else { "" };
    output::answer(&format!("{}{mark} {}\n", cell(&line["ts"]), cell(&line["line"])))
}
