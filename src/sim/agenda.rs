//! What is rare and may become obsolete: a plain heap of small entries with a generation to tell the obsolete ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::units::Time;

/// A worker's slot and the generation of its state: an entry of another generation is obsolete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Slot in the table of workers.
    pub slot: u32,
    /// Generation of the worker's state when the entry was made.
    pub generation: u32,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The current stage of a start is over.
    Stage(At),
    /// A stop is complete.
    Stopped(At),
    /// A snapshot has aged away.
    SnapshotEnds(At),
    /// Time to ping.
    Ping(At),
    /// A worker that is up crashes.
    Uptime(At),
    /// A pull's layers are unpacked.
    Unpacked { pull: u32, generation: u32 },
    /// The registry goes down or comes back.
    RegistryTurns,
    /// A tenant comes to the host, or leaves it.
    TenantTurns { host: u32 },
    /// The host is lost, or returns, by chance.
    HostTurns { host: u32 },
    /// A fact that was held back reaches the scheduler.
    LateFact { slot: u32 },
    /// An output reaches the endpoint that it feeds.
    Fed { to: u32 },
}

/// 32 bytes: time, order, what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Time,
    sequence: u64,
    due: Due,
}

/// The heap.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

impl Agenda {
    /// Adds an entry; [`Time::MAX`] means never.
    pub fn add(&mut self, at: Time, due: Due) {
        if at < Time::MAX {
            self.sequence += 1;
            self.heap.push(Reverse(Entry { at, sequence: self.sequence, due }));
        }
    }

    /// The earliest moment; [`Time::MAX`] when nothing waits.
    #[inline]
    pub fn next_time(&self) -> Time {
        self.heap.peek().map_or(Time::MAX, |entry| entry.0.at)
    }

    /// Takes the earliest entry.
    pub fn pop(&mut self) -> Option<Due> {
        self.heap.pop().map(|entry| entry.0.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_small_and_equal_moments_keep_their_order() {
        assert!(size_of::<Entry>() <= 32);
        let mut agenda = Agenda::default();
        agenda.add(Time(5), Due::TenantTurns { host: 9 });
        agenda.add(Time(5), Due::TenantTurns { host: 1 });
        agenda.add(Time(2), Due::RegistryTurns);
        agenda.add(Time::MAX, Due::HostTurns { host: 0 });
        assert_eq!(agenda.next_time(), Time(2));
        let order: Vec<Due> = std::iter::from_fn(|| agenda.pop()).collect();
        assert_eq!(order, [Due::RegistryTurns, Due::TenantTurns { host: 9 }, Due::TenantTurns { host: 1 }]);
    }
}
