//! How long each rank of workers goes unused, and how long it pays to wait for its next use.
//!
//! With last-in-first-out dispatch the n-th worker is used exactly while n or more are needed, so every rank is a rent-or-restart
//! problem of its own (policies 7.2; Lu and Chen, arXiv 1112.0442). The gaps are those of *need*, not of single workers: a worker
//! that was stopped too early does not cut the gap short that it should have bridged.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::units::Time;

/// Since when each rank is free.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ranks {
    needed: u32,
    /// By rank - 1; none for a rank that has never been used.
    free_since: Vec<Option<Time>>,
}

impl Ranks {
    /// So many workers are needed from now on; tells `closed` each rank (from 1) whose gap ends with this, and the gap in
    /// seconds.
    pub fn set(&mut self, now: Time, needed: u32, mut closed: impl FnMut(usize, f64)) {
        let (old, new) = (self.needed as usize, needed as usize);
        if self.free_since.len() < new {
            self.free_since.resize(new, None);
        }
        for rank in old + 1..=new {
            if let Some(since) = self.free_since[rank - 1].take() {
                closed(rank, now.since(since).as_secs());
            }
        }
        for rank in new + 1..=old {
            self.free_since[rank - 1] = Some(now);
        }
        self.needed = needed;
    }

    /// Ranks that have ever been used.
    pub fn seen(&self) -> usize {
        self.free_since.len()
    }

    /// Seconds since rank `rank` was last used; 0 while it is in use, none if it never was.
    pub fn free_for(&self, rank: usize, now: Time) -> Option<f64> {
        if rank <= self.needed as usize {
            return Some(0.0);
        }
        self.free_since.get(rank - 1).copied().flatten().map(|since| now.since(since).as_secs())
    }
}

/// The latest gaps of one rank (or of all together).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct GapLaw {
    gaps: VecDeque<f64>,
    /// Gaps since the timeout was last worked out, and what it was worked out for.
    fresh: u32,
    fitted: Option<(f64, f64)>,
}

impl GapLaw {
    /// Takes up a gap of so many seconds, forgetting the oldest beyond `window`.
    pub fn add(&mut self, gap_s: f64, window: usize) {
        self.gaps.push_back(gap_s);
        while self.gaps.len() > window {
            self.gaps.pop_front();
        }
        self.fresh += 1;
    }

    /// Gaps kept.
    pub fn len(&self) -> usize {
        self.gaps.len()
    }

    /// The idle timeout in seconds that would have cost least over the gaps kept, where a restart costs as much as `restart_s`
    /// idle seconds: the minimum of `sum min(gap, timeout) + restart_s * [gap > timeout]`. Worked out again after every `refit`
    /// gaps, or when the price of a restart has moved by more than a tenth.
    pub fn best_timeout(&mut self, restart_s: f64, refit: u32) -> f64 {
        if let Some((restart, timeout)) = self.fitted
            && self.fresh < refit
            && (restart - restart_s).abs() <= 0.1 * restart
        {
            return timeout;
        }
        let mut sorted: Vec<f64> = self.gaps.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let timeout = best_timeout(&sorted, restart_s);
        self.fitted = Some((restart_s, timeout));
        self.fresh = 0;
        timeout
    }

    #[cfg(test)]
    /// What the gaps cost in idle seconds under an idle timeout: bridged, or waited through and restarted.
    pub fn cost_of(&self, timeout_s: f64, restart_s: f64) -> f64 {
        self.gaps.iter().map(|gap| if *gap > timeout_s { timeout_s + restart_s } else { *gap }).sum()
    }
}

/// As [`GapLaw::best_timeout`], for sorted gaps. Only 0 and the gaps themselves can be best: between two gaps more waiting saves
/// no restart.
fn best_timeout(sorted: &[f64], restart_s: f64) -> f64 {
    let n = sorted.len() as f64;
    let mut best = (n * restart_s, 0.0);
    let mut bridged = 0.0;
    for (at, gap) in sorted.iter().enumerate() {
        bridged += gap;
        let longer = n - (at + 1) as f64;
        let cost = bridged + longer * (gap + restart_s);
        if cost < best.0 {
            best = (cost, *gap);
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_a_stack() {
        let mut ranks = Ranks::default();
        let mut gaps = Vec::new();
        for (at, needed) in [(0, 2), (10, 1), (12, 0), (15, 1), (16, 2), (20, 3)] {
            ranks.set(Time::from_secs(f64::from(at)), needed, |rank, gap| gaps.push((rank, gap)));
        }
        // Rank 1 is free from 12 to 15 within the gap of rank 2 from 10 to 16; rank 3 is used for the first time.
        assert_eq!(gaps, [(1, 3.0), (2, 6.0)]);
        assert_eq!(ranks.free_for(3, Time::from_secs(30.0)), Some(0.0));
        assert_eq!(ranks.free_for(4, Time::from_secs(30.0)), None);
    }

    #[test]
    fn the_best_timeout_bridges_what_is_cheap_to_bridge() {
        // Nine gaps of 2 s and one of 1,000 s, a restart worth 10 s: wait 2 s, give the long one up.
        let mut gaps = vec![2.0; 9];
        gaps.push(1_000.0);
        assert_eq!(best_timeout(&gaps, 10.0), 2.0);
        // Nothing is worth waiting for when every gap is longer than a restart.
        assert_eq!(best_timeout(&[30.0, 40.0, 50.0], 10.0), 0.0);
        // And everything when every gap is shorter.
        assert_eq!(best_timeout(&[3.0, 4.0, 5.0], 10.0), 5.0);
    }

    #[test]
    fn no_other_timeout_would_have_cost_less() {
        let mut law = GapLaw::default();
        for n in 0..200_u32 {
            law.add(f64::from(n.wrapping_mul(2_654_435_761) >> 20) / 64.0, 500);
        }
        let best = law.best_timeout(12.0, 1);
        for tried in 0..700 {
            assert!(law.cost_of(best, 12.0) <= law.cost_of(f64::from(tried) / 10.0, 12.0) + 1e-9, "{best} {tried}");
        }
    }
}
