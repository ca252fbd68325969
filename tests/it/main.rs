//! The integration tests, in one binary: linking is most of the time that a test binary costs.

mod books;
mod catalogue;
mod checker;
mod cli;
mod e2e;
mod foresight;
mod golden;
mod lab;
mod live_traces;
mod plausible;
mod properties;
mod real_docker;
mod real_gateway;
mod real_launch;
mod real_store;
mod real_webhook;
mod scenario;
mod starlark;
mod support;
mod theory;
mod tidy;
mod transcripts;
mod verbs;
