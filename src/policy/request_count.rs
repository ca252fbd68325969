//! RunPod's REQUEST_COUNT: `ceil((Q + P) / requests_per_worker)` workers, every tick of 1 s.
//!
//! Brings workers down itself: idle ones beyond the number stop once it has been lower for `scale_down_delay_s` (0 = at once); the
//! idle timeout does not apply (contract §1.2; the v2 API refuses the combination). Sources: RunPod docs; numerator Q + P: contract
//! C12; with concurrency c the platform does not put c in the formula.
//! Does badly on: jobs much longer than the start (over-scales for a short queue) and on gappy traffic (no keep-alive at all).

use std::collections::VecDeque;

use serde::Deserialize;
use serde_json::{Value, json};

use super::ScaleReason;
use super::params::{ParamKind, ParamSpec, Params};
use super::queue_delay::tick;
use super::registry::Entry;
use super::{Advice, AskedAt, BadPolicyState, Observation, ScalingPolicy, Surplus};
use crate::units::{Span, Time};

const PARAMS: &[ParamSpec] = &[
    ParamSpec {
        name: "requests_per_worker",
        kind: ParamKind::Whole { min: 1, max: 1_000_000, default: 4 },
        doc: "requests in queue and in progress per worker (documented default 4; 1 is the most eager)",
    },
    ParamSpec {
        name: "scale_down_delay_s",
        kind: ParamKind::Number { min: 0.0, max: 86_400.0, default: 0.0 },
        doc: "the number must have been lower for this long before idle workers stop",
    },
    ParamSpec {
        name: "tick_s",
        kind: ParamKind::Number { min: 0.0, max: 3_600.0, default: 1.0 },
        doc: "period of the check in seconds; 0 = at every event",
    },
];

pub(super) const ENTRY: Entry<dyn ScalingPolicy> = Entry {
    name: "request_count",
    summary: "RunPod REQUEST_COUNT: one worker per so many requests in queue and in progress",
    formula: "ceil((Q + P) / requests_per_worker), down when lower for scale_down_delay_s",
    source: "RunPod docs, endpoint configurations; contract 1.2, C12",
    weakness: "long jobs (over-scales for a short queue); gappy traffic (no keep-alive); starts longer than jobs (calls them off \
               and asks again); idle workers that were there before it was go at once",
    params: PARAMS,
    build: |params| Box::new(RequestCount::new(params)),
};

/// See the module.
#[derive(Clone, Debug)]
pub struct RequestCount {
    requests_per_worker: u32,
    scale_down_delay: Span,
    asked_at: AskedAt,
    /// Proposals of the last `scale_down_delay`, decreasing: the front is their maximum.
    recent: VecDeque<(Time, u32)>,
}

impl RequestCount {
    fn new(params: &Params) -> RequestCount {
        RequestCount {
            requests_per_worker: params.whole("requests_per_worker"),
            scale_down_delay: Span::from_secs(params.number("scale_down_delay_s")),
            asked_at: tick(params.number("tick_s")),
            recent: VecDeque::new(),
        }
    }

    /// The largest proposal within the last `scale_down_delay`, `proposal` included.
    fn highest_recent(&mut self, now: Time, proposal: u32) -> u32 {
        while self.recent.back().is_some_and(|(_, older)| *older <= proposal) {
            self.recent.pop_back();
        }
        self.recent.push_back((now, proposal));
        while self.recent.front().is_some_and(|(at, _)| now.since(*at) > self.scale_down_delay) {
            self.recent.pop_front();
        }
        self.recent.front().map_or(proposal, |(_, highest)| *highest)
    }
}

impl ScalingPolicy for RequestCount {
    fn asked_at(&self) -> AskedAt {
        self.asked_at
    }

    fn advise(&mut self, seen: &Observation<'_>) -> Advice {
        let current = seen.up_or_coming();
        let mut proposal = (seen.queued + seen.in_progress).div_ceil(self.requests_per_worker);
        if seen.queued == 0 {
            // Jobs in hand of workers on their way out, or of low priority, are no reason to start another worker.
            proposal = proposal.min(current);
        }
        // What was wanted a while ago keeps workers, but starts none.
        let workers = self.highest_recent(seen.now, proposal).min(current.max(proposal));
        let reason = if workers < current { ScaleReason::LoadFell } else { ScaleReason::RequestCount };
        Advice { workers, surplus: Surplus::StopIdle, reason, ask_again: None }
    }

    fn uses_idle_timeout(&self) -> bool {
        false
    }

    fn save(&self) -> Value {
        self.recent.iter().map(|(at, proposal)| json!([at, proposal])).collect()
    }

    fn load(&mut self, state: &Value) -> Result<(), BadPolicyState> {
        self.recent = Deserialize::deserialize(state).map_err(|error| BadPolicyState(error.to_string()))?;
        Ok(())
    }
}
