//! From what was typed to the plan of a run, once. Mistakes of meaning are found here: names that do not exist, numbers that do
//! not go together, workers that fit no host. Everything has its documented default by now and its shape is right.

mod actions;
mod amounts;
mod endpoints;
pub mod hosts;
mod images;
pub mod serve;
mod traffic;

use std::path::Path;

use super::Settings;
use super::node::{Node, Origin, Sources};
use super::problem::{Problem, Problems, suggestion};
use super::types::Application;
use crate::scheduler::{GpuClass, GpuClassId, Image, SchedulerConfig};
use crate::sim::plan::{FaultPlan, Plan};
use crate::units::{Span, UsdPerSecond};

/// A lowered file.
pub struct Lowered {
    /// What is simulated.
    pub plan: Plan,
    /// How it is evaluated.
    pub settings: Settings,
    /// Remarks.
    pub notes: Vec<String>,
}

/// Lowers a checked tree. `None` when something could not be read at all; mistakes go to `problems`.
pub fn lower(tree: &Node, sources: &Sources, base: &Path, problems: &mut Problems) -> Option<Lowered> {
    let app = typed(tree, problems)?;
    let mut context =
        Context { tree, sources, base, app: &app, problems, notes: Vec::new(), images: Vec::new(), serving: false };
    context.images = context.images();
    let endpoints = context.endpoints();
    let hosts = context.hosts();
    let actions = context.actions(&endpoints, &hosts);
    context.every_worker_fits(&endpoints, &hosts);
    context.the_run_ends();
    let faults = context.faults();
    let registry = context.registry();
    let scheduler = context.scheduler();
    let plan = Plan {
        seed: app.seed,
        duration: app.duration_s.map(|duration| duration.span()),
        max_jobs: app.max_jobs,
        drain: app.drain_s.map(|drain| drain.span()),
        deployed: app.deployed,
        warm_up: app.warm_up_s.span(),
        counts_drain: false,
        scheduler,
        hosts: hosts.into_iter().map(|(_, host)| host).collect(),
        registry,
        endpoints,
        faults,
        actions,
    };
    let notes = context.notes;
    Some(Lowered { plan, settings: settings(&app), notes })
}

fn typed(tree: &Node, problems: &mut Problems) -> Option<Application> {
    match serde_json::from_value(tree.to_json()) {
        Ok(app) => Some(app),
        Err(error) => {
            problems.push(Problem { found: error.to_string(), ..unreadable("application file") });
            None
        }
    }
}

/// The problem of a file that passed every check and still cannot be read: a mistake of this program, said as such.
pub fn unreadable(shown: &str) -> Problem {
    Problem {
        place: shown.to_owned(),
        path: String::new(),
        found: "a value that passed every check and cannot be read".to_owned(),
        allowed: String::new(),
        fix: "please report this file as a bug".to_owned(),
    }
}

fn settings(app: &Application) -> Settings {
    Settings {
        name: String::new(),
        description: app.description.clone().unwrap_or_default(),
        profile: app.profile,
        round_up: app.billing.round_up,
        clean: app.clean,
    }
}

/// What all parts of the lowering share.
struct Context<'a> {
    tree: &'a Node,
    sources: &'a Sources,
    /// Folder from which the paths of traces are taken.
    base: &'a Path,
    app: &'a Application,
    problems: &'a mut Problems,
    notes: Vec<String>,
    images: Vec<Image>,
    /// For real hosts: what only a rehearsal needs is not asked for.
    serving: bool,
}

impl Context<'_> {
    /// Reports a mistake at `path`: its place is that of the nearest thing on the way to it that somebody typed.
    fn problem(&mut self, path: &[&str], found: String, allowed: &str, fix: &str) {
        let steps: Vec<String> = path.iter().map(|step| (*step).to_owned()).collect();
        self.problems.push(Problem {
            place: self.place(&steps),
            path: super::check::shown_path(&steps),
            found,
            allowed: allowed.to_owned(),
            fix: fix.to_owned(),
        });
    }

    fn place(&self, path: &[String]) -> String {
        let typed = |origin: &Origin| matches!(origin, Origin::File { .. } | Origin::Set { .. });
        let ways = (0..=path.len()).rev().map(|length| &self.tree.nearest(&path[..length]).origin);
        let mut ways = ways.filter(|origin| typed(origin));
        self.sources.describe(ways.next().unwrap_or(&self.tree.origin))
    }

    /// The position of `name` among `known`, or a problem at `path`.
    fn position(&mut self, noun: &str, name: &str, known: &[&str], path: &[&str]) -> Option<usize> {
        let position = known.iter().position(|other| *other == name);
        if position.is_none() {
            let fix = suggestion(name, known.iter().copied()).unwrap_or_default();
            let allowed = if known.is_empty() { "none is defined".to_owned() } else { known.join(", ") };
            self.problem(path, format!("no {noun} `{}`", super::node::clean(name)), &allowed, &fix);
        }
        position
    }

    fn class(&mut self, name: &str, path: &[&str]) -> Option<GpuClassId> {
        let app = self.app;
        let known = app.prices.gpu_classes.names();
        if let Some(index) = known.iter().position(|other| *other == name) {
            return Some(GpuClassId(index as u16));
        }
        let mut words = known.clone();
        words.extend(super::prices::cards());
        let fix = suggestion(name, words).unwrap_or_else(|| "or define it under `prices.gpu_classes`".to_owned());
        self.problem(path, format!("no GPU class `{}`", super::node::clean(name)), &known.join(", "), &fix);
        None
    }

    fn scheduler(&self) -> SchedulerConfig {
        SchedulerConfig {
            gpu_classes: self.classes(),
            images: self.images.clone(),
            eviction: amounts::choice(&self.app.eviction.0, crate::policy::registry::EVICTION),
        }
    }

    fn classes(&self) -> Vec<GpuClass> {
        let class = |(name, price): &(String, super::types::world::ClassPrice)| {
            let flex = price.flex_usd_per_s.get();
            let active = price.active_usd_per_s.map_or_else(
                || super::prices::active_fallback(flex, price.vram_gb.map_or(0.0, |vram| vram.get())),
                |active| active.get(),
            );
            GpuClass { name: name.clone(), flex: UsdPerSecond::from_usd(flex), active: UsdPerSecond::from_usd(active) }
        };
        self.app.prices.gpu_classes.0.iter().map(class).collect()
    }

    fn faults(&mut self) -> FaultPlan {
        let app = self.app;
        let faults = &app.faults;
        let at = |key| ["faults", key];
        let plan = FaultPlan {
            host_uptime: self.optional(faults.host_uptime_s.as_ref(), &at("host_uptime_s")),
            host_downtime: self.optional(faults.host_downtime_s.as_ref(), &at("host_downtime_s")),
            host_return_probability: faults.host_return_probability.get(),
            lost_fact_probability: faults.lost_fact_probability.get(),
            duplicate_fact_probability: faults.duplicate_fact_probability.get(),
            late_fact_probability: faults.late_fact_probability.get(),
            fact_delay: self.optional(faults.fact_delay_s.as_ref(), &at("fact_delay_s")),
        };
        if plan.late_fact_probability > 0.0 && plan.fact_delay.is_none() {
            let found = "late messages without a delay".to_owned();
            self.problem(&at("late_fact_probability"), found, "both or neither", "add `fact_delay_s: 1`");
        }
        if plan.host_uptime.is_some() && plan.host_downtime.is_none() && plan.host_return_probability > 0.0 {
            let found = "hosts that are lost and return, without a time in between".to_owned();
            self.problem(&at("host_uptime_s"), found, "", "add `host_downtime_s: 2h`, or `host_return_probability: 0`");
        }
        plan
    }

    /// A run must end by itself: by a length, by a number of jobs, or because every source does.
    fn the_run_ends(&mut self) {
        let app = self.app;
        if app.duration_s.is_some() || app.max_jobs.is_some() {
            return;
        }
        let endless = app.endpoints.0.iter().find(|(_, endpoint)| endpoint.traffic.0.iter().any(traffic::endless));
        let shared = app.traffic.0.iter().any(|trace| trace.repeat == 0);
        if let Some((name, _)) = endless {
            let found = "requests without an end".to_owned();
            let fix = "add `duration_s: 1h` or `max_jobs: 10000` to the file";
            self.problem(&["endpoints", name, "traffic"], found, "a run that ends", fix);
        } else if shared {
            let found = "a trace that is played for ever".to_owned();
            self.problem(&["traffic"], found, "a run that ends", "add `duration_s: 7d` to the file");
        }
    }
}

/// Seconds as a span where 0 means "no limit".
fn unless_zero(seconds: super::types::numbers::Seconds) -> Option<Span> {
    seconds.span_unless_zero()
}
