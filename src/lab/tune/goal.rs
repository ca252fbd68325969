//! What a search is for: a figure of a run that is made small, and limits on others, typed as `p95_wait_s<=2`.

use std::fmt;

use crate::lab::compare::Sample;
use crate::ledger::Profile;

/// A limit on the mean of a figure over runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Which figure.
    pub figure: Figure,
    /// Where it ends: the largest value allowed, or the smallest of a share that should be large.
    pub value: f64,
}

/// Figures that a limit can be put on, and that can be made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// The bill, dollars per run.
    Cost,
    /// Mean wait, seconds.
    WaitMean,
    /// Median wait, seconds.
    WaitP50,
    /// P95 wait, seconds.
    WaitP95,
    /// P99 wait, seconds.
    WaitP99,
    /// Share of jobs that met the endpoint's targets; must be at least the limit.
    SloAttainment,
    /// Share of jobs whose worker became ready only after they came.
    ColdStartShare,
    /// Jobs without a result, per run.
    LostJobs,
}

/// Names as typed.
const NAMES: [(&str, Figure); 8] = [
    ("cost_usd", Figure::Cost),
    ("mean_wait_s", Figure::WaitMean),
    ("p50_wait_s", Figure::WaitP50),
    ("p95_wait_s", Figure::WaitP95),
    ("p99_wait_s", Figure::WaitP99),
    ("slo_attainment", Figure::SloAttainment),
    ("cold_start_share", Figure::ColdStartShare),
    ("lost_jobs", Figure::LostJobs),
];

impl Figure {
    /// As typed.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }

    /// The figure that is typed as `text`, to be made small.
    ///
    /// # Errors
    /// Says which ones there are.
    pub fn parse_minimized(text: &str) -> Result<Figure, String> {
        let small = NAMES.iter().filter(|(_, figure)| !figure.wants_more());
        let names: Vec<&str> = small.clone().map(|(name, _)| *name).collect();
        let found = small.clone().find(|(name, _)| *name == text.trim()).map(|(_, figure)| *figure);
        found.ok_or_else(|| format!("`{text}` is no figure that is made small; allowed: {}", names.join(", ")))
    }

    /// Its mean over runs; the bill is that of `profile`.
    pub fn mean(self, samples: &[Sample], profile: Profile) -> f64 {
        let value = |sample: &Sample| match self {
            Figure::Cost => sample.cost(profile),
            Figure::WaitMean => sample.wait_mean_s,
            Figure::WaitP50 => sample.wait_p50_s,
            Figure::WaitP95 => sample.wait_p95_s,
            Figure::WaitP99 => sample.wait_p99_s,
            // No job, nothing missed; without targets everything meets them.
            Figure::SloAttainment => sample.slo_attainment.unwrap_or(1.0),
            Figure::ColdStartShare => sample.cold_start_share.unwrap_or(0.0),
            Figure::LostJobs => sample.lost as f64,
        };
        samples.iter().map(value).sum::<f64>() / samples.len().max(1) as f64
    }

    /// A share of the jobs.
    fn is_share(self) -> bool {
        matches!(self, Figure::SloAttainment | Figure::ColdStartShare)
    }

    /// Seconds of waiting.
    pub fn is_wait(self) -> bool {
        matches!(self, Figure::WaitMean | Figure::WaitP50 | Figure::WaitP95 | Figure::WaitP99)
    }

    /// Must be large.
    fn wants_more(self) -> bool {
        self == Figure::SloAttainment
    }

    /// Differences up to this are none: seconds of waiting that nobody notices, where starts take many.
    pub fn alike(self) -> f64 {
        match self {
            wait if wait.is_wait() => 0.05,
            _ => 0.0,
        }
    }

    /// What counts as one unit of missing a limit of `value`: the value itself, but never nothing.
    pub fn unit(self, value: f64) -> f64 {
        match self {
            Figure::Cost => value.max(0.01),
            Figure::SloAttainment => (1.0 - value).max(0.01),
            Figure::ColdStartShare => value.max(0.01),
            Figure::LostJobs => value.max(1.0),
            _ => value.max(0.1),
        }
    }
}

impl Limit {
    /// Reads `p95_wait_s<=2` or `slo_attainment>=95%`.
    ///
    /// # Errors
    /// Says what is wrong and what a limit looks like.
    pub fn parse(text: &str) -> Result<Limit, String> {
        let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
        let wrong = |what: &str| {
            format!("--slo {text}: {what}; allowed: p95_wait_s<=2, slo_attainment>=95%; figures: {}", names.join(", "))
        };
        let (name, more, value) = match (text.split_once("<="), text.split_once(">=")) {
            (Some((name, value)), None) => (name, false, value),
            (None, Some((name, value))) => (name, true, value),
            _ => return Err(wrong("neither `<=` nor `>=`")),
        };
        let figure = NAMES.iter().find(|(known, _)| *known == name.trim()).map(|(_, figure)| *figure);
        let figure = figure.ok_or_else(|| wrong(&format!("no figure `{}`", name.trim())))?;
        if figure.wants_more() != more {
            let (is, other) = if more { (">=", "<=") } else { ("<=", ">=") };
            return Err(wrong(&format!("`{is}` for a figure that is limited by `{other}`")));
        }
        let value = value.trim();
        let (number, unit) = value.strip_suffix('%').map_or((value, 1.0), |number| (number.trim(), 100.0));
        let number = number.strip_suffix('s').unwrap_or(number);
        let parsed = number.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
        let value = parsed.ok_or_else(|| wrong(&format!("`{value}` is not a number from 0 on")))? / unit;
        if figure.is_share() && value > 1.0 {
            return Err(wrong("a share is 100% at most"));
        }
        Ok(Limit { figure, value })
    }

    /// How far the samples miss the limit, in units of the limit; 0 if they keep it. `margin` is a share of it to stay away.
    pub fn missed(&self, samples: &[Sample], margin: f64, profile: Profile) -> f64 {
        let (mean, unit) = (self.figure.mean(samples, profile), self.figure.unit(self.value));
        let limit = match self.figure {
            Figure::SloAttainment => self.value + margin * (1.0 - self.value),
            _ => self.value * (1.0 - margin),
        };
        let beyond = if self.figure.wants_more() { limit - mean } else { mean - limit };
        // What differs only in the last bits of a sum is no miss.
        if beyond <= 1e-9 * unit { 0.0 } else { beyond / unit }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.figure.wants_more() { ">=" } else { "<=" };
        write!(f, "{}{sign}{}", self.figure.name(), self.value)
    }
}

/// What the search is for.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    /// The figure that is made small.
    pub minimized: Figure,
    /// What must hold on all of the data.
    pub limits: Vec<Limit>,
    /// Figures that must be no worse than under the platform's defaults, on the same data.
    pub as_default: Vec<Figure>,
}

impl Goal {
    /// The least cost at which `limits` hold.
    pub fn of_limits(limits: Vec<Limit>) -> Goal {
        Goal { minimized: Figure::Cost, limits, as_default: Vec::new() }
    }

    /// The least cost at which the p95 wait is not longer than under the platform's defaults.
    pub fn no_worse_than_default() -> Goal {
        Goal { minimized: Figure::Cost, limits: Vec::new(), as_default: vec![Figure::WaitP95] }
    }

    /// The shortest p95 wait for no more money than the platform's defaults take.
    pub fn no_dearer_than_default() -> Goal {
        Goal { minimized: Figure::WaitP95, limits: Vec::new(), as_default: vec![Figure::Cost] }
    }

    /// The limits on data on which the platform's defaults yield `default`. No goal is met by losing more jobs than they do.
    pub fn limits(&self, default: &[Sample], profile: Profile) -> Vec<Limit> {
        let as_default = |figure: Figure| Limit { figure, value: figure.mean(default, profile) };
        let mut limits = self.limits.clone();
        limits.extend(self.as_default.iter().map(|figure| as_default(*figure)));
        if limits.iter().all(|limit| limit.figure != Figure::LostJobs) {
            limits.push(as_default(Figure::LostJobs));
        }
        limits
    }

    /// What is looked at in turn, each where those before it are alike: who asks for the shortest p95 wait for the money does not
    /// want to save before nobody waits.
    pub fn order(&self) -> [Figure; 3] {
        [self.minimized, Figure::WaitMean, Figure::Cost]
    }

    /// The first figure of the order that is not alike is smaller in `one` than in `other`.
    pub fn is_better(&self, one: &[Sample], other: &[Sample], profile: Profile) -> bool {
        let differ = |figure: &Figure| figure.mean(other, profile) - figure.mean(one, profile);
        let mut differences = self.order().into_iter().map(|figure| (figure.alike(), differ(&figure)));
        differences.find(|(alike, by)| by.abs() > *alike).is_some_and(|(_, by)| by > 0.0)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<String> = self.limits.iter().map(Limit::to_string).collect();
        all.extend(
            self.as_default.iter().map(|figure| format!("{} no more than the platform's defaults'", figure.name())),
        );
        f.write_str(&all.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_and_measured() {
        let limit = Limit::parse("p95_wait_s <= 2").unwrap();
        assert_eq!((limit.figure, limit.value, limit.to_string().as_str()), (Figure::WaitP95, 2.0, "p95_wait_s<=2"));
        let of = |wait_p95_s: f64| [Sample { wait_p95_s, slo_attainment: Some(0.9), ..Sample::default() }];
        let missed = |limit: &Limit, p95: f64, margin: f64| limit.missed(&of(p95), margin, Profile::Documented);
        assert_eq!((missed(&limit, 2.0, 0.0), missed(&limit, 3.0, 0.0)), (0.0, 0.5));
        assert!(missed(&limit, 2.0, 0.05) > 0.0, "with a margin");
        let share = Limit::parse("slo_attainment>=95%").unwrap();
        assert!((missed(&share, 0.0, 0.0) - 1.0).abs() < 1e-9, "0.05 of 0.05 is missing");
        assert_eq!(missed(&Limit::parse("slo_attainment>=0.8").unwrap(), 0.0, 0.0), 0.0);
        for wrong in
            ["p95_wait_s=2", "p95<=2", "p95_wait_s>=2", "slo_attainment<=1", "p95_wait_s<=soon", "slo_attainment>=150%"]
        {
            let message = Limit::parse(wrong).unwrap_err();
            assert!(message.contains(wrong) && message.contains("allowed"), "{message}");
        }
    }

    #[test]
    fn hundredths_of_a_second_decide_nothing_and_money_does() {
        let of = |wait_p95_s: f64, wait_mean_s: f64, usd: f64| {
            [Sample { wait_p95_s, wait_mean_s, cost_usd: [usd, usd], ..Sample::default() }]
        };
        let is_better = |goal: Goal, one: [Sample; 1], other: [Sample; 1]| {
            (goal.is_better(&one, &other, Profile::Documented), goal.is_better(&other, &one, Profile::Documented))
        };
        let quick = Goal::no_dearer_than_default;
        assert_eq!(is_better(quick(), of(1.0, 0.5, 9.0), of(1.2, 0.1, 1.0)), (true, false), "the p95 wait first");
        assert_eq!(is_better(quick(), of(1.02, 0.1, 9.0), of(1.0, 0.5, 1.0)), (true, false), "then the mean");
        assert_eq!(is_better(quick(), of(1.02, 0.52, 1.0), of(1.0, 0.5, 1.01)), (true, false), "then the bill");
        assert_eq!(is_better(quick(), of(1.0, 0.5, 1.0), of(1.02, 0.5, 1.0)), (false, false), "nothing to choose");
        let cheap = Goal::no_worse_than_default;
        assert_eq!(is_better(cheap(), of(2.0, 2.0, 1.0), of(0.0, 0.0, 1.01)), (true, false));
    }

    #[test]
    fn losing_jobs_is_no_way_to_a_goal() {
        let default = [Sample { wait_p95_s: 4.0, lost: 2, ..Sample::default() }];
        let limits = Goal::no_worse_than_default().limits(&default, Profile::Documented);
        let missed = |sample: Sample| {
            let of = std::slice::from_ref(&sample);
            limits.iter().map(|limit| limit.missed(of, 0.0, Profile::Documented)).sum::<f64>()
        };
        assert_eq!(missed(Sample { wait_p95_s: 4.0, lost: 2, ..Sample::default() }), 0.0);
        assert!(missed(Sample { wait_p95_s: 1.0, lost: 9, ..Sample::default() }) > 1.0);
    }

    #[test]
    fn the_bill_is_that_of_the_profile_and_goals_say_what_they_are() {
        let sample = [Sample { cost_usd: [1.0, 3.0], ..Sample::default() }];
        let limit = Limit::parse("cost_usd<=2").unwrap();
        let missed = |profile| limit.missed(&sample, 0.0, profile);
        assert_eq!((missed(Profile::Seed), missed(Profile::Documented)), (0.0, 0.5));
        let goal = Goal { limits: vec![limit.clone()], ..Goal::no_dearer_than_default() };
        assert_eq!(goal.to_string(), "cost_usd<=2 and cost_usd no more than the platform's defaults'");
        assert_eq!(goal.limits(&sample, Profile::Seed)[1], Limit { figure: Figure::Cost, value: 1.0 });
        assert_eq!(Figure::parse_minimized("p99_wait_s"), Ok(Figure::WaitP99));
        for wrong in ["slo_attainment", "costs"] {
            let message = Figure::parse_minimized(wrong).unwrap_err();
            assert!(message.contains(wrong) && message.contains("cost_usd, mean_wait_s"), "{message}");
        }
    }
}
