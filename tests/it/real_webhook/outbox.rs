//! The outbox from the store to a receiver and back: tries, signature, restart, bodies that are gone. The core is played by a
//! thread that records what it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use thermocline::real::clock::{Clock, unix_us};
use thermocline::real::config::{EndpointConfig, EndpointKind, RunConfig};
use thermocline::real::core::api::{EndpointView, Health};
use thermocline::real::core::handle::{Handle, Request};
use thermocline::real::ids::TokenKey;
use thermocline::real::store::memory::MemoryStore;
use thermocline::real::store::{Delivery, DeliveryState, JobEnd, JobRow, Store, Write};
use thermocline::real::webhook::guard::Allow;
use thermocline::real::webhook::post::signature;
use thermocline::real::webhook::{BodyOf, Config, deliver};
use thermocline::scheduler::{EndpointSpec, GpuClassId, Image, JobOutcome, JobPolicy};
use thermocline::units::ImageId;
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

use super::*;

/// The core's thread, as far as webhooks see it: every report is committed, then told on.
fn core(mut store: MemoryStore) -> (Handle, mpsc::UnboundedReceiver<Delivery>) {
    let (requests, asked) = std::sync::mpsc::channel();
    let (notices, _) = broadcast::channel(1);
    let handle = Handle::new(requests, store.reader(), notices, TokenKey::new([1; 32]), Clock::start());
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for request in asked {
            match request {
                Request::Delivered(delivery) => {
                    store.commit(&[Write::Delivery(delivery.clone())]).unwrap();
                    let _ = tell.send(*delivery);
                }
                Request::Endpoints(answer) => {
                    let _ = answer.send(vec![view("signed", Some("hush")), view("plain", None)]);
                }
                _ => panic!("nothing else is asked by the outbox"),
            }
        }
    });
    (handle, told)
}

fn view(id: &str, secret: Option<&str>) -> EndpointView {
    let config = EndpointConfig {
        id: id.to_owned(),
        kind: EndpointKind::Queue,
        spec: EndpointSpec::with_defaults(id, ImageId(0), GpuClassId(0)),
        image: Image { name: "app".to_owned(), layers: Vec::new() },
        run: RunConfig::default(),
        input_schema: None,
        feeds: Vec::new(),
        webhook_secret: secret.map(str::to_owned),
    };
    EndpointView { config, version: 1, from_file: true, created_ms: 0, health: Health::default() }
}

/// A job that has ended, with its webhook in the outbox, due now.
fn finished(store: &mut MemoryStore, id: &str, endpoint: &str, url: &str) {
    let row = JobRow {
        client_ref: 1,
        id: id.to_owned(),
        endpoint: endpoint.to_owned(),
        generation: 1,
        sync: false,
        policy: JobPolicy::default(),
        submitted_ms: 1,
        webhook: Some(url.to_owned()),
        end: None,
    };
    let end = JobEnd {
        outcome: JobOutcome::Completed,
        cause: "completed".to_owned(),
        finished_ms: 2,
        delay_ms: 1,
        execution_ms: 1,
        worker: None,
        retries: 0,
        error: None,
        attempts: Vec::new(),
        expires_ms: u64::MAX,
    };
    let delivery = Delivery {
        job: id.to_owned(),
        generation: 1,
        endpoint: endpoint.to_owned(),
        url: url.to_owned(),
        tries: 0,
        due_ms: unix_us() / 1_000,
        last: String::new(),
        state: DeliveryState::Pending,
    };
    let added = Write::JobAdded { row: Box::new(row), input: Bytes::new(), s3: None, idempotency_key: None };
    let ended = Write::JobEnded { id: id.to_owned(), end: Box::new(end), output: None };
    store.commit(&[added, ended, Write::Delivery(Box::new(delivery))]).unwrap();
}

fn config() -> Config {
    let allow = Allow::parse(&["127.0.0.1".to_owned()]).unwrap();
    Config { allow, retry_after: Duration::from_millis(5), ..Config::default() }
}

fn document(id: &str) -> Vec<u8> {
    format!("{{\"id\":\"{id}\",\"status\":\"COMPLETED\"}}").into_bytes()
}

fn start(handle: &Handle, wake: &Arc<Notify>) -> JoinHandle<Result<(), String>> {
    let body: BodyOf = Arc::new(|delivery| (delivery.job != "empty").then(|| document(&delivery.job)));
    tokio::spawn(deliver(handle.clone(), config(), Arc::clone(wake), body))
}

#[test]
fn the_third_try_succeeds_and_each_is_signed_and_recorded() {
    run(async {
        let answers = ["500 Oh", "500 No", "200 OK"].map(status).to_vec();
        let (port, mut calls) = receiver("127.0.0.1", answers).await;
        let mut store = MemoryStore::new();
        finished(&mut store, "a", "signed", &format!("http://127.0.0.1:{port}/hook?x=1"));
        let (handle, mut told) = core(store.clone());
        let task = start(&handle, &Arc::default());
        for (tries, last, state) in [
            (1, "500", DeliveryState::Pending),
            (2, "500", DeliveryState::Pending),
            (3, "200", DeliveryState::Delivered),
        ] {
            let delivery = told.recv().await.unwrap();
            assert_eq!((delivery.tries, delivery.last.as_str(), delivery.state), (tries, last, state));
            let call = calls.recv().await.unwrap();
            assert!(call.head.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{}", call.head);
            assert_eq!(call.body, document("a"));
            assert_eq!(call.header("content-type"), Some("application/json"));
            let signed = call.header("x-thermocline-signature").unwrap();
            let at = signed.strip_prefix("t=").and_then(|rest| rest.split(',').next()).unwrap().parse().unwrap();
            assert_eq!(signed, signature("hush", at, &call.body));
            assert!(unix_us() / 1_000_000 - at < 300);
        }
        let seen = store.reader().deliveries("a").unwrap();
        assert_eq!((seen[0].tries, seen[0].state), (3, DeliveryState::Delivered));
        assert!(calls.recv().await.is_none(), "three calls and no more");
        task.abort();
    });
}

#[test]
fn what_a_dead_gateway_left_is_delivered_by_the_next() {
    run(async {
        let (port, mut calls) = receiver("127.0.0.1", vec![status("503 Busy"), status("200 OK")]).await;
        let mut store = MemoryStore::new();
        finished(&mut store, "a", "plain", &format!("http://127.0.0.1:{port}/"));
        let (handle, mut told) = core(store.clone());
        let first = start(&handle, &Arc::default());
        assert_eq!(told.recv().await.unwrap().tries, 1);
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let (handle, mut told) = core(store.clone());
        let second = start(&handle, &Arc::default());
        let delivery = told.recv().await.unwrap();
        assert_eq!((delivery.tries, delivery.state), (2, DeliveryState::Delivered));
        let call = calls.recv().await.unwrap();
        assert_eq!(call.header("x-thermocline-signature"), None, "no secret, no signature");
        second.abort();
    });
}

#[test]
fn a_bell_wakes_an_outbox_that_was_empty() {
    run(async {
        let (port, mut calls) = receiver("127.0.0.1", vec![status("200 OK"), status("200 OK")]).await;
        let mut store = MemoryStore::new();
        let (handle, mut told) = core(store.clone());
        let wake = Arc::new(Notify::new());
        let task = start(&handle, &wake);
        for id in ["a", "b"] {
            finished(&mut store, id, "plain", &format!("http://127.0.0.1:{port}/"));
            wake.notify_one();
            assert_eq!(told.recv().await.unwrap().job, id);
            assert_eq!(calls.recv().await.unwrap().body, document(id));
        }
        task.abort();
    });
}

#[test]
fn a_refused_address_and_a_result_that_is_gone_are_given_up_at_once() {
    run(async {
        let mut store = MemoryStore::new();
        finished(&mut store, "inside", "plain", "http://10.0.0.1/");
        finished(&mut store, "empty", "plain", "http://127.0.0.1:9/");
        finished(&mut store, "again", "plain", "http://127.0.0.1:9/");
        let retry = Write::JobRetried { id: "again".to_owned(), client_ref: 9, generation: 2, submitted_ms: 1 };
        store.commit(&[retry]).unwrap();
        let (handle, mut told) = core(store.clone());
        let task = start(&handle, &Arc::default());
        for _ in 0..3 {
            let delivery = told.recv().await.unwrap();
            assert_eq!((delivery.tries, delivery.state), (1, DeliveryState::Failed), "{delivery:?}");
            let why = match delivery.job.as_str() {
                "inside" => "refused: private address",
                "empty" => "given up: the job's result is gone",
                _ => "given up: the job is gone or was put back into the queue",
            };
            assert_eq!(delivery.last, why);
        }
        task.abort();
    });
}

#[test]
fn many_deliveries_each_arrive_once_and_a_receiver_that_hangs_holds_up_nobody_else() {
    run(async {
        const MANY: usize = 300;
        let (port, mut calls) = receiver("127.0.0.1", vec![status("200 OK"); MANY]).await;
        // Takes connections and never answers.
        let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut store = MemoryStore::new();
        for number in 0..40 {
            finished(
                &mut store,
                &format!("h{number}"),
                "signed",
                &format!("http://{}/", hanging.local_addr().unwrap()),
            );
        }
        for number in 0..MANY {
            finished(&mut store, &format!("j{number}"), "plain", &format!("http://127.0.0.1:{port}/"));
        }
        let (handle, mut told) = core(store.clone());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let body: BodyOf = Arc::new(move |delivery| {
            count.fetch_add(usize::from(delivery.endpoint == "plain"), Ordering::Relaxed);
            Some(document(&delivery.job))
        });
        let task = tokio::spawn(deliver(handle, config(), Arc::default(), body));
        let mut bodies = std::collections::BTreeSet::new();
        for _ in 0..MANY {
            bodies.insert(calls.recv().await.unwrap().body);
            let delivery = told.recv().await.unwrap();
            assert_eq!(
                (delivery.endpoint.as_str(), delivery.state),
                ("plain", DeliveryState::Delivered),
                "{delivery:?}"
            );
        }
        assert_eq!((bodies.len(), asked.load(Ordering::Relaxed)), (MANY, MANY));
        task.abort();
    });
}
