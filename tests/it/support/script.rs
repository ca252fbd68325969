//! Scripts: a few lines of text that set up hosts and endpoints and tell the scheduler facts.
//!
//! ```text
//! image torch base=5 app=1                 an image of two layers, in GB; layers of the same name and size are shared
//! host gpus=2 disk_gb=40 cached=torch      a host
//! endpoint image=torch max=3 idle_timeout_s=5
//! world start=10 service=3 stop=1          how the world answers from now on
//! at 0 submit e0 x2                        a fact, told at that time
//! until 60                                 run on to that time
//! ```
//! Every line may stand before or after any other; those without `at` happen at the time reached so far.

use thermocline::policy::{ParamValue, PolicyChoice};
use thermocline::scheduler::{
    Binding, DormancySpec, EndpointSpec, Event, ExitCause, ExtraMode, GpuClass, GpuClassId, HostSpec, Image, JobPolicy,
    JobResult, Layer, PickUp, Recorder, SchedulerConfig, Slots, TtlRunning,
};
use thermocline::units::{EndpointId, HostId, ImageId, JobId, Millis, Span, Time, UsdPerSecond, WorkerId};

use super::world::{Answer, Habits, JobEnd, StartEnd, World};

/// Runs a script and gives back the world at its end.
pub fn run<R: Recorder>(script: &str, make_recorder: impl FnOnce(&SchedulerConfig) -> R) -> World<R> {
    let config = configuration(script);
    let recorder = make_recorder(&config);
    let mut world = World::new(config, Habits::default(), recorder);
    for line in lines(script) {
        step(&mut world, line);
    }
    world
}

fn lines(script: &str) -> impl Iterator<Item = &str> {
    script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Images and classes must be known before the first event.
fn configuration(script: &str) -> SchedulerConfig {
    let mut images: Vec<Image> = Vec::new();
    let mut eviction = PolicyChoice::named("lru");
    for line in lines(script) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["image", name, ref layers @ ..] => images.push(image(name, layers)),
            ["eviction", name] => eviction = PolicyChoice::named(name),
            _ => {}
        }
    }
    if images.is_empty() {
        images.push(image("app", &["app=1"]));
    }
    SchedulerConfig {
        gpu_classes: vec![class("ADA_24", 0.00031, 0.00021), class("AMPERE_80", 0.00076, 0.0006)],
        images,
        eviction,
    }
}

fn class(name: &str, flex: f64, active: f64) -> GpuClass {
    GpuClass { name: name.to_owned(), flex: UsdPerSecond::from_usd(flex), active: UsdPerSecond::from_usd(active) }
}

const GB: u64 = 1_000_000_000;

fn image(name: &str, layers: &[&str]) -> Image {
    let layer = |text: &&str| {
        let (_, size) = pair(text);
        let bytes = number(size) as u64 * GB;
        Layer { digest: (*text).to_owned(), pull_bytes: bytes, disk_bytes: bytes }
    };
    Image { name: name.to_owned(), layers: layers.iter().map(layer).collect() }
}

fn step<R: Recorder>(world: &mut World<R>, line: &str) {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if words[0] == "at" {
        let at = Time::from_secs(number(words[1]));
        assert!(at >= world.now(), "`{line}` lies in the past");
        world.run_until(at);
        words.drain(..2);
    }
    match words[..] {
        ["image" | "eviction", ..] => {}
        ["host", ref settings @ ..] => world.tell(&Event::HostAdded { host: Box::new(host(settings)) }),
        ["world", ref habits @ ..] => habits.iter().for_each(|habit| set_habit(&mut world.habits, habit)),
        ["endpoint", ref settings @ ..] => {
            let mut spec = EndpointSpec::with_defaults("endpoint", ImageId(0), GpuClassId(0));
            settings.iter().for_each(|setting| set(&mut spec, setting));
            world.tell(&Event::EndpointCreated { spec: Box::new(spec) });
        }
        ["update", endpoint, ref settings @ ..] => {
            let endpoint = EndpointId(id(endpoint) as u32);
            let mut spec = world.spec(endpoint).clone();
            settings.iter().for_each(|setting| set(&mut spec, setting));
            world.tell(&Event::EndpointUpdated { endpoint, spec: Box::new(spec) });
        }
        ["submit", endpoint, ref options @ ..] => submit(world, EndpointId(id(endpoint) as u32), options),
        ["until", end] => world.run_until(Time::from_secs(number(end))),
        _ => {
            let event = fact(world, &words).unwrap_or_else(|| panic!("`{line}` is not a line of a script"));
            world.tell(&event);
        }
    }
}

fn submit<R: Recorder>(world: &mut World<R>, endpoint: EndpointId, options: &[&str]) {
    let mut policy = JobPolicy::default();
    let mut times = 1;
    for option in options {
        match option.split_once('=') {
            None if *option == "low" => policy.low_priority = true,
            None => times = option.strip_prefix('x').map_or(1, |count| number(count) as u32),
            Some(("ttl", seconds)) => policy.ttl = Millis::new((number(seconds) * 1e3) as u32),
            Some(("timeout", seconds)) => policy.execution_timeout = Millis::new((number(seconds) * 1e3) as u32),
            Some((other, _)) => panic!("`{other}` is not a setting of a job"),
        }
    }
    for _ in 0..times {
        let client_ref = world.next_client_ref();
        world.tell(&Event::JobSubmitted { endpoint, client_ref, policy });
    }
}

/// A fact in words. Facts about a worker are of its latest start unless `epoch=` says otherwise.
fn fact<R: Recorder>(world: &World<R>, words: &[&str]) -> Option<Event> {
    let verb = *words.first()?;
    let host = || HostId(id(words[1]) as u32);
    let worker = || -> WorkerId { world.worker(id(words[1])).unwrap_or_else(|| panic!("no worker {}", words[1])) };
    let job = |at: usize| -> JobId { world.job(id(words[at])).unwrap_or_else(|| panic!("no job {}", words[at])) };
    let given = |name: &str| words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(number);
    let epoch = || given("epoch").map_or_else(|| world.epoch(worker()), |epoch| epoch as u32);
    let attempt = || given("attempt").map_or(1, |attempt| attempt as u32);
    let image = || ImageId(given("image").map_or(0, |image| image as u32));
    Some(match verb {
        "lose" => Event::HostLost { host: host() },
        "return" => Event::HostReturned { host: host() },
        "capacity" => Event::HostCapacityChanged { host: host(), gpus: number(words[2]) as u32 },
        "pulled" => Event::ImagePulled { host: host(), image: image() },
        "delete" => Event::EndpointDeleted { endpoint: EndpointId(id(words[1]) as u32) },
        "purge" => Event::PurgeRequested { endpoint: EndpointId(id(words[1]) as u32) },
        "cancel" => Event::CancelRequested { job: job(1) },
        "exit" => Event::WorkerExited { worker: worker(), epoch: epoch(), cause: exit_cause(words[2])? },
        "ready" => Event::WorkerReady { worker: worker(), epoch: epoch() },
        "stopped" => Event::WorkerStopped { worker: worker(), epoch: epoch(), frozen: false },
        "snapshot-lost" => Event::SnapshotLost { worker: worker(), epoch: epoch() },
        "ping" => Event::WorkerPinged { worker: worker(), epoch: epoch() },
        "take" => Event::TakeOpened { worker: worker(), epoch: epoch(), slots: 1 },
        "take-closed" => Event::TakeClosed { worker: worker(), epoch: epoch() },
        "take-lost" => Event::TakeLost { worker: worker(), epoch: epoch(), job: job(2), attempt: attempt() },
        "job-stopped" => Event::JobStopped { worker: worker(), epoch: epoch(), job: job(2), attempt: attempt() },
        "finished" => Event::JobFinished {
            worker: worker(),
            epoch: epoch(),
            job: job(2),
            attempt: attempt(),
            result: if words.contains(&"error") { JobResult::Failed } else { JobResult::Completed },
            refresh: words.contains(&"refresh"),
        },
        _ => return None,
    })
}

fn exit_cause(word: &str) -> Option<ExitCause> {
    Some(match word {
        "crashed" => ExitCause::Crashed,
        "start_failed" => ExitCause::StartFailed,
        "unfit" => ExitCause::Unfit,
        "left" => ExitCause::Left,
        "silent" => ExitCause::Silent,
        _ => return None,
    })
}

fn host(settings: &[&str]) -> HostSpec {
    let mut host = HostSpec {
        name: "host".to_owned(),
        data_center: "EU".to_owned(),
        gpu_class: GpuClassId(0),
        gpus: 1,
        memory_bytes: 256 * GB,
        disk_bytes: 100 * GB,
        pull_bytes_per_s: GB / 10,
        priority: 0,
        cached: Vec::new(),
    };
    for setting in settings {
        let (key, value) = pair(setting);
        match key {
            "gpus" => host.gpus = number(value) as u32,
            "class" => host.gpu_class = GpuClassId(number(value) as u16),
            "disk_gb" => host.disk_bytes = number(value) as u64 * GB,
            "dc" => value.clone_into(&mut host.data_center),
            "priority" => host.priority = number(value) as i32,
            "cached" => host.cached = value.split(',').map(|image| ImageId(number(image) as u32)).collect(),
            _ => panic!("`{key}` is not a setting of a host"),
        }
    }
    host
}

fn set(spec: &mut EndpointSpec, setting: &str) {
    let (key, value) = pair(setting);
    let whole = || number(value) as u32;
    let span = || Span::from_secs(number(value));
    match key {
        "image" => spec.image = ImageId(whole()),
        "env" => spec.container_digest = number(value) as u64,
        "classes" => spec.gpu_classes = value.split(',').map(|class| GpuClassId(number(class) as u16)).collect(),
        "gpus" => spec.gpus_per_worker = whole(),
        "active" => spec.active = whole(),
        "max" => spec.max = whole(),
        "extra" => spec.extra = whole(),
        "extra_mode" => {
            spec.extra_mode = word(
                value,
                &[
                    ("burst", ExtraMode::Burst),
                    ("replace", ExtraMode::ReplaceThrottled),
                    ("precache", ExtraMode::PrecacheOnly),
                ],
            );
        }
        "concurrency" => spec.concurrency = whole(),
        "timeout" => spec.execution_timeout = (value != "off").then(span),
        "ttl" => spec.ttl = span(),
        "ttl_running" => {
            spec.ttl_running = word(value, &[("timed_out", TtlRunning::TimedOut), ("ignore", TtlRunning::Ignore)]);
        }
        "flashboot" => spec.flashboot = word(value, &[("on", true), ("off", false)]),
        "init_timeout" => spec.init_timeout = span(),
        "binding" => spec.binding = word(value, &[("late", Binding::Late), ("early", Binding::Early)]),
        "pick_up" => spec.pick_up = word(value, &[("pull", PickUp::Pull), ("push", PickUp::Push)]),
        "slots" => spec.slots = word(value, &[("ahead", Slots::Ahead), ("on_demand", Slots::OnDemand)]),
        "max_queued" => spec.max_queued = whole(),
        "attempts" => spec.max_attempts = whole(),
        "lease" => spec.lease = (value != "off").then(span),
        "stop_job_grace" => spec.stop_job_grace = span(),
        "replace_after" => spec.replace_throttled_after = span(),
        "rollout_percent" => spec.rollout.batch_percent = whole(),
        "rollback_after" => spec.rollout.rollback_after_failures = whole(),
        "backoff_base" => spec.backoff.base = span(),
        "give_up_after" => spec.backoff.give_up_after = span(),
        "suspend_after" => spec.suspend_after_failures = Some(whole()),
        "dormancy" => spec.dormancy = Some(dormancy(value)),
        "idle_timeout" => spec.policies.keep_alive = keep_alive(value),
        "scaling" => spec.policies.scaling = PolicyChoice::named(value),
        "dispatch" => spec.policies.dispatch = PolicyChoice::named(value),
        "placement" => spec.policies.placement = PolicyChoice::named(value),
        _ => {
            // Anything else is a parameter of the scaling policy.
            let parameter = value.parse().map_or_else(|_| switch(value), ParamValue::Number);
            spec.policies.scaling.params.insert(key.to_owned(), parameter);
        }
    }
}

fn switch(value: &str) -> ParamValue {
    match value {
        "true" => ParamValue::Bool(true),
        "false" => ParamValue::Bool(false),
        _ => ParamValue::Text(value.to_owned()),
    }
}

fn keep_alive(value: &str) -> PolicyChoice {
    match value {
        "infinite" => PolicyChoice::named("infinite"),
        _ => PolicyChoice::named("fixed").with("idle_timeout_s", number(value)),
    }
}

/// `reduce_after,reduced_max,zero_after`, times in seconds.
fn dormancy(value: &str) -> DormancySpec {
    let parts: Vec<f64> = value.split(',').map(number).collect();
    DormancySpec {
        reduce_after: Span::from_secs(parts[0]),
        reduced_max: parts[1] as u32,
        zero_after: Span::from_secs(parts[2]),
    }
}

fn set_habit(habits: &mut Habits, habit: &str) {
    let (key, value) = pair(habit);
    let span = || Span::from_secs(number(value));
    let answers = [("yes", Answer::Yes), ("no", Answer::No), ("never", Answer::Never)];
    match key {
        "start" => habits.start = span(),
        "start_end" => {
            habits.start_end = match value {
                "ready" => StartEnd::Ready,
                "never" => StartEnd::Never,
                cause => StartEnd::Exit(exit_cause(cause).unwrap_or_else(|| panic!("`{cause}` ends no start"))),
            }
        }
        "resume" => habits.resume = span(),
        "service" => habits.service = span(),
        "job_end" => {
            let ends = [
                ("completed", JobEnd::Completed),
                ("refresh", JobEnd::Refresh),
                ("error", JobEnd::Error),
                ("crash", JobEnd::Crash),
                ("never", JobEnd::Never),
                ("take_lost", JobEnd::TakeLost),
            ];
            habits.job_end = word(value, &ends);
        }
        "pull" => habits.pull = span(),
        "pull_end" => habits.pull_end = word(value, &answers),
        "stop" => habits.stop = span(),
        "stop_end" => habits.stop_end = word(value, &answers),
        "job_stop" => habits.job_stop = span(),
        "job_stop_end" => habits.job_stop_end = word(value, &answers),
        "pace" => habits.pace = span(),
        _ => panic!("`{key}` is not a habit of the world"),
    }
}

fn word<T: Copy>(value: &str, choices: &[(&str, T)]) -> T {
    choices.iter().find(|(name, _)| *name == value).unwrap_or_else(|| panic!("`{value}` is not one of the choices")).1
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or_else(|| panic!("`{text}` is not of the form key=value"))
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"))
}

/// The number in `w3`, `e0`, `h1`, `j12`.
fn id(name: &str) -> u64 {
    name.get(1..).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("`{name}` is not an id"))
}
