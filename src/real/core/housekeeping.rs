//! What happens without anybody asking: expired results, silent external workers, snapshots, and what one batch leaves for the
//! next.

use bytes::Bytes;

use super::super::config::LauncherConfig;
use super::super::launcher::Report;
use super::super::store::Write;
use super::Core;
use super::api::Submission;
use crate::policy::Phase;
use crate::scheduler::{Event, ExitCause};
use crate::units::{Span, Time};

/// How often the house is kept.
const EVERY: Span = Span::from_whole_secs(5);
/// Results dropped at a time: bounds the pause that the sweep makes.
const EXPIRED_MAX: u32 = 1_000;
/// An id is remembered this long after its job is dropped (late results are recognised).
const TOMBSTONE_MS: u64 = 7 * 24 * 3_600_000;
/// Events between two snapshots: replaying 200,000 of them takes a fraction of a second.
const SNAPSHOT_EVERY: u64 = 200_000;
/// An external worker that has neither an open poll nor pinged for this long is gone (as observed on the platform, contract §3.4).
const SILENT_AFTER: Span = Span::from_whole_secs(40);

/// What is kept between batches.
#[derive(Default)]
pub(super) struct Housekeeping {
    next: Option<Time>,
    /// Last event in the latest snapshot.
    pub snapshot_seq: u64,
    /// Reports that came while nothing could be written.
    pub backlog: Vec<Report>,
    /// Tickets whose requests ended while nothing could be done about it.
    pub released: Vec<u64>,
    /// Jobs that finished jobs feed.
    pub fed: Vec<Submission>,
}

impl Housekeeping {
    /// When to look again; never, as long as there is nothing to look after.
    pub fn next(&self) -> Option<Time> {
        if self.fed.is_empty() && self.released.is_empty() { self.next } else { Some(Time::ZERO) }
    }
}

impl Core {
    pub(super) fn keep_house(&mut self) {
        self.submit_fed();
        for ticket in std::mem::take(&mut self.housekeeping.released) {
            self.release("", ticket, false);
        }
        if self.housekeeping.next.is_none_or(|at| at <= self.now) {
            self.housekeeping.next = Some(self.now + EVERY);
            self.drop_expired();
            self.find_silent();
        }
    }

    fn drop_expired(&mut self) {
        let now_ms = self.clock.unix_ms(self.now);
        match self.reader.expired(now_ms, EXPIRED_MAX) {
            Ok(ids) => {
                let until_ms = now_ms + TOMBSTONE_MS;
                let dropped = |id| Write::JobDropped { id, reason: "expired".to_owned(), until_ms };
                self.batch.extend(ids.into_iter().map(dropped));
            }
            Err(error) => tracing::error!(%error, "expired results cannot be looked for"),
        }
    }

    /// Nobody sees an external worker's process end: its silence tells.
    fn find_silent(&mut self) {
        let now = self.now;
        let external = |host: Option<crate::units::HostId>| {
            let host = host.and_then(|host| self.config.hosts.get(host.index()));
            host.is_some_and(|host| host.launcher == LauncherConfig::External)
        };
        let silent: Vec<_> = self
            .tables
            .workers()
            .filter(|(_, entry)| external(entry.host) && matches!(entry.phase, Phase::Ready | Phase::Draining))
            .filter(|(id, _)| {
                let seat = self.desk.known_seat(*id);
                seat.is_none_or(|seat| seat.take.is_none() && now.since(seat.last_seen) > SILENT_AFTER)
            })
            .map(|(worker, entry)| (worker, entry.epoch))
            .collect();
        for (worker, epoch) in silent {
            self.tell(Event::WorkerExited { worker, epoch, cause: ExitCause::Silent });
            self.desk.end(worker);
        }
    }

    pub(super) fn snapshot_if_due(&mut self) {
        if self.seq - self.housekeeping.snapshot_seq >= SNAPSHOT_EVERY {
            self.snapshot_now();
        }
    }

    pub(super) fn snapshot_now(&mut self) {
        if self.seq == self.housekeeping.snapshot_seq {
            return;
        }
        match self.state() {
            Ok(state) => {
                self.batch.push(Write::Snapshot { seq: self.seq, at: self.now, state: Bytes::from(state) });
                self.housekeeping.snapshot_seq = self.seq;
            }
            // The log alone is enough to recover; only the next start takes longer.
            Err(error) => tracing::error!(%error, "no snapshot could be made"),
        }
    }
}
