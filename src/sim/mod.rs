//! The simulation: the scheduler's driver with a virtual clock, and a model of the world that answers its commands.

pub mod clean;
pub mod plan;
pub mod streams;
