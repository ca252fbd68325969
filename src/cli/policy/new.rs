//! `policy new NAME`: writes a policy file that works at once.

use std::path::{Path, PathBuf};

use clap::Args;

use super::super::{Failure, output};
use crate::policy::starlark::{ENDING, template};

/// Where policies of a project are.
const FOLDER: &str = "policies";
/// Longest name.
const NAME_MAX: usize = 64;

/// What can be typed after `policy new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Name of the policy: the file is policies/NAME.star. With a path or the ending .star, that file
    #[arg(value_name = "NAME")]
    name: String,
    /// With a function that says how long idle workers stay
    #[arg(long)]
    keep_alive: bool,
}

pub(super) fn run(args: &NewArgs) -> Result<(), Failure> {
    let path = path_of(&args.name)?;
    let stem = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    if path.exists() {
        return Err(Failure::Input(format!("{} exists and is left as it is", path.display())));
    }
    output::write_file(&path, template::text(&stem, args.keep_alive).as_bytes(), false)?;
    let shown = path.display();
    output::answer(&format!(
        "Wrote {shown}. Next:\n\n  thermocline policy check {shown}\n  thermocline run APP.yaml --set endpoints.NAME.scaler={shown}\n"
    ))
}

/// Where a policy of that name goes.
fn path_of(name: &str) -> Result<PathBuf, Failure> {
    let bare = name.strip_suffix(ENDING).unwrap_or(name);
    let stem = Path::new(bare).file_name().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if stem.is_empty() || stem.len() > NAME_MAX || !stem.chars().all(fine) {
        let wanted = "a name is 1 to 64 letters, digits, `_` or `-`";
        return Err(Failure::Input(format!(
            "`{}` cannot be the name of a policy: {wanted}",
            crate::scenario::node::clean(name)
        )));
    }
    let typed = PathBuf::from(format!("{bare}{ENDING}"));
    let is_path = name.ends_with(ENDING) || Path::new(name).components().count() > 1;
    Ok(if is_path { typed } else { Path::new(FOLDER).join(typed) })
}
