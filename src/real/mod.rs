//! Real mode: the wall clock drives the scheduler, and real workers do the work.
//!
//! ```text
//! gateway (HTTP) --Request--> core thread: scheduler + job table + folds --Write--> store (group commit)
//!       ^                        |        ^                                              |
//!       +------ answers ---------+        +---- Report ---- launcher (process, docker, external)
//! ```
//!
//! One thread owns the scheduler and decides; everything it decides becomes visible (an answer, a launch, a handed-out job)
//! only after the batch in which it was decided is durable. Sim and real never meet: what they share is `scheduler`,
//! `ledger` and `metrics`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real mode is where the wall clock, the network, processes and the environment come in"
)]

pub mod access;
pub mod clock;
pub mod config;
pub mod core;
pub mod doctor;
pub mod gateway;
pub mod ids;
pub mod keys;
pub mod launcher;
pub mod server;
pub mod spans;
pub mod store;
pub mod transcript;
pub mod webhook;
