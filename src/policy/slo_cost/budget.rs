//! Jobs that may be late: an error budget, earned with every arrival and spent by every job that waits beyond the objective.
//!
//! A promise about p95 leaves one job in twenty free. How far patience can go for that depends on how much starts vary and on who comes
//! behind, so it is not worked out but steered: with a budget of b late jobs (-B <= b <= B) patience is `p + (1 - p) b / B`, up to all
//! of the time that a start leaves while fewer jobs are late than may be, and down to `2 p - 1` while more are.

use serde::{Deserialize, Serialize};

use super::Observation;
use crate::units::Span;

/// Late jobs that are saved up, and owed, at most: 400 arrivals' worth where one in twenty may be late.
const MOST: f64 = 20.0;
/// Patience does not grow where a job takes this part (one over it) of the time after a start, or more: there the wait is better spent
/// behind each other than before the start (1.1 % dearer on a recorded trace where it is a quarter, 1.2 % in
/// scenarios/quickstart.yaml, where it is more than half).
const FILLS: f64 = 4.0;
/// A look at a job is so much after it became late.
const AFTER: Span = Span(1_000);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    share: f64,
    pub late: Late,
}

/// What was earned and spent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Late {
    arrived: u64,
    left: f64,
    /// Of jobs up to this one, in order of arrival, it is known whether they are late.
    counted: u64,
}

impl Budget {
    /// `share` of the jobs may be late; 0 = nothing is steered.
    pub fn new(share: f64) -> Budget {
        Budget { share, late: Late::default() }
    }

    /// Counts who came and who became late since the last time. Jobs are taken to leave the queue in the order in which they came.
    pub fn see(&mut self, seen: &Observation<'_>, slo_s: f64) {
        if self.share == 0.0 {
            return;
        }
        let late = &mut self.late;
        let earned = self.share * seen.arrived.saturating_sub(late.arrived) as f64;
        late.arrived = seen.arrived;
        let left_queue = seen.arrived.saturating_sub(u64::from(seen.queued));
        let beyond = if seen.queued > 0 { seen.details.waiting_longer_than(Span::from_secs(slo_s)) } else { 0 };
        let until = left_queue + u64::from(beyond);
        let spent = until.saturating_sub(left_queue.max(late.counted)) as f64;
        late.counted = late.counted.max(until);
        late.left = ((late.left + earned).min(MOST) - spent).max(-MOST);
    }

    /// Patience where `patience` is what it is without a budget. `fills`: the share of the time after a start that one job takes of a
    /// place.
    pub fn patience(&self, patience: f64, fills: f64) -> f64 {
        let spared = (self.late.left / MOST).min((1.0 - FILLS * fills).max(0.0));
        (patience + (1.0 - patience) * spared).max(0.0)
    }

    /// When the oldest job becomes late: otherwise one that is served just afterwards would not be counted.
    pub fn look_again(&self, seen: &Observation<'_>, slo_s: f64) -> Option<Span> {
        let left = Span::from_secs(slo_s).0.checked_sub(seen.oldest_wait?.0)?;
        (self.share > 0.0).then_some(Span(left) + AFTER)
    }
}
