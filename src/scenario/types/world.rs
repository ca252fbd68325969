//! Hosts, images, prices, faults and events, as typed: what only the simulator needs.

use schemars::JsonSchema;
use serde::Deserialize;

use super::numbers::{
    Factor, Gigabytes, GigabytesPerSecond, PositiveGigabytes, Seconds, Share, Sigma, UsdPerGpuSecond,
};
use super::values::{Amount, EvictionChoice, Named, OneOrMany};

/// Hosts of one kind.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostGroup {
    /// Name, in the list form only.
    pub name: Option<String>,
    /// How many.
    #[schemars(range(min = 1, max = 100_000), extend("default" = 1, "x-source" = "one unless given"))]
    pub count: u32,
    /// GPU class such as `ADA_24`, or a card such as `RTX 4090`.
    pub gpu_class: String,
    /// GPUs of each.
    #[schemars(range(min = 1, max = 1_024), extend("default" = 8, "x-source" = "a common server"))]
    pub gpus: u32,
    /// RAM of each.
    #[schemars(extend("default" = 1_000, "x-source" = "ours: ample"))]
    pub memory_gb: PositiveGigabytes,
    /// Disk for images of each.
    #[schemars(extend("default" = 4_000, "x-source" = "ours: ample"))]
    pub disk_gb: PositiveGigabytes,
    /// Bandwidth that all pulls of a host share, compressed bytes.
    #[schemars(extend("default" = 0.06, "x-source" = "AWS ML blog on SOCI: 15-20 GB in 4-6 minutes, a stock pull"))]
    pub pull_gb_per_s: GigabytesPerSecond,
    /// Speed of unpacking, unpacked bytes; not modelled unless given.
    pub unpack_gb_per_s: Option<GigabytesPerSecond>,
    /// Pull times are multiplied by a lognormal of median 1 and this sigma.
    #[schemars(extend("default" = 0.35, "x-source" = "spread of published pull times"))]
    pub pull_sigma: Sigma,
    /// Data centre or region.
    #[schemars(extend("default" = "default", "x-source" = "one data centre unless given"))]
    pub data_center: String,
    /// Higher is preferred by the placement `gpu_priority`.
    #[schemars(extend("default" = 0, "x-source" = "equal unless given"))]
    pub priority: i32,
    /// Starts and jobs take this many times as long here.
    #[schemars(extend("default" = 1, "x-source" = "normal speed"))]
    pub slowdown: Factor,
    /// Most container starts at once on a host; 0 = no limit.
    #[schemars(extend("default" = 0, "x-source" = "no limit unless given"))]
    pub max_starts: u32,
    /// Images that are on their disks from the beginning.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub cached: OneOrMany<String>,
    /// Other tenants; none unless given.
    pub tenants: Option<Tenants>,
}

/// Other tenants of a host: they come, take GPUs that are free, and go.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tenants {
    /// From the end of one stay to the next.
    pub away_s: Amount,
    /// Length of a stay.
    pub stay_s: Amount,
    /// GPUs wanted per stay, rounded, at least 1; only free ones are taken.
    pub gpus: Amount,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// Bandwidth that all pulls of all hosts share; no limit unless given.
    pub gb_per_s: Option<GigabytesPerSecond>,
    /// Pulls neither start nor go on in these intervals.
    #[schemars(extend("default" = serde_json::json!([])))]
    pub outages: OneOrMany<Outage>,
    /// Share of pulls that fail at their end.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub failure_probability: Share,
}

/// An interval.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Its beginning.
    pub from_s: Seconds,
    /// Its end, exclusive.
    pub until_s: Seconds,
}

/// An image: its size, or its layers.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// Name, in the list form only.
    pub name: Option<String>,
    /// Compressed size, for an image of one layer of its own.
    pub gb: Option<PositiveGigabytes>,
    /// Unpacked size; 2.3 times the compressed one unless given.
    pub unpacked_gb: Option<PositiveGigabytes>,
    /// Its layers, base first.
    pub layers: Option<Vec<LayerSpec>>,
}

/// A layer. Images that name the same `digest` share it.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LayerSpec {
    /// What it is shared by; the image's own unless given.
    pub digest: Option<String>,
    /// Compressed size.
    pub gb: PositiveGigabytes,
    /// Unpacked size; 2.3 times the compressed one unless given.
    pub unpacked_gb: Option<PositiveGigabytes>,
}

/// What GPUs cost.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Active price = flex price x (1 - this), for all classes whose active price is not given.
    pub active_discount: Option<Share>,
    /// Prices per class; the published table unless given. A class that the table lacks is defined by being listed here.
    #[schemars(extend("default" = serde_json::json!({})))]
    pub gpu_classes: Named<ClassPrice>,
}

/// The prices of one class, per GPU.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassPrice {
    /// Name, in the list form only.
    pub name: Option<String>,
    /// Memory of one GPU; decides the discount when no active price is known.
    pub vram_gb: Option<Gigabytes>,
    /// Flex and extra workers.
    pub flex_usd_per_s: UsdPerGpuSecond,
    /// Active workers; flex x 0.8 from 80 GB, x 0.7 below, unless given.
    pub active_usd_per_s: Option<UsdPerGpuSecond>,
}

/// What goes wrong with the platform.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Time between losses of one host; never unless given.
    pub host_uptime_s: Option<Amount>,
    /// Time until it is back.
    pub host_downtime_s: Option<Amount>,
    /// Share of lost hosts that come back.
    #[schemars(extend("default" = 0.8, "x-source" = "estimate; no rate is published"))]
    pub host_return_probability: Share,
    /// Share of messages from workers and hosts that never arrive.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub lost_fact_probability: Share,
    /// Share of messages that arrive twice.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub duplicate_fact_probability: Share,
    /// Share of messages that are late.
    #[schemars(extend("default" = 0, "x-source" = "no fault unless given"))]
    pub late_fact_probability: Share,
    /// By this long.
    pub fact_delay_s: Option<Amount>,
}

/// Something that happens at a given time.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ActionSpec {
    /// New settings for an endpoint. A change of image, environment, command, volumes, GPUs, memory or data centres makes a release.
    Update {
        /// When.
        at_s: Seconds,
        /// Whose.
        endpoint: String,
        /// The settings that change, written as in the endpoint.
        #[schemars(extend("x-settings" = true))]
        set: serde_json::Map<String, serde_json::Value>,
    },
    /// The endpoint is deleted.
    Delete {
        /// When.
        at_s: Seconds,
        /// Which.
        endpoint: String,
    },
    /// Its queue is purged.
    Purge {
        /// When.
        at_s: Seconds,
        /// Whose.
        endpoint: String,
    },
    /// The job that has waited longest is cancelled.
    CancelOldest {
        /// When.
        at_s: Seconds,
        /// Whose.
        endpoint: String,
    },
    /// Hosts are lost with every worker on them.
    LoseHost {
        /// When.
        at_s: Seconds,
        /// Name of a group of hosts, or of one host of it (`group-2`).
        host: String,
    },
    /// Lost hosts are back.
    ReturnHost {
        /// When.
        at_s: Seconds,
        /// Name of a group of hosts, or of one host of it (`group-2`).
        host: String,
    },
    /// Other tenants leave us this many GPUs of each host.
    SetCapacity {
        /// When.
        at_s: Seconds,
        /// Name of a group of hosts, or of one host of it (`group-2`).
        host: String,
        /// GPUs left to us.
        gpus: u32,
    },
}

/// What a full disk drops first.
pub type Eviction = EvictionChoice;
