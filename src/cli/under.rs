//! `--policy` of commands that look at one application file: its settings with a policy laid over them.

use std::path::Path;

use clap::Args;

use super::Failure;
use crate::lab::candidate::Candidate;
use crate::scenario::{self, Scenario};

/// Under which policy a file is looked at.
#[derive(Clone, Debug, Args)]
pub(super) struct Under {
    /// A policy laid over every endpoint, as in `compare`: a file of policies/, a name, a Starlark file, settings in braces
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
}

impl Under {
    /// The file with the policy and, above both, the settings typed.
    pub(super) fn load(&self, file: &Path, overrides: &[String]) -> Result<Scenario, Failure> {
        match &self.policy {
            None => Ok(scenario::load(file, overrides)?),
            Some(typed) => Ok(Candidate::find(typed)?.load(file, overrides)?),
        }
    }
}
