//! From a plain request log to the settings of an endpoint: read, search a small grid by simulation, judge the result on all of it.
//!
//! - `columns`: where the lines of a log hold the time of a request, and what else is known of it (`names`: of columns);
//! - `log`: timestamps in the usual spellings, our trace format, or the requests of a recorded transcript;
//! - `application`: what is known of the endpoint, as parts of an application file;
//! - `search`: which scaler, value, idle timeout and number of always-on workers are cheapest at the wait that is asked for;
//! - `answer`: bills, waits and their intervals by blocks of the log, the active/flex crossover, twice the traffic.

pub mod answer;
pub mod application;
mod columns;
pub mod log;
mod names;
pub mod search;
mod timestamp;

pub use answer::{Advice, Crossover, Forecast, Range, advise};
pub use log::Log;
pub use search::{Requests, Settings, Workload};

use crate::sim::SimError;

/// Why there is no advice.
#[derive(Debug, thiserror::Error)]
pub enum AdviseError {
    /// The workload cannot be simulated.
    #[error(transparent)]
    Sim(#[from] crate::experiment::RunError),
    /// What was given is not known.
    #[error(transparent)]
    File(#[from] crate::scenario::Problems),
    /// There is too little to go by.
    #[error("{0}")]
    TooLittle(String),
}

impl From<SimError> for AdviseError {
    fn from(error: SimError) -> AdviseError {
        AdviseError::Sim(error.into())
    }
}
