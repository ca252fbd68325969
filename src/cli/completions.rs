//! `completions SHELL`: prints the completion script.

use clap::Args;

use super::{Failure, output};

/// What can be typed after `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "thermocline", &mut script);
    output::answer(&String::from_utf8_lossy(&script))
}
