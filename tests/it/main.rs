//! The integration tests, in one binary: linking is most of the time that a test binary costs.

mod checker;
mod live_traces;
mod properties;
mod support;
mod theory;
mod tidy;
mod transcripts;
