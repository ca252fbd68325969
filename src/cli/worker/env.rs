//! `worker env FILE ENDPOINT`: the environment for a worker that somebody else starts (launcher `external`).
//!
//! The token is the endpoint's join token: whoever has it may be a worker of this endpoint under any name that begins with
//! `ext-`. It is made from the secret of the store, so the store is read; a running gateway does not mind.

use std::path::PathBuf;

use clap::Args;

use super::super::serve::{Overrides, data_dir};
use super::{Failure, output};
