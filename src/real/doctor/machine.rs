//! This machine: clock, files, disk, GPUs, and what workers that are processes need.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, getrlimit};

use super::super::clock::unix_us;
use super::super::config::{LauncherConfig, RunConfig};
use super::super::launcher::gpus;
use super::super::launcher::process::SEARCH_PATH;
use super::{Finding, Level, Plan};

/// 2026-01-01: a clock before the newest of what we rely on was published is not set.
const CLOCK_LEAST_US: u64 = 1_767_225_600_000_000;
/// Open files that 1,000 held polls and their jobs need, with room.
const FILES: u64 = 4_096;

pub(super) fn examine(plan: &Plan) -> Vec<Finding> {
    let mut findings = vec![clock(), files()];
    if let Some(folder) = &plan.data_dir {
        findings.push(disk("disk of the data folder", folder));
    }
    if plan.hosts.iter().any(|host| host.launcher == LauncherConfig::Process) {
        findings.push(group_of_processes());
        findings.extend(commands(&plan.endpoints));
    }
    findings
}

fn clock() -> Finding {
    let now = unix_us();
    let seconds = now / 1_000_000;
    if now < CLOCK_LEAST_US {
        let advice =
            "set the clock (timedatectl set-ntp true): times of jobs, TLS and webhooks' signatures depend on it";
        return Finding::new("clock", Level::Fail, format!("{seconds} s since 1970, before 2026"), advice);
    }
    Finding::ok("clock", format!("{seconds} s since 1970"))
}

fn files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let (soft, hard) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let found = format!("{soft} open files, at most {hard}");
    if soft < FILES {
        let advice = "ulimit -n 65536 (or LimitNOFILE=65536 in the service): each worker holds three connections";
        return Finding::new("open files", Level::Warn, found, advice);
    }
    Finding::ok("open files", found)
}

/// Free space where `folder` is or will be.
pub(super) fn disk(check: &str, folder: &Path) -> Finding {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let Ok(stat) = rustix::fs::statvfs(there) else {
        return Finding::new(
            check,
            Level::Fail,
            format!("{} cannot be looked at", there.display()),
            "check its permissions",
        );
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    let all = stat.f_blocks.saturating_mul(stat.f_frsize).max(1);
    let found = format!("{:.1} GB of {:.1} GB free at {}", free as f64 / 1e9, all as f64 / 1e9, there.display());
    let advice = "free space: images take up to tens of GB each, and a full disk refuses new jobs";
    match free {
        0..1_000_000_000 => Finding::new(check, Level::Fail, found, advice),
        1_000_000_000..10_000_000_000 => Finding::new(check, Level::Warn, found, advice),
        _ => Finding::ok(check, found),
    }
}

/// Workers that are processes are watched by `pidfd` (Linux 5.3) and found by `/proc`.
fn group_of_processes() -> Finding {
    let own = rustix::process::getpid();
    let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty());
    if pidfd.is_err() || !Path::new("/proc/self/environ").exists() {
        let advice = "use Linux 5.3 or later with /proc mounted, or the docker launcher";
        return Finding::new("processes", Level::Fail, "no pidfd or no /proc", advice);
    }
    Finding::ok("processes", "pidfd and /proc are there")
}

/// Each command of an endpoint that runs as processes: there, and if it is Python, with the worker SDK.
fn commands(endpoints: &[(String, RunConfig)]) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (id, run) in endpoints {
        let check = format!("command of {id}");
        let Some(program) = run.command.first() else {
            let advice = "set `command` in its `run:` section";
            findings.push(Finding::new(check, Level::Fail, "no command", advice));
            continue;
        };
        let path = run.env.get("PATH").map_or(SEARCH_PATH, String::as_str);
        if seen.insert((program.clone(), path.to_owned())) {
            findings.push(command(check, program, path, run));
        }
    }
    findings
}

fn command(check: String, program: &str, path: &str, run: &RunConfig) -> Finding {
    let name = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or(program);
    if !name.starts_with("python") {
        let candidates = path.split(':').map(|folder| Path::new(folder).join(program));
        let folder = run.working_dir.as_deref().unwrap_or(Path::new("/"));
        let found = if program.contains('/') {
            Some(folder.join(program)).filter(|path| path.exists())
        } else {
            candidates.into_iter().find(|path| path.exists())
        };
        return match found {
            Some(path) => Finding::ok(check, path.display().to_string()),
            None => Finding::new(
                check,
                Level::Fail,
                format!("{program} is not in {path}"),
                "install it, or name its full path",
            ),
        };
    }
    let mut python = Command::new(program);
    python.args(["-c", "import runpod; print(runpod.__version__)"]).env_clear().env("PATH", path);
    python.env("HOME", "/nonexistent").stdin(Stdio::null());
    match python.output() {
        Err(error) => {
            let advice = "install Python, or name the full path of the one to use";
            Finding::new(check, Level::Fail, format!("{program}: {error}"), advice)
        }
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            if super::version(&version) < Some((1, 10, 0)) {
                let advice =
                    "pip install -U runpod: jobs of workers before 1.10 can be stopped only by killing the worker";
                return Finding::new(check, Level::Warn, format!("{program} with runpod {version}"), advice);
            }
            Finding::ok(check, format!("{program} with runpod {version}"))
        }
        Ok(_) => {
            let advice = "pip install runpod, into the Python that the command names";
            Finding::new(check, Level::Warn, format!("{program} has no module runpod"), advice)
        }
    }
}

/// What the driver says, held against what is configured for this machine.
pub(super) fn gpus(plan: &Plan) -> Vec<Finding> {
    let configured: Vec<String> = plan
        .hosts
        .iter()
        .filter(|host| match &host.launcher {
            LauncherConfig::Process => true,
            LauncherConfig::Docker(engine) => super::super::launcher::docker::engine::is_local(engine),
            LauncherConfig::External => false,
        })
        .flat_map(|host| host.gpu_ids.clone())
        .collect();
    let found = match gpus::list() {
        Ok(found) => found,
        Err(error) if configured.is_empty() => return vec![Finding::ok("GPUs", format!("none wanted; {error}"))],
        Err(error) => {
            let advice = "install the NVIDIA driver, or take the GPU ids out of the file";
            return vec![Finding::new("GPUs", Level::Fail, error, advice)];
        }
    };
    let driver = gpus::driver_version().unwrap_or_else(|error| error);
    let mut findings = vec![Finding::ok("GPUs", format!("{} seen by driver {driver}", found.len()))];
    for gpu in &found {
        let line = format!(
            "{} {} ({:.0} GB, {:.0} free)",
            gpu.name,
            gpu.uuid,
            gpu.memory_bytes as f64 / 1e9,
            gpu.free_bytes as f64 / 1e9
        );
        findings.push(match &gpu.sick {
            None => Finding::ok(format!("GPU {}", gpu.index), line),
            Some(why) => {
                let advice = "reset it (nvidia-smi -r) or have it replaced; it is not used until it is well";
                Finding::new(format!("GPU {}", gpu.index), Level::Warn, format!("{line}: {why}"), advice)
            }
        });
    }
    for (id, why) in gpus::unusable(&configured, &found) {
        let advice = "name GPUs as `nvidia-smi -L` does";
        findings.push(Finding::new(format!("configured GPU {id}"), Level::Fail, why, advice));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(command: &[&str]) -> (String, RunConfig) {
        let command = command.iter().map(|part| (*part).to_owned()).collect();
        ("e".to_owned(), RunConfig { command, ..RunConfig::default() })
    }

    #[test]
    fn a_command_is_there_or_it_is_said_what_is_missing() {
        let levels = |command: &[&str]| commands(&[endpoint(command)]).iter().map(|f| f.level).collect::<Vec<_>>();
        assert_eq!(levels(&["sh", "-c", "x"]), [Level::Ok]);
        assert_eq!(levels(&["/bin/sh"]), [Level::Ok]);
        assert_eq!(levels(&["no-such-program"]), [Level::Fail]);
        assert_eq!(levels(&["/no/such/python3"]), [Level::Fail]);
        assert_eq!(levels(&[]), [Level::Fail]);
        assert_eq!(commands(&[endpoint(&["sh"]), endpoint(&["sh"])]).len(), 1, "each command once");
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let finding = disk("disk", Path::new("/no/such/folder"));
        assert!(finding.found.ends_with(" free at /"), "{finding:?}");
    }
}
