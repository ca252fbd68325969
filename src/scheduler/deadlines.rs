//! One armed deadline per entity, re-armed in place.
//!
//! A deadline is only ever *lowered* when something changes; that it has moved to later is found out when it comes to the top
//! ([`Deadlines::peek`] asks for the true one). So a worker that goes busy, idle, busy, idle a thousand times inside its idle timeout
//! costs the heap nothing, and there is never more than one entry per entity (obsolete idle timers in a plain heap cost a bare
//! simulation loop 120-180 ns per job, most of its time).

use crate::units::Time;

const ABSENT: u32 = u32::MAX;

/// A binary heap of (time, key) with the position of every key, at most one entry each. Ties go to the smaller key.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    heap: Vec<(Time, u32)>,
    position: Vec<u32>,
}

impl Deadlines {
    /// Makes sure that `key` is looked at no later than `at`.
    #[inline]
    pub(super) fn arm(&mut self, key: usize, at: Time) {
        if at == Time::MAX {
            return;
        }
        if key >= self.position.len() {
            self.position.resize(key + 1, ABSENT);
        }
        match self.position[key] {
            ABSENT => {
                self.heap.push((at, key as u32));
                self.sift_up(self.heap.len() - 1);
            }
            place => {
                if at < self.heap[place as usize].0 {
                    self.heap[place as usize].0 = at;
                    self.sift_up(place as usize);
                }
            }
        }
    }

    /// The earliest deadline and whose it is; `truth` tells what an entity's deadline really is by now (`Time::MAX` = none).
    #[inline]
    pub(super) fn peek(&mut self, mut truth: impl FnMut(usize) -> Time) -> Option<(Time, usize)> {
        loop {
            let (at, key) = *self.heap.first()?;
            let real = truth(key as usize);
            if real <= at {
                return Some((at, key as usize));
            }
            if real == Time::MAX {
                self.remove_first();
            } else {
                self.heap[0].0 = real;
                self.sift_down(0);
            }
        }
    }

    /// Every armed deadline with its key, in the order of the heap.
    pub(super) fn entries(&self) -> &[(Time, u32)] {
        &self.heap
    }

    /// Takes up what [`Self::entries`] gave; false for a key beyond `keys` or one that comes twice.
    pub(super) fn restore(&mut self, heap: Vec<(Time, u32)>, keys: usize) -> bool {
        self.heap = heap;
        self.position = vec![ABSENT; keys];
        for (place, (_, key)) in self.heap.iter().enumerate() {
            match self.position.get_mut(*key as usize) {
                Some(position) if *position == ABSENT => *position = place as u32,
                _ => return false,
            }
        }
        true
    }

    fn remove_first(&mut self) {
        let (_, key) = self.heap.swap_remove(0);
        self.position[key as usize] = ABSENT;
        if !self.heap.is_empty() {
            self.position[self.heap[0].1 as usize] = 0;
            self.sift_down(0);
        }
    }

    fn sift_up(&mut self, mut at: usize) {
        let entry = self.heap[at];
        while at > 0 {
            let parent = (at - 1) / 2;
            if self.heap[parent] <= entry {
                break;
            }
            self.heap[at] = self.heap[parent];
            self.position[self.heap[at].1 as usize] = at as u32;
            at = parent;
        }
        self.heap[at] = entry;
        self.position[entry.1 as usize] = at as u32;
    }

    fn sift_down(&mut self, mut at: usize) {
        let entry = self.heap[at];
        loop {
            let mut child = 2 * at + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1] < self.heap[child] {
                child += 1;
            }
            if entry <= self.heap[child] {
                break;
            }
            self.heap[at] = self.heap[child];
            self.position[self.heap[at].1 as usize] = at as u32;
            at = child;
        }
        self.heap[at] = entry;
        self.position[entry.1 as usize] = at as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_truth_is_found_when_the_entry_comes_to_the_top() {
        let mut deadlines = Deadlines::default();
        let mut truth = [Time(30), Time(20), Time::MAX];
        deadlines.arm(0, Time(10));
        deadlines.arm(1, Time(20));
        deadlines.arm(2, Time(5));
        assert_eq!(deadlines.peek(|key| truth[key]), Some((Time(20), 1)));
        truth[1] = Time::MAX;
        assert_eq!(deadlines.peek(|key| truth[key]), Some((Time(30), 0)));
        truth[1] = Time(25);
        deadlines.arm(1, Time(25));
        assert_eq!(deadlines.peek(|key| truth[key]), Some((Time(25), 1)));
    }

    #[test]
    fn the_earliest_of_many_is_always_on_top() {
        let mut deadlines = Deadlines::default();
        let mut truth: Vec<Time> = (0..500).map(|k: u64| Time(k * 7_919 % 1_009)).collect();
        for (key, at) in truth.iter().enumerate() {
            deadlines.arm(key, *at);
        }
        for _ in 0..500 {
            let (at, key) = deadlines.peek(|key| truth[key]).expect("entries are left");
            assert_eq!(at, *truth.iter().min().expect("not empty"));
            truth[key] = Time::MAX;
        }
        assert_eq!(deadlines.peek(|key| truth[key]), None);
    }
}
