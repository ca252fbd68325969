//! From a plain request log to the settings of an endpoint: read, search a small grid by simulation, judge the result on all of it.
//!
//! - `log`: timestamps in the usual spellings, our trace format, or the requests of a recorded transcript;
//! - `search`: which scaler, value, idle timeout and number of always-on workers are cheapest at the wait that is asked for;
//! - `answer`: bills, waits and their intervals by blocks of the log, the active/flex crossover, twice the traffic.

pub mod answer;
pub mod application;
pub mod log;
pub mod search;
mod timestamp;

pub use answer::{Advice, Crossover, Forecast, Range, advise};
pub use log::Log;
pub use search::{Settings, Workload};

use crate::sim::SimError;

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum AdviseError {
    /// The workload cannot be simulated.
    #[error(transparent)]
    Sim(#[from] crate::experiment::RunError),
    /// There is too little to go by.
    #[error("{0}")]
    TooLittle(String),
}

impl From<SimError> for AdviseError {
    fn from(error: SimError) -> AdviseError {
        AdviseError::Sim(error.into())
    }
}
