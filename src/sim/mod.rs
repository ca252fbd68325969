//! The simulation: the scheduler's driver with a virtual clock, and a model of the world that answers its commands.
//!
//! [`plan::Plan`] says what is simulated, [`Simulation`] runs it. The driver is `engine` (what happens next) with `ending` (when it
//! is over); the world is `world` and a file for each of its concerns. Every draw comes from a stream keyed by what it is for
//! ([`streams`]), so that two policies meet the same requests, the same work and the same luck.

mod actions;
mod agenda;
mod arrivals;
mod bandwidth;
mod channel;
mod check;
pub mod clean;
mod ending;
mod endpoints;
mod engine;
mod faults;
mod hosts;
mod jobs;
mod pickup;
pub mod plan;
mod pulls;
pub mod requests;
mod speed;
mod starts;
pub mod streams;
mod tenants;
#[cfg(test)]
mod tests;
pub mod timers;
mod work;
mod workers;
mod world;

pub use clean::Clean;
pub use ending::EndReason;
pub use engine::{Progress, RunEnd, SimError, Simulation};
