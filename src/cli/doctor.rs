//! `doctor [FILE]`: what this machine lacks to serve, and what to do about it.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::serve::{Overrides, serve_config};
use super::{Failure, output};
use crate::real::config::{DockerConfig, LauncherConfig};
use crate::real::doctor::{self, Finding, Host, Level, Plan};
use crate::scenario::serving;

/// What can be typed after `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 1 if workers would not run. Without a file: this machine and the engine of this machine."
)]
pub struct DoctorArgs {
    /// Application file: its hosts and commands are looked at
    file: Option<PathBuf>,
    /// Set a value of the file: path=value
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Look for GPUs from inside a container of this image (it needs nvidia-smi and must have been fetched)
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Looks, tells, and fails if something that is needed is missing.
pub fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let plan = plan(args)?;
    let findings = doctor::examine(&plan);
    let failed = findings.iter().filter(|finding| finding.level == Level::Fail).count();
    if args.json {
        output::answer_json(&serde_json::json!({"ok": failed == 0, "findings": findings}))?;
    } else {
        output::answer(&table(&findings))?;
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::other(format!("{failed} of {} checks failed", findings.len()))),
    }
}

fn plan(args: &DoctorArgs) -> Result<Plan, Failure> {
    let Some(file) = &args.file else {
        let launcher = LauncherConfig::Docker(DockerConfig::default());
        let host = Host { name: "this machine".to_owned(), launcher, gpu_ids: Vec::new() };
        return Ok(Plan { hosts: vec![host], image: args.image.clone(), ..Plan::default() });
    };
    let (config, _) = serve_config(&serving::load(file, &args.set)?, &Overrides::default())?;
    let hosts = config.hosts.into_iter();
    let hosts = hosts.map(|host| Host { name: host.spec.name, launcher: host.launcher, gpu_ids: host.gpu_ids });
    let endpoints = config.endpoints.into_iter().map(|endpoint| (endpoint.id, endpoint.run));
    let data_dir = config.data_dir;
    Ok(Plan { hosts: hosts.collect(), endpoints: endpoints.collect(), data_dir, image: args.image.clone() })
}

fn table(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        let _ = writeln!(text, "{level:<5} {:<width$}  {}", finding.check, finding.found);
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "{:<5} {:<width$}  -> {}", "", "", finding.advice);
        }
    }
    text
}
