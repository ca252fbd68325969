//! Relations between two runs: what may change and what must not when the plan is changed in a known way.

use std::collections::BTreeMap;

use thermocline::ledger::Profile;
use thermocline::scheduler::{Command, Event, Recorder};
use thermocline::sim::Simulation;
use thermocline::sim::plan::{EndpointPlan, HostPlan, Plan};
use thermocline::units::{EndpointId, Money, Time, UsdPerSecond};
use thermocline::workload::Traffic;

use super::plans::{Switch, knobs, plan};
use super::simulated::judged;
use super::{check, fail};

/// When each job of an endpoint was submitted, handed out and ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story {
    lines: BTreeMap<EndpointId, Vec<String>>,
}

impl Recorder for Story {
    fn event(&mut self, _: Time, _: &Event) {}

    fn command(&mut self, now: Time, command: &Command) {
        let (endpoint, line) = match command {
            Command::AcceptJob { endpoint, .. } => (*endpoint, "accepted".to_owned()),
            Command::ScaleDecided { endpoint, from, to, reason, .. } => (*endpoint, format!("{from} to {to} {reason}")),
            Command::BoundsChanged { endpoint, max, .. } => (*endpoint, format!("max {max}")),
            Command::StartWorker { endpoint, epoch, resume, .. } => (*endpoint, format!("start {epoch} {resume}")),
            _ => return,
        };
        self.lines.entry(endpoint).or_default().push(format!("{now} {line}"));
    }
}

fn story(plan: &Plan) -> Story {
    let mut story = Story::default();
    let mut simulation = Simulation::new(plan).expect("the plan is sound");
    simulation.run(&mut story, &mut |_| {}).expect("the run ends");
    story
}

#[test]
fn an_idle_endpoint_on_hosts_of_its_own_changes_nothing_for_others() {
    check("tests/testdata/properties-idle-endpoint.txt", 20, &knobs(20..150), |mut knobs| {
        // What all hosts share, or what luck deals out in order of asking, is shared capacity.
        for shared in
            [Switch::HostLoss, Switch::RegistryTrouble, Switch::LostFacts, Switch::DoubledFacts, Switch::LateFacts]
        {
            knobs.switches[shared as usize] = false;
        }
        let alone = plan(&knobs);
        let mut together = alone.clone();
        let mut host: HostPlan = alone.hosts[0].clone();
        host.spec.data_center = "MOON".to_owned();
        host.tenants = None;
        together.hosts.push(host);
        let mut idle: EndpointPlan = alone.endpoints[0].clone();
        idle.traffic = Traffic::default();
        idle.spec.data_centers = vec!["MOON".to_owned()];
        idle.spec.active = 0;
        together.endpoints.push(idle);
        for endpoint in &mut together.endpoints {
            if endpoint.spec.data_centers.is_empty() {
                endpoint.spec.data_centers = vec!["EU".to_owned(), "US".to_owned()];
            }
        }
        let mut apart = alone;
        for endpoint in &mut apart.endpoints {
            if endpoint.spec.data_centers.is_empty() {
                endpoint.spec.data_centers = vec!["EU".to_owned(), "US".to_owned()];
            }
        }
        apart.actions.clear();
        together.actions.clear();
        let (without, with) = (story(&apart), story(&together));
        for (endpoint, lines) in &without.lines {
            if with.lines.get(endpoint) != Some(lines) {
                let pair = lines.iter().zip(&with.lines[endpoint]).find(|(a, b)| a != b);
                return fail(format!("{endpoint} fares differently beside an idle endpoint: {pair:?}"));
            }
        }
        Ok(())
    });
}

#[test]
fn prices_scale_every_bill_and_change_nothing_else() {
    check("tests/testdata/properties-prices.txt", 20, &knobs(20..150), |knobs| {
        let cheap = plan(&knobs);
        let mut dear = cheap.clone();
        for class in &mut dear.scheduler.gpu_classes {
            (class.flex, class.active) = (UsdPerSecond(class.flex.0 * 7), UsdPerSecond(class.active.0 * 7));
        }
        let (one, seven) = (judged(&cheap)?, judged(&dear)?);
        for profile in Profile::ALL {
            let (low, high) = (one.ledger.total().total(profile).total(), seven.ledger.total().total(profile).total());
            if Money(low.0 * 7) != high {
                return fail(format!("at seven times the price {} becomes {}", low.0, high.0));
            }
        }
        if one.end == seven.end { Ok(()) } else { fail(format!("{} / {}", one.end, seven.end)) }
    });
}

#[test]
fn the_same_plan_gives_the_same_transcript() {
    check("tests/testdata/properties-same.txt", 20, &knobs(20..150), |knobs| {
        let plan = plan(&knobs);
        if story(&plan) == story(&plan) { Ok(()) } else { fail("two runs of one plan differ".to_owned()) }
    });
}
