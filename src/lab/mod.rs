//! The policy lab: where policies are judged, against each other and against what nobody can beat.

pub mod bound;
