//! What a recorded transcript tells beyond itself: the same requests, work and starts under other settings, and which decisions
//! then differ. (Whether the scheduler still decides as recorded is `scheduler::replay`.)
//!
//! - `recording`: a fold over the records that keeps requests, service times, starts and settings;
//! - `application`: that as an application file and a trace, so that `--policy` and `--set` mean what they mean elsewhere;
//! - `decisions`: starts and stops of workers, and the first ones that two runs do not share.

pub mod application;
pub mod decisions;
pub mod recording;

pub use decisions::{Decision, Decisions, Difference, differences};
pub use recording::{RecordedEndpoint, RecordedJob, Recording, Takes};
