//! A container engine: can it be reached, is it new enough, and does it give GPUs to containers?

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use bollard::models::{SystemInfo, SystemInfoCgroupVersionEnum, SystemVersion};

use super::super::clock::unix_us;
use super::super::config::{DockerConfig, GpuRequest, LauncherConfig, RunConfig};
use super::super::ids::{hex, random_bytes};
use super::super::launcher::docker::{DockerLauncher, EngineHost, engine};
use super::super::launcher::{LaunchSpec, Launcher, Report, Reporter};
use super::{Finding, Host, Level, machine, version};
use crate::scheduler::{ExitCause, StopMode};
use crate::units::HostId;

/// First versions without the known ways out of a container: CVE-2024-21626 in runc; CVE-2024-0132, CVE-2025-23359, -23266 and
/// -23267 in NVIDIA's toolkit (bulletins 5582 and 5659).
const RUNC: (u32, u32, u32) = (1, 1, 12);
const TOOLKIT: (u32, u32, u32) = (1, 17, 8);
/// Longest difference between our clock and the engine's.
const SKEW_S: u64 = 5;
/// Longest wait for the container that looks for GPUs.
const LOOK: Duration = Duration::from_secs(120);

/// Everything about the engine of one host.
pub(super) async fn examine(host: &Host, wants_gpus: bool) -> Vec<Finding> {
    let LauncherConfig::Docker(config) = &host.launcher else { return Vec::new() };
    let name = |check: &str| format!("{}: {check}", host.name);
    let facts = async {
        let docker = engine::connect(config).await?;
        let version = docker.version().await.map_err(|error| engine::words(&error))?;
        let info = docker.info().await.map_err(|error| engine::words(&error))?;
        Ok::<_, String>((version, info))
    };
    let (found, info) = match facts.await {
        Ok(facts) => facts,
        Err(error) => {
            let advice =
                "start it (systemctl start docker), and let this user use it (group docker, or a rootless engine)";
            return vec![Finding::new(name("engine"), Level::Fail, error, advice)];
        }
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let reached = format!("version {}, API {}", text(&found.version), text(&found.api_version));
    let mut findings = vec![Finding::ok(name("engine"), reached)];
    findings.extend(
        [cgroup(&info), runc(&found), clock(&info)]
            .into_iter()
            .map(|finding| Finding { check: name(&finding.check), ..finding }),
    );
    if engine::is_local(config) {
        let root = info.docker_root_dir.as_deref().unwrap_or("/var/lib/docker");
        findings.push(machine::disk(&name("disk of the images"), Path::new(root)));
    }
    if wants_gpus && !host.gpu_ids.is_empty() {
        findings.push(Finding { check: name("GPUs for containers"), ..gpu_way(config, &info) });
        if engine::is_local(config) {
            findings.push(Finding { check: name("nvidia-container-toolkit"), ..toolkit() });
        }
    }
    findings
}

fn cgroup(info: &SystemInfo) -> Finding {
    match info.cgroup_version {
        Some(SystemInfoCgroupVersionEnum::_2) => Finding::ok("cgroups", "version 2"),
        _ => {
            let advice = "boot with systemd.unified_cgroup_hierarchy=1: limits of memory are less exact in version 1";
            Finding::new("cgroups", Level::Warn, "version 1", advice)
        }
    }
}

fn runc(found: &SystemVersion) -> Finding {
    let component = found.components.iter().flatten().find(|component| component.name == "runc");
    let Some(text) = component.map(|component| component.version.clone()) else {
        return Finding::new("runc", Level::Warn, "its version is not told", "look at it by hand: 1.1.12 or later");
    };
    if version(&text) >= Some(RUNC) {
        return Finding::ok("runc", text);
    }
    let advice =
        "update to 1.1.12 or later, which closes CVE-2024-21626 (your distribution may have mended an older one)";
    Finding::new("runc", Level::Warn, text, advice)
}

fn clock(info: &SystemInfo) -> Finding {
    let Some(theirs) = info.system_time.as_deref().and_then(engine::unix_ns) else {
        return Finding::new("clock of the engine", Level::Warn, "it is not told", "compare it by hand");
    };
    let skew_s = (theirs / 1_000_000_000).abs_diff(unix_us() / 1_000_000);
    let found = format!("{skew_s} s from ours");
    if skew_s > SKEW_S {
        return Finding::new(
            "clock of the engine",
            Level::Warn,
            found,
            "set both by NTP: times in logs will not match",
        );
    }
    Finding::ok("clock of the engine", found)
}

fn gpu_way(config: &DockerConfig, info: &SystemInfo) -> Finding {
    let runtime = info.runtimes.as_ref().is_some_and(|runtimes| runtimes.contains_key("nvidia"));
    let discovered = info.discovered_devices.iter().flatten();
    let mut named = discovered.filter_map(|device| device.id.as_deref());
    let cdi = named.any(|id| id.starts_with("nvidia.com/gpu=")) || engine::is_local(config) && has_cdi_spec();
    let (fits, found) = match config.gpus {
        GpuRequest::Cdi => (cdi, format!("CDI names of NVIDIA GPUs: {}", if cdi { "there" } else { "none" })),
        GpuRequest::Runtime | GpuRequest::DeviceRequest => {
            (runtime, format!("runtime `nvidia`: {}", if runtime { "there" } else { "none" }))
        }
    };
    match (fits, config.gpus) {
        (true, _) => Finding::ok("", found),
        (false, GpuRequest::Cdi) => {
            let advice = "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, with an engine from version 25 on";
            Finding::new("", Level::Fail, found, advice)
        }
        // The engine's own way needs only the hook, which cannot be seen from outside.
        (false, GpuRequest::DeviceRequest) => Finding::new(
            "",
            Level::Warn,
            found,
            "nvidia-ctk runtime configure --runtime=docker, then restart the engine",
        ),
        (false, GpuRequest::Runtime) => Finding::new(
            "",
            Level::Fail,
            found,
            "nvidia-ctk runtime configure --runtime=docker, then restart the engine",
        ),
    }
}

fn has_cdi_spec() -> bool {
    ["/etc/cdi", "/var/run/cdi"].iter().any(|folder| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).any(|name| name.contains("nvidia"))
    })
}

fn toolkit() -> Finding {
    let output = Command::new("nvidia-ctk").arg("--version").output();
    let Ok(output) = output else {
        let advice = "install nvidia-container-toolkit 1.17.8 or later";
        return Finding::new("", Level::Fail, "nvidia-ctk is not in the search path", advice);
    };
    let text = String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("").to_owned();
    if version(&text) >= Some(TOOLKIT) {
        return Finding::ok("", text);
    }
    let advice = "update to 1.17.8 or later: older ones let a hostile image out of its container (CVE-2025-23266)";
    Finding::new("", Level::Warn, text, advice)
}

/// Starts one container with the host's first GPU and looks for it there.
pub(super) fn gpus_inside(host: &Host, image: Option<&str>) -> Option<Finding> {
    let (LauncherConfig::Docker(config), Some(gpu), Some(image)) = (&host.launcher, host.gpu_ids.first(), image) else {
        return None;
    };
    let check = format!("{}: GPU in a container", host.name);
    let mark = hex(&random_bytes()[..8]);
    let folder = std::env::temp_dir().join(format!("thermocline-doctor-{mark}"));
    let seen = std::fs::create_dir_all(&folder).map_err(|error| error.to_string()).and_then(|()| {
        let (sender, reports) = channel();
        let engine = EngineHost { host: HostId(0), config: config.clone(), gpu_ids: vec![gpu.clone()] };
        let launcher = DockerLauncher::new(folder.clone(), Reporter::channel(sender), vec![engine]);
        let launcher = launcher.map_err(|error| error.to_string())?;
        launcher.adopt(HostId(0), &[]);
        let name = format!("doctor-{mark}");
        launcher.start(look_for_gpus(&name, image));
        loop {
            match reports.recv_timeout(LOOK) {
                Ok(Report::Exited { cause: ExitCause::Left, .. }) => {
                    break Ok(launcher
                        .logs(&name, 20)
                        .into_iter()
                        .filter(|line| line.container)
                        .map(|line| line.text)
                        .collect());
                }
                Ok(Report::Exited { detail, .. } | Report::HostReachable { reachable: false, detail, .. }) => {
                    break Err(detail);
                }
                Ok(_) => {}
                Err(_) => {
                    launcher.stop(HostId(0), &name, StopMode::Kill);
                    while let Ok(report) = reports.recv_timeout(LOOK) {
                        if matches!(report, Report::Stopped { .. } | Report::Exited { .. }) {
                            break;
                        }
                    }
                    break Err(format!("no answer in {LOOK:?}"));
                }
            }
        }
    });
    let _ = std::fs::remove_dir_all(folder);
    let seen: Result<Vec<String>, String> = seen;
    Some(match seen {
        Ok(lines) if lines.iter().any(|line| line.starts_with("GPU ")) => Finding::ok(check, lines.join("; ")),
        Ok(lines) => {
            let found = format!("nvidia-smi saw none: {}", lines.join("; "));
            Finding::new(check, Level::Fail, found, "see the checks of the toolkit and the runtime above")
        }
        Err(detail) => Finding::new(check, Level::Fail, detail, "fetch the image first, and see the checks above"),
    })
}

fn look_for_gpus(name: &str, image: &str) -> LaunchSpec {
    LaunchSpec {
        name: name.to_owned(),
        endpoint: "doctor".to_owned(),
        host: HostId(0),
        version: 1,
        image: image.to_owned(),
        gpus: 1,
        run: RunConfig { command: ["nvidia-smi", "-L"].map(str::to_owned).into(), ..RunConfig::default() },
        env: Vec::new(),
        resume: None,
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::SystemVersionComponents;

    use super::*;

    #[test]
    fn old_runtimes_are_named_and_new_ones_pass() {
        let with = |text: &str| {
            let component = SystemVersionComponents {
                name: "runc".into(),
                version: text.into(),
                ..SystemVersionComponents::default()
            };
            runc(&SystemVersion { components: Some(vec![component]), ..SystemVersion::default() }).level
        };
        assert_eq!(
            [with("1.1.11"), with("1.1.12"), with("1.2.0-rc.1"), with("unknown")],
            [Level::Warn, Level::Ok, Level::Ok, Level::Warn]
        );
        assert_eq!(runc(&SystemVersion::default()).level, Level::Warn);
        assert_eq!(cgroup(&SystemInfo::default()).level, Level::Warn);
    }

    #[test]
    fn the_way_to_gpus_must_be_the_one_that_is_asked_for() {
        let config = |gpus| DockerConfig { endpoint: Some("ssh://far".into()), gpus, ..DockerConfig::default() };
        let bare = SystemInfo::default();
        let levels = [GpuRequest::Runtime, GpuRequest::Cdi, GpuRequest::DeviceRequest]
            .map(|way| gpu_way(&config(way), &bare).level);
        assert_eq!(levels, [Level::Fail, Level::Fail, Level::Warn]);
        let runtimes = Some([("nvidia".to_owned(), bollard::models::Runtime::default())].into());
        let with = SystemInfo { runtimes, ..SystemInfo::default() };
        let levels = [GpuRequest::Runtime, GpuRequest::Cdi, GpuRequest::DeviceRequest]
            .map(|way| gpu_way(&config(way), &with).level);
        assert_eq!(levels, [Level::Ok, Level::Fail, Level::Ok]);
    }
}
