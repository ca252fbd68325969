//! The heartbeat, on a thread of its own: a handler that computes without waiting must not look like a dead worker.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::service::Held;
use super::settings::{Settings, WorkerError};
use super::wire::Wire;

/// Pings until it is dropped.
pub struct Pings {
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Pings {
    /// Begins: the first ping goes out at once.
    pub fn start(settings: &Settings, held: &Arc<Held>) -> Result<Pings, WorkerError> {
        let wire = Wire::new(settings.clone())?;
        let every = settings.ping_interval;
        let held = Arc::clone(held);
        let (over, mut ended) = watch::channel(false);
        let failed = |error: std::io::Error| WorkerError::Start(error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let beat = async move {
            let mut clock = tokio::time::interval(every);
            clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ended.changed() => return,
                    _ = clock.tick() => {}
                }
                let jobs = held.jobs();
                tokio::select! {
                    _ = ended.changed() => return,
                    () = wire.ping(&jobs) => {}
                }
            }
        };
        let thread = std::thread::Builder::new().name("pings".to_owned()).spawn(move || runtime.block_on(beat));
        Ok(Pings { over, thread: Some(thread.map_err(failed)?) })
    }
}

impl Drop for Pings {
    fn drop(&mut self) {
        self.over.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // It ends at its next wait, which is always near; if it panicked there is nothing left to end.
            let _ = thread.join();
        }
    }
}
