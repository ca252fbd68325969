//! Who arrives when, and how much service each one needs.
//!
//! Pure functions of a specification and a passed-in generator: arrivals are streamed, never preloaded, and every draw of one
//! purpose comes from its own stream, so that two policies meet the same arrivals and the same service times.

pub mod arrivals;
mod clock;
mod curve;
pub mod deviate;
pub mod distribution;
pub mod error;
pub mod import;
pub mod info;
pub mod lines;
mod playback;
mod process;
pub mod sampler;
pub mod service;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod traffic;
pub mod writer;

pub use arrivals::{Arrival, ArrivalSpec, RatePoint, Traffic, TrafficSource, WorkHint};
pub use distribution::Distribution;
pub use error::{FileError, WorkloadError};
pub use sampler::Sampler;
pub use service::{Demand, ServiceModel, ServiceSampler, SharedSpeed};
pub use trace::{TraceOptions, TraceReader, TraceRow, TraceSource};
pub use traffic::{Draw, TrafficStream};
