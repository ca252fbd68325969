//! `schema`: the JSON Schema of application files, for editors and for other programs.

use clap::Args;

use super::{Failure, output};
use crate::scenario::schema;

/// What can be typed after `schema`.
#[derive(Debug, Args)]
#[command(after_help = "For an editor: thermocline schema > thermocline.schema.json, then write\n  \
                        # yaml-language-server: $schema=thermocline.schema.json\nas the first line of an application file.")]
pub struct SchemaArgs {}

/// Prints it.
pub fn run(_: &SchemaArgs) -> Result<(), Failure> {
    output::answer_json(schema::application())
}
