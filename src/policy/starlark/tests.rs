//! Hostile and wrong files, and what they are told.
