//! `schema`: the JSON Schema of application files and of policy files, for editors and for other programs.

use clap::Args;

use super::{Failure, output};
use crate::scenario::schema;

/// What can be typed after `schema`.
#[derive(Debug, Args)]
#[command(after_help = "For an editor: thermocline schema > thermocline.schema.json, then write\n  \
                        # yaml-language-server: $schema=thermocline.schema.json\nas the first line of an application file.\n\
                        For policy files: thermocline schema --policy")]
pub struct SchemaArgs {
    /// That of policy files instead of application files
    #[arg(long)]
    policy: bool,
}

/// Prints it.
pub fn run(args: &SchemaArgs) -> Result<(), Failure> {
    output::answer_json(&if args.policy { schema::policy_file() } else { schema::for_editors() })
}
