//! How many jobs can be on one worker at once, from moment to moment: what sharpens the bound where workers take several jobs.
//!
//! A worker with c places that is ready during `[u, v]` costs at least the integral of lam over it (see `rent`). Where it serves
//! several jobs at once, that integral has to be shared among them, and a share of 1/c each is always right. But a job that is in
//! time runs between its arrival and the latest end `a + L + s` that it may have, so at time t no more than n(t) jobs can be on any
//! worker, n(t) being the number of jobs whose interval contains t. So with `m(t) = min(c, max(n(t), 1))` each job's part is
//!
//! ```text
//! phi = min over S in [a, a + L] of  integral of lam / m over [S, S + s]  +  h * (S - a)
//! ```
//!
//! and the sum over the jobs of a worker is still at most the integral of lam: at each t they are at most m(t). Only the first s
//! seconds of a job count, so one that is slowed down by its neighbours is no exception; one that is late is, and proves nothing.

use super::rent::{Rent, Waiting, Wish};

/// `m(t)`: constant between its points, 1 before the first and after the last.
#[derive(Clone, Debug, PartialEq)]
pub struct Crowd {
    times: Vec<f64>,
    most: Vec<f64>,
}

impl Crowd {
    /// Of jobs in order of time on workers of so many places; none where it tells nothing that 1/c does not.
    pub fn of(wishes: &[Wish], waiting: Waiting, places: u32) -> Option<Crowd> {
        if places <= 1 || wishes.is_empty() || !waiting.limit.is_finite() {
            return None;
        }
        let mut edges: Vec<(f64, f64)> = Vec::with_capacity(2 * wishes.len());
        for wish in wishes {
            edges.push((wish.at, 1.0));
            edges.push((wish.at + waiting.limit + wish.service, -1.0));
        }
        edges.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (mut times, mut most, mut there) = (Vec::new(), Vec::new(), 0.0);
        for (place, (time, change)) in edges.iter().enumerate() {
            there += change;
            if edges.get(place + 1).is_some_and(|next| next.0 <= *time) {
                continue;
            }
            let now = f64::max(there, 1.0).min(f64::from(places));
            if most.last() != Some(&now) {
                times.push(*time);
                most.push(now);
            }
        }
        Some(Crowd { times, most })
    }

    /// Points at which it changes.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// Its value at `time`.
    pub fn at(&self, time: f64) -> f64 {
        let after = self.times.partition_point(|point| *point <= time);
        after.checked_sub(1).map_or(1.0, |place| self.most[place])
    }

    /// lam / m.
    pub fn thinned(&self, rent: &Rent) -> Rent {
        let (first, last) = (rent.times()[0], rent.times()[rent.times().len() - 1]);
        let own = self.times.iter().copied().filter(|time| *time > first && *time < last);
        let mut times: Vec<f64> = rent.times().iter().copied().chain(own).collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        let (mut sums, mut sum) = (vec![0.0], 0.0);
        let mut after = self.times.partition_point(|point| *point <= first);
        for pair in times.windows(2) {
            while self.times.get(after).is_some_and(|point| *point <= pair[0]) {
                after += 1;
            }
            let most = after.checked_sub(1).map_or(1.0, |place| self.most[place]);
            sum += rent.between(pair[0], pair[1]) / most;
            sums.push(sum);
        }
        // Outside of its points nobody looked at lam: as thin as anywhere.
        let thinnest = self.most.iter().copied().fold(1.0, f64::max);
        Rent::new(times, sums, rent.outside() / thinnest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(at: f64, service: f64) -> Wish {
        Wish { at, service }
    }

    #[test]
    fn only_jobs_that_can_meet_share() {
        let waiting = Waiting { limit: 2.0, price: 0.0 };
        // Intervals [0, 5], [4, 9] and [20, 23].
        let wishes = [wish(0.0, 3.0), wish(4.0, 3.0), wish(20.0, 1.0)];
        let crowd = Crowd::of(&wishes, waiting, 8).unwrap();
        assert_eq!([1.0, 4.5, 7.0, 15.0, 21.0].map(|time| crowd.at(time)), [1.0, 2.0, 1.0, 1.0, 1.0]);
        assert_eq!(Crowd::of(&[wish(0.0, 9.0); 5], waiting, 3).unwrap().at(1.0), 3.0, "no more than there are places");
        assert_eq!(Crowd::of(&wishes, waiting, 1), None);
        let thin = crowd.thinned(&Rent::new(vec![0.0, 30.0], vec![0.0, 30.0], 1.0));
        assert!((thin.between(0.0, 9.0) - 8.5).abs() < 1e-9 && (thin.between(20.0, 23.0) - 3.0).abs() < 1e-9);
    }
}
