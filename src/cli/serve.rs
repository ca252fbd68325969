//! `serve FILE`: the endpoints of an application file on real machines, behind the platform's API.

mod config;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::logging::{self, LogFormat};
use super::{Failure, output};
use crate::real::config::{EndpointConfig, EndpointKind, ServeConfig};
use crate::real::server::{self, Options, Reload, ServeError};
use crate::scenario::serving;

pub use config::{Overrides, data_dir, endpoint_configs, serve_config};

/// What can be typed after `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
SIGTERM and SIGINT end it: jobs in hand may finish, the others wait for the next start. SIGHUP reads the file again.
Log lines go to stderr, at the level that THERMOCLINE_LOG says (info unless given).")]
pub struct ServeArgs {
    /// Application file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Change a setting, such as endpoints.sdxl.workers.max=5; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Leave the workers running at the end, for a gateway that is started again and takes them up
    #[arg(long)]
    keep_workers: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let serving = serving::load(&args.file, &args.sets)?;
    let (config, notes) = serve_config(&serving, &args.overrides)?;
    logging::start(args.log_format);
    for note in notes {
        output::note(&format!("note: {note}"));
    }
    let summary = Summary::of(&config);
    let options = Options { reload: reload(args), keep_workers: args.keep_workers };
    server::run(config, options, |address| summary.print(address)).map_err(failure)
}

/// Reads the file again. What holds for the whole gateway (address, hosts, store) is as it was at the start.
fn reload(args: &ServeArgs) -> Reload {
    let (file, sets) = (args.file.clone(), args.sets.clone());
    Box::new(move || -> Result<Vec<EndpointConfig>, String> {
        let serving = serving::load(&file, &sets).map_err(|problems| problems.to_string())?;
        endpoint_configs(&serving, &mut Vec::new()).map_err(|failure| failure.to_string())
    })
}

fn failure(error: ServeError) -> Failure {
    match error {
        ServeError::Listen { .. } | ServeError::Config(_) => Failure::input(error),
        ServeError::Folder { .. } | ServeError::Start(_) | ServeError::Store(_) => Failure::other(error),
    }
}

/// What a person wants to know when everything is up.
struct Summary {
    scheme: &'static str,
    endpoints: Vec<(String, EndpointKind)>,
    kept: Option<PathBuf>,
}

impl Summary {
    fn of(config: &ServeConfig) -> Summary {
        Summary {
            scheme: if config.tls.is_some() { "https" } else { "http" },
            endpoints: config.endpoints.iter().map(|endpoint| (endpoint.id.clone(), endpoint.kind)).collect(),
            kept: config.data_dir.clone(),
        }
    }

    fn print(&self, address: SocketAddr) {
        self.lines(address).iter().for_each(|line| output::note(line));
    }

    fn lines(&self, address: SocketAddr) -> Vec<String> {
        let host = if address.ip().is_unspecified() {
            SocketAddr::new([127, 0, 0, 1].into(), address.port())
        } else {
            address
        };
        let base = format!("{}://{host}/v2", self.scheme);
        let names: Vec<&str> = self.endpoints.iter().map(|(id, _)| id.as_str()).collect();
        let kept = self.kept.as_ref().map_or_else(
            || "nothing is kept: everything is gone when this ends".to_owned(),
            |folder| format!("kept in {}", folder.display()),
        );
        let mut lines = vec![format!("serving {} at {base}; {kept}", names.join(", "))];
        if let Some((id, kind)) = self.endpoints.first() {
            lines.push(match kind {
                EndpointKind::Queue => {
                    format!(
                        "try: curl -s {base}/{id}/runsync -H 'Content-Type: application/json' -d '{{\"input\": {{}}}}'"
                    )
                }
                EndpointKind::LoadBalancer => format!("try: curl -s {base}/{id}/lb/"),
            });
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_can_be_copied_from_what_is_said() {
        let endpoints = vec![("a".to_owned(), EndpointKind::Queue), ("b".to_owned(), EndpointKind::LoadBalancer)];
        let summary = Summary { scheme: "http", endpoints, kept: None };
        let lines = summary.lines(SocketAddr::from(([0, 0, 0, 0], 8080)));
        assert!(lines[0].starts_with("serving a, b at http://127.0.0.1:8080/v2; nothing is kept"), "{}", lines[0]);
        assert!(lines[1].starts_with("try: curl -s http://127.0.0.1:8080/v2/a/runsync "), "{}", lines[1]);
    }
}
