//! The shape of a finished run, in memory and on disk: the summary document and the tables beside it. Nothing but data.

pub mod comparison;
pub mod directory;
pub mod folder;
mod parquet;
pub mod reader;
mod several;
pub mod summary;
pub mod sweep;
pub mod tables;
pub mod tuning;

pub use comparison::{Comparison, Interval};
pub use directory::Directory;
pub use folder::{Folder, RunFolder};
pub use summary::{SUMMARY_VERSION, Summary};
pub use tables::{Format, OutputError};
