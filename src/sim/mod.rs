//! The simulation: the scheduler's driver with a virtual clock, and a model of the world that answers its commands.

mod agenda;
mod bandwidth;
pub mod clean;
mod jobs;
pub mod plan;
pub mod streams;
pub mod timers;
