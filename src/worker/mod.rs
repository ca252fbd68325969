//! Workers in Rust: a small library that speaks the worker protocol of the platform (worker SDK 1.12), so that a program becomes
//! a worker by giving it a handler.
//!
//! ```no_run
//! use thermocline::worker::{Context, Failed, Job, Outcome, Worker};
//!
//! async fn double(job: Job, context: Context) -> Result<Outcome, Failed> {
//!     let number = job.input["number"].as_f64().ok_or_else(|| Failed::new("`number` is missing"))?;
//!     context.progress(&"half way".into()).await;
//!     Ok(Outcome::output((number * 2.0).into()))
//! }
//!
//! fn main() -> Result<(), thermocline::worker::WorkerError> {
//!     Worker::from_env()?.concurrency(4).run(double)
//! }
//! ```
//!
//! On the wire it does what the SDK does, but for three weaknesses of that: it backs off when the gateway cannot be reached, it
//! repeats a result until it is taken, and it never drops a job that arrives while it is told to leave.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a worker lives by the wall clock and is told about the world by its environment"
)]

mod handler;
mod pings;
mod service;
mod settings;
mod wire;

pub use handler::{Cancel, Context, Failed, Handler, Job, Outcome};
pub use service::Worker;
pub use settings::{Settings, WorkerError, encoded};

#[cfg(test)]
mod tests;
