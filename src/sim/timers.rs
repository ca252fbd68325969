//! One pending moment per entry of a table, re-armed in place: nothing obsolete ever waits in a queue.
//!
//! A winner tree: the root is the earliest entry, a change walks one path of log2(n) steps (about 15 ns at 200 entries,
//! against 40 ns for a pop and a push on a heap of that size, and against a heap that obsolete timers fill).

use std::hint::select_unpredictable;

use crate::units::Time;

/// Pending moments of entries `0..n`; grows when a higher entry is armed. Equal moments come in order of the entries.
#[derive(Clone, Debug)]
pub struct Timers {
    /// Moment of each entry, `Time::MAX` if none; the length is a power of two.
    times: Vec<Time>,
    /// `winners[1]` is the earliest entry of all, `winners[n]` that of the subtree under node n; leaves are implied.
    winners: Vec<u32>,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers { times: vec![Time::MAX; 2], winners: vec![0; 2] }
    }
}

impl Timers {
    /// Nothing pending.
    pub fn new() -> Timers {
        Timers::default()
    }

    /// The earliest moment; [`Time::MAX`] when nothing is pending.
    #[inline]
    pub fn next_time(&self) -> Time {
        self.times[self.winners[1] as usize]
    }

    /// The earliest entry and its moment.
    #[inline]
    pub fn next(&self) -> Option<(Time, usize)> {
        let entry = self.winners[1] as usize;
        let at = self.times[entry];
        (at < Time::MAX).then_some((at, entry))
    }

    /// Sets the moment of `entry`; [`Time::MAX`] disarms it.
    #[inline]
    pub fn set(&mut self, entry: usize, at: Time) {
        if entry >= self.times.len() {
            self.grow(entry + 1);
        }
        if self.times[entry] != at {
            self.times[entry] = at;
            self.replay(entry);
        }
    }

    /// Disarms `entry`.
    #[inline]
    pub fn clear(&mut self, entry: usize) {
        if entry < self.times.len() {
            self.set(entry, Time::MAX);
        }
    }

    /// Plays the matches on the way from `entry` to the root again. Who wins is anybody's guess, so no branch depends on it.
    #[inline]
    fn replay(&mut self, entry: usize) {
        // The lowest match is between two leaves, all others between winners of subtrees.
        let mut winner = self.winner(entry as u32, (entry ^ 1) as u32);
        let mut node = (self.times.len() + entry) >> 1;
        self.winners[node] = winner;
        while node > 1 {
            winner = self.winner(winner, self.winners[node ^ 1]);
            node >>= 1;
            self.winners[node] = winner;
        }
    }

    #[inline(always)]
    fn winner(&self, a: u32, b: u32) -> u32 {
        let (time_a, time_b) = (self.times[a as usize], self.times[b as usize]);
        select_unpredictable((time_b < time_a) | ((time_b == time_a) & (b < a)), b, a)
    }

    #[cold]
    fn grow(&mut self, entries: usize) {
        let leaves = entries.next_power_of_two().max(2);
        self.times.resize(leaves, Time::MAX);
        self.winners = vec![0; leaves];
        for node in (1..leaves).rev() {
            let child = |child: usize| if child >= leaves { (child - leaves) as u32 } else { self.winners[child] };
            self.winners[node] = self.winner(child(2 * node), child(2 * node + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_equals_in_order_of_the_entries() {
        let mut timers = Timers::new();
        assert_eq!(timers.next(), None);
        timers.set(7, Time(30));
        timers.set(5, Time(10));
        timers.set(2, Time(10));
        assert_eq!(timers.next(), Some((Time(10), 2)));
        timers.clear(2);
        assert_eq!(timers.next(), Some((Time(10), 5)));
        timers.set(5, Time::MAX);
        assert_eq!(timers.next(), Some((Time(30), 7)));
    }

    #[test]
    fn agrees_with_a_sorted_list_whatever_is_done() {
        let mut timers = Timers::new();
        let mut model: Vec<(u64, usize)> = Vec::new();
        let mut word = 1u64;
        for step in 1..20_000u64 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (entry, at) = ((word >> 33) as usize % 70, (word >> 45) % 500);
            model.retain(|row| row.1 != entry);
            model.push((at, entry));
            timers.set(entry, Time(at));
            if step % 3 == 0 {
                let first = model.iter().min().copied().expect("something is armed");
                assert_eq!(timers.next(), Some((Time(first.0), first.1)));
                timers.clear(first.1);
                model.retain(|row| row.1 != first.1);
            }
        }
    }
}
