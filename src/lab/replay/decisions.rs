//! Starts and stops of workers, as a run decided them, and where two runs part.

use serde::Serialize;

use crate::scheduler::{Command, Event, Recorder, WorkerReason};
use crate::units::{EndpointId, Span, Time, WorkerId};

/// One decision about a worker.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// Seconds from the beginning.
    pub at_s: f64,
    /// Number of the endpoint.
    pub endpoint: u32,
    /// It starts (true) or stops.
    pub start: bool,
    /// Workers that the endpoint has up or on their way up after it.
    pub workers: u32,
    /// Why, in the scheduler's words.
    pub reason: String,
}

/// Two decisions of which one run has only one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What the first run decided here; none if nothing.
    pub first: Option<Decision>,
    /// What the second one did.
    pub second: Option<Decision>,
}

/// Collects the decisions of a run.
#[derive(Clone, Debug, Default)]
pub struct Decisions {
    /// In order of time.
    pub made: Vec<Decision>,
    /// Where time begins.
    pub begin: Time,
    owners: Vec<Option<(WorkerId, EndpointId)>>,
    up: Vec<u32>,
    /// The last reason told for a worker.
    reasons: Vec<Option<WorkerReason>>,
}

impl Decisions {
    fn owner(&self, worker: WorkerId) -> Option<EndpointId> {
        self.owners.get(worker.slot()).copied().flatten().filter(|(id, _)| *id == worker).map(|(_, endpoint)| endpoint)
    }

    fn decide(&mut self, now: Time, worker: WorkerId, endpoint: EndpointId, start: bool) {
        if self.up.len() <= endpoint.index() {
            self.up.resize(endpoint.index() + 1, 0);
        }
        let up = &mut self.up[endpoint.index()];
        *up = if start { *up + 1 } else { up.saturating_sub(1) };
        let reason = self.reasons.get(worker.slot()).copied().flatten().map_or("", |reason| reason.as_str());
        self.made.push(Decision {
            at_s: now.since(self.begin).as_secs(),
            endpoint: endpoint.0,
            start,
            workers: *up,
            reason: reason.to_owned(),
        });
    }
}

impl Recorder for Decisions {
    fn event(&mut self, _: Time, _: &Event) {}

    fn command(&mut self, now: Time, command: &Command) {
        match *command {
            Command::WorkerPlaced { worker, endpoint, .. } => {
                let slot = worker.slot();
                if self.owners.len() <= slot {
                    self.owners.resize(slot + 1, None);
                    self.reasons.resize(slot + 1, None);
                }
                self.owners[slot] = Some((worker, endpoint));
            }
            Command::WorkerChanged { worker, reason, .. } => {
                if let Some(known) = self.reasons.get_mut(worker.slot()) {
                    *known = Some(reason);
                }
            }
            Command::StartWorker { worker, endpoint, .. } => self.decide(now, worker, endpoint, true),
            Command::StopWorker { worker, .. } => {
                if let Some(endpoint) = self.owner(worker) {
                    self.decide(now, worker, endpoint, false);
                }
            }
            _ => {}
        }
    }
}

/// The decisions that the two runs do not share, in order of time. Decisions of the same kind at the same endpoint within
/// `alike` of each other are one decision.
pub fn differences(first: &[Decision], second: &[Decision], alike: Span) -> Vec<Difference> {
    let same = |a: &Decision, b: &Decision| {
        a.endpoint == b.endpoint && a.start == b.start && (a.at_s - b.at_s).abs() <= alike.as_secs()
    };
    let mut taken = vec![false; second.len()];
    let mut found = Vec::new();
    let mut begin = 0;
    for one in first {
        while second.get(begin).is_some_and(|other| other.at_s < one.at_s - alike.as_secs()) {
            begin += 1;
        }
        let near = second[begin..].iter().take_while(|other| other.at_s <= one.at_s + alike.as_secs());
        let matched = near.enumerate().find(|(place, other)| !taken[begin + place] && same(one, other));
        match matched.map(|(place, _)| begin + place) {
            Some(place) => taken[place] = true,
            None => found.push(Difference { first: Some(one.clone()), second: None }),
        }
    }
    let extra = second.iter().zip(&taken).filter(|(_, taken)| !**taken);
    found.extend(extra.map(|(other, _)| Difference { first: None, second: Some(other.clone()) }));
    let at = |difference: &Difference| {
        difference.first.as_ref().or(difference.second.as_ref()).map_or(0.0, |decision| decision.at_s)
    };
    found.sort_by(|a, b| at(a).total_cmp(&at(b)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(at_s: f64, start: bool) -> Decision {
        Decision { at_s, endpoint: 0, start, workers: 1, reason: String::new() }
    }

    #[test]
    fn only_what_one_run_has_alone_differs() {
        let first = [decision(1.0, true), decision(6.0, false), decision(6.0, false), decision(90.0, true)];
        let second = [decision(1.0, true), decision(6.0004, false), decision(60.0, true)];
        let found = differences(&first, &second, Span::from_millis(1));
        let told: Vec<(Option<f64>, Option<f64>)> =
            found.iter().map(|one| (one.first.as_ref().map(|a| a.at_s), one.second.as_ref().map(|b| b.at_s))).collect();
        assert_eq!(told, [(Some(6.0), None), (None, Some(60.0)), (Some(90.0), None)]);
        assert!(differences(&first, &first, Span::ZERO).is_empty());
    }
}
