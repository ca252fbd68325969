//! Thermocline: rehearse a serverless GPU endpoint before you pay for it; then serve it with the very same scheduler.

#![forbid(unsafe_code)]

pub mod cli;
pub mod experiment;
pub mod json;
pub mod lab;
pub mod ledger;
pub mod metrics;
pub mod policy;
pub mod real;
pub mod report;
pub mod results;
pub mod scenario;
pub mod scheduler;
pub mod sim;
pub mod units;
pub mod worker;
pub mod workload;
