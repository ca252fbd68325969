//! A good lam for one stretch of time: the dual of the linear relaxation, by an interior-point solver, rows made as they are needed.
//!
//! Unknown are the integral M of lam / m at the points of a grid (m = jobs that can be on a worker at once, see `crowd`), the profit V
//! that the best interval ending there makes beyond its rent, and the contribution phi of each job (or group of like jobs, with its
//! weight):
//!
//! ```text
//! maximise   sum weight * phi  -  active * sum over k of m(k) * (M(k+1) - M(k))
//! subject to 0 <= m(k) * (M(k+1) - M(k)) <= length(k) + V(k+1) - V(k),   0 <= V <= K
//!            phi <= M(S + s) - M(S) + h * (S - a)               for every start S that was found to matter
//! ```
//!
//! What comes out is a proposal: `rent.rs` makes a certificate of it.

use clarabel::algebra::CscMatrix;
use clarabel::solver::{DefaultSettingsBuilder, DefaultSolver, IPSolver, SupportedConeT};

use super::rent::{Rent, Waiting, Wish};

/// A job, or like jobs taken together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// The job, or the mean of them.
    pub wish: Wish,
    /// How many.
    pub count: f64,
}

/// One stretch of time.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// Points of time at which lam may change, increasing.
    pub grid: Vec<f64>,
    /// Who runs in it.
    pub groups: Vec<Group>,
    /// Profit that an interval may have made before the stretch: 0 where nothing is before it, up to `start_s`.
    pub profit: f64,
    /// A start in seconds of rent.
    pub start_s: f64,
    /// What waiting costs.
    pub waiting: Waiting,
    /// Jobs that can be on a worker at once, in each cell of the grid.
    pub at_once: Vec<f64>,
    /// Workers that are there anyhow.
    pub active: f64,
    /// Rounds of solving and looking for rows that are violated.
    pub rounds: u32,
}

/// A row `sum of entries <= bound`.
struct Row {
    entries: Vec<(usize, f64)>,
    bound: f64,
}

/// Rows up to which every start on the grid is looked at from the beginning.
const ROWS_MAX: usize = 6_000;
/// Parts of a job's possible wait in each of which the cheapest start is looked for.
const PARTS: usize = 6;
/// Relative gap at which another round is not worth its time.
const CLOSE: f64 = 2e-3;

impl Stretch {
    /// Sums of lam at the points of the grid, as good as the rounds allow; none if the solver gave up.
    pub fn solve(&self) -> Option<Vec<f64>> {
        let mut starts: Vec<Vec<f64>> = self.groups.iter().map(|group| self.every_start(group)).collect();
        if starts.iter().map(Vec::len).sum::<usize>() > ROWS_MAX {
            starts = self.groups.iter().map(|group| self.first_starts(group)).collect();
        }
        let mut best: Option<(f64, Vec<f64>)> = None;
        for _ in 0..self.rounds.max(1) {
            let Some((sums, hoped)) = self.solve_once(&starts) else { break };
            let sums = self.whole(&sums);
            let mut rent = Rent::new(self.grid.clone(), sums.clone(), 1.0);
            rent.repair(self.start_s, false);
            let rent = self.shared(&rent);
            let (mut sure, mut added) = (0.0, false);
            for (place, group) in self.groups.iter().enumerate() {
                let places = self.cheapest_places(&rent, group.wish);
                let least = places.iter().map(|place| place.0).fold(f64::INFINITY, f64::min);
                sure += group.count * least;
                for (value, start) in places {
                    if hoped[place] - value > 1e-4 * group.wish.service {
                        starts[place].push(start);
                        added = true;
                    }
                }
            }
            let taken = self.active * (sums[sums.len() - 1] - sums[0]);
            let promised: f64 = hoped.iter().zip(&self.groups).map(|(hoped, group)| hoped * group.count).sum();
            if best.as_ref().is_none_or(|(value, _)| sure - taken > *value) {
                best = Some((sure - taken, sums));
            }
            if !added || promised - sure <= CLOSE * promised {
                break;
            }
        }
        best.map(|(_, sums)| sums)
    }

    /// The cheapest start of a job in each part of the time for which it may wait, and what it contributes there.
    fn cheapest_places(&self, rent: &Rent, wish: Wish) -> Vec<(f64, f64)> {
        let limit = self.patience(wish);
        let part = limit / PARTS as f64;
        let places = if limit > 0.0 { PARTS } else { 1 };
        (0..places)
            .map(|number| {
                let later = part * number as f64;
                let waiting = Waiting { limit: part, price: self.waiting.price };
                let (value, start) = rent.least(Wish { at: wish.at + later, ..wish }, waiting, 1.0);
                (value + later * self.waiting.price, start)
            })
            .collect()
    }

    /// Nobody waits for longer than a start of his own costs, or past the end of the stretch.
    fn patience(&self, wish: Wish) -> f64 {
        let own_start = (self.start_s + wish.service) / self.waiting.price.max(1e-12);
        self.waiting.limit.min(own_start).min(self.grid[self.grid.len() - 1] - wish.at).max(0.0)
    }

    /// Every point of the grid at which a job may start.
    fn every_start(&self, group: &Group) -> Vec<f64> {
        let (at, limit) = (group.wish.at, self.patience(group.wish));
        let first = self.grid.partition_point(|point| *point <= at);
        let last = self.grid.partition_point(|point| *point < at + limit);
        let mut starts = vec![at];
        starts.extend(self.grid.get(first..last).unwrap_or_default());
        if limit > 0.0 {
            starts.push(at + limit);
        }
        starts
    }

    /// Where a job is likely to start: at once, at the last moment, and between.
    fn first_starts(&self, group: &Group) -> Vec<f64> {
        let wish = group.wish;
        let limit = self.patience(wish);
        if limit == 0.0 {
            return vec![wish.at];
        }
        [0.0, 0.25, 0.5, 0.75, 1.0].iter().map(|part| wish.at + part * limit).collect()
    }

    /// The integral of lam from that of lam / m.
    fn whole(&self, shared: &[f64]) -> Vec<f64> {
        let steps = shared.windows(2).zip(&self.at_once).map(|(pair, at_once)| (pair[1] - pair[0]) * at_once);
        running(steps)
    }

    /// And back.
    fn shared(&self, rent: &Rent) -> Rent {
        let cells = self.grid.windows(2).zip(&self.at_once);
        let sums = running(cells.map(|(pair, at_once)| rent.between(pair[0], pair[1]) / at_once));
        let most = self.at_once.iter().copied().fold(1.0, f64::max);
        Rent::new(self.grid.clone(), sums, 1.0 / most)
    }

    /// One linear programme: sums of lam and the contribution of each group.
    fn solve_once(&self, starts: &[Vec<f64>]) -> Option<(Vec<f64>, Vec<f64>)> {
        // Columns: M at points 1.., V at points 1.., phi.
        let points = self.grid.len() - 1;
        let columns = 2 * points + self.groups.len();
        let mut rows = Vec::new();
        let sum = |k: usize| (k > 0).then(|| k - 1);
        let profit = |k: usize| (k > 0).then(|| points + k - 1);
        for k in 0..points {
            let length = self.grid[k + 1] - self.grid[k];
            rows.push(row([(sum(k), 1.0), (sum(k + 1), -1.0)], 0.0));
            let before = if k == 0 { -self.profit } else { 0.0 };
            let at_once = self.at_once[k];
            let entries = [(sum(k + 1), at_once), (sum(k), -at_once), (profit(k), 1.0), (profit(k + 1), -1.0)];
            rows.push(row(entries, length + before));
            rows.push(row([(profit(k + 1), -1.0)], 0.0));
            rows.push(row([(profit(k + 1), 1.0)], self.start_s));
        }
        let mut costs = vec![0.0; columns];
        for (k, at_once) in self.at_once.iter().enumerate() {
            costs[k] += self.active * at_once;
            if k > 0 {
                costs[k - 1] -= self.active * at_once;
            }
        }
        for (place, group) in self.groups.iter().enumerate() {
            let phi = 2 * points + place;
            costs[phi] = -group.count;
            for start in &starts[place] {
                let mut entries = vec![(phi, 1.0)];
                let mut bound = self.waiting.price * (start - group.wish.at);
                bound += self.add_sum(start + group.wish.service, -1.0, &mut entries);
                bound += self.add_sum(*start, 1.0, &mut entries);
                rows.push(Row { entries, bound });
            }
        }
        let solution = solve(&costs, &rows)?;
        let mut sums = vec![0.0];
        sums.extend(&solution[..points]);
        Some((sums, solution[2 * points..].to_vec()))
    }

    /// Adds `factor * M(time)` to a row; what has to be added to its bound because M is known there.
    fn add_sum(&self, time: f64, factor: f64, entries: &mut Vec<(usize, f64)>) -> f64 {
        let next = self.grid.partition_point(|point| *point <= time);
        let mut add = |k: usize, part: f64| {
            if k > 0 && part != 0.0 {
                entries.push((k - 1, factor * part));
            }
        };
        if next == 0 {
            // Before the grid, rent is taken to be what a worker costs.
            return factor * (self.grid[0] - time) / self.at_once[0];
        }
        if next == self.grid.len() {
            add(next - 1, 1.0);
            return -factor * (time - self.grid[next - 1]) / self.at_once[next - 2];
        }
        let part = (time - self.grid[next - 1]) / (self.grid[next] - self.grid[next - 1]);
        add(next - 1, 1.0 - part);
        add(next, part);
        0.0
    }
}

/// Running sums of `steps`, from 0.
fn running(steps: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let sums = steps.map(|step| {
        sum += step;
        sum
    });
    std::iter::once(0.0).chain(sums).collect()
}

fn row<const N: usize>(entries: [(Option<usize>, f64); N], bound: f64) -> Row {
    let entries = entries.into_iter().filter_map(|(column, value)| Some((column?, value))).collect();
    Row { entries, bound }
}

/// Minimises `costs * x` subject to `rows`.
fn solve(costs: &[f64], rows: &[Row]) -> Option<Vec<f64>> {
    let mut columns: Vec<Vec<(usize, f64)>> = vec![Vec::new(); costs.len()];
    for (place, row) in rows.iter().enumerate() {
        for (column, value) in &row.entries {
            match columns[*column].last_mut() {
                // Both ends of a job may lie in one cell.
                Some((last, sum)) if *last == place => *sum += value,
                _ => columns[*column].push((place, *value)),
            }
        }
    }
    let mut starts = vec![0];
    let (mut places, mut values) = (Vec::new(), Vec::new());
    for column in &columns {
        places.extend(column.iter().map(|(place, _)| *place));
        values.extend(column.iter().map(|(_, value)| *value));
        starts.push(places.len());
    }
    let matrix = CscMatrix::new(rows.len(), costs.len(), starts, places, values);
    let nothing = CscMatrix::zeros((costs.len(), costs.len()));
    let bounds: Vec<f64> = rows.iter().map(|row| row.bound).collect();
    let settings = DefaultSettingsBuilder::default()
        .verbose(false)
        .max_iter(60)
        .tol_gap_rel(1e-5)
        .tol_gap_abs(1e-5)
        .tol_feas(1e-6)
        .build()
        .ok()?;
    let cones = [SupportedConeT::NonnegativeConeT(rows.len())];
    let mut solver = DefaultSolver::new(&nothing, costs, &matrix, &bounds, &cones, settings).ok()?;
    solver.solve();
    let solution = solver.solution.x;
    // Whatever its status says: any finite proposal can be repaired.
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_jobs_that_touch_pay_one_start_and_the_gap() {
        // Zero wait: the optimum is 5 + 3 + 4 + gap 2 = 14 with K = 5.
        let wish = |at, service| Group { wish: Wish { at, service }, count: 1.0 };
        let stretch = Stretch {
            grid: vec![0.0, 3.0, 5.0, 9.0],
            at_once: vec![1.0; 3],
            groups: vec![wish(0.0, 3.0), wish(5.0, 4.0)],
            profit: 0.0,
            start_s: 5.0,
            waiting: Waiting { limit: 0.0, price: 0.0 },
            active: 0.0,
            rounds: 3,
        };
        let sums = stretch.solve().unwrap();
        let mut rent = Rent::new(stretch.grid.clone(), sums, 1.0);
        rent.repair(5.0, false);
        let bound: f64 = stretch.groups.iter().map(|group| rent.least(group.wish, stretch.waiting, 1.0).0).sum();
        assert!((13.99..=14.0 + 1e-9).contains(&bound), "{bound}");
    }

    #[test]
    fn waiting_is_weighed_against_a_second_worker() {
        // Both come at once; a second worker costs 10, waiting for the first one 4 s at 0.5: 10 + 4 + 4 + 2 = 20.
        let wish = Group { wish: Wish { at: 0.0, service: 4.0 }, count: 1.0 };
        let stretch = Stretch {
            grid: (0..=10).map(|k| f64::from(k) * 2.0).collect(),
            at_once: vec![1.0; 10],
            groups: vec![wish, wish],
            profit: 0.0,
            start_s: 10.0,
            waiting: Waiting { limit: f64::INFINITY, price: 0.5 },
            active: 0.0,
            rounds: 6,
        };
        let mut rent = Rent::new(stretch.grid.clone(), stretch.solve().unwrap(), 1.0);
        rent.repair(10.0, false);
        let bound: f64 = stretch.groups.iter().map(|group| rent.least(group.wish, stretch.waiting, 1.0).0).sum();
        assert!((18.0..=20.0 + 1e-9).contains(&bound), "{bound}");
    }
}
