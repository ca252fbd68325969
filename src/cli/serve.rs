//! `serve FILE`: the endpoints of an application file on real machines, behind the platform's API.

mod config;

pub use config::{Overrides, data_dir, endpoint_configs, serve_config};

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::logging::{self, LogFormat};
use super::{Failure, output};
use crate::real::config::{EndpointKind, ServeConfig};
use crate::real::server::{self, Options, ServeError};
use crate::scenario::serving;

/// What can be typed after `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM or Ctrl-C: no new jobs, those in hand may finish (30 s), workers are stopped. SIGHUP: the file is read again; endpoints
that changed are rolled out. THERMOCLINE_LOG=debug (or a filter such as thermocline::real=trace) says how much is logged.")]
pub struct ServeArgs {
    /// Application file
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Set a value of the file: path=value
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Leave workers running at the end: the next start takes them up again
    #[arg(long, conflicts_with = "memory")]
    keep_workers: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Serves until a signal ends it.
pub fn run(args: &ServeArgs) -> Result<(), Failure> {
    logging::start(args.log_format);
    let loaded = serving::load(&args.file, &args.set)?;
    let (config, notes) = serve_config(&loaded, &args.overrides)?;
    notes.iter().for_each(|note| output::note(&format!("note: {note}")));
    let (file, set) = (args.file.clone(), args.set.clone());
    let reload = move || {
        let loaded = serving::load(&file, &set).map_err(|problems| problems.to_string())?;
        endpoint_configs(&loaded, &mut Vec::new()).map_err(|failure| failure.to_string())
    };
    let options = Options { reload: Box::new(reload), keep_workers: args.keep_workers };
    let told = config.clone();
    server::run(config, options, move |address| output::note(&welcome(&told, address))).map_err(failure)
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Config(_) => Failure::input(error),
        error => Failure::other(error),
    }
}

/// Where it is and what to type first.
fn welcome(config: &ServeConfig, address: SocketAddr) -> String {
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let host =
        if address.ip().is_unspecified() { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
    let url = format!("{scheme}://{host}");
    let mut text = format!("serving on {url}");
    for endpoint in &config.endpoints {
        let workers = &endpoint.spec;
        let _ = write!(
            text,
            "\n  {url}/v2/{}  workers: {} active, at most {} and {} extra",
            endpoint.id, workers.active, workers.max, workers.extra
        );
    }
    if let Some(first) = config.endpoints.iter().find(|endpoint| endpoint.kind == EndpointKind::Queue) {
        let _ = write!(
            text,
            "\ntry: curl -s {url}/v2/{}/runsync -H 'Content-Type: application/json' -d '{{\"input\": {{\"hello\": \"world\"}}}}'",
            first.id
        );
    }
    text
}

#[cfg(test)]
mod tests;
