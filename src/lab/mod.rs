//! The policy lab: where policies are judged. Pure: no clock, no printing; whatever it answers depends on files and seeds alone.

pub mod lint;
