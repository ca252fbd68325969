//! What was seen as an application file, with the count, the median and the 95th percentile behind every figure.

use std::fmt::Write as _;

use super::fit::{Figures, Fit};
use super::fold::{EndpointSeen, Seen};
use crate::scenario::node::printable;
use crate::scheduler::{EndpointSpec, HostSpec};

/// The stages of a start, in order.
const STAGES: [&str; 8] =
    ["container_s", "cuda_s", "import_s", "weights_s", "engine_s", "first_take_s", "resume_s", "stop_s"];

/// The file.
pub fn yaml(seen: &Seen) -> String {
    let mut text = format!(
        "\
# What do this gateway's workers, jobs and requests look like? Measured over {:.0} s of its transcripts.
#
# Rehearse with this file as it is, or put `include: calibration.yaml` at the head of yours: what stands in yours wins.
# A live gateway does not see into a start: everything between the container and the first take is `import_s`.
duration_s: 1h
endpoints:
",
        seen.span_s
    );
    for (number, endpoint) in &seen.endpoints {
        if let Some(spec) = seen.specs.get(*number as usize) {
            one_endpoint(&mut text, seen, spec, endpoint);
        }
    }
    hosts(&mut text, seen);
    prices(&mut text, seen);
    text
}

fn one_endpoint(text: &mut String, seen: &Seen, spec: &EndpointSpec, endpoint: &EndpointSeen) {
    let _ = writeln!(text, "  {}:", quoted(&spec.name));
    let classes: Vec<String> = spec
        .gpu_classes
        .iter()
        .filter_map(|id| seen.classes.get(usize::from(id.0)))
        .map(|class| quoted(&class.name))
        .collect();
    let _ = writeln!(text, "    gpu_classes: [{}]", classes.join(", "));
    let _ = writeln!(text, "    gpus_per_worker: {}", spec.gpus_per_worker);
    let _ = writeln!(
        text,
        "    workers: {{active: {}, max: {}, extra: {}}}",
        spec.active,
        spec.max.max(spec.active),
        spec.extra
    );
    let _ = writeln!(text, "    concurrency: {}", spec.concurrency);
    text.push_str("    start:\n");
    for key in STAGES {
        match endpoint.times.get(key).and_then(super::fit::Samples::figures) {
            Some(figures) => line(text, &format!("      {key}: {}", shown(&figures.fit)), &figures),
            // What was never seen apart takes no time of its own; what was never seen at all is left to the default.
            None if ["cuda_s", "weights_s", "engine_s", "first_take_s"].contains(&key) => {
                let _ = writeln!(text, "      {key}: 0");
            }
            None => {}
        }
    }
    match endpoint.times.get("work_s").and_then(super::fit::Samples::figures) {
        Some(figures) => {
            line(text, &format!("    service: {{type: drawn, work_s: {}}}", shown(&figures.fit)), &figures);
            if endpoint.most_in_hand > 1 {
                let most = endpoint.most_in_hand;
                let _ = writeln!(text, "    # up to {most} jobs shared a worker: these times hold for that load");
            }
        }
        None => text.push_str("    service: {type: drawn, work_s: 1}     # no job was completed: put yours here\n"),
    }
    let rate = endpoint.requests as f64 / seen.span_s.max(1.0);
    if endpoint.requests > 0 {
        let _ = writeln!(
            text,
            "    traffic: {{type: poisson, rate_per_s: {}}}     # {} requests; their mean rate, not their rhythm",
            rounded(rate),
            endpoint.requests
        );
    } else {
        text.push_str("    traffic: {type: poisson, rate_per_s: 0.01}     # no request was seen: put yours here\n");
    }
}

/// Hosts whose pulls were measured, so that a rehearsal pulls at the same speed.
fn hosts(text: &mut String, seen: &Seen) {
    let mut head = false;
    for (number, host) in seen.hosts.iter().enumerate() {
        let mut bytes = 0.0;
        let mut seconds = 0.0;
        let mut note = Vec::new();
        for ((_, image), samples) in seen.pulls.iter().filter(|((on, _), _)| *on as usize == number) {
            let (Some(figures), Some(image)) = (samples.figures(), seen.images.get(*image as usize)) else { continue };
            let size: u64 = image.layers.iter().map(|layer| layer.pull_bytes).sum();
            bytes += size as f64 * figures.count as f64;
            seconds += figures.mean_s * figures.count as f64;
            note.push(format!("{} {:.1} s", printable(&image.name), figures.median_s));
        }
        if bytes > 0.0 && seconds > 0.0 {
            if !head {
                text.push_str("hosts:\n");
                head = true;
            }
            one_host(text, seen, host, bytes / seconds / 1e9, &note.join(", "));
        }
    }
}

fn one_host(text: &mut String, seen: &Seen, host: &HostSpec, gb_per_s: f64, note: &str) {
    let class = seen.classes.get(usize::from(host.gpu_class.0)).map_or("", |class| class.name.as_str());
    let _ = write!(
        text,
        "  {}:
    gpu_class: {}
    gpus: {}
    memory_gb: {}
    disk_gb: {}
    data_center: {}
    pull_gb_per_s: {}     # by the sizes of the application file; medians: {note}
",
        quoted(&host.name),
        quoted(class),
        host.gpus.max(1),
        host.memory_bytes as f64 / 1e9,
        host.disk_bytes as f64 / 1e9,
        quoted(&host.data_center),
        rounded(gb_per_s)
    );
}

/// Prices of classes that the published table does not have.
fn prices(text: &mut String, seen: &Seen) {
    let used = |index: usize| {
        let is = |id: &crate::scheduler::GpuClassId| usize::from(id.0) == index;
        seen.specs.iter().any(|spec| spec.gpu_classes.iter().any(is))
            || seen.hosts.iter().any(|host| is(&host.gpu_class))
    };
    let table = crate::scenario::prices::table();
    let own: Vec<_> = seen
        .classes
        .iter()
        .enumerate()
        .filter(|(index, class)| used(*index) && table.iter().all(|row| row.class != class.name))
        .collect();
    if own.is_empty() {
        return;
    }
    text.push_str("prices:\n  gpu_classes:\n");
    for (_, class) in own {
        let _ = writeln!(
            text,
            "    {}: {{flex_usd_per_s: {}, active_usd_per_s: {}}}",
            quoted(&class.name),
            class.flex.as_usd(),
            class.active.as_usd()
        );
    }
}

fn line(text: &mut String, content: &str, figures: &Figures) {
    let Figures { count, median_s, p95_s, .. } = figures;
    let _ = writeln!(text, "{content}     # {count} measured, median {median_s:.3} s, p95 {p95_s:.3} s");
}

fn shown(fit: &Fit) -> String {
    match fit {
        Fit::Constant { value } => rounded(*value).to_string(),
        Fit::Lognormal { median, sigma } => {
            format!("{{type: lognormal, median: {}, sigma: {}}}", rounded(*median), rounded(*sigma))
        }
    }
}

/// To four digits that count, and never to zero what is not.
fn rounded(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    let digits = 10_f64.powi(3 - number.log10().floor() as i32);
    (number * digits).round() / digits
}

/// JSON's quoting is YAML's double quoting.
fn quoted(text: &str) -> String {
    serde_json::Value::from(printable(text)).to_string()
}
