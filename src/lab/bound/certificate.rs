//! What a lam proves about a set of jobs, also for policies that are late with some of them or lose some.

use rayon::prelude::*;

use super::cover::Cover;
use super::crowd::Crowd;
use super::quiet::Quiet;
use super::rent::{Rent, Wish};
use super::stretches::{Full, Problem};

/// Lower bounds that one lam proves, in seconds of rent.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// Every job within the limit.
    pub whole: f64,
    /// Integral of lam over what is billed: an always-on worker can save at most that.
    pub taken: f64,
    /// Sums of the largest contributions: what losing so many jobs can take off at most.
    lost: Vec<f64>,
    /// The same for being late with them.
    late: Vec<f64>,
}

/// Floating-point sums may be wrong in the last digits; the bound gives that away.
const SAFETY: f64 = 1.0 - 1e-9;
/// Service times for which the cheapest place anywhere is looked up.
const RUNGS: usize = 40;

impl Certificate {
    /// Evaluates `rent` for all jobs of `problem`, each of which gets the same share of a worker: 1/c of lam in its first s seconds.
    pub fn of(problem: &Problem, rent: &Rent) -> Certificate {
        let (waiting, share) = (problem.waiting, 1.0 / f64::from(problem.places));
        let phis: Vec<f64> =
            problem.wishes.par_iter().map(|wish| rent.least(*wish, waiting, share).0 * SAFETY).collect();
        let services: Vec<f64> = problem.wishes.iter().map(|wish| wish.service).collect();
        let lows = lows(&services, rent).into_iter().map(|low| low * share * SAFETY);
        let drops = phis.iter().zip(lows).map(|(phi, low)| (phi - low).max(0.0)).collect();
        let taken = rent.between(problem.span.0, problem.span.1);
        Certificate { whole: phis.iter().sum(), taken, lost: largest(phis), late: largest(drops) }
    }

    /// The same where each second of a worker is divided as [`Sharing`](crate::sim::requests::Sharing) says. A job that is slowed down may
    /// take its part over any time, so that the lowest lam counts: for a lam that is the same everywhere. After the end it may be lower:
    /// for jobs that may start then or are late, and for as many as an always-on worker can have in hand there.
    pub fn full(problem: &Problem, full: &Full, rent: &Rent) -> Certificate {
        let (from, until) = problem.span;
        let (inside, after) = rent.lowest(from, until);
        let share = SAFETY / f64::from(problem.places);
        let takes: Vec<f64> =
            problem.wishes.iter().enumerate().map(|(place, wish)| full.takes(place, wish) * share).collect();
        let less = (inside - after).max(0.0);
        let may_come_after = |wish: &Wish| wish.at + problem.waiting.limit > until;
        let put_off: f64 =
            takes.iter().zip(&problem.wishes).filter(|(_, wish)| may_come_after(wish)).map(|(takes, _)| takes).sum();
        let drops = largest(takes.iter().map(|takes| takes * less).collect());
        let in_hand = drops.get(problem.places.min(drops.len() as u32).saturating_sub(1) as usize);
        Certificate {
            whole: takes.iter().sum::<f64>() * inside - put_off * less,
            taken: rent.between(from, until) + in_hand.copied().unwrap_or(0.0),
            lost: largest(takes.iter().map(|takes| takes * inside).collect()),
            late: drops,
        }
    }

    /// The same where only jobs that can meet share a worker. A late job may meet anybody: it proves nothing.
    pub fn crowded(problem: &Problem, rent: &Rent, crowd: &Crowd) -> Certificate {
        let thin = crowd.thinned(rent);
        let waiting = problem.waiting;
        let phis: Vec<f64> = problem.wishes.par_iter().map(|wish| thin.least(*wish, waiting, 1.0).0 * SAFETY).collect();
        let taken = rent.between(problem.span.0, problem.span.1);
        Certificate { whole: phis.iter().sum(), taken, lost: largest(phis.clone()), late: largest(phis) }
    }

    /// The same, if so much of what it counts may not have been billed.
    pub fn less(self, unpaid_s: f64) -> Certificate {
        Certificate { whole: self.whole - unpaid_s, ..self }
    }

    /// The bound for a policy that let `late` jobs wait beyond the limit and brought no result for `lost`.
    pub fn without(&self, late: u64, lost: u64) -> f64 {
        let off = |sums: &[f64], count: u64| {
            let place = usize::try_from(count).unwrap_or(usize::MAX).min(sums.len());
            place.checked_sub(1).map_or(0.0, |last| sums[last])
        };
        (self.whole - off(&self.lost, lost) - off(&self.late, late)).max(0.0)
    }
}

/// The least integral of lam over so many seconds, wherever they are; a little less for most.
fn lows(services: &[f64], rent: &Rent) -> Vec<f64> {
    let most = services.iter().copied().fold(0.0, f64::max);
    let least = services.iter().copied().fold(f64::INFINITY, f64::min).max(1e-3);
    let step = libm::pow((most / least).max(1.0 + 1e-9), 1.0 / (RUNGS - 1) as f64);
    let rungs: Vec<f64> = (0..RUNGS).map(|k| least * libm::pow(step, k as f64)).collect();
    let values: Vec<f64> = rungs.par_iter().flat_map(|rung| rent.lows(&[*rung])).collect();
    let of = |service: f64| {
        // The rung at or below it: a longer job contributes no less.
        let place = rungs.partition_point(|rung| *rung <= service);
        place.checked_sub(1).map_or(0.0, |place| values[place])
    };
    services.iter().map(|service| of(*service)).collect()
}

/// Running sums, largest first.
fn largest(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(|a, b| b.total_cmp(a));
    let mut sum = 0.0;
    values.iter_mut().for_each(|value| {
        sum += *value;
        *value = sum;
    });
    values
}

/// Several certificates for the same jobs. With A always-on workers each proves `without(..) + A * (their price - taken)`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Proof {
    /// What each lam proves.
    pub certificates: Vec<Certificate>,
    /// Price of an always-on worker in seconds of rent for the whole time; none where there may be none.
    pub always_on: Option<f64>,
    /// What of it is for the last job: without that one the time may be shorter.
    pub last_job: f64,
    /// What holds beside them without always-on workers, if many jobs share one.
    pub cover: Cover,
    /// What holds beside them without always-on workers.
    pub quiet: Quiet,
}

impl Proof {
    /// The best proven bound, and the number of always-on workers at which it is lowest.
    pub fn bound(&self, late: u64, lost: u64) -> (f64, usize) {
        let always_on = self.always_on.map(|price| price - if lost > 0 { self.last_job } else { 0.0 });
        let lines: Vec<(f64, f64)> = self
            .certificates
            .iter()
            .map(|one| (one.without(late, lost), always_on.map_or(0.0, |price| price - one.taken)))
            .collect();
        let at = |active: usize| {
            lines.iter().map(|(value, slope)| value + slope * active as f64).fold(f64::NEG_INFINITY, f64::max).max(0.0)
        };
        let none = at(0).max(self.cover.bound(late + lost)).max(self.quiet.bound(late + lost));
        let Some(price) = always_on else { return (none, 0) };
        // The largest of straight lines is convex: past its lowest point it only rises.
        let paid = |active: usize| at(active).max(price * active as f64);
        let mut active = 1;
        while active < 100_000 && paid(active + 1) < paid(active) {
            active += 1;
        }
        if none <= paid(active) { (none, 0) } else { (paid(active), active) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::bound::rent::Waiting;
    use crate::sim::requests::Sharing;

    #[test]
    fn late_and_lost_jobs_only_take_off_what_they_can() {
        let wishes: Vec<Wish> = (1..=4).map(|k| Wish { at: f64::from(k) * 20.0, service: f64::from(k) }).collect();
        let waiting = Waiting { limit: 0.0, price: 0.0 };
        let problem = Problem {
            wishes,
            full: None,
            start_s: 5.0,
            waiting,
            places: 1,
            crowd: None,
            span: (0.0, 100.0),
            begun: false,
            after: 1.0,
        };
        // Each job pays for a start of its own: lam is 5 more than rent, spread over the job.
        let (mut times, mut sums) = (vec![0.0], vec![0.0]);
        for wish in &problem.wishes {
            let before = sums[sums.len() - 1];
            times.extend([wish.at, wish.at + wish.service]);
            sums.extend([before, before + wish.service + 5.0]);
        }
        let mut rent = Rent::new(times, sums, 1.0);
        assert_eq!(rent.repair(5.0, false), 0.0);
        let proof = Certificate::of(&problem, &rent);
        assert!((proof.whole - 30.0).abs() < 1e-6 && (proof.taken - 30.0 - 16.0).abs() < 1e-6, "{proof:?}");
        assert!((proof.without(0, 1) - 21.0).abs() < 1e-6);
        assert!((proof.without(0, 9) - 0.0).abs() < 1e-6);
        assert!(proof.without(1, 0) < 30.0 && proof.without(4, 0) >= 0.0);
    }

    /// Two jobs at once on one worker for 10 s, of which one only takes a place and the other has all of it: they cost 10 s of rent and a
    /// start. A place for each and all of the worker for one would be 15 s, more than there is.
    #[test]
    fn places_and_work_are_not_both_counted_in_full() {
        let wishes = vec![Wish { at: 0.0, service: 10.0 }; 2];
        let sharing = Sharing { fixed: 0.0, shared: 2.0 };
        let full = |shared: [f64; 2]| Full { shared: shared.to_vec(), sharing };
        let problem = |full: Full| Problem {
            wishes: wishes.clone(),
            full: Some(full),
            start_s: 3.0,
            waiting: Waiting { limit: 5.0, price: 0.0 },
            places: 2,
            crowd: None,
            span: (0.0, 40.0),
            begun: false,
            after: 1.0,
        };
        let of = |full: Full| {
            let (problem, flat) = (problem(full.clone()), Rent::flat());
            [Certificate::of(&problem, &flat).whole, Certificate::full(&problem, &full, &flat).whole]
        };
        let flat = of(full([0.0, 10.0]));
        assert!(flat.iter().all(|whole| (whole - 10.0).abs() < 1e-6), "{flat:?}");
        // Where both work, one after the other or both at half the speed, it is 20 s, of which a place each is half.
        let flat = of(full([10.0, 10.0]));
        assert!((flat[0] - 10.0).abs() < 1e-6 && (flat[1] - 20.0).abs() < 1e-6, "{flat:?}");
    }

    #[test]
    fn always_on_workers_bend_the_bound() {
        let line = |whole, taken| Certificate { whole, taken, lost: Vec::new(), late: Vec::new() };
        let proof = Proof {
            certificates: vec![line(100.0, 60.0), line(70.0, 30.0)],
            always_on: Some(40.0),
            ..Proof::default()
        };
        // 100 - 20 A against 70 + 10 A: they meet at A = 1.
        assert_eq!(proof.bound(0, 0), (80.0, 1));
        assert_eq!(Proof { always_on: None, ..proof }.bound(0, 0), (100.0, 0));
    }
}
