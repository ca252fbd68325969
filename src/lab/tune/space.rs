//! Where the search looks: for each policy, which of its settings may take which values, as points of a unit cube.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::lab::axes::{Axis, Values, between};
use crate::lab::candidate::Candidate;
use crate::lab::stats::random::Stream;
use crate::policy::params::ParamKind;
use crate::policy::{ParamSpec, registry};
use crate::scenario::expand::scaler_uses_idle_timeout;
use crate::scenario::{Problem, Problems};

/// A default is varied by this factor both ways.
const AROUND: f64 = 10.0;
/// Idle timeouts that the platform allows are 1 s to 3,600 s; beyond ten minutes an active worker is the better question.
const IDLE_TIMEOUT_S: (f64, f64) = (1.0, 600.0);
/// Parameters that are no advice: how often a policy looks, and which random numbers it draws.
const NOT_VARIED: [&str; 2] = ["tick_s", "seed"];
/// The number of active workers, which policy files may also write as `active`.
const ACTIVE: &str = "workers.active";
/// Most active workers that are tried.
const ACTIVE_MOST: u32 = 16;

/// One setting and the values that it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Dimension {
    /// Where it stands below the endpoint, such as `scaler.delay_s`.
    pub path: String,
    /// Its values.
    pub range: Range,
    /// Its value unless varied, as a place in the unit interval.
    pub usual: f64,
}

/// Values of a setting.
#[derive(Clone, Debug, PartialEq)]
pub enum Range {
    /// Numbers; whole ones only if `whole`, evenly in logarithms if `log`.
    #[allow(missing_docs, reason = "the line above names its fields")]
    Number { low: f64, high: f64, log: bool, whole: bool },
    /// One of these.
    Choice(Vec<Json>),
}

impl Range {
    /// The value at `place` in [0, 1].
    fn value(&self, place: f64) -> Json {
        match self {
            Range::Choice(all) => {
                let index = ((place * all.len() as f64) as usize).min(all.len().saturating_sub(1));
                all.get(index).cloned().unwrap_or(Json::Null)
            }
            Range::Number { low, high, log: false, whole: true } => {
                whole((low + (place * (high - low + 1.0)).floor()).min(*high))
            }
            Range::Number { low, high, log, whole: true } => whole(between(*low, *high, place, *log).round()),
            Range::Number { low, high, log, whole: false } => {
                // Three digits: settings are typed by people, and no run tells 12.34 s from 12.3 s.
                let value = between(*low, *high, place, *log);
                let rounded = format!("{value:.2e}").parse::<f64>().unwrap_or(value);
                json!(rounded.clamp(*low, *high))
            }
        }
    }

    /// The place at which `value` is, or the nearest.
    fn place(&self, value: &Json) -> f64 {
        match self {
            Range::Choice(all) => {
                let index = all.iter().position(|known| known == value).unwrap_or(0);
                (index as f64 + 0.5) / all.len().max(1) as f64
            }
            Range::Number { low, high, log, whole } => {
                let value = value.as_f64().unwrap_or(*low).clamp(*low, *high);
                match (log, whole) {
                    (true, _) => (libm::log(value) - libm::log(*low)) / (libm::log(*high) - libm::log(*low)),
                    (false, true) => (value - low + 0.5) / (high - low + 1.0),
                    (false, false) => (value - low) / (high - low),
                }
            }
        }
    }
}

fn whole(value: f64) -> Json {
    json!(value as i64)
}

/// A policy and what is varied of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Base {
    /// Its name.
    pub name: String,
    /// Its settings as they are.
    pub settings: Map<String, Json>,
    /// What is varied.
    pub dimensions: Vec<Dimension>,
}

/// Settings of an endpoint that can be tried: a policy and, unless it is taken as it is, places in its unit cube.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Number of the policy.
    pub base: usize,
    /// One per dimension; empty for the policy as it is.
    pub places: Vec<f64>,
}

/// Settings of all endpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// What every endpoint has.
    pub common: Setting,
    /// What single endpoints have instead, by their numbers.
    pub own: BTreeMap<usize, Setting>,
}

impl Trial {
    /// The same for every endpoint.
    pub fn of(base: usize, places: Vec<f64>) -> Trial {
        Trial { common: Setting { base, places }, own: BTreeMap::new() }
    }

    /// One for each of the endpoints; what most of them have is the common one.
    pub fn of_each(each: &[Setting]) -> Option<Trial> {
        let count = |of: &Setting| each.iter().filter(|other| *other == of).count();
        // The first of those that most have: the order of endpoints decides, not chance.
        let common = each.iter().rev().max_by_key(|of| count(of))?.clone();
        let others = each.iter().enumerate().filter(|(_, of)| **of != common);
        let own = others.map(|(endpoint, of)| (endpoint, of.clone())).collect();
        Some(Trial { common, own })
    }

    /// What an endpoint has.
    pub fn endpoint(&self, number: usize) -> &Setting {
        self.own.get(&number).unwrap_or(&self.common)
    }
}

impl Base {
    /// What is varied of `candidate`: `params` if any are given, or else what the registry says of its scaler and its
    /// keep-alive policy, its idle timeout, and the number of active workers up to `active_most`.
    ///
    /// # Errors
    /// If the candidate is not a policy file.
    pub fn new(candidate: &Candidate, params: &[Axis], active_most: u32) -> Result<Base, Problems> {
        let mut settings = Map::new();
        for overlay in &candidate.overlays {
            if let Some((name, _)) = overlay.own_settings()?.into_iter().next() {
                return Err(single(&overlay.shown, &name).into());
            }
            if let Json::Object(more) = overlay.settings()? {
                settings.extend(more);
            }
        }
        for key in ["scaler", "keep_alive", "dispatch", "placement"] {
            if let Some(Json::String(word)) = settings.get(key).cloned() {
                settings.insert(key.to_owned(), json!({ "type": word }));
            }
        }
        // One place for the number of active workers: the short form would win over the long one.
        if let Some(active) = settings.remove("active") {
            put(&mut settings, ACTIVE, active);
        }
        let mut base = Base { name: candidate.name.clone(), settings, dimensions: Vec::new() };
        if params.is_empty() {
            base.add_usual(active_most.min(ACTIVE_MOST));
        } else {
            for axis in params {
                let path = if axis.path == "active" { ACTIVE } else { axis.path.as_str() };
                base.add(path, range_of(&axis.values), &Json::Null);
            }
        }
        Ok(base)
    }

    fn add_usual(&mut self, active_most: u32) {
        let name = |of: &Base, key: &str| of.settings.get(key)?.get("type")?.as_str().map(str::to_owned);
        let scaler = name(self, "scaler").unwrap_or_else(|| "queue_delay".to_owned());
        if let Some(entry) = registry::SCALING.iter().find(|entry| entry.name == scaler) {
            // A scaler that is not named keeps its defaults: naming it here would name it for every endpoint.
            if self.settings.contains_key("scaler") {
                entry.params.iter().for_each(|param| self.add_param("scaler", param));
            }
        }
        if let Some(keep_alive) = name(self, "keep_alive") {
            if let Some(entry) = registry::KEEP_ALIVE.iter().find(|entry| entry.name == keep_alive) {
                entry.params.iter().for_each(|param| self.add_param("keep_alive", param));
            }
        } else if scaler_uses_idle_timeout(&scaler) {
            let (low, high) = IDLE_TIMEOUT_S;
            self.add("idle_timeout_s", Range::Number { low, high, log: true, whole: false }, &json!(5));
        }
        if active_most > 0 {
            self.add(ACTIVE, active_workers(active_most), &json!(0));
        }
    }

    fn add_param(&mut self, section: &str, param: &ParamSpec) {
        if NOT_VARIED.contains(&param.name) {
            return;
        }
        let (range, usual) = range_of_param(&param.kind);
        let fixed = matches!(&range, Range::Number { low, high, .. } if low >= high)
            || matches!(&range, Range::Choice(all) if all.len() < 2);
        if !fixed {
            self.add(&format!("{section}.{}", param.name), range, &usual);
        }
    }

    fn add(&mut self, path: &str, range: Range, usual: &Json) {
        let given = path.split('.').try_fold(None, |at: Option<&Json>, step| match at {
            None => self.settings.get(step).map(Some),
            Some(here) => here.get(step).map(Some),
        });
        let usual = range.place(given.flatten().unwrap_or(usual));
        self.dimensions.push(Dimension { path: path.to_owned(), range, usual });
    }

    /// The settings at `places`; as they are without places.
    pub fn settings_at(&self, places: &[f64]) -> Json {
        let mut settings = self.settings.clone();
        for (dimension, place) in self.dimensions.iter().zip(places) {
            put(&mut settings, &dimension.path, dimension.range.value(*place));
        }
        Json::Object(settings)
    }

    /// Anywhere in the cube.
    pub fn drawn(&self, stream: &mut Stream) -> Vec<f64> {
        self.dimensions.iter().map(|_| stream.uniform()).collect()
    }

    /// Near `places`: about half of the dimensions are moved, at least one, by about `step`.
    pub fn near(&self, places: &[f64], step: f64, stream: &mut Stream) -> Vec<f64> {
        let mut moved: Vec<f64> = match places {
            [] => self.dimensions.iter().map(|dimension| dimension.usual).collect(),
            some => some.to_vec(),
        };
        let surely = stream.below(moved.len());
        for (number, place) in moved.iter_mut().enumerate() {
            let chosen = stream.uniform() < 0.5;
            // The sum of four uniform numbers is close enough to a normal one, and bounded.
            let bell = (0..4).map(|_| stream.uniform()).sum::<f64>() - 2.0;
            if chosen || number == surely {
                // Reflected at the walls, so that the ends of a range are not left out.
                let there = (*place + step * 1.73 * bell).abs() % 2.0;
                *place = if there > 1.0 { 2.0 - there } else { there };
            }
        }
        moved
    }
}

/// A policy file that is for certain endpoints is no policy to vary.
fn single(shown: &str, name: &str) -> Problem {
    Problem {
        place: shown.to_owned(),
        path: format!("endpoints.{name}"),
        found: "settings of a single endpoint".to_owned(),
        allowed: "settings of every endpoint, below `endpoint`".to_owned(),
        fix: "a search gives each endpoint settings of its own anyway, unless told otherwise".to_owned(),
    }
}

/// Sets `a.b.c` in a map, with the maps on the way to it.
fn put(map: &mut Map<String, Json>, path: &str, value: Json) {
    let Some((first, rest)) = path.split_once('.') else {
        map.insert(path.to_owned(), value);
        return;
    };
    let inner = map.entry(first).or_insert_with(|| json!({}));
    if !inner.is_object() {
        *inner = json!({});
    }
    if let Json::Object(inner) = inner {
        put(inner, rest, value);
    }
}

fn range_of(values: &Values) -> Range {
    match values {
        Values::Range { low, high, log, whole, .. } => {
            Range::Number { low: *low, high: *high, log: *log, whole: *whole }
        }
        Values::List(texts) => Range::Choice(
            texts
                .iter()
                .map(|text| serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())))
                .collect(),
        ),
    }
}

/// None in half of the draws: an active worker is paid for all day, and most traffic does not deserve one.
fn active_workers(most: u32) -> Range {
    let some = (1..=most).map(|active| json!(active));
    Range::Choice((0..most).map(|_| json!(0)).chain(some).collect())
}

/// A range around the default that a search can cover, and the default. Ranges of the registry say what is possible, not what is
/// sensible: an idle timeout may be a year.
fn range_of_param(kind: &ParamKind) -> (Range, Json) {
    match *kind {
        ParamKind::Switch { default } => (Range::Choice(vec![json!(false), json!(true)]), json!(default)),
        ParamKind::Word { choices, default } => {
            (Range::Choice(choices.iter().map(|choice| json!(choice)).collect()), json!(default))
        }
        ParamKind::Number { min, max, default } => (number(min, max, default, false), json!(default)),
        ParamKind::Whole { min, max, default } => {
            (number(f64::from(min), f64::from(max), f64::from(default), true), json!(default))
        }
        // A timetable is written, not searched.
        ParamKind::Hours { default } => (Range::Choice(vec![json!(default)]), json!(default)),
    }
}

fn number(min: f64, max: f64, default: f64, whole: bool) -> Range {
    // Shares, and ranges that are narrow anyway, whole.
    if max <= 1.0 || (min > 0.0 && max <= AROUND * min) {
        return Range::Number { low: min, high: max, log: false, whole };
    }
    if default <= 0.0 {
        return Range::Number { low: min.max(0.0), high: max.min(AROUND), log: false, whole };
    }
    let (low, high) = (min.max(default / AROUND), max.min(default * AROUND));
    let low = if whole { low.ceil().max(1.0).min(high) } else { low };
    Range::Number { low, high, log: low > 0.0 && high > low, whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(typed: &str, params: &[&str]) -> Base {
        let axes: Vec<Axis> = params.iter().map(|text| Axis::parse(text).unwrap()).collect();
        Base::new(&Candidate::find(typed).unwrap(), &axes, 3).unwrap()
    }

    #[test]
    fn the_usual_space_is_that_of_the_registry() {
        let default = base("platform_default", &[]);
        let paths: Vec<&str> = default.dimensions.iter().map(|dimension| dimension.path.as_str()).collect();
        assert!(paths.contains(&"scaler.delay_s") && paths.contains(&"idle_timeout_s") && paths.contains(&ACTIVE));
        assert!(!paths.contains(&"scaler.tick_s"), "{paths:?}");
        let counting = base("request_count", &[]);
        assert!(counting.dimensions.iter().all(|dimension| dimension.path != "idle_timeout_s"));
        assert_eq!(default.settings_at(&[]), Json::Object(default.settings.clone()), "as it is");
    }

    #[test]
    fn places_and_values_belong_together() {
        let ranges = [
            (Range::Number { low: 1.0, high: 600.0, log: true, whole: false }, json!(5.0)),
            (Range::Number { low: 0.0, high: 3.0, log: false, whole: true }, json!(2)),
            (Range::Number { low: 0.0, high: 1.0, log: false, whole: false }, json!(0.25)),
            (Range::Choice(vec![json!("a"), json!("b"), json!(true)]), json!("b")),
        ];
        for (range, value) in ranges {
            assert_eq!(range.value(range.place(&value)), value, "{range:?}");
            assert_eq!(range.value(range.place(&range.value(0.0))), range.value(0.0));
            assert_eq!(range.value(range.place(&range.value(1.0))), range.value(1.0));
        }
        let typed = base("platform_default", &["scaler.delay_s=1..8", "dispatch=mru,lru", "workers.active=0..2"]);
        let settings = typed.settings_at(&[0.99, 0.99, 0.0]);
        assert_eq!((&settings["scaler"]["delay_s"], &settings["dispatch"]), (&json!(8), &json!("lru")));
        assert_eq!(settings["workers"]["active"], json!(0));
        assert_eq!(settings["scaler"]["type"], "queue_delay", "what is not varied stays");
    }

    #[test]
    fn what_most_endpoints_have_is_common() {
        let [a, b] = [0, 1].map(|base| Setting { base, places: vec![0.5] });
        let trial = Trial::of_each(&[a.clone(), b.clone(), b.clone()]).unwrap();
        assert_eq!((&trial.common, trial.own.len(), trial.endpoint(0), trial.endpoint(2)), (&b, 1, &a, &b));
        assert_eq!(Trial::of_each(&[a.clone(), b]).unwrap().common, a, "the first of equals");
        assert_eq!(Trial::of_each(&[]), None);
        let own = Candidate::of_all_settings("x", "", &json!({}), &Map::from_iter([("a".to_owned(), json!({}))]));
        assert!(
            Base::new(&own, &[], 1).unwrap_err().to_string().contains("endpoints.a: settings of a single endpoint")
        );
    }

    #[test]
    fn steps_stay_in_the_cube_and_move_something() {
        let base = base("platform_default", &[]);
        let mut stream = Stream::new(1, 1);
        let mut places = Vec::new();
        for _ in 0..200 {
            let next = base.near(&places, 0.3, &mut stream);
            assert!(next.iter().all(|place| (0.0..=1.0).contains(place)) && next != places);
            places = next;
        }
    }
}
