//! The core: the one thread that owns the scheduler and decides.

pub mod api;
pub mod handle;
