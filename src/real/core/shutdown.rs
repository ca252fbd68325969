//! The end: no new work, what is in hand finishes, workers stop or are left for the next start, everything is written down.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::super::launcher::Report;
use super::super::store::StoreError;
use super::handle::{Answer, Request};
use super::{Core, reply};
use crate::scheduler::{Event, StopMode};

/// How long stopping workers are waited for; whoever still lives then is killed.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// And how long after that.
const KILL_WAIT: Duration = Duration::from_secs(3);

impl Core {
    /// Nothing is handed out any more: open polls are held, but the scheduler no longer counts on them.
    pub(super) fn drain(&mut self, answer: Answer<()>) {
        self.shutting_down = true;
        self.draining.push(answer);
        let up: Vec<_> = self.tables.workers().filter(|(_, entry)| entry.phase.holds_gpus()).collect();
        let up: Vec<_> = up.into_iter().map(|(worker, entry)| (worker, entry.epoch)).collect();
        for (worker, epoch) in up {
            self.tell(Event::TakeClosed { worker, epoch });
        }
    }

    pub(super) fn answer_drained(&mut self) {
        let busy = || self.tables.workers().any(|(_, entry)| !entry.hands.is_empty());
        if !self.draining.is_empty() && !busy() {
            for answer in std::mem::take(&mut self.draining) {
                reply(answer, ());
            }
        }
    }

    pub(super) fn finish(mut self, requests: &Receiver<Request>) -> Result<(), StoreError> {
        self.shutting_down = true;
        let (keep_workers, answer) = match self.shut_down.take() {
            Some((keep, answer)) => (keep, Some(answer)),
            None => (true, None),
        };
        if !keep_workers {
            self.stop_all(StopMode::Sleep, STOP_WAIT, requests);
            self.stop_all(StopMode::Kill, KILL_WAIT, requests);
        }
        self.snapshot_now();
        let result = if self.batch.is_empty() { Ok(()) } else { self.store.commit(&self.batch) };
        if let Some(transcript) = &mut self.transcript {
            transcript.flush();
        }
        for launcher in &self.outside.launchers {
            launcher.detach();
        }
        if let Some(answer) = answer {
            reply(answer, ());
        }
        result
    }

    /// Stops every worker that is up and waits for the reports, which are recorded: the next start finds nobody to look for.
    fn stop_all(&mut self, mode: StopMode, wait: Duration, requests: &Receiver<Request>) {
        let mut left = BTreeSet::new();
        let up: Vec<_> = self.tables.workers().filter(|(_, entry)| entry.phase.holds_gpus()).collect();
        let up: Vec<_> = up.into_iter().filter_map(|(id, entry)| Some((id, entry.host?, entry.name(id)))).collect();
        for (id, host, name) in up {
            let name = self.desk.known_seat(id).and_then(|seat| seat.alias.clone()).unwrap_or(name);
            if let Some(launcher) = self.outside.launchers.get(host.index()) {
                launcher.stop(host, &name, mode);
                left.insert(name);
            }
            // After the signal, so that the SDK's loops end instead of asking again.
            if let Some(seat) = self.desk.known_seat_mut(id) {
                seat.dismiss();
            }
        }
        let until = Instant::now() + wait;
        while !left.is_empty() {
            let span = until.saturating_duration_since(Instant::now());
            let Ok(request) = requests.recv_timeout(span) else { return };
            self.now = self.clock.now();
            match request {
                Request::Report(report) => {
                    if let Report::Exited { worker, .. } | Report::Stopped { worker, .. } = &report {
                        left.remove(worker);
                    }
                    self.last_report(report);
                }
                other => self.request_while_stalled(other),
            }
        }
    }

    /// A worker that was stopped without the scheduler's wish has left by itself, as far as it knows.
    fn last_report(&mut self, report: Report) {
        if let Report::Stopped { worker, .. } = &report
            && let Some((id, epoch)) = self.latest(worker)
        {
            let cause = crate::scheduler::ExitCause::Left;
            self.tell(Event::WorkerStopped { worker: id, epoch, frozen: false });
            self.tell(Event::WorkerExited { worker: id, epoch, cause });
        } else {
            self.reported(report);
        }
        // What the scheduler wishes now is wished again at the next start.
        self.effects.clear();
    }
}
