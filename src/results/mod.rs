//! The shape of a finished run, in memory and on disk: the summary document and the tables beside it. Nothing but data.

pub mod summary;

pub use summary::{SUMMARY_VERSION, Summary};
pub mod tables;

pub use tables::{Format, OutputError};
