//! The integration tests, in one binary: linking is most of the time that a test binary costs.

mod books;
mod cli;
mod golden;
mod scenario;
mod theory;
mod tidy;
