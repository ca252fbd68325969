//! What a worker-second is worth at each moment: the certificate of the lower bound with free start times.
//!
//! Lemma. Let `lam(t) >= 0` with `integral of lam over [u, v] <= (v - u) + K` for all u < v ("renting never makes a profit"; here rent
//! is 1 a second and K is in seconds of rent). A worker that is ready during `[u, v]` costs `(v - u) + K`, so at least the sum of
//! the integrals of lam over the disjoint times in which it served jobs. Hence every schedule costs at least
//!
//! ```text
//! sum over jobs of phi = min over S in [a, a + L] of  integral of lam over [S, S + s]  +  h * (S - a)
//! ```
//!
//! Whoever made lam, [`Rent::repair`] cuts it until the condition holds, so nobody has to be trusted.

/// `lam` as its integral: piecewise linear.
#[derive(Clone, Debug, PartialEq)]
pub struct Rent {
    /// Seconds, increasing.
    times: Vec<f64>,
    /// Integral of lam from the first time on; not decreasing.
    sums: Vec<f64>,
    /// lam before the first and after the last time: 1, or 0 where time outside is not paid for.
    outside: f64,
    /// Points per step of `index`, so that a time is found without a search over everything.
    index: Index,
}

/// Where in `times` equal steps of time begin.
#[derive(Clone, Debug, Default, PartialEq)]
struct Index {
    step_s: f64,
    first: Vec<u32>,
}

/// When and how long a job can run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wish {
    /// When it comes.
    pub at: f64,
    /// Seconds that it needs.
    pub service: f64,
}

/// What waiting costs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waiting {
    /// Longest wait in seconds; infinite = no limit.
    pub limit: f64,
    /// Price of a second of waiting in seconds of rent.
    pub price: f64,
}

impl Rent {
    /// From points of time and lam's integral up to each.
    pub fn new(times: Vec<f64>, sums: Vec<f64>, outside: f64) -> Rent {
        let mut rent = Rent { times, sums, outside, index: Index::default() };
        rent.make_index();
        rent
    }

    /// Rent itself, everywhere: the bound of work alone.
    pub fn flat() -> Rent {
        Rent::new(vec![0.0, 1.0], vec![0.0, 1.0], 1.0)
    }

    /// Cuts lam, first times first, where an interval would bring in more than its rent and a start of `start_s`; how much was cut. If
    /// `begun`, a worker may stand at the first time that costs no start.
    pub fn repair(&mut self, start_s: f64, begun: bool) -> f64 {
        // What the best interval that ends here brings in beyond its rent; the condition says: never more than start_s.
        let mut profit = if begun { start_s } else { 0.0 };
        let (mut sum, mut before, mut cut) = (self.sums[0], self.sums[0], 0.0);
        for k in 1..self.times.len() {
            let length = self.times[k] - self.times[k - 1];
            let wanted = (self.sums[k] - before).max(0.0);
            before = self.sums[k];
            let most = (length + start_s - profit).max(0.0);
            let gain = wanted.min(most);
            cut += wanted - gain;
            profit = (profit + gain - length).max(0.0);
            sum += gain;
            self.sums[k] = sum;
        }
        cut
    }

    /// The same lam times `factor` (0..=1): it keeps the condition.
    pub fn scaled(&self, factor: f64) -> Rent {
        let sums = self.sums.iter().map(|sum| sum * factor).collect();
        Rent { times: self.times.clone(), sums, outside: self.outside * factor, index: self.index.clone() }
    }

    /// The same with lam no higher than `most` after `time`: where something cheaper than rent goes on beyond what is counted.
    pub fn calm_after(&self, time: f64, most: f64) -> Rent {
        let place = self.times.partition_point(|point| *point <= time);
        let (mut times, mut sums) = (self.times[..place].to_vec(), self.sums[..place].to_vec());
        if place == 0 || times[place - 1] < time {
            times.push(time);
            sums.push(self.sum_at(time));
        }
        for point in &self.times[place..] {
            let (before, sum) = (times[times.len() - 1], sums[sums.len() - 1]);
            times.push(*point);
            sums.push(sum + self.between(before, *point).min(most * (point - before)));
        }
        Rent::new(times, sums, self.outside.min(most))
    }

    /// Integral of lam over `[from, until]`.
    pub fn between(&self, from: f64, until: f64) -> f64 {
        self.sum_at(until) - self.sum_at(from)
    }

    /// The least that `job` contributes, and the start time at which it does. `weight`: share of a worker that it takes.
    pub fn least(&self, job: Wish, waiting: Waiting, weight: f64) -> (f64, f64) {
        let (mut start, end) = (job.at, job.at + waiting.limit);
        let (mut front, mut back) = (self.after(start), self.after(start + job.service));
        let mut best = (f64::INFINITY, start);
        loop {
            let waited = (start - job.at) * waiting.price;
            if waited >= best.0 {
                break;
            }
            let value = (self.sum_before(back, start + job.service) - self.sum_before(front, start)) * weight + waited;
            if value < best.0 {
                best = (value, start);
            }
            // The next point at which the slope changes: a point of lam at the start or at the end of the job.
            let at_front = self.times.get(front).copied().unwrap_or(f64::INFINITY);
            let at_back = self.times.get(back).map_or(f64::INFINITY, |time| time - job.service);
            let next = at_front.min(at_back);
            if start >= end || !next.is_finite() && !end.is_finite() {
                break;
            }
            start = if next < end { next.max(start) } else { end };
            front += usize::from(at_front <= next && next < end);
            back += usize::from(at_back <= next && next < end);
        }
        (best.0.max(0.0), best.1)
    }

    /// The least integral of lam over any `length` seconds, for each of `lengths`.
    pub fn lows(&self, lengths: &[f64]) -> Vec<f64> {
        lengths
            .iter()
            .map(|length| {
                let at = self.times[0] - length;
                let limit = self.times[self.times.len() - 1] - at;
                self.least(Wish { at, service: *length }, Waiting { limit, price: 0.0 }, 1.0).0
            })
            .collect()
    }

    /// The least value of lam within `[from, until]`, and the least after it.
    pub fn lowest(&self, from: f64, until: f64) -> (f64, f64) {
        let slopes = self.times.windows(2).zip(self.sums.windows(2)).filter(|(times, _)| times[1] > times[0]);
        let slopes = slopes.map(|(times, sums)| (times[0], times[1], (sums[1] - sums[0]) / (times[1] - times[0])));
        let covered = self.times[0] <= from && self.times[self.times.len() - 1] >= until;
        let inside = slopes.clone().filter(|(begin, end, _)| *begin < until && *end > from).map(|(.., slope)| slope);
        let after = slopes.filter(|(_, end, _)| *end > until).map(|(.., slope)| slope);
        let least = inside.fold(if covered { f64::INFINITY } else { self.outside }, f64::min);
        (if least.is_finite() { least.max(0.0) } else { self.outside }, after.fold(self.outside, f64::min).max(0.0))
    }

    /// lam before the first and after the last point.
    pub fn outside(&self) -> f64 {
        self.outside
    }

    /// The points between which lam is constant.
    pub fn times(&self) -> &[f64] {
        &self.times
    }

    /// The first point later than `time`.
    fn after(&self, time: f64) -> usize {
        let step = ((time - self.times[0]) / self.index.step_s).floor();
        if step < 0.0 {
            return 0;
        }
        let place = (step as usize).min(self.index.first.len() - 1);
        let mut at = self.index.first[place] as usize;
        while at < self.times.len() && self.times[at] <= time {
            at += 1;
        }
        at
    }

    fn sum_at(&self, time: f64) -> f64 {
        self.sum_before(self.after(time), time)
    }

    /// The integral up to `time`, which lies before point `next` and not before the one before it.
    fn sum_before(&self, next: usize, time: f64) -> f64 {
        if next == 0 {
            return self.sums[0] + (time - self.times[0]) * self.outside;
        }
        let (time_before, sum_before) = (self.times[next - 1], self.sums[next - 1]);
        match self.times.get(next) {
            None => sum_before + (time - time_before) * self.outside,
            Some(time_after) => {
                let slope = (self.sums[next] - sum_before) / (time_after - time_before);
                sum_before + (time - time_before) * slope
            }
        }
    }

    fn make_index(&mut self) {
        let last = self.times.len() - 1;
        let span = (self.times[last] - self.times[0]).max(1e-6);
        let step_s = span / self.times.len() as f64;
        let mut first = Vec::with_capacity(self.times.len() + 1);
        let mut at = 0;
        for step in 0..=self.times.len() {
            let time = self.times[0] + step as f64 * step_s;
            // One step back guards against the rounding of the division.
            while at < last && self.times[at] < time - step_s {
                at += 1;
            }
            first.push(at.saturating_sub(1) as u32);
        }
        self.index = Index { step_s, first };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Waiting = Waiting { limit: 0.0, price: 0.0 };

    /// The largest `integral over [u, v] - (v - u)` over all pairs of points.
    fn worst(rent: &Rent) -> f64 {
        let pairs = rent.times.iter().enumerate();
        pairs.flat_map(|(i, u)| rent.times[i..].iter().map(move |v| rent.between(*u, *v) - (v - u))).fold(0.0, f64::max)
    }

    #[test]
    fn whatever_comes_in_keeps_the_condition_after_the_repair() {
        let mut state = 7_u64;
        let mut draw = |most: f64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31) * most
        };
        for round in 0..50 {
            let (mut times, mut sums) = (vec![0.0], vec![0.0]);
            for k in 0..40 {
                times.push(times[k] + 0.01 + draw(5.0));
                sums.push(sums[k] + draw(12.0) - 1.0);
            }
            let start_s = draw(20.0);
            let mut rent = Rent::new(times, sums, 1.0);
            let cut = rent.repair(start_s, round % 2 == 1);
            assert!(worst(&rent) <= start_s + 1e-9, "{} > {start_s}", worst(&rent));
            assert!(rent.sums.windows(2).all(|pair| pair[0] <= pair[1]) && cut >= 0.0);
            assert!(rent.clone().repair(start_s, round % 2 == 1) < 1e-9, "twice changes nothing");
        }
    }

    #[test]
    fn the_least_of_a_job_is_that_of_a_fine_search() {
        let times = vec![0.0, 1.0, 4.0, 4.5, 9.0, 12.0];
        let sums = vec![0.0, 3.0, 3.0, 5.0, 6.0, 12.0];
        let rent = Rent::new(times, sums, 1.0);
        for (at, service, limit, price) in [
            (0.5, 2.0, 6.0, 0.0),
            (0.0, 1.0, 20.0, 0.2),
            (-3.0, 2.5, 4.0, 0.05),
            (3.0, 7.0, 8.0, 0.5),
            (11.0, 3.0, 5.0, 0.0),
        ] {
            let value = |start: f64| rent.between(start, start + service) + price * (start - at);
            let fine = (0..=20_000).map(|k| value(at + limit * f64::from(k) / 20_000.0)).fold(f64::INFINITY, f64::min);
            let (least, start) = rent.least(Wish { at, service }, Waiting { limit, price }, 1.0);
            assert!((least - fine).abs() < 5e-3 && least <= fine + 1e-9, "{least} {fine}");
            assert!((value(start) - least).abs() < 1e-9 && start >= at && start <= at + limit + 1e-9);
        }
    }

    #[test]
    fn flat_rent_is_the_work_itself() {
        let (least, _) = Rent::flat().least(Wish { at: 77.0, service: 3.5 }, FREE, 0.5);
        assert!((least - 1.75).abs() < 1e-9);
        let (least, start) =
            Rent::flat().least(Wish { at: 0.0, service: 2.0 }, Waiting { limit: f64::INFINITY, price: 0.1 }, 1.0);
        assert_eq!((least, start), (2.0, 0.0));
    }

    #[test]
    fn after_the_end_lam_is_what_goes_on_there() {
        let rent = Rent::new(vec![0.0, 2.0, 6.0, 8.0], vec![0.0, 6.0, 8.0, 14.0], 1.0);
        let calm = rent.calm_after(4.0, 0.8);
        assert!((calm.between(0.0, 4.0) - rent.between(0.0, 4.0)).abs() < 1e-12);
        // 0.5 a second up to 6 s stays, 3 a second up to 8 s and rent afterwards become 0.8.
        assert!((calm.between(4.0, 6.0) - 1.0).abs() < 1e-12 && (calm.between(6.0, 18.0) - 9.6).abs() < 1e-12);
        assert_eq!(calm.lowest(0.0, 4.0), (0.5, 0.5));
        let late = Rent::flat().calm_after(100.0, 0.8);
        assert!((late.between(0.0, 110.0) - 108.0).abs() < 1e-9, "{}", late.between(0.0, 110.0));
    }

    #[test]
    fn lows_are_the_cheapest_place_anywhere() {
        let rent = Rent::new(vec![0.0, 1.0, 4.0, 9.0], vec![0.0, 3.0, 3.0, 9.0], 1.0);
        let lows = rent.lows(&[3.0, 4.0]);
        assert!((lows[0] - 0.0).abs() < 1e-9 && (lows[1] - 1.2).abs() < 1e-9, "{lows:?}");
        assert_eq!((rent.lowest(0.0, 9.0), rent.lowest(0.0, 1.0)), ((0.0, 1.0), (3.0, 0.0)));
        assert_eq!(
            (Rent::flat().lowest(-5.0, 50.0), Rent::flat().scaled(0.5).lowest(0.0, 1.0)),
            ((1.0, 1.0), (0.5, 0.5))
        );
    }
}
