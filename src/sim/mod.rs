//! The simulation: the scheduler's driver with a virtual clock, and a model of the world that answers its commands.

mod agenda;
mod bandwidth;
pub mod clean;
mod hosts;
mod jobs;
pub mod plan;
mod pulls;
pub mod streams;
pub mod timers;
