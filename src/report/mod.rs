//! Finished runs and comparisons for people. Reads results only; computes nothing but shares.

pub mod advice;
pub mod comparison;
pub mod format;
pub mod sweep;
pub mod text;
pub mod tuning;

pub use advice::{Advice, advice};
pub use text::text;
