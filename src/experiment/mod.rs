//! Runs of plans and what comes out of them: one run with its books, figures, hash and tables.

pub mod output;
pub mod places;
pub mod rows;
pub mod run;
pub mod summarize;

pub use output::{OutputOptions, TranscriptForm, run_into};
pub use run::{Outcome, RunError, RunOptions, run, run_with};
