//! From a [`LaunchSpec`] to a running process: its folder, its exact environment, its limits.
//!
//! Not limited here, since the kernel has no such limit for a group of processes outside a control group: CPUs, the number of
//! processes (`RLIMIT_NPROC` counts all processes of the user, so one worker's limit would hit its neighbours) and shared
//! memory. Endpoints that need those run in containers.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::super::LaunchSpec;
use super::procfs::MARK;
use super::spool;

/// Open files a worker may have, if the gateway's own limit allows: 64 connections a job at 1,000 jobs.
const OPEN_FILES: u64 = 65_536;
/// Where commands are looked for, unless the endpoint says otherwise.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Starts the worker in `folder`, which it makes. The text of an error is for people.
pub fn spawn(spec: &LaunchSpec, folder: &Path, gpus: &[String], ports: &[(u16, u16)]) -> Result<Child, String> {
    let [program, arguments @ ..] = spec.run.command.as_slice() else {
        return Err("no command: a worker that is a process needs `command` in its endpoint".to_owned());
    };
    let environment = environment(spec, folder, gpus, ports)?;
    let output = prepare(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let work = folder.join("work");
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment);
    command.current_dir(spec.run.working_dir.as_ref().unwrap_or(&work));
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    // Its own group: signals meant for the gateway (Ctrl-C) do not reach it, and it can be stopped with all it started.
    command.process_group(0);
    let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
    limit(Pid::from_child(&child), spec.run.memory_limit_bytes);
    Ok(child)
}

fn prepare(folder: &Path) -> std::io::Result<fs::File> {
    for name in ["home", "tmp", "work"] {
        fs::create_dir_all(folder.join(name))?;
    }
    spool::for_worker(folder)
}

/// The whole environment. What comes later replaces what came before: defaults, the endpoint's own, the worker protocol (which an
/// endpoint cannot bend), and what the launcher alone can know.
fn environment(
    spec: &LaunchSpec,
    folder: &Path,
    gpus: &[String],
    ports: &[(u16, u16)],
) -> Result<Vec<(String, String)>, String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let mut all: Vec<(String, String)> = [
        // The gateway's own, so that `python3` is the one of the environment it was started in.
        ("PATH", std::env::var("PATH").unwrap_or_else(|_| SEARCH_PATH.to_owned())),
        ("LANG", "C.UTF-8".to_owned()),
        ("TMPDIR", path("tmp")),
        // Lines reach the log when they are written, not when 8 KiB have come together.
        ("PYTHONUNBUFFERED", "1".to_owned()),
        // The checks want 4 GB of memory, 10 % of the disk and a way to 8.8.8.8 (worker SDK since 1.9).
        ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned()),
        // The SDK's default, DEBUG, prints up to 4 KB of every output.
        ("RUNPOD_LOG_LEVEL", "INFO".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    all.extend(spec.run.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    all.extend(spec.env.iter().cloned());
    if let Some((_, local)) = ports.first() {
        all.push(("PORT".to_owned(), local.to_string()));
    }
    for (asked, local) in ports {
        all.push((format!("THERMOCLINE_PORT_{asked}"), local.to_string()));
    }
    // A CDI name ends with the id that the driver knows: `nvidia.com/gpu=0`.
    let visible = gpus.iter().map(|id| id.rsplit('=').next().unwrap_or(id)).collect::<Vec<_>>().join(",");
    // Numbers mean what they mean to the driver; CUDA's own order is the fastest first.
    all.push(("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned()));
    all.push(("CUDA_VISIBLE_DEVICES".to_owned(), visible.clone()));
    all.push(("NVIDIA_VISIBLE_DEVICES".to_owned(), visible));
    // The SDK prefers the key in ~/.runpod/config.toml to the worker's own: never the gateway's home.
    all.push(("HOME".to_owned(), path("home")));
    all.push((MARK.to_owned(), folder.display().to_string()));
    match all.iter().find(|(name, value)| name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')) {
        Some((name, _)) => {
            Err(format!("{name:?} cannot be an environment variable: a name has no `=`, nothing has NUL bytes"))
        }
        None => Ok(all),
    }
}

/// Limits take hold right after the start; the few instructions before that do no harm.
fn limit(pid: Pid, memory_bytes: u64) {
    let hard = getrlimit(Resource::Nofile).maximum;
    let files = hard.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    let mut limits = vec![
        (Resource::Nofile, Rlimit { current: Some(files), maximum: hard }),
        (Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }),
    ];
    if memory_bytes > 0 {
        limits.push((Resource::As, Rlimit { current: Some(memory_bytes), maximum: Some(memory_bytes) }));
    }
    for (resource, rlimit) in limits {
        // ESRCH: it is gone already, which its watcher reports.
        if let Err(error) = prlimit(Some(pid), resource, rlimit).filter_gone() {
            tracing::warn!(%error, ?resource, "a worker runs without its limit");
        }
    }
}

trait FilterGone {
    fn filter_gone(self) -> Result<(), rustix::io::Errno>;
}

impl FilterGone for Result<Rlimit, rustix::io::Errno> {
    fn filter_gone(self) -> Result<(), rustix::io::Errno> {
        match self {
            Ok(_) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::real::config::RunConfig;
    use crate::units::HostId;

    fn spec() -> LaunchSpec {
        LaunchSpec {
            name: "w1-1".into(),
            endpoint: "e".into(),
            host: HostId(0),
            version: 1,
            image: String::new(),
            gpus: 1,
            run: RunConfig { command: vec!["true".into()], ..RunConfig::default() },
            env: vec![("RUNPOD_WEBHOOK_GET_JOB".into(), "http://h/job-take/$ID?gpu=x".into())],
            resume: None,
        }
    }

    #[test]
    fn the_environment_is_exact_and_the_protocol_cannot_be_bent() {
        let mut spec = spec();
        let own = [
            ("RUNPOD_WEBHOOK_GET_JOB", "evil"),
            ("RUNPOD_LOG_LEVEL", "DEBUG"),
            ("HOME", "/root"),
            ("PATH", "/venv/bin"),
        ];
        spec.run.env = own.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let gpus = ["GPU-a".to_owned(), "nvidia.com/gpu=3".to_owned()];
        let all: BTreeMap<String, String> =
            environment(&spec, Path::new("/w/w1-1"), &gpus, &[(80, 4_001), (90, 4_002)]).unwrap().into_iter().collect();
        let expected = [
            ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"),
            ("CUDA_VISIBLE_DEVICES", "GPU-a,3"),
            ("HOME", "/w/w1-1/home"),
            ("LANG", "C.UTF-8"),
            ("NVIDIA_VISIBLE_DEVICES", "GPU-a,3"),
            ("PATH", "/venv/bin"),
            ("PORT", "4001"),
            ("PYTHONUNBUFFERED", "1"),
            ("RUNPOD_LOG_LEVEL", "DEBUG"),
            ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true"),
            ("RUNPOD_WEBHOOK_GET_JOB", "http://h/job-take/$ID?gpu=x"),
            ("THERMOCLINE_PORT_80", "4001"),
            ("THERMOCLINE_PORT_90", "4002"),
            ("THERMOCLINE_WORKER", "/w/w1-1"),
            ("TMPDIR", "/w/w1-1/tmp"),
        ];
        assert_eq!(all.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_that_is_no_name_and_a_missing_command_are_refused_in_words() {
        let mut spec = spec();
        spec.run.env = [("A=B".to_owned(), "c".to_owned())].into();
        assert!(environment(&spec, Path::new("/w"), &[], &[]).unwrap_err().contains("\"A=B\""));
        spec.run.command.clear();
        assert!(spawn(&spec, Path::new("/w"), &[], &[]).unwrap_err().starts_with("no command"));
    }
}
