//! Whether a plan can be run: every number in its range, every name there. The first mistake is reported with its place.

use super::arrivals::is_endless;
use super::engine::{SimError, endpoint_name};
use super::plan::{ActionKind, EndpointPlan, FaultPlan, HostPlan, Plan, ReleasePlan};
use crate::scheduler::{EndpointSpec, Scheduler};
use crate::units::{EndpointId, HostId, ImageId};
use crate::workload::Distribution;

type Check = Result<(), SimError>;

/// Checks everything that the world takes for granted.
pub(super) fn check(plan: &Plan) -> Check {
    for (number, host) in plan.hosts.iter().enumerate() {
        let place = format!("host {number} ({})", host.spec.name);
        check_host(plan, host, &place)?;
    }
    within("registry", "bytes_per_s", plan.registry.bytes_per_s, 0.0, f64::INFINITY)?;
    share("registry", "failure_probability", plan.registry.failure_probability)?;
    for (number, endpoint) in plan.endpoints.iter().enumerate() {
        let place = format!("endpoint {number} ({})", endpoint.spec.name);
        check_endpoint(plan, endpoint, &place)?;
    }
    check_faults(&plan.faults)?;
    for action in &plan.actions {
        check_action(plan, &action.kind, &format!("action at t={} s", action.at))?;
    }
    check_end(plan)
}

fn check_host(plan: &Plan, host: &HostPlan, place: &str) -> Check {
    within(place, "pull_bytes_per_s", host.pull_bytes_per_s, 0.0, f64::INFINITY)?;
    within(place, "unpack_bytes_per_s", host.unpack_bytes_per_s, f64::MIN_POSITIVE, f64::INFINITY)?;
    within(place, "pull_sigma", host.pull_sigma, 0.0, 10.0)?;
    within(place, "slowdown", host.slowdown, 1e-6, 1e6)?;
    if usize::from(host.spec.gpu_class.0) >= plan.scheduler.gpu_classes.len() {
        return wrong(format!("{place}: there is no GPU class {}", host.spec.gpu_class.0));
    }
    for &image in &host.spec.cached {
        check_image(plan, image, place)?;
    }
    let catalogue = super::hosts::Catalogue::new(&plan.scheduler.images);
    let bytes = super::hosts::Host::new(HostId(0), host, &catalogue).disk.bytes;
    if bytes > host.spec.disk_bytes {
        return wrong(format!("{place}: its cached images take {bytes} bytes, its disk has {}", host.spec.disk_bytes));
    }
    if let Some(tenants) = &host.tenants {
        drawn(place, "tenants.away", &tenants.away)?;
        drawn(place, "tenants.stay", &tenants.stay)?;
        drawn(place, "tenants.gpus", &tenants.gpus)?;
        if tenants.away.mean() + tenants.stay.mean() <= 0.0 {
            return wrong(format!("{place}: tenants come and go without end if both times are zero"));
        }
    }
    Ok(())
}

fn check_endpoint(plan: &Plan, endpoint: &EndpointPlan, place: &str) -> Check {
    check_spec(plan, &endpoint.spec, place)?;
    check_release(&endpoint.release, place)?;
    drawn(place, "pacing.latency", &endpoint.pacing.latency)?;
    for (number, source) in endpoint.traffic.sources.iter().enumerate() {
        source.check().or_else(|error| wrong(format!("{place}: source {number}: {error}")))?;
    }
    for feed in &endpoint.feeds {
        check_endpoint_id(plan, feed.to, &format!("{place}: feeds"))?;
        share(place, "feeds.probability", feed.probability)?;
    }
    match endpoint.stream {
        Some(other) => check_endpoint_id(plan, other, &format!("{place}: stream")),
        None => Ok(()),
    }
}

fn check_spec(plan: &Plan, spec: &EndpointSpec, place: &str) -> Check {
    check_image(plan, spec.image, place)?;
    if spec.concurrency == 0 || spec.gpus_per_worker == 0 {
        return wrong(format!("{place}: concurrency and GPUs per worker must be at least 1"));
    }
    if spec.active > spec.max {
        return wrong(format!("{place}: {} active workers are more than max, {}", spec.active, spec.max));
    }
    let unknown = spec.gpu_classes.iter().find(|class| usize::from(class.0) >= plan.scheduler.gpu_classes.len());
    if let Some(class) = unknown {
        return wrong(format!("{place}: there is no GPU class {}", class.0));
    }
    Ok(Scheduler::check(spec)?)
}

fn check_release(release: &ReleasePlan, place: &str) -> Check {
    let (start, faults) = (&release.start, &release.faults);
    for stage in &start.stages {
        drawn(place, &format!("stage {:?}", stage.stage), &stage.time)?;
    }
    drawn(place, "resume", &start.resume)?;
    drawn(place, "stop", &start.stop)?;
    optional(place, "snapshot_life", start.snapshot_life.as_ref())?;
    share(place, "freeze_probability", start.freeze_probability)?;
    within(place, "warm_up_factor", start.warm_up_factor, 0.0, 1e6)?;
    release.service.check().or_else(|error| wrong(format!("{place}: {error}")))?;
    share(place, "start_failure_probability", faults.start_failure_probability)?;
    share(place, "crash_probability", faults.crash_probability)?;
    share(place, "hang_probability", faults.hang_probability)?;
    share(place, "handler_error_probability", faults.handler_error_probability)?;
    share(place, "refresh_probability", faults.refresh_probability)?;
    share(place, "ignore_stop_probability", faults.ignore_stop_probability)?;
    optional(place, "uptime", faults.uptime.as_ref())
}

fn check_faults(faults: &FaultPlan) -> Check {
    let place = "faults";
    optional(place, "host_uptime", faults.host_uptime.as_ref())?;
    optional(place, "host_downtime", faults.host_downtime.as_ref())?;
    optional(place, "fact_delay", faults.fact_delay.as_ref())?;
    share(place, "host_return_probability", faults.host_return_probability)?;
    share(place, "lost_fact_probability", faults.lost_fact_probability)?;
    share(place, "duplicate_fact_probability", faults.duplicate_fact_probability)?;
    share(place, "late_fact_probability", faults.late_fact_probability)
}

fn check_action(plan: &Plan, kind: &ActionKind, place: &str) -> Check {
    match kind {
        ActionKind::Update { endpoint, spec, release } => {
            check_endpoint_id(plan, *endpoint, place)?;
            let place = format!("{place}: update of {}", endpoint_name(plan, *endpoint));
            check_spec(plan, spec, &place)?;
            check_release(release, &place)
        }
        ActionKind::Delete { endpoint } | ActionKind::Purge { endpoint } | ActionKind::CancelOldest { endpoint } => {
            check_endpoint_id(plan, *endpoint, place)
        }
        ActionKind::LoseHost { host } | ActionKind::ReturnHost { host } | ActionKind::SetCapacity { host, .. } => {
            match plan.hosts.get(host.index()) {
                Some(_) => Ok(()),
                None => wrong(format!("{place}: there is no host {host}; the plan has {}", plan.hosts.len())),
            }
        }
    }
}

/// A run must have an end.
fn check_end(plan: &Plan) -> Check {
    if plan.duration.is_some() || plan.max_jobs.is_some() {
        return Ok(());
    }
    match plan.endpoints.iter().find(|endpoint| endpoint.traffic.sources.iter().any(is_endless)) {
        Some(endpoint) => {
            let name = &endpoint.spec.name;
            wrong(format!("the traffic of {name} never ends: give the run a duration or a number of jobs"))
        }
        None => Ok(()),
    }
}

fn check_image(plan: &Plan, image: ImageId, place: &str) -> Check {
    let count = plan.scheduler.images.len();
    if image.index() < count { Ok(()) } else { wrong(format!("{place}: there is no image {image}; there are {count}")) }
}

fn check_endpoint_id(plan: &Plan, id: EndpointId, place: &str) -> Check {
    let count = plan.endpoints.len();
    if id.index() < count { Ok(()) } else { wrong(format!("{place}: there is no endpoint {id}; there are {count}")) }
}

fn within(place: &str, what: &str, value: f64, min: f64, max: f64) -> Check {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        wrong(format!("{place}: {what} is {value}, not in {min}..={max}"))
    }
}

fn share(place: &str, what: &str, value: f64) -> Check {
    within(place, what, value, 0.0, 1.0)
}

fn drawn(place: &str, what: &str, distribution: &Distribution) -> Check {
    distribution.check().or_else(|error| wrong(format!("{place}: {what}: {error}")))
}

fn optional(place: &str, what: &str, distribution: Option<&Distribution>) -> Check {
    distribution.map_or(Ok(()), |distribution| drawn(place, what, distribution))
}

fn wrong(text: String) -> Check {
    Err(SimError::Plan(text))
}
