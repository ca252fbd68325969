//! Finished runs and comparisons for people: text, pages, pictures, Markdown, CSV. Reads results only; computes nothing but
//! shares, and what a picture needs of its tables.

pub mod advice;
pub mod comparison;
pub mod csv;
mod findings;
pub mod format;
pub mod markdown;
pub mod overview;
pub mod page;
pub mod plot;
pub mod sweep;
pub mod text;
pub mod tuning;

pub use advice::{Advice, advice};
pub use page::page;
pub use text::text;
