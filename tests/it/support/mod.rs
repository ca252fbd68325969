//! What several integration tests share: scripts, and a small world that answers the scheduler.

pub mod patience;
pub mod script;
pub mod text;
pub mod world;
