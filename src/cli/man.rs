//! `man`: prints the manual page, or writes one page per verb.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Failure, output};

/// What can be typed after `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write thermocline.1 and one page per verb into this folder instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Overwrite files that exist
    #[arg(long, requires = "out")]
    force: bool,
}

pub(super) fn run(args: &ManArgs) -> Result<(), Failure> {
    let mut command = super::command();
    // Building fills in the full names of the verbs: `thermocline-policy-show`.
    command.build();
    match &args.out {
        None => output::answer(&String::from_utf8_lossy(&page(&clap_mangen::Man::new(command))?)),
        Some(folder) => write_pages(folder, &command, args.force),
    }
}

fn page(man: &clap_mangen::Man) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    man.render(&mut page)?;
    Ok(page)
}

fn write_pages(folder: &Path, command: &clap::Command, force: bool) -> Result<(), Failure> {
    let man = clap_mangen::Man::new(command.clone());
    output::write_file(&folder.join(man.get_filename()), &page(&man)?, force)?;
    command.get_subcommands().try_for_each(|verb| write_pages(folder, verb, force))
}
