//! Who arrives when, and how much service each one needs.
//!
//! Pure functions of a specification and a passed-in generator: arrivals are streamed, never preloaded, and every draw of one
//! purpose comes from its own stream, so that two policies meet the same arrivals and the same service times.

pub mod arrivals;
pub mod deviate;
pub mod distribution;
pub mod sampler;
pub mod service;
#[cfg(test)]
mod testing;
pub mod trace;

pub use arrivals::{Arrival, ArrivalSpec, RatePoint, Traffic, TrafficSource, WorkHint};
pub use distribution::Distribution;
pub use sampler::Sampler;
pub use service::{Demand, ServiceModel, ServiceSampler, SharedSpeed};
pub use trace::{TraceOptions, TraceRow, TraceSource};
