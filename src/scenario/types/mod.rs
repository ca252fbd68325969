//! What a user may type: the whole application file as Rust types, from which the JSON Schema is made.
//!
//! Defaults stand in the schema (`default`, with their source in `x-source`) and nowhere else: the checker fills them into the
//! tree before serde sees it, so a field without `Option` is always there, and `thermocline config` can tell each source.

pub mod endpoint;
pub mod numbers;
pub mod serve;
pub mod traffic;
pub mod values;
pub mod work;
pub mod world;

use schemars::JsonSchema;
use serde::Deserialize;

use endpoint::{Endpoint, Slo};
use numbers::Seconds;
use serve::Serve;
use traffic::SharedTrace;
use values::{EvictionChoice, Named, OneOrMany};
use world::{ActionSpec, Faults, HostGroup, ImageSpec, Prices, Registry};

/// A Thermocline application file: endpoints, and what the simulator needs to rehearse them.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// What the file is for.
    pub description: Option<String>,
    /// Other files whose content this one builds on; what stands here wins. Paths are relative to this file and stay below
    /// the folder of the main file.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub include: OneOrMany<String>,
    /// Master seed: the same file and seed give the same run on every machine.
    #[schemars(extend("default" = 1, "x-source" = "ours"))]
    pub seed: u64,
    /// Arrivals stop here.
    pub duration_s: Option<Seconds>,
    /// Arrivals stop after this many jobs in all.
    #[schemars(range(min = 1))]
    pub max_jobs: Option<u64>,
    /// Figures count from here on.
    #[schemars(extend("default" = 0, "x-source" = "everything counts"))]
    pub warm_up_s: Seconds,
    /// After the last arrival: how long to wait for jobs in hand; until nothing is left unless given.
    pub drain_s: Option<Seconds>,
    /// Endpoints and images are in place when the run begins (true), or are created at its beginning and pull first (false).
    #[schemars(extend("default" = true, "x-source" = "a live endpoint"))]
    pub deployed: bool,
    /// Which reading of the platform counts where its sources differ: both bills are always computed.
    #[schemars(extend("default" = "seed", "x-source" = "contract §11"))]
    pub profile: Profile,
    /// Theory's conditions: decisions at events instead of ticks, no rounding of bills, jobs handed out without delay.
    #[schemars(extend("default" = false, "x-source" = "as the platform does"))]
    pub clean: bool,
    /// What is billed.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub billing: Billing,
    /// What GPUs cost.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub prices: Prices,
    /// What a full disk drops first: an eviction policy.
    #[schemars(extend("default" = serde_json::json!({ "type": "lru" }), "x-source" = "ours"))]
    pub eviction: EvictionChoice,
    /// The endpoints, by name.
    pub endpoints: Named<Endpoint>,
    /// Promises of all endpoints that make none of their own.
    pub slo: Option<Slo>,
    /// Traces that feed several endpoints.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub traffic: OneOrMany<SharedTrace>,
    /// Images, by name.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub images: Named<ImageSpec>,
    /// Groups of hosts, by name; an ample pool of every GPU class used unless given.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub hosts: Named<HostGroup>,
    /// Where images come from.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub registry: Registry,
    /// What goes wrong with the platform.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub faults: Faults,
    /// What happens at given times.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub actions: OneOrMany<ActionSpec>,
    /// How the same endpoints are served on real machines (`thermocline serve`); not used by the simulator.
    pub serve: Option<Serve>,
}

/// Which reading of the platform counts where its sources differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Idle flex workers are free; ten percent of the workers are replaced at a time.
    Seed,
    /// The idle timeout is billed; two attempts, a lease of 40 s, backoff from one hour, idle workers replaced at once.
    Documented,
}

/// What is billed.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Billing {
    /// Each billed span is rounded up to whole seconds.
    #[schemars(extend("default" = true, "x-source" = "RunPod docs, pricing"))]
    pub round_up: bool,
}
