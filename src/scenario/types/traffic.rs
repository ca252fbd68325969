//! Requests as typed: every arrival process, with what each of them may carry.

use schemars::JsonSchema;
use serde::Deserialize;

use super::numbers::{Positive, PositiveSeconds, Rate, Seconds, Share};
use super::values::{Amount, Named, OneOrMany};
use super::work::{CurvePoint, MmppState};

/// What every kind of source may say besides its own keys. A macro and not a flattened struct, so that unknown keys are
/// refused and the schema tells editors all keys of a kind.
macro_rules! sources {
    ($($(#[$doc:meta])* $variant:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        /// A source of requests.
        #[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
        #[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
        pub enum Source {
            $($(#[$doc])* $variant {
                $($(#[$field_doc])* $field: $type,)*
                /// First moment at which it is active.
                #[schemars(extend("default" = 0, "x-source" = "from the start"))]
                from_s: Seconds,
                /// It ends here, exclusive; never unless given.
                until_s: Option<Seconds>,
                /// Share of its requests that are of low priority: they never raise the number of workers.
                #[schemars(extend("default" = 0, "x-source" = "none unless given"))]
                low_priority_share: Share,
                /// Life of each request, instead of the endpoint's.
                ttl_s: Option<Amount>,
                /// Execution timeout that each request asks for, instead of the endpoint's.
                execution_timeout_s: Option<PositiveSeconds>,
            },)*
        }

        impl Source {
            /// What every kind may say.
            pub fn common(&self) -> Common<'_> {
                match self {
                    $(Source::$variant { from_s, until_s, low_priority_share, ttl_s, execution_timeout_s, .. } => Common {
                        from_s: *from_s,
                        until_s: *until_s,
                        low_priority_share: *low_priority_share,
                        ttl_s: ttl_s.as_ref(),
                        execution_timeout_s: *execution_timeout_s,
                    },)*
                }
            }
        }
    };
}

/// What every kind of source may say.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// First moment at which it is active.
    pub from_s: Seconds,
    /// Its end.
    pub until_s: Option<Seconds>,
    /// Share of low priority.
    pub low_priority_share: Share,
    /// Life of each request.
    pub ttl_s: Option<&'a Amount>,
    /// Execution timeout of each request.
    pub execution_timeout_s: Option<PositiveSeconds>,
}

sources! {
    /// Independent arrivals at a constant rate.
    Poisson {
        /// Requests per second.
        rate_per_s: Rate,
    }
    /// Independent gaps of one distribution.
    Renewal {
        /// Seconds between requests.
        gap_s: Amount,
    }
    /// Poisson at a rate that jumps between states, in their order and round again.
    Mmpp {
        /// The states.
        #[schemars(length(min = 1, max = 100))]
        states: Vec<MmppState>,
    }
    /// On for a while, then off: Poisson while on.
    OnOff {
        /// Requests per second while on.
        rate_per_s: Rate,
        /// Mean length of an on-phase.
        on_s: PositiveSeconds,
        /// Mean length of an off-phase.
        off_s: PositiveSeconds,
    }
    /// Poisson at a rate that follows points.
    RateCurve {
        /// The points, by time.
        #[schemars(length(min = 1, max = 10_000))]
        points: Vec<CurvePoint>,
        /// Straight lines between the points (true) or steps (false).
        #[schemars(extend("default" = false, "x-source" = "steps unless given"))]
        linear: bool,
        /// The curve repeats after this long; never unless given.
        period_s: Option<PositiveSeconds>,
    }
    /// Poisson at a rate that swings: mean x (1 + amplitude x sin(2 pi (t + phase) / period)).
    Sine {
        /// Mean requests per second.
        mean_per_s: Rate,
        /// 0 = constant, 1 = down to nothing.
        amplitude: Share,
        /// Length of a swing.
        #[schemars(extend("default" = 86_400, "x-source" = "a day"))]
        period_s: PositiveSeconds,
        /// Moves the curve to the left.
        #[schemars(extend("default" = 0, "x-source" = "starts at the mean, rising"))]
        phase_s: Seconds,
    }
    /// Several requests at once, at Poisson instants.
    Batch {
        /// Batches per second.
        rate_per_s: Rate,
        /// Requests per batch, rounded, at least 1.
        size: Amount,
    }
    /// Requests that draw further ones (Hawkes).
    Hawkes {
        /// Requests per second that come by themselves.
        base_rate_per_s: Rate,
        /// Further requests that each one draws, on average; below 1.
        branching: Share,
        /// How fast that fades, per second.
        decay_per_s: Positive,
    }
    /// Clients who think, submit, and wait for the outcome before they think again.
    ClosedLoop {
        /// Clients.
        #[schemars(range(min = 1, max = 1_000_000))]
        users: u32,
        /// Seconds between an outcome and the next request.
        think_s: Amount,
    }
    /// Exactly these moments.
    Times {
        /// Seconds from the start, ascending.
        #[schemars(length(min = 1, max = 40_000))]
        at_s: Vec<Seconds>,
    }
    /// The rows of a trace file (`arrival_s,endpoint[,service_s][,input_tokens][,output_tokens]`, also gzipped).
    Trace {
        /// Path, from the folder of the application file.
        file: String,
        /// Only rows of this endpoint of the trace; all unless given.
        rows: Option<String>,
        /// Seconds of the trace that are skipped.
        #[schemars(extend("default" = 0, "x-source" = "from its first second"))]
        skip_s: Seconds,
        /// Second of the trace where it ends; at its end unless given.
        end_s: Option<Seconds>,
        /// Times are multiplied by this: 0.5 = twice as fast.
        #[schemars(extend("default" = 1, "x-source" = "as recorded"))]
        time_scale: Positive,
        /// Number of requests is multiplied by this; copies are moved a little.
        #[schemars(extend("default" = 1, "x-source" = "as recorded"))]
        rate_scale: Positive,
        /// How often it is played; 0 = for ever.
        #[schemars(extend("default" = 1, "x-source" = "once"))]
        repeat: u32,
        /// Rows of one instant are spread over this long (for sources with coarse times).
        #[schemars(extend("default" = 0, "x-source" = "not spread"))]
        spread_s: Seconds,
    }
    /// The same requests as another endpoint, at the same moments and of the same length: for comparing two settings.
    Like {
        /// The other endpoint.
        endpoint: String,
    }
}

/// A trace that feeds several endpoints.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedTrace {
    /// Path, from the folder of the application file.
    pub file: String,
    /// Which rows of the trace go to which endpoint: endpoint of this file -> endpoint name or names in the trace.
    pub endpoints: Named<OneOrMany<String>>,
    /// Seconds of the trace that are skipped.
    #[schemars(extend("default" = 0, "x-source" = "from its first second"))]
    pub skip_s: Seconds,
    /// Second of the trace where it ends; at its end unless given.
    pub end_s: Option<Seconds>,
    /// Times are multiplied by this: 0.5 = twice as fast.
    #[schemars(extend("default" = 1, "x-source" = "as recorded"))]
    pub time_scale: Positive,
    /// Number of requests is multiplied by this.
    #[schemars(extend("default" = 1, "x-source" = "as recorded"))]
    pub rate_scale: Positive,
    /// How often it is played; 0 = for ever.
    #[schemars(extend("default" = 1, "x-source" = "once"))]
    pub repeat: u32,
    /// Rows of one instant are spread over this long.
    #[schemars(extend("default" = 0, "x-source" = "not spread"))]
    pub spread_s: Seconds,
    /// Shift of the whole trace.
    #[schemars(extend("default" = 0, "x-source" = "from the start"))]
    pub from_s: Seconds,
}
