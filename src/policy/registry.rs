//! The list of policies: a newcomer adds its file and one line here, and is at once in `policy list`, in the YAML schema, in
//! the checks of scenarios and under the invariant tests.

use super::{
    DispatchPolicy, EvictionPolicy, KeepAlivePolicy, ParamError, ParamSpec, Params, PlacementPolicy, PolicyChoice,
    ScalingPolicy, dispatch, eviction, fixed, forecast_floor, hpa, keep_alive, knative, newsvendor, per_job, placement,
    proportional, queue_delay, ray, request_count, schedule, slo_cost, staffing, starlark, wrap,
};

/// What there is to know about a policy before it is built.
pub struct Entry<T: ?Sized> {
    /// Name in YAML.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The rule, with units.
    pub formula: &'static str,
    /// Where the idea and the defaults come from.
    pub source: &'static str,
    /// The traffic on which it does badly.
    pub weakness: &'static str,
    /// Its parameters.
    pub params: &'static [ParamSpec],
    /// Builds it from checked parameters.
    pub build: fn(&Params) -> Box<T>,
}

/// Scaling policies.
pub static SCALING: &[Entry<dyn ScalingPolicy>] = &[
    queue_delay::ENTRY,
    request_count::ENTRY,
    per_job::ENTRY,
    fixed::ENTRY,
    knative::ENTRY,
    hpa::HPA,
    hpa::KEDA,
    ray::ENTRY,
    proportional::TARGET_UTILIZATION,
    proportional::INFLIGHT,
    proportional::BACKLOG_DRAIN,
    staffing::ERLANG_SLO,
    staffing::SQRT_STAFFING,
    slo_cost::ENTRY,
    schedule::ENTRY,
    newsvendor::ENTRY,
    forecast_floor::ENTRY,
];
/// Keep-alive policies.
pub static KEEP_ALIVE: &[Entry<dyn KeepAlivePolicy>] = keep_alive::ENTRIES;
/// Dispatch policies.
pub static DISPATCH: &[Entry<dyn DispatchPolicy>] = dispatch::ENTRIES;
/// Placement policies.
pub static PLACEMENT: &[Entry<dyn PlacementPolicy>] = placement::ENTRIES;
/// Eviction policies.
pub static EVICTION: &[Entry<dyn EvictionPolicy>] = eviction::ENTRIES;

fn find<T: ?Sized>(
    entries: &'static [Entry<T>],
    kind: &'static str,
    choice: &PolicyChoice,
) -> Result<Box<T>, ParamError> {
    let entry = entries.iter().find(|entry| entry.name == choice.name).ok_or_else(|| ParamError::UnknownPolicy {
        kind,
        name: choice.name.clone(),
        known: entries.iter().map(|entry| entry.name).collect(),
    })?;
    Ok((entry.build)(&Params::check(choice, entry.params)?))
}

/// Builds a scaling policy, with the common keys ([`wrap::PARAMS`]) round it.
pub fn scaling(choice: &PolicyChoice) -> Result<Box<dyn ScalingPolicy>, ParamError> {
    if starlark::is_file(&choice.name) {
        return starlark::scaling(choice);
    }
    let (own, common) = wrap::split(choice);
    wrap::around(find(SCALING, "scaling", &own)?, &common)
}

/// Builds a keep-alive policy.
pub fn keep_alive(choice: &PolicyChoice) -> Result<Box<dyn KeepAlivePolicy>, ParamError> {
    if starlark::is_file(&choice.name) { starlark::keep_alive(choice) } else { find(KEEP_ALIVE, "keep-alive", choice) }
}

/// Builds a dispatch policy.
pub fn dispatch(choice: &PolicyChoice) -> Result<Box<dyn DispatchPolicy>, ParamError> {
    find(DISPATCH, "dispatch", choice)
}

/// Builds a placement policy.
pub fn placement(choice: &PolicyChoice) -> Result<Box<dyn PlacementPolicy>, ParamError> {
    find(PLACEMENT, "placement", choice)
}

/// Builds an eviction policy.
pub fn eviction(choice: &PolicyChoice) -> Result<Box<dyn EvictionPolicy>, ParamError> {
    find(EVICTION, "eviction", choice)
}
