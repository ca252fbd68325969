//! What a file means: defaults, presets, words, updates, copies of traffic, pools of hosts.

use std::path::Path;

use super::{Profile, Scenario, from_str};
use crate::policy::PolicyChoice;
use crate::policy::params::ParamValue;
use crate::scheduler::{EndpointSpec, GpuClassId, PickUp, StartStage};
use crate::sim::plan::{ActionKind, PacingModel};
use crate::units::{EndpointId, ImageId, Span, UsdPerSecond};
use crate::workload::{ArrivalSpec, Distribution, ServiceModel, SharedSpeed};

fn load(text: &str) -> Scenario {
    from_str(text, "app.yaml", Path::new("."), &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

/// An endpoint `a` with `more` in it, and `top` beside it.
fn one(more: &str, top: &str) -> Scenario {
    load(&format!(
        "max_jobs: 10\n{top}\nendpoints:\n  a:\n    gpu_classes: AMPERE_16\n    service: {{type: drawn, work_s: 1}}\n    \
         traffic: {{type: poisson, rate_per_s: 1}}\n{more}"
    ))
}

#[test]
fn the_defaults_of_the_format_are_those_of_the_scheduler() {
    let scenario = one("", "");
    assert_eq!(scenario.plan.endpoints[0].spec, EndpointSpec::with_defaults("a", ImageId(0), GpuClassId(0)));
    assert_eq!((scenario.plan.deployed, scenario.plan.drain, scenario.plan.warm_up), (true, None, Span::ZERO));
}

#[test]
fn lists_with_names_and_maps_by_name_are_the_same_file() {
    let map = load("{max_jobs: 9, endpoints: {a: {preset: embedding, traffic: {type: poisson, rate_per_s: 1}}}}");
    let list =
        load("{max_jobs: 9, endpoints: [{name: a, preset: embedding, traffic: [{type: poisson, rate_per_s: 1}]}]}");
    assert_eq!(map.plan, list.plan);
}

#[test]
fn a_preset_gives_what_the_file_does_not_say() {
    let text = "max_jobs: 9\nendpoints:\n  a:\n    preset: sdxl-image\n    gpu_classes: [RTX 4090, A100]\n    \
                start: {weights_s: 1}\n    traffic: {type: poisson, rate_per_s: 1}\n";
    let plan = load(text).plan;
    let names: Vec<&str> = plan.endpoints[0]
        .spec
        .gpu_classes
        .iter()
        .map(|id| plan.scheduler.gpu_classes[usize::from(id.0)].name.as_str())
        .collect();
    assert_eq!(names, ["ADA_24", "AMPERE_80"]);
    let start = &plan.endpoints[0].release.start;
    let time = |stage| start.stages.iter().find(|model| model.stage == stage).map(|model| model.time.clone());
    assert_eq!(time(StartStage::Import), Some(Distribution::Constant { value: 8.0 }));
    assert_eq!(time(StartStage::Weights), Some(Distribution::Constant { value: 1.0 }));
    assert_eq!(time(StartStage::Engine), None, "a stage that takes no time is left out");
    let image = &plan.scheduler.images[plan.endpoints[0].spec.image.index()];
    assert_eq!((image.layers.len(), image.layers[0].digest.as_str()), (2, "pytorch-runtime"));
    assert_eq!(image.layers.iter().map(|layer| layer.pull_bytes).sum::<u64>(), 9_000_000_000);
    let ServiceModel::Drawn { work: Distribution::LogNormal { median, .. }, speed } = plan.endpoints[0].release.service
    else {
        panic!("{:?}", plan.endpoints[0].release.service)
    };
    assert_eq!((median, speed), (5.6, SharedSpeed::Independent));
}

#[test]
fn a_scaler_that_holds_a_bound_of_the_wait_holds_the_endpoint_s() {
    let objective = |more: &str, top: &str| {
        let plan = one(more, top).plan;
        match plan.endpoints[0].spec.policies.scaling.params.get("slo_s") {
            Some(ParamValue::Number(seconds)) => Some(*seconds),
            _ => None,
        }
    };
    let slo = "    slo: {wait_s: 20}\n";
    assert_eq!(objective(&format!("{slo}    scaler: slo_cost\n"), ""), Some(20.0));
    assert_eq!(objective("    scaler: erlang_slo\n", "slo: {wait_s: 2m}"), Some(120.0));
    assert_eq!(objective(&format!("{slo}    scaler: {{type: slo_cost, slo_s: 7}}\n"), ""), Some(7.0));
    assert_eq!(objective("    scaler: slo_cost\n", ""), None, "its own default is not written down");
    assert_eq!(objective(&format!("{slo}    scaler: per_job\n"), ""), None);
}

#[test]
fn clean_is_theory_and_documented_is_the_platform() {
    let clean = one("", "clean: true");
    let endpoint = &clean.plan.endpoints[0];
    assert_eq!((endpoint.spec.pick_up, clean.settings.round_up), (PickUp::Push, false));
    assert_eq!(endpoint.pacing, PacingModel::immediate());
    assert_eq!(endpoint.spec.policies.scaling, PolicyChoice::named("queue_delay").with("tick_s", 0.0));
    let documented = one("", "profile: documented");
    let spec = &documented.plan.endpoints[0].spec;
    assert_eq!((spec.max_attempts, spec.lease, spec.rollout.batch_percent), (2, Some(Span::from_whole_secs(40)), 100));
    assert_eq!((spec.backoff.base, spec.backoff.cap), (Span::from_whole_secs(3_600), Span::from_whole_secs(604_800)));
    assert_eq!(documented.settings.profile, Profile::Documented);
}

#[test]
fn prices_come_from_the_table_unless_told() {
    let top = "prices: {active_discount: 0.5, gpu_classes: {ADA_24: {flex_usd_per_s: 0.0004}, MINE: {flex_usd_per_s: 0.001}}}";
    let classes = one("", top).plan.scheduler.gpu_classes;
    let price = |name: &str| {
        let class = classes.iter().find(|class| class.name == name).expect("the class is listed");
        (class.flex, class.active)
    };
    assert_eq!(price("ADA_24"), (UsdPerSecond(400_000), UsdPerSecond(200_000)));
    assert_eq!(price("MINE"), (UsdPerSecond(1_000_000), UsdPerSecond(500_000)));
    assert_eq!(price("AMPERE_16"), (UsdPerSecond(160_000), UsdPerSecond(80_000)));
}

#[test]
fn a_copy_of_traffic_meets_the_same_requests() {
    let plan = load(
        "max_jobs: 9\nendpoints:\n  a: {preset: embedding, traffic: {type: poisson, rate_per_s: 3}}\n  \
         b: {preset: embedding, traffic: {type: like, endpoint: a}}\n",
    )
    .plan;
    assert_eq!(plan.endpoints[0].traffic, plan.endpoints[1].traffic);
    assert_eq!((plan.endpoints[0].stream, plan.endpoints[1].stream), (None, Some(EndpointId(0))));
    assert_eq!(plan.endpoints[1].traffic.sources[0].arrivals, ArrivalSpec::Poisson { rate: 3.0 });
}

fn updates(plan: &crate::sim::plan::Plan) -> Vec<&EndpointSpec> {
    let specs = plan.actions.iter().filter_map(|action| match &action.kind {
        ActionKind::Update { spec, .. } => Some(spec.as_ref()),
        _ => None,
    });
    specs.collect()
}

#[test]
fn an_update_changes_what_it_says_and_builds_on_the_one_before() {
    let scenario = one(
        "    idle_timeout_s: 60\n    image: v1\n    image_gb: 4\n",
        "actions:\n  - {at_s: 2m, type: update, endpoint: a, set: {image: v2}}\n  \
         - {at_s: 1m, type: update, endpoint: a, set: {scaler: {delay_s: 2}, workers: {max: 9}}}\n  \
         - {at_s: 3m, type: update, endpoint: a, set: {scaler: request_count}}\n  \
         - {at_s: 4m, type: update, endpoint: a, set: {scaler: per_job}}\n",
    );
    let plan = &scenario.plan;
    let specs = updates(plan);
    let idle = |spec: &EndpointSpec| spec.policies.keep_alive.clone();
    let sixty = PolicyChoice::named("fixed").with("idle_timeout_s", 60.0);
    assert_eq!(specs.len(), 4);
    assert_eq!(
        (specs[0].max, specs[0].policies.scaling.clone()),
        (9, PolicyChoice::named("queue_delay").with("delay_s", 2.0))
    );
    assert_eq!((specs[0].image, idle(specs[0])), (plan.endpoints[0].spec.image, sixty.clone()));
    assert!(!plan.endpoints[0].spec.needs_release(specs[0]), "a change of scaling makes no release");
    assert_eq!((specs[1].max, idle(specs[1])), (9, sixty));
    assert!(specs[0].needs_release(specs[1]), "a new image makes one");
    let (v1, v2) = (&plan.scheduler.images[0], &plan.scheduler.images[specs[1].image.index()]);
    assert_eq!((v2.name.as_str(), v2.layers[0].pull_bytes), ("v2", v1.layers[0].pull_bytes));
    assert_ne!(v1.layers[0].digest, v2.layers[0].digest, "the new image has to be pulled");
    assert_eq!(specs[2].policies.scaling, PolicyChoice::named("request_count"));
    assert_eq!(idle(specs[3]), PolicyChoice::named("fixed"), "the documented idle timeout is back");
}

#[test]
fn environment_command_and_volumes_make_other_containers() {
    let digest = |more: &str| one(more, "").plan.endpoints[0].spec.container_digest;
    let digests =
        [digest(""), digest("    env: {A: '1'}\n"), digest("    env: {A: '2'}\n"), digest("    command: [python]\n")];
    assert_eq!(digests[0], 0);
    assert!((0..4).all(|a| (0..a).all(|b| digests[a] != digests[b])), "{digests:?}");
}

#[test]
fn hosts_are_an_ample_pool_unless_given_and_groups_number_their_hosts() {
    let pool = one("    workers: {max: 20, extra: 4}\n    gpus_per_worker: 2\n", "").plan.hosts;
    assert!(pool.iter().map(|host| host.spec.gpus).sum::<u32>() >= 2 * 24 * 2);
    let hosts = "hosts: {east: {count: 2, gpu_class: AMPERE_16, cached: all}, west: {gpu_class: RTX 4000}}";
    let scenario = one(
        "",
        &format!(
            "{hosts}\nactions: [{{at_s: 5, type: lose_host, host: east}}, {{at_s: 6, type: return_host, host: east-2}}]"
        ),
    );
    let names: Vec<&str> = scenario.plan.hosts.iter().map(|host| host.spec.name.as_str()).collect();
    assert_eq!(names, ["east-1", "east-2", "west"]);
    assert_eq!(scenario.plan.hosts[0].spec.cached, [ImageId(0)]);
    assert_eq!(scenario.plan.hosts[0].spec.gpu_class, scenario.plan.hosts[2].spec.gpu_class);
    assert_eq!(scenario.plan.actions.len(), 3);
}

#[test]
fn a_shared_trace_feeds_each_endpoint_with_its_rows() {
    let text = "traffic: {file: Cargo.toml, endpoints: {a: [x, y], b: z}, skip_s: 1h}\nendpoints:\n  a: {preset: embedding}\n  b: {preset: embedding}\n";
    let plan = load(text).plan;
    let rows = |endpoint: usize| -> Vec<Option<String>> {
        let sources = plan.endpoints[endpoint].traffic.sources.iter();
        sources
            .filter_map(|source| match &source.arrivals {
                ArrivalSpec::Trace(trace) => Some(trace.options.endpoint.clone()),
                _ => None,
            })
            .collect()
    };
    assert_eq!((rows(0), rows(1)), (vec![Some("x".to_owned()), Some("y".to_owned())], vec![Some("z".to_owned())]));
}

#[test]
fn whole_numbers_may_be_written_as_decimals_and_long_ones_keep_every_digit() {
    let scenario = one("    workers: {max: 4.0}\n", "seed: 18446744073709551615");
    assert_eq!((scenario.plan.endpoints[0].spec.max, scenario.plan.seed), (4, u64::MAX));
}

#[test]
fn section_serve_is_checked_and_not_used() {
    let serve = "serve: {listen: 127.0.0.1:8080, hosts: {box: {gpu_ids: [0, GPU-1]}}}";
    let with = one("    run: {command: [python, handler.py]}\n    input_schema: {type: object}\n", serve);
    assert_eq!(with.plan, one("", "").plan);
    let refused = |text: &str| from_str(text, "app.yaml", Path::new("."), &[]).expect_err("it is wrong").to_string();
    let text = refused("serve: yes\n");
    assert!(text.contains("serve: `yes`; allowed: a map"), "{text}");
    let text = refused("serve: {lisen: a}\n");
    assert!(text.contains("serve.lisen: unknown key `lisen`; did you mean `listen`?"), "{text}");
}

/// What `config --serve` prints can be served again, and means the same.
#[test]
fn the_effective_configuration_for_serving_is_a_file_again() {
    let text = "{endpoints: {a: {env: {A: b}, kind: load_balancer}, b: {preset: embedding}}, serve: {auth: off}}";
    let read = |text: &str| super::serving::from_str(text, "app.yaml", Path::new("."), &[]);
    let first = read(text).unwrap_or_else(|problems| panic!("{problems}"));
    let again = read(&first.effective.to_yaml()).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((&again.plan.endpoints, &again.plan.hosts), (&first.plan.endpoints, &first.plan.hosts));
    assert_eq!(again.plan, first.plan);
}
