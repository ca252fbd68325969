//! The advice: the cheapest settings at the wait asked for, judged on the whole log, with intervals by blocks of it.

use rayon::prelude::*;
use serde::Serialize;

use super::AdviseError;
use super::log::Log;
use super::search::{Figures, Requests, SEARCHED, Settings, Workload, doubled, grid, thinned};
use crate::lab::bound::levels::{Held, Levels, at_once};
use crate::lab::stats::mean_interval;
use crate::results::Interval;
use crate::sim::requests::{requests, start_seconds};
use crate::units::EndpointId;

/// Seconds of a month of 30 days.
pub const MONTH_S: f64 = 30.0 * 86_400.0;
/// Blocks of a log that is shorter than that many days.
const BLOCKS: usize = 10;
/// Settings that are judged on the whole log.
const FINALISTS: usize = 6;
/// A level of workers counts if it is needed for this share of the time: rarer peaks may wait.
const RARE: f64 = 1e-4;
/// Fewest requests.
const LEAST: usize = 20;

/// What settings would bring.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The settings.
    pub settings: Settings,
    /// On the whole log.
    pub figures: Figures,
    /// Documented bill of a month.
    pub month_documented_usd: f64,
    /// Seed bill of a month.
    pub month_seed_usd: f64,
    /// By blocks of the log, each run alone.
    pub ranges: Range,
}

/// Intervals (95 %) over blocks of the log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Range {
    /// Blocks.
    pub blocks: usize,
    /// They are days.
    pub days: bool,
    /// Documented bill of a month.
    pub month_documented_usd: Interval,
    /// Seed bill of a month.
    pub month_seed_usd: Interval,
    /// Median of the wait.
    pub wait_p50_s: Interval,
    /// 95th percentile of the wait.
    pub wait_p95_s: Interval,
    /// 99th percentile of the wait.
    pub wait_p99_s: Interval,
    /// Share of jobs that waited for a start.
    pub cold_share: Interval,
}

/// When an always-on worker pays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Crossover {
    /// Active over flex price: the share of the time that a worker must be needed for.
    pub break_even: f64,
    /// Share of the time that the first worker is needed for, its cheapest idle times and starts included.
    pub first_worker: f64,
    /// The same if traffic doubles.
    pub first_worker_doubled: f64,
    /// Always-on workers that would pay if no job waited.
    pub best_active: u64,
    /// The same if traffic doubles.
    pub best_active_doubled: u64,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Advice {
    /// Requests in the log.
    pub requests: u64,
    /// Seconds from the first to the last.
    pub span_s: f64,
    /// Mean seconds of a job.
    pub service_s: f64,
    /// Seconds of the quickest start.
    pub start_s: f64,
    /// The p95 of the wait that was to be kept.
    pub slo_wait_s: f64,
    /// It was given; else it is what the platform's defaults reach.
    pub slo_given: bool,
    /// Nothing tried keeps it; the settings with the shortest waits are given instead.
    pub slo_missed: bool,
    /// Settings tried.
    pub tried: u64,
    /// The cheapest of them.
    pub recommended: Forecast,
    /// What the platform's defaults would bring.
    pub platform: Forecast,
    /// The recommended settings at twice the traffic.
    pub doubled: Figures,
    /// Documented bill of a month at twice the traffic.
    pub doubled_month_documented_usd: f64,
    /// Always-on workers.
    pub crossover: Crossover,
}

/// Advice for the requests of `log`. `slo_wait_s`: the p95 of the wait to keep; none: no worse than the platform's defaults.
///
/// # Errors
/// If the workload cannot be simulated or there are too few requests.
pub fn advise(log: &Log, workload: &Workload, slo_wait_s: Option<f64>) -> Result<Advice, AdviseError> {
    if log.times.len() < LEAST {
        let text =
            format!("{} request(s) say too little: at least {LEAST} are needed, better some days", log.times.len());
        return Err(AdviseError::TooLittle(text));
    }
    if log.span_s() <= 0.0 {
        let text = "all requests have the same time: there is no rate to go by".to_owned();
        return Err(AdviseError::TooLittle(text));
    }
    let times = Requests::new(log.times.clone(), log.work.clone());
    let need = Need::of(workload, &times)?;
    let twice = doubled(&times);
    let need_twice = Need::of(workload, &twice)?;
    let platform = Settings { max: Settings::platform().max.max(need.max), ..Settings::platform() };
    let short = thinned(&times, SEARCHED);
    let mut tried = vec![platform.clone()];
    tried.extend(grid(need.max, need.best_active as u32));
    let found = workload.try_all(&tried, &short)?;
    let first_slo = slo_wait_s.unwrap_or(found[0].wait_p95_s);
    let finalists = finalists(&tried, &found, first_slo);
    let figures = workload.try_all(&finalists, &times)?;
    // The platform's defaults are the first of them.
    let slo = slo_wait_s.unwrap_or(figures[0].wait_p95_s);
    let (best, slo_missed) = cheapest(&figures, slo, slo_wait_s.is_none());
    let span_s = log.span_s().max(1.0);
    let forecast = |place: usize| -> Result<Forecast, AdviseError> {
        let (settings, figures) = (finalists[place].clone(), figures[place]);
        Ok(Forecast {
            ranges: ranges(workload, &settings, &times)?.around(&figures, MONTH_S / span_s),
            month_documented_usd: figures.documented_usd / span_s * MONTH_S,
            month_seed_usd: figures.seed_usd / span_s * MONTH_S,
            settings,
            figures,
        })
    };
    let doubled = workload.try_out(&finalists[best], &twice, Some(span_s))?;
    Ok(Advice {
        requests: log.times.len() as u64,
        span_s,
        service_s: need.service_s,
        start_s: need.start_s,
        slo_wait_s: slo,
        slo_given: slo_wait_s.is_some(),
        slo_missed,
        tried: tried.len() as u64,
        recommended: forecast(best)?,
        platform: forecast(0)?,
        doubled,
        doubled_month_documented_usd: doubled.documented_usd / span_s * MONTH_S,
        crossover: Crossover {
            break_even: need.ratio,
            first_worker: need.first_worker,
            first_worker_doubled: need_twice.first_worker,
            best_active: need.best_active,
            best_active_doubled: need_twice.best_active,
        },
    })
}

impl Range {
    /// The same spread around what the whole log gave: a block run alone begins cold and ends with a wait for its last worker, so
    /// its level is not that of the whole, but blocks differ from each other as much as they do within it.
    fn around(self, figures: &Figures, month: f64) -> Range {
        let moved = |interval: Interval, value: f64| {
            let factor = if interval.mean > 0.0 { value / interval.mean } else { 1.0 };
            Interval {
                mean: value,
                low: interval.low.map(|low| low * factor),
                high: interval.high.map(|high| high * factor),
            }
        };
        let cold = moved(self.cold_share, figures.cold_share);
        Range {
            month_documented_usd: moved(self.month_documented_usd, figures.documented_usd * month),
            month_seed_usd: moved(self.month_seed_usd, figures.seed_usd * month),
            wait_p50_s: moved(self.wait_p50_s, figures.wait_p50_s),
            wait_p95_s: moved(self.wait_p95_s, figures.wait_p95_s),
            wait_p99_s: moved(self.wait_p99_s, figures.wait_p99_s),
            cold_share: Interval { high: cold.high.map(|high| high.min(1.0)), ..cold },
            ..self
        }
    }
}

/// How many workers the requests need.
struct Need {
    max: u32,
    best_active: u64,
    first_worker: f64,
    ratio: f64,
    service_s: f64,
    start_s: f64,
}

impl Need {
    fn of(workload: &Workload, times: &Requests) -> Result<Need, AdviseError> {
        let plan = workload.plan(&Settings::platform(), times)?;
        let jobs = requests(&plan)?.into_iter().next().map(|requests| requests.jobs).unwrap_or_default();
        let spec = &plan.endpoints[0].spec;
        let class = spec.gpu_classes.first().and_then(|id| plan.scheduler.gpu_classes.get(usize::from(id.0)));
        let ratio = class.map_or(1.0, |class| class.active.as_usd() / class.flex.as_usd().max(1e-12));
        let (start_s, _) = start_seconds(&plan, EndpointId(0));
        let held: Vec<Held> = jobs.iter().map(|job| at_once(job.at, job.service)).collect();
        let levels = Levels::of(&held, start_s, spec.concurrency);
        let end = held.iter().map(|job| job.until.as_secs()).fold(1.0, f64::max);
        let often = levels.levels.iter().take_while(|level| level.busy_s > RARE * end).count() as u32;
        let service_s = jobs.iter().map(|job| job.service.as_secs()).sum::<f64>() / jobs.len().max(1) as f64;
        Ok(Need {
            max: often.max(Settings::platform().max),
            best_active: levels.best_active(end, ratio) as u64,
            first_worker: levels.levels.first().map_or(0.0, |level| level.cost_s(start_s) / end),
            ratio,
            service_s,
            start_s,
        })
    }
}

/// The platform's defaults and the cheapest that keep the wait on the short log, or the quickest where none does.
fn finalists(tried: &[Settings], found: &[Figures], slo: f64) -> Vec<Settings> {
    let mut order: Vec<usize> = (1..tried.len()).collect();
    // A little slack: the short log is not the whole one.
    let keeps = |place: usize| found[place].wait_p95_s <= slo * 1.1 + 0.05 && found[place].lost == 0;
    order.sort_by(|a, b| {
        let key = |place: usize| {
            (!keeps(place), if keeps(place) { found[place].documented_usd } else { found[place].wait_p95_s })
        };
        key(*a).0.cmp(&key(*b).0).then(key(*a).1.total_cmp(&key(*b).1))
    });
    let mut finalists = vec![tried[0].clone()];
    finalists.extend(order.iter().take(FINALISTS).map(|place| tried[*place].clone()));
    // The quickest too, in case the short log was too kind.
    let quickest = (1..tried.len()).min_by(|a, b| found[*a].wait_p95_s.total_cmp(&found[*b].wait_p95_s));
    finalists.extend(quickest.map(|place| tried[place].clone()));
    finalists
}

/// The cheapest that keeps the wait and loses no more jobs than the platform's defaults; the quickest where none does.
fn cheapest(figures: &[Figures], slo: f64, platform_counts: bool) -> (usize, bool) {
    let lost = figures[0].lost;
    let first = if platform_counts { 0 } else { 1 };
    let keeps = |place: &usize| figures[*place].wait_p95_s <= slo + 1e-9 && figures[*place].lost <= lost;
    let by_cost = |a: &usize, b: &usize| figures[*a].documented_usd.total_cmp(&figures[*b].documented_usd);
    let all = || (first..figures.len()).chain((first == 1).then_some(0));
    match all().filter(keeps).min_by(by_cost) {
        Some(place) => (place, false),
        None => (all().min_by(|a, b| figures[*a].wait_p95_s.total_cmp(&figures[*b].wait_p95_s)).unwrap_or(0), true),
    }
}

/// Blocks of the log, each run alone: days where there are at least as many, else equal parts.
fn ranges(workload: &Workload, settings: &Settings, requests: &Requests) -> Result<Range, AdviseError> {
    let span = requests.last_s().max(1.0);
    let days = span >= BLOCKS as f64 * 86_400.0;
    let (count, length) =
        if days { ((span / 86_400.0).floor() as usize, 86_400.0) } else { (BLOCKS, span / BLOCKS as f64) };
    let block = |number: usize| -> Result<Figures, AdviseError> {
        let part = requests.between(number as f64 * length, (number + 1) as f64 * length);
        workload.try_out(settings, &part, Some(length))
    };
    let found = (0..count).into_par_iter().map(block).collect::<Result<Vec<_>, _>>()?;
    let over = |of: fn(&Figures) -> f64| mean_interval(&found.iter().map(of).collect::<Vec<_>>());
    let month = MONTH_S / length;
    let per_month = |interval: Interval| Interval {
        mean: interval.mean * month,
        low: interval.low.map(|low| (low * month).max(0.0)),
        high: interval.high.map(|high| high * month),
    };
    let floor = |interval: Interval| Interval { low: interval.low.map(|low| low.max(0.0)), ..interval };
    Ok(Range {
        blocks: count,
        days,
        month_documented_usd: per_month(over(|one| one.documented_usd)),
        month_seed_usd: per_month(over(|one| one.seed_usd)),
        wait_p50_s: floor(over(|one| one.wait_p50_s)),
        wait_p95_s: floor(over(|one| one.wait_p95_s)),
        wait_p99_s: floor(over(|one| one.wait_p99_s)),
        cold_share: floor(over(|one| one.cold_share)),
    })
}
