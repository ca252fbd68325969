//! What a machine lacks to run workers, and what to do about it.
//!
//! Every check gives a [`Finding`]; nothing is changed, and nothing is started but one container if an image is named for it.

mod engine;
mod machine;

use std::path::PathBuf;

use serde::Serialize;

use super::config::{LauncherConfig, RunConfig};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, with a risk or a limit.
    Warn,
    /// Workers will not run.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, with the host's name before it where there is one.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty if there is nothing to do.
    pub advice: String,
}

/// A host that is to be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// Its name, for people.
    pub name: String,
    /// How its workers are launched.
    pub launcher: LauncherConfig,
    /// Ids of its GPUs.
    pub gpu_ids: Vec<String>,
}

/// What to look at.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The hosts that are to be used.
    pub hosts: Vec<Host>,
    /// The endpoints that are to be run, and how.
    pub endpoints: Vec<(String, RunConfig)>,
    /// Where the store and the logs are to be.
    pub data_dir: Option<PathBuf>,
    /// An image with `nvidia-smi`, to see GPUs from inside a container.
    pub image: Option<String>,
}

impl Finding {
    fn new(check: impl Into<String>, level: Level, found: impl Into<String>, advice: &str) -> Finding {
        Finding { check: check.into(), level, found: found.into(), advice: advice.to_owned() }
    }

    fn ok(check: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding::new(check, Level::Ok, found, "")
    }
}

/// Looks at everything, in the order in which a reader would mend it. Takes seconds; longer where an engine does not answer.
pub fn examine(plan: &Plan) -> Vec<Finding> {
    let wants_gpus = plan.hosts.iter().any(|host| !host.gpu_ids.is_empty());
    let mut findings = machine::examine(plan);
    findings.extend(machine::gpus(plan));
    let engines = plan.hosts.iter().filter(|host| matches!(host.launcher, LauncherConfig::Docker(_)));
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            for host in engines {
                findings.extend(runtime.block_on(engine::examine(host, wants_gpus)));
                findings.extend(engine::gpus_inside(host, plan.image.as_deref()));
            }
        }
        Err(error) => findings.push(Finding::new("engines", Level::Fail, error.to_string(), "free memory and files")),
    }
    findings
}

/// The first three numbers of a version: `1.17.8-1` is `(1, 17, 8)`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let start = text.find(|c: char| c.is_ascii_digit())?;
    let mut numbers = text[start..].split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let first = numbers.next()?.ok()?;
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    Some((first, next(), next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_tools_print() {
        for (text, expected) in [
            ("1.17.8", Some((1, 17, 8))),
            ("NVIDIA Container Toolkit CLI version 1.14.0-1\ncommit: 1", Some((1, 14, 0))),
            ("1.1.5+ds1", Some((1, 1, 5))),
            ("v2", Some((2, 0, 0))),
            ("unknown", None),
            ("99999999999.1", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn a_machine_is_looked_at_without_any_host() {
        let findings = examine(&Plan::default());
        assert!(findings.iter().any(|finding| finding.check == "clock" && finding.level == Level::Ok), "{findings:?}");
        assert!(
            findings.iter().all(|finding| (finding.level == Level::Ok) == finding.advice.is_empty()),
            "{findings:?}"
        );
    }
}
