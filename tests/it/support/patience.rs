//! Waiting with an end: a test that waits for what never comes fails with what it waited for, instead of holding up all others.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "what it waits for happens in real time")]

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it: two slow cores, shared with other tests.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Polls `look` until it gives something.
///
/// # Panics
/// When it gives nothing for [`PATIENCE`].
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// What `waited` gives.
///
/// # Panics
/// When it gives nothing for [`PATIENCE`].
pub async fn soon<T>(what: &str, waited: impl Future<Output = T>) -> T {
    let result = tokio::time::timeout(PATIENCE, waited).await;
    result.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}
