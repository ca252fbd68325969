//! The policy lab: where policies are judged. Pure: no clock, no printing; whatever it answers depends on files and seeds alone.

pub mod advise;
pub mod axes;
pub mod bound;
pub mod candidate;
pub mod compare;
pub mod lint;
pub mod replay;
pub mod stats;
pub mod sweep;
pub mod traces;
pub mod tune;
