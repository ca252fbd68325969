//! A long trace cut into stretches that are solved alone, in parallel, and glued.
//!
//! At the left edge of a stretch an interval of earlier rent may already have made its profit, so what it may still make is given to
//! the stretch (`profit`): all of a start where the pause before it is longer than a start is worth, nothing where jobs overlap the
//! edge. So the glued lam keeps the condition of the lemma. A stretch also looks at the jobs shortly after its end; that part of its
//! answer is dropped. Stretches with few jobs get a grid of their events; in dense traffic like jobs are taken together.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Effort;
use super::crowd::Crowd;
use super::lp::{Group, Stretch};
use super::rent::{Rent, Waiting, Wish};
use crate::sim::requests::Sharing;

/// Everything that the bound of one endpoint depends on, in seconds and seconds of rent.
#[derive(Clone, Debug)]
pub struct Problem {
    /// In order of time.
    pub wishes: Vec<Wish>,
    /// What they take of workers on which they slow each other down; none where nobody slows anybody.
    pub full: Option<Full>,
    /// A start.
    pub start_s: f64,
    /// What waiting costs.
    pub waiting: Waiting,
    /// Jobs that a worker takes at once.
    pub places: u32,
    /// How many of them can be on a worker at a time, where that is known.
    pub crowd: Option<Crowd>,
    /// What is paid for: begin and end.
    pub span: (f64, f64),
    /// Workers may stand at the beginning.
    pub begun: bool,
    /// What a second of a worker costs after the span, at least: rent, or an always-on worker's price where there may be any; 0 where
    /// nothing is paid any more.
    pub after: f64,
}

/// What jobs take of workers on which they slow each other down.
#[derive(Clone, Debug, PartialEq)]
pub struct Full {
    /// Seconds of their service that others slow down, in their order.
    pub shared: Vec<f64>,
    /// Seconds of a place that the parts of their service take.
    pub sharing: Sharing,
}

impl Full {
    /// Seconds of a place that a job takes at least.
    pub fn takes(&self, place: usize, wish: &Wish) -> f64 {
        let shared = self.shared[place];
        self.sharing.fixed * (wish.service - shared).max(0.0) + self.sharing.shared * shared
    }
}

/// How much is solved at once.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    jobs: usize,
    stretches: usize,
    cells: usize,
    rounds: u32,
}

impl Effort {
    fn sizes(self) -> Sizes {
        match self {
            Effort::Quick => Sizes { jobs: 60, stretches: 30, cells: 60, rounds: 2 },
            Effort::Normal => Sizes { jobs: 120, stretches: 240, cells: 120, rounds: 4 },
            Effort::Thorough => Sizes { jobs: 300, stretches: 2_000, cells: 240, rounds: 8 },
        }
    }
}

/// Part of the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Part {
    /// Jobs that come in it.
    first: usize,
    last: usize,
    from: f64,
    until: f64,
    /// Profit that may have been made before.
    profit: f64,
    dense: bool,
}

/// Jobs of one arrival cell and one size class.
#[derive(Default)]
struct Sum {
    at: f64,
    service: f64,
    count: f64,
}

/// Service times of one group differ by no more than this factor.
const ALIKE: f64 = 1.5;

/// A certified lam for `problem` with `active` workers that are there anyhow.
pub fn rent(problem: &Problem, active: f64, effort: Effort) -> Rent {
    let sizes = effort.sizes();
    let parts = parts(problem, sizes);
    let solved: Vec<(Vec<f64>, Vec<f64>)> = parts.par_iter().map(|part| solve(problem, part, active, sizes)).collect();
    let (mut times, mut sums) =
        (vec![problem.span.0.min(parts.first().map_or(0.0, |part| part.from)) - 1.0], vec![0.0]);
    // Before the first job rent is what it is where it is paid for, so that a start cannot be hidden there.
    let mut sum = 0.0;
    for (grid, own) in solved {
        for (time, value) in grid.iter().zip(&own) {
            if *time > times[times.len() - 1] + 1e-9 {
                times.push(*time);
                sums.push(sum + value.max(0.0));
            }
        }
        sum = sums[sums.len() - 1];
    }
    if times.len() < 2 {
        times.push(times[0] + 1.0);
        sums.push(0.0);
    }
    cut_to_span(problem, times, sums)
}

/// lam where it is paid for, repaired.
fn cut_to_span(problem: &Problem, times: Vec<f64>, sums: Vec<f64>) -> Rent {
    let mut rent = Rent::new(times, sums, 1.0);
    if problem.begun {
        rent = from_begin(problem, &rent);
    }
    rent.repair(problem.start_s, problem.begun);
    rent.calm_after(problem.span.1, problem.after)
}

/// Rent itself, as far as it is paid.
pub fn flat(problem: &Problem) -> Rent {
    let flat = Rent::flat();
    let flat = if problem.begun { from_begin(problem, &flat) } else { flat };
    flat.calm_after(problem.span.1, problem.after)
}

/// The same lam from the beginning of what is paid on: no job that counts runs before it.
fn from_begin(problem: &Problem, rent: &Rent) -> Rent {
    let (from, until) = problem.span;
    let mut times = vec![from];
    times.extend(rent.times().iter().copied().filter(|time| *time > from));
    if times.len() < 2 {
        times.push(until.max(from + 1e-6));
    }
    let sums = times.iter().map(|time| rent.between(from, *time)).collect();
    Rent::new(times, sums, rent.outside())
}

/// How long a job may be imagined to wait: beyond this a start of its own is cheaper.
fn patience(problem: &Problem, mean_service: f64) -> f64 {
    let own_start = (problem.start_s + mean_service) / problem.waiting.price.max(1e-12);
    problem.waiting.limit.min(own_start).min(20.0 * (problem.start_s + mean_service))
}

fn parts(problem: &Problem, sizes: Sizes) -> Vec<Part> {
    let wishes = &problem.wishes;
    let Some(last) = wishes.last() else { return Vec::new() };
    let mean = wishes.iter().map(|wish| wish.service).sum::<f64>() / wishes.len() as f64;
    let patience = patience(problem, mean);
    let length = last.at - wishes[0].at + patience + mean;
    let few = wishes.len() <= sizes.jobs * sizes.stretches;
    // Shorter stretches would be all edge.
    let shortest = 6.0 * (patience + mean);
    let dense_length = (1.5 * shortest).max(length / sizes.stretches as f64);
    let mut parts = Vec::new();
    let (mut first, mut reach, mut profit) = (0, f64::NEG_INFINITY, 0.0);
    while first < wishes.len() {
        let mut end = (first + sizes.jobs).min(wishes.len());
        let dense = !few || wishes[end - 1].at - wishes[first].at < shortest && end < wishes.len();
        if dense {
            let stop = wishes[first].at + dense_length;
            end = first + wishes[first..].partition_point(|wish| wish.at < stop).max(1);
        }
        let (cut, cut_reach) = widest_pause(wishes, first, end, patience, reach);
        let from = wishes[first].at;
        reach = cut_reach;
        let next = wishes.get(cut).map_or(reach, |wish| wish.at);
        let pause = (next - reach).max(0.0);
        parts.push(Part { first, last: cut, from, until: next.min(reach).max(from + 1e-3), profit, dense });
        profit = (problem.start_s - pause).max(0.0);
        first = cut;
    }
    parts
}

/// The job before whom the pause is longest among the later half of `first..=end`, and how far the jobs before it reach.
fn widest_pause(wishes: &[Wish], first: usize, end: usize, patience: f64, reach: f64) -> (usize, f64) {
    let mut reach = reach;
    let mut best: Option<(f64, usize, f64)> = None;
    let half = first + (end - first) / 2;
    for place in first..end {
        reach = reach.max(wishes[place].at + wishes[place].service + patience);
        let next = place + 1;
        if next == wishes.len() {
            return (next, reach);
        }
        let pause = (wishes[next].at - reach).max(0.0);
        if next > half && best.is_none_or(|(widest, ..)| pause >= widest) {
            best = Some((pause, next, reach));
        }
    }
    best.map_or((end, reach), |(_, next, reach)| (next, reach))
}

/// Grid and sums of lam of one part.
fn solve(problem: &Problem, part: &Part, active: f64, sizes: Sizes) -> (Vec<f64>, Vec<f64>) {
    let own = &problem.wishes[part.first..part.last];
    let mean = own.iter().map(|wish| wish.service).sum::<f64>() / own.len().max(1) as f64;
    let patience = patience(problem, mean);
    // What comes soon after the end, so that lam does not fall off there.
    let overlap = (patience + 2.0 * mean).min(0.3 * (part.until - part.from));
    let joined = problem.wishes.get(part.last).is_some_and(|wish| wish.at <= part.until);
    let horizon = if joined { part.until + overlap } else { part.until };
    let last = part.last + problem.wishes[part.last..].partition_point(|wish| joined && wish.at < horizon);
    let wishes = &problem.wishes[part.first..last];
    let uniform = sizes.cells as f64 * if part.dense { 1.0 } else { 0.5 };
    let step = ((horizon - part.from) / uniform).max(1e-3);
    let mut grid: Vec<f64> = (0..=(uniform as usize)).map(|k| part.from + k as f64 * step).collect();
    grid.push(part.until);
    grid.push(horizon);
    if !part.dense {
        grid.extend(wishes.iter().flat_map(|wish| [wish.at, wish.at + wish.service]));
        if let Some(crowd) = &problem.crowd {
            let inside = |time: f64| crowd.times().partition_point(|point| *point <= time);
            grid.extend(&crowd.times()[inside(part.from)..inside(horizon)]);
        }
    }
    grid.retain(|time| *time <= horizon);
    grid.sort_by(f64::total_cmp);
    grid.dedup_by(|later, earlier| *later - *earlier < 1e-6);
    let groups = if part.dense { alike(wishes, part.from, step) } else { single(wishes) };
    let most = f64::from(problem.places);
    let middles = grid.windows(2).map(|pair| 0.5 * (pair[0] + pair[1]));
    let at_once = middles.map(|time| problem.crowd.as_ref().map_or(most, |crowd| crowd.at(time))).collect();
    let stretch = Stretch {
        grid,
        at_once,
        groups,
        profit: part.profit,
        start_s: problem.start_s,
        waiting: problem.waiting,
        active,
        rounds: sizes.rounds,
    };
    // Rent itself is always a valid answer.
    let sums = stretch.solve().unwrap_or_else(|| stretch.grid.iter().map(|time| time - part.from).collect());
    let kept = stretch.grid.partition_point(|time| *time <= part.until + 1e-6);
    (stretch.grid[..kept].to_vec(), sums[..kept].to_vec())
}

fn single(wishes: &[Wish]) -> Vec<Group> {
    wishes.iter().map(|wish| Group { wish: *wish, count: 1.0 }).collect()
}

fn alike(wishes: &[Wish], from: f64, step: f64) -> Vec<Group> {
    let mut sums: BTreeMap<(u64, i64), Sum> = BTreeMap::new();
    for wish in wishes {
        let class = (libm::log(wish.service.max(1e-3)) / libm::log(ALIKE)).floor() as i64;
        let sum = sums.entry((((wish.at - from) / step) as u64, class)).or_default();
        sum.at += wish.at;
        sum.service += wish.service;
        sum.count += 1.0;
    }
    let groups = sums.into_values();
    groups
        .map(|sum| Group { wish: Wish { at: sum.at / sum.count, service: sum.service / sum.count }, count: sum.count })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(gaps: &[f64]) -> Problem {
        let mut at = 0.0;
        let wishes = gaps
            .iter()
            .map(|gap| {
                at += gap;
                Wish { at, service: 2.0 }
            })
            .collect();
        let waiting = Waiting { limit: 1.0, price: 0.0 };
        Problem {
            wishes,
            full: None,
            start_s: 10.0,
            waiting,
            places: 1,
            crowd: None,
            span: (0.0, at + 3.0),
            begun: false,
            after: 1.0,
        }
    }

    #[test]
    fn parts_cover_every_job_once_and_know_what_was_earned_before() {
        let mut gaps = vec![1.0; 400];
        gaps[100] = 50.0;
        gaps[170] = 8.0;
        let problem = problem(&gaps);
        let parts = parts(&problem, Sizes { jobs: 120, stretches: 30, cells: 60, rounds: 1 });
        assert_eq!(parts[0].first, 0);
        assert_eq!(parts[parts.len() - 1].last, 400);
        for pair in parts.windows(2) {
            assert_eq!(pair[0].last, pair[1].first);
            assert!(pair[0].until <= pair[1].from);
        }
        // After a pause of 50 s - 3 s nothing is left of earlier profit; after one of 8 s - 3 s half of a start is; else all of it.
        let profits: Vec<f64> = parts.iter().map(|part| part.profit).collect();
        assert!(profits[0] == 0.0 && profits[1] == 0.0 && (profits[2] - 5.0).abs() < 1e-9, "{parts:?}");
        assert_eq!((parts[1].first, parts[2].first), (100, 170));
    }

    #[test]
    fn gluing_loses_little_against_one_stretch() {
        let gaps: Vec<f64> = (0..90).map(|k| if k % 7 == 0 { 9.0 } else { 0.7 }).collect();
        let problem = problem(&gaps);
        let value =
            |rent: &Rent| -> f64 { problem.wishes.iter().map(|wish| rent.least(*wish, problem.waiting, 1.0).0).sum() };
        let whole = value(&rent(&problem, 0.0, Effort::Normal));
        let sizes = Sizes { jobs: 40, stretches: 30, cells: 60, rounds: 4 };
        assert!(parts(&problem, sizes).len() > 1);
        let glued = value(&rent(&problem, 0.0, Effort::Quick));
        assert!(glued <= whole * 1.01 && glued > whole * 0.9, "{glued} of {whole}");
    }
}
