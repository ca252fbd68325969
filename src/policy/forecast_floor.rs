//! A seasonal forecast of the workers needed, as a floor under a rule that reacts.
//!
//! y = mean number of workers needed per bin of `bin_s`. Additive Holt-Winters with a season of m bins and a damped trend:
//! `l = a (y - s) + (1 - a)(l + f b)`, `b = B (l - l') + (1 - B) f b`, `s = g (y - l) + (1 - g) s`; a = alpha, B = 0.01, g = gamma, f = 0.98.
//! Forecast for the bins in which a worker started now would be ready: `floor = round(max over them of (l + h b + s) + reserve sd)`, sd =
//! standard deviation of the one-step errors. Before two seasons: an exponentially weighted mean. A change detector (CUSUM of the
//! absolute errors, in units of their usual size) distrusts the season for one season when the errors stay large. Prediction only
//! lifts the floor: above it one worker per job that finds none idle, down by the idle timeout. Sources: Winters 1960; Page 1954;
//! policies 3.1. Does badly on: traffic without a season (it holds the mean), sparse jobs (the mean need rounds to none), the first day
//! of a new habit.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::registry::Entry;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "bin_s",
        kind: ParamKind::Number { min: 10.0, max: 86_400.0, default: 300.0 },
        doc: "seconds per bin; fewer follow faster and are noisier",
    },
    ParamSpec {
        name: "season_s",
        kind: ParamKind::Number { min: 60.0, max: 2_592_000.0, default: 86_400.0 },
        doc: "seconds per season: a day, or a week (604800)",
    },
    ParamSpec {
        name: "alpha",
        kind: ParamKind::Number { min: 0.001, max: 1.0, default: 0.2 },
        doc: "weight of the newest bin in the level",
    },
    ParamSpec {
        name: "gamma",
        kind: ParamKind::Number { min: 0.0, max: 1.0, default: 0.1 },
        doc: "weight of the newest season in the pattern",
    },
    ParamSpec {
        name: "reserve",
        kind: ParamKind::Number { min: -5.0, max: 10.0, default: 0.0 },
        doc: "standard deviations of the forecast's error that are held besides",
    },
    ParamSpec {
        name: "worth",
        kind: ParamKind::Number { min: 0.01, max: 0.999, default: 0.5 },
        doc: "share of the time for which one more worker must be needed to be held",
    },
    ParamSpec {
        name: "alarm",
        kind: ParamKind::Number { min: 1.0, max: 1_000.0, default: 12.0 },
        doc: "summed excess error, in usual errors, at which the season is distrusted",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "forecast_floor",
    summary: "hold what a seasonal forecast (Holt-Winters) expects, start one worker per job beyond it",
    formula: "max(round(l + h b + s + reserve sd), what waiting jobs need); a mean before two seasons or after an alarm",
    source: "Winters 1960; Page 1954; policies 3.1",
    weakness: "traffic without a season; sparse jobs; the first day of a new habit",
    params: PARAMS,
    build: |params| Box::new(ForecastFloor::new(params)),
};

/// Smoothing of the trend, and its damping per bin.
const TREND: (f64, f64) = (0.01, 0.98);
/// Errors below so many usual ones lower the detector's sum.
const DRIFT: f64 = 2.0;

/// See the module.
#[derive(Clone, Debug)]
pub struct ForecastFloor {
    bin: Span,
    season: usize,
    alpha: f64,
    gamma: f64,
    reserve: f64,
    worth: f64,
    alarm: f64,
    memory: Memory,
}

/// What it has learned.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Memory {
    /// The bin under way: its number, since when it has the current need, that need, and worker seconds so far.
    bin: u64,
    at: Time,
    needed: u32,
    worker_s: f64,
    begun: bool,
    /// Bins of the first two seasons, then empty.
    history: Vec<f64>,
    level: f64,
    trend: f64,
    pattern: Vec<f64>,
    /// Mean without season, mean absolute and mean square error of the forecast, sum of the detector.
    mean: f64,
    usual: f64,
    square: f64,
    excess: f64,
    distrusted_until: u64,
    floor: u32,
}

impl ForecastFloor {
    fn new(params: &Params) -> ForecastFloor {
        let bin = Span::from_secs(params.number("bin_s"));
        let season = (params.number("season_s") / bin.as_secs()).round().clamp(2.0, 100_000.0);
        ForecastFloor {
            bin,
            season: season as usize,
            alpha: params.number("alpha"),
            gamma: params.number("gamma"),
            reserve: params.number("reserve"),
            worth: params.number("worth"),
            alarm: params.number("alarm"),
            memory: Memory::default(),
        }
    }

    /// Takes up that so many workers are needed from `now` on, closing the bins that have ended.
    fn see(&mut self, now: Time, needed: u32) {
        let bin_us = self.bin.0;
        if !self.memory.begun {
            self.memory = Memory { begun: true, bin: now.0 / bin_us, at: now, needed, ..Memory::default() };
            return;
        }
        // After a rest of many seasons there is nothing left to continue.
        if now.0 / bin_us > self.memory.bin + 4 * self.season as u64 {
            self.memory = Memory { begun: true, bin: now.0 / bin_us, at: now, needed, ..Memory::default() };
            return;
        }
        while now.0 / bin_us > self.memory.bin {
            let end = Time((self.memory.bin + 1) * bin_us);
            self.memory.worker_s += f64::from(self.memory.needed) * end.since(self.memory.at).as_secs();
            self.close_bin(self.memory.worker_s / self.bin.as_secs());
            (self.memory.at, self.memory.worker_s) = (end, 0.0);
            self.memory.bin += 1;
        }
        self.memory.worker_s += f64::from(self.memory.needed) * now.since(self.memory.at).as_secs();
        (self.memory.at, self.memory.needed) = (now, needed);
    }

    fn close_bin(&mut self, y: f64) {
        let bin = self.memory.bin;
        let error = y - self.forecast(0);
        let memory = &mut self.memory;
        let seasonal = !memory.pattern.is_empty();
        memory.usual += 0.02 * (error.abs() - memory.usual);
        memory.square += 0.02 * (error * error - memory.square);
        if seasonal {
            memory.excess = (memory.excess + error.abs() / memory.usual.max(0.1) - DRIFT).max(0.0);
            if memory.excess > self.alarm {
                memory.excess = 0.0;
                memory.distrusted_until = bin + self.season as u64;
            }
        }
        memory.mean += self.alpha * (y - memory.mean);
        if !seasonal {
            memory.history.push(y);
            if memory.history.len() >= 2 * self.season {
                self.begin_seasons(bin);
            }
            return;
        }
        let place = (bin % self.season as u64) as usize;
        let (old, season) = (memory.level, memory.pattern[place]);
        let (smooth, damp) = TREND;
        memory.level = self.alpha * (y - season) + (1.0 - self.alpha) * (old + damp * memory.trend);
        memory.trend = smooth * (memory.level - old) + (1.0 - smooth) * damp * memory.trend;
        memory.pattern[place] = self.gamma * (y - memory.level) + (1.0 - self.gamma) * season;
    }

    /// Two seasons are there: the level is their mean, the pattern their mean deviation from it. `last` is the bin just closed.
    fn begin_seasons(&mut self, last: u64) {
        let history = std::mem::take(&mut self.memory.history);
        let mean = history.iter().sum::<f64>() / history.len() as f64;
        let mut pattern = vec![0.0; self.season];
        for (ago, y) in history.iter().rev().enumerate() {
            let place = ((last + 2 * self.season as u64 - ago as u64) % self.season as u64) as usize;
            pattern[place] += (y - mean) / 2.0;
        }
        (self.memory.level, self.memory.trend, self.memory.pattern) = (mean, 0.0, pattern);
    }

    /// Workers expected `ahead` bins after the one under way.
    fn forecast(&self, ahead: u64) -> f64 {
        let memory = &self.memory;
        let bin = memory.bin + ahead;
        if memory.pattern.is_empty() || memory.bin < memory.distrusted_until {
            return memory.mean;
        }
        let damp = TREND.1;
        // Sum of the damped trend over the bins up to there.
        let bins = (ahead + 1) as f64;
        let trend = memory.trend * damp * (1.0 - libm::pow(damp, bins)) / (1.0 - damp);
        (memory.level + trend + memory.pattern[(bin % self.season as u64) as usize]).max(0.0)
    }

    fn floor_now(&self, start_s: f64) -> u32 {
        let ahead = (start_s / self.bin.as_secs()).ceil() as u64;
        let expected = (0..=ahead.min(64)).map(|bins| self.forecast(bins)).fold(0.0, f64::max);
        let wanted = expected + self.reserve * libm::sqrt(self.memory.square);
        (wanted + 1.0 - self.worth).max(0.0) as u32
    }
}

impl ScalingPolicy for ForecastFloor {
    fn asked_at(&self) -> AskedAt {
        AskedAt::Events
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let current = seen.up_or_coming();
        let jobs_in_workers = (seen.queued + seen.in_progress).div_ceil(seen.concurrency.max(1));
        // Need is what jobs occupy or wait for; workers that are only held are not needed.
        let before = self.memory.bin;
        self.see(seen.now, jobs_in_workers);
        if self.memory.bin != before {
            let start_s = seen.mean_start.map_or(0.0, Span::as_secs);
            self.memory.floor = self.floor_now(start_s).min(seen.max);
        }
        let needed = if seen.queued > 0 { jobs_in_workers } else { 0 };
        let workers = current.max(needed).max(self.memory.floor);
        let reason = if self.memory.floor > needed.max(current) { ScaleReason::Policy } else { ScaleReason::PerJob };
        let ask_again = Some(Span(self.bin.0 - seen.now.0 % self.bin.0));
        Advice { workers, surplus: Surplus::KeepAlive, reason, ask_again }
    }

    fn floor(&self) -> u32 {
        self.memory.floor
    }

    fn first_ask(&self) -> Option<Span> {
        Some(Span::ZERO)
    }

    fn save(&self) -> Value {
        json!(self.memory)
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        let memory = Memory::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        if !memory.pattern.is_empty() && memory.pattern.len() != self.season {
            return Err(BadPolicyState(format!("its season has {} bins, not {}", memory.pattern.len(), self.season)));
        }
        self.memory = memory;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::seen;
    use super::super::{PolicyChoice, registry};
    use super::*;

    const HOUR: u32 = 3_600;

    /// Asked every five minutes of so many days; jobs per hour of the day from `jobs`. Gives the floor at each time.
    fn floors(days: u32, jobs: impl Fn(u32, u32) -> u32) -> Vec<u32> {
        let mut policy = registry::scaling(&PolicyChoice::named("forecast_floor")).expect("it is in the registry");
        (0..days * 288)
            .map(|bin| {
                let second = bin * 300;
                let busy = jobs(second / (24 * HOUR), second / HOUR % 24);
                policy.advise(&seen(f64::from(second), (0, busy), (0, busy, 0)));
                policy.floor()
            })
            .collect()
    }

    #[test]
    fn from_the_third_day_on_the_morning_is_expected() {
        let floors = floors(4, |_, hour| if (8..18).contains(&hour) { 6 } else { 0 });
        let at = |day: usize, hour: usize, minute: usize| floors[day * 288 + hour * 12 + minute / 5];
        assert_eq!(at(1, 8, 0), 0, "the second day comes as a surprise");
        assert_eq!(at(3, 8, 0), 6, "the fourth does not");
        assert_eq!(at(3, 12, 0), 6);
        assert_eq!(at(3, 18, 0), 0);
        assert_eq!(at(3, 3, 0), 0);
    }

    #[test]
    fn a_broken_habit_is_noticed() {
        let floors = floors(8, |day, hour| if day < 4 && (8..18).contains(&hour) { 6 } else { 0 });
        let held: u32 = floors[4 * 288..5 * 288].iter().sum();
        // Holding six workers for the ten hours of a habit that is over would be 720.
        assert!(held < 120, "{held}");
        assert_eq!(floors[7 * 288 + 10 * 12], 0);
    }

    #[test]
    fn what_was_learned_survives_a_restart() {
        let built = || registry::scaling(&PolicyChoice::named("forecast_floor")).expect("it is in the registry");
        let mut policy = built();
        let ask = |policy: &mut dyn ScalingPolicy, bin: u32| {
            let busy = u32::from(bin % 288 > 100) * 3;
            policy.advise(&seen(f64::from(bin * 300), (0, busy), (0, busy, 0)))
        };
        for bin in 0..700 {
            ask(&mut *policy, bin);
        }
        let mut other = built();
        other.load(&policy.save()).expect("its own state");
        for bin in 700..900 {
            assert_eq!(ask(&mut *policy, bin), ask(&mut *other, bin));
        }
    }
}
