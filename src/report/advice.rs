//! Findings that are plain from the figures of a run, each with a way out. Every threshold is named here.

use super::format::{count, money, seconds, share};
use crate::results::Summary;
use crate::results::summary::{EndpointSettings, Figures, PolicyFault};

/// Warm idle time of flex workers is a finding from this share of the documented bill on.
pub const WARM_IDLE_SHARE: f64 = 0.4;
/// A shorter idle timeout is named where it saves at least this share of the bill.
pub const SAVED_SHARE: f64 = 0.05;
/// Cold starts are a finding from this share of jobs on.
pub const COLD_SHARE: f64 = 0.1;
/// ... unless they are less than this share of the mean wait: then jobs wait for other reasons.
pub const COLD_WAIT_SHARE: f64 = 0.2;
/// Rounding is a finding from this share of a bill on.
pub const ROUNDING_SHARE: f64 = 0.05;
/// Throttling is a finding from this share of the wanted worker time (up or throttled) on.
pub const THROTTLED_SHARE: f64 = 0.01;
/// Jobs that are refused or time out are a finding from this share on.
pub const LOST_SHARE: f64 = 0.01;
/// Targets that are met by less than this share of jobs are a finding.
pub const SLO_SHARE: f64 = 0.95;
/// Lost attempts are a finding from this share of the bill on.
pub const WASTED_SHARE: f64 = 0.01;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Whose; none for the run as a whole.
    pub endpoint: Option<String>,
    /// What, and what to do.
    pub text: String,
}

/// All findings of a run, those of the run first, then by endpoint.
pub fn advice(summary: &Summary) -> Vec<Advice> {
    let mut all = Vec::new();
    if !summary.complete {
        let text = format!("The run did not come to its end: {}.", summary.ended);
        all.push(Advice { endpoint: None, text });
    }
    for endpoint in &summary.endpoints {
        let rules = [
            warm_idle(&endpoint.settings, &endpoint.figures),
            cold_starts(&endpoint.settings, &endpoint.figures),
            active_below_break_even(&endpoint.settings, &endpoint.figures),
            rounding(&endpoint.figures, summary.profile == "documented"),
            throttled(&endpoint.figures),
            failed_starts(&endpoint.figures),
            lost_attempts(&endpoint.figures),
            lost_jobs(&endpoint.figures),
            targets(&endpoint.figures),
        ];
        let faults = endpoint.policy_faults.iter().map(policy_fault);
        let found = faults.chain(rules.into_iter().flatten());
        all.extend(found.map(|text| Advice { endpoint: Some(endpoint.name.clone()), text }));
    }
    all
}

/// What a policy said when it failed comes before anything that its figures seem to say.
fn policy_fault(fault: &PolicyFault) -> String {
    let times = if fault.count == 1 { "once".to_owned() } else { format!("{} times", count(fault.count)) };
    let instead = if fault.kind == "scaler" { "queue_delay" } else { "5 s" };
    format!(
        "The {} failed {times} and {instead} was taken in its place, the first time for: {}.",
        fault.kind, fault.first
    )
}

/// Flex workers only: an active worker has no idle timeout.
fn warm_idle(settings: &EndpointSettings, figures: &Figures) -> Option<String> {
    let bill = &figures.cost_usd.documented;
    let idle_share = part(bill.by_phase.warm_idle, bill.total)?;
    if idle_share < WARM_IDLE_SHARE || bill.by_worker_type.active > 0.0 {
        return None;
    }
    let found = format!("{} of the documented bill is warm idle", share(idle_share));
    let shorter = if settings.idle_timeout_s.is_some() { ", or a shorter idle timeout" } else { "" };
    let between_jobs = format!(
        "{found}, most of it between jobs: fewer workers at a time{shorter}, for longer waits and more cold starts."
    );
    let Some((timeout, shorter)) = settings.idle_timeout_s.and_then(|timeout| shorter_timeout(timeout, figures)) else {
        return Some(between_jobs);
    };
    // Every start that became ready ends with one full idle timeout, whatever the traffic: this much is saved for certain.
    let tails = figures.starts.ready as f64 * (timeout - shorter) * settings.flex_usd_per_s;
    let saved = tails.min(bill.by_phase.warm_idle);
    let saved_share = part(saved, bill.total)?;
    if saved_share < SAVED_SHARE {
        return Some(between_jobs);
    }
    Some(format!(
        "{found}: an idle timeout of {} instead of {} would save {} ({}) or more, for more cold starts.",
        seconds(shorter),
        seconds(timeout),
        money(saved),
        share(saved_share),
    ))
}

/// Half of it; one second where most starts serve a single job, so that waiting for another one is in vain.
fn shorter_timeout(timeout: f64, figures: &Figures) -> Option<(f64, f64)> {
    let in_vain = (figures.jobs.completed as f64) < 1.5 * figures.starts.ready as f64;
    let shorter = if in_vain { 1.0 } else { (timeout / 2.0).ceil() };
    (shorter < timeout && figures.starts.ready > 0).then_some((timeout, shorter))
}

fn cold_starts(settings: &EndpointSettings, figures: &Figures) -> Option<String> {
    let cold = figures.cold_start_share.filter(|cold| *cold >= COLD_SHARE)?;
    let p95 = figures.cold_start_s.p95?;
    let of_the_wait = part(cold * figures.cold_start_s.mean?, figures.wait_s.mean?)?;
    if of_the_wait < COLD_WAIT_SHARE {
        return None;
    }
    let hour = money(settings.active_usd_per_s * 3_600.0);
    let active = match figures.workers.flex.mean < 1.0 {
        true => format!("one more active worker would take most of them for {hour} an hour"),
        false => format!("each further active worker takes some of them for {hour} an hour"),
    };
    let longer = settings.idle_timeout_s.map_or(String::new(), |timeout| {
        format!("; so does an idle timeout above {}, at the flex price", seconds(timeout))
    });
    Some(format!("{} of jobs waited for a cold start ({} at p95): {active}{longer}.", share(cold), seconds(p95)))
}

fn active_below_break_even(settings: &EndpointSettings, figures: &Figures) -> Option<String> {
    let worked = figures.cost_usd.seed.active_work_share?;
    let break_even = part(settings.active_usd_per_s, settings.flex_usd_per_s)?;
    if worked >= break_even {
        return None;
    }
    Some(format!(
        "Active workers worked {} of their time, below the break-even of {} (active/flex price): flex workers would cost less \
         under the seed bill, for more cold starts.",
        share(worked),
        share(break_even),
    ))
}

fn rounding(figures: &Figures, documented: bool) -> Option<String> {
    let (name, bill) = match documented {
        true => ("documented", &figures.cost_usd.documented),
        false => ("seed", &figures.cost_usd.seed),
    };
    let rounded = part(bill.by_phase.rounding, bill.total).filter(|rounded| *rounded >= ROUNDING_SHARE)?;
    let length = bill.billed_s / bill.sessions.max(1) as f64;
    Some(format!(
        "Rounding up to whole seconds costs {} ({} of the {name} bill): {} sessions of {} each. More concurrency or batches per \
         worker make fewer, longer ones.",
        money(bill.by_phase.rounding),
        share(rounded),
        count(bill.sessions),
        seconds(length),
    ))
}

fn throttled(figures: &Figures) -> Option<String> {
    let states = &figures.state_seconds;
    let up = figures.activity_seconds.get("starting").copied().unwrap_or(0.0)
        + figures.activity_seconds.get("warm_idle").copied().unwrap_or(0.0)
        + states.running;
    let part_throttled = part(states.throttled, up + states.throttled)?;
    (part_throttled >= THROTTLED_SHARE).then(|| {
        format!(
            "Workers were throttled for {} in all ({} of the time that they were wanted): their hosts had no free GPU. Allow more \
             GPU classes or hosts.",
            seconds(states.throttled),
            share(part_throttled),
        )
    })
}

fn failed_starts(figures: &Figures) -> Option<String> {
    let failed = figures.starts.failed;
    (failed > 0).then(|| {
        let reasons = most(&figures.starts.unhealthy_by_reason);
        format!(
            "{} of {} starts failed{reasons} and cost {} under the documented bill.",
            count(failed),
            count(figures.starts.asked),
            money(figures.cost_usd.documented.failed_starts),
        )
    })
}

fn lost_attempts(figures: &Figures) -> Option<String> {
    let costs = &figures.cost_usd;
    let wasted = part(costs.wasted_attempts_usd, costs.seed.total).filter(|wasted| *wasted >= WASTED_SHARE)?;
    Some(format!(
        "{} attempts brought no result{} and cost {} ({} of the seed bill).",
        count(costs.wasted_attempts),
        most(&figures.jobs.lost_by_cause),
        money(costs.wasted_attempts_usd),
        share(wasted),
    ))
}

fn lost_jobs(figures: &Figures) -> Option<String> {
    let jobs = &figures.jobs;
    let lost = jobs.timed_out + jobs.rejected;
    let lost_share = part(lost as f64, jobs.submitted as f64).filter(|share| *share >= LOST_SHARE)?;
    Some(format!(
        "{} of jobs got no result: {} timed out, {} were refused. More workers, or a longer time to live, would keep them.",
        share(lost_share),
        count(jobs.timed_out),
        count(jobs.rejected),
    ))
}

fn targets(figures: &Figures) -> Option<String> {
    let met = figures.slo_attainment.filter(|met| *met < SLO_SHARE)?;
    let waits = (figures.wait_s.p95, figures.response_s.p95);
    let (wait, response) = (waits.0.map_or_else(String::new, seconds), waits.1.map_or_else(String::new, seconds));
    Some(format!("Only {} of jobs met the target; at p95 they waited {wait} and took {response}.", share(met)))
}

fn part(of: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| of / whole)
}

/// The most frequent reason, in brackets.
fn most(reasons: &std::collections::BTreeMap<String, u64>) -> String {
    let most = reasons.iter().max_by_key(|(_, count)| **count);
    most.map_or(String::new(), |(reason, _)| format!(" (mostly {reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::summary::EndpointSummary;

    /// An endpoint about which there is nothing to say.
    fn quiet() -> EndpointSummary {
        let mut endpoint = EndpointSummary { name: "llm".to_owned(), ..EndpointSummary::default() };
        endpoint.settings = EndpointSettings {
            idle_timeout_s: Some(60.0),
            flex_usd_per_s: 0.001,
            active_usd_per_s: 0.0007,
            ..EndpointSettings::default()
        };
        let figures = &mut endpoint.figures;
        (figures.jobs.submitted, figures.jobs.completed) = (1_000, 1_000);
        (figures.starts.asked, figures.starts.ready) = (10, 10);
        figures.cold_start_share = Some(0.01);
        (figures.cold_start_s.p95, figures.cold_start_s.mean) = (Some(30.0), Some(20.0));
        figures.wait_s.mean = Some(6.0);
        for bill in [&mut figures.cost_usd.seed, &mut figures.cost_usd.documented] {
            (bill.total, bill.by_phase.work, bill.sessions, bill.billed_s) = (1.0, 0.9, 100, 1_000.0);
        }
        endpoint
    }

    fn said(change: impl FnOnce(&mut EndpointSummary)) -> Vec<String> {
        let mut endpoint = quiet();
        change(&mut endpoint);
        let summary = Summary { complete: true, endpoints: vec![endpoint], ..Summary::default() };
        advice(&summary).into_iter().map(|advice| advice.text).collect()
    }

    /// The change must give exactly one finding, which has all the words.
    fn one(change: impl FnOnce(&mut EndpointSummary), words: &[&str]) {
        let found = said(change);
        assert_eq!(found.len(), 1, "{found:?}");
        for word in words {
            assert!(found[0].contains(word), "`{word}` is not in: {}", found[0]);
        }
    }

    #[test]
    fn nothing_is_said_without_a_finding() {
        assert_eq!(said(|_| {}), Vec::<String>::new());
        assert_eq!(advice(&Summary { complete: true, ..Summary::default() }), []);
    }

    #[test]
    fn warm_idle_is_a_finding_from_its_threshold_on() {
        let idle = |share: f64| {
            move |endpoint: &mut EndpointSummary| {
                endpoint.figures.cost_usd.documented.by_phase.warm_idle = share;
            }
        };
        assert_eq!(said(idle(WARM_IDLE_SHARE - 0.01)), Vec::<String>::new());
        one(idle(0.88), &["88.0 % of the documented bill is warm idle", "30 s instead of 60 s", "$0.3000 (30.0 %)"]);
        let sparse = |endpoint: &mut EndpointSummary| {
            idle(0.88)(endpoint);
            endpoint.figures.jobs.completed = 10;
        };
        one(sparse, &["1 s instead of 60 s"]);
        let few_starts = |endpoint: &mut EndpointSummary| {
            idle(0.88)(endpoint);
            endpoint.figures.starts.ready = 1;
        };
        one(few_starts, &["most of it between jobs"]);
    }

    #[test]
    fn cold_starts_are_a_finding_from_their_threshold_on() {
        assert_eq!(said(|endpoint| endpoint.figures.cold_start_share = Some(COLD_SHARE - 0.001)), Vec::<String>::new());
        let words = ["25.0 % of jobs waited for a cold start (30 s at p95)", "one more active worker", "$2.52 an hour"];
        one(|endpoint| endpoint.figures.cold_start_share = Some(0.25), &words);
        let many = |endpoint: &mut EndpointSummary| {
            endpoint.figures.cold_start_share = Some(0.25);
            endpoint.figures.workers.flex.mean = 12.0;
        };
        one(many, &["each further active worker takes some of them"]);
        let saturated = |endpoint: &mut EndpointSummary| {
            many(endpoint);
            endpoint.figures.wait_s.mean = Some(600.0);
        };
        assert_eq!(said(saturated), Vec::<String>::new(), "these jobs wait for other jobs");
    }

    #[test]
    fn active_workers_below_break_even_are_a_finding() {
        let share = |share| {
            move |endpoint: &mut EndpointSummary| {
                endpoint.figures.cost_usd.seed.active_work_share = Some(share);
            }
        };
        assert_eq!(said(share(0.71)), Vec::<String>::new());
        one(share(0.42), &["42.0 %", "break-even of 70.0 %"]);
    }

    #[test]
    fn rounding_is_a_finding_of_the_bill_that_counts() {
        let rounding = |endpoint: &mut EndpointSummary| endpoint.figures.cost_usd.seed.by_phase.rounding = 0.12;
        one(rounding, &["$0.1200 (12.0 % of the seed bill)", "100 sessions of 10 s"]);
    }

    #[test]
    fn failures_and_losses_are_findings() {
        one(|e| e.figures.state_seconds.throttled = 90.0, &["throttled for 90 s", "100 %"]);
        one(
            |e| {
                e.figures.starts.failed = 3;
                e.figures.starts.unhealthy_by_reason.insert("init_timeout".to_owned(), 3);
            },
            &["3 of 10 starts failed (mostly init_timeout)"],
        );
        one(|e| e.figures.jobs.rejected = 20, &["2.0 % of jobs got no result: 0 timed out, 20 were refused"]);
        one(
            |e| {
                e.figures.cost_usd.wasted_attempts = 7;
                e.figures.cost_usd.wasted_attempts_usd = 0.05;
            },
            &["7 attempts brought no result", "5.0 %"],
        );
        one(|e| e.figures.slo_attainment = Some(0.9), &["Only 90.0 % of jobs met the target"]);
    }

    #[test]
    fn a_run_that_did_not_end_says_so_first() {
        let summary = Summary { ended: "2 jobs can never finish".to_owned(), ..Summary::default() };
        assert!(advice(&summary)[0].text.contains("2 jobs can never finish"));
    }
}
