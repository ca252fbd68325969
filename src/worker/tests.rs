//! The worker against a gateway of a few lines that hands out what the test says and keeps what the worker posts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::*;

/// A request of the worker: what it asked for (with its query), and the body of a post.
type Seen = (String, Value);

#[derive(Clone)]
struct Gate {
    /// Answers to takes, in order; then none until the end of the test.
    takes: Arc<Mutex<VecDeque<Response>>>,
    stops: Arc<Mutex<Option<oneshot::Receiver<Vec<String>>>>>,
    /// Status of the next posts of results; then 200.
    statuses: Arc<Mutex<VecDeque<StatusCode>>>,
    seen: mpsc::UnboundedSender<Seen>,
}

impl Gate {
    fn note(&self, uri: &Uri, body: Value) {
        let _ = self.seen.send((uri.path_and_query().map_or_else(String::new, ToString::to_string), body));
    }
}

async fn take(State(gate): State<Gate>, uri: Uri, headers: HeaderMap) -> Response {
    gate.note(&uri, json!(headers.get("authorization").and_then(|value| value.to_str().ok())));
    let next = gate.takes.lock().expect("no test panics here").pop_front();
    match next {
        Some(answer) => answer,
        None => std::future::pending().await,
    }
}

async fn stop(State(gate): State<Gate>) -> Response {
    let receiver = gate.stops.lock().expect("no test panics here").take();
    match receiver {
        Some(receiver) => match receiver.await {
            Ok(jobs) => axum::Json(json!({ "jobsToStop": jobs })).into_response(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn posted(State(gate): State<Gate>, uri: Uri, axum::Json(body): axum::Json<Value>) -> StatusCode {
    gate.note(&uri, body);
    gate.statuses.lock().expect("no test panics here").pop_front().unwrap_or(StatusCode::OK)
}

async fn ping(State(gate): State<Gate>, uri: Uri, Path(_): Path<String>) -> StatusCode {
    gate.note(&uri, Value::Null);
    StatusCode::OK
}

struct Test {
    gate: Gate,
    seen: mpsc::UnboundedReceiver<Seen>,
    stop: Option<oneshot::Sender<Vec<String>>>,
    leave: Option<oneshot::Sender<()>>,
    worker: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

/// A worker with `handler` at a gateway that answers its takes with `takes`.
async fn begin(takes: Vec<Response>, concurrency: usize, handler: impl Handler) -> Test {
    let (sender, seen) = mpsc::unbounded_channel();
    let (stop_sender, stop_receiver) = oneshot::channel();
    let gate = Gate {
        takes: Arc::new(Mutex::new(takes.into())),
        stops: Arc::new(Mutex::new(Some(stop_receiver))),
        statuses: Arc::default(),
        seen: sender,
    };
    let router = Router::new()
        .route("/v2/e/job-take/{worker}", get(take))
        .route("/v2/e/job-take-batch/{worker}", get(take))
        .route("/v2/e/job-stop/{worker}", get(stop))
        .route("/v2/e/job-done/{worker}/{id}", post(posted))
        .route("/v2/e/job-stream/{worker}/{id}", post(posted))
        .route("/v2/e/ping/{worker}", get(ping))
        .with_state(gate.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base = format!("http://{}/v2/e", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let settings = Settings {
        id: "w".to_owned(),
        take: format!("{base}/job-take/$ID?gpu=x"),
        done: format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=x"),
        stream: Some(format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=x")),
        ping: Some(format!("{base}/ping/$RUNPOD_POD_ID?gpu=x")),
        ping_interval: Duration::from_secs(600),
        token: Some("secret".to_owned()),
    };
    let (leave_sender, leave_receiver) = oneshot::channel::<()>();
    let worker = Worker::new(settings).concurrency(concurrency);
    let worker = tokio::spawn(worker.serve(handler, async move { drop(leave_receiver.await) }));
    Test { gate, seen, stop: Some(stop_sender), leave: Some(leave_sender), worker }
}

impl Test {
    /// The next request whose path begins with `operation`; others before it are passed over.
    async fn next(&mut self, operation: &str) -> Seen {
        loop {
            let (path, body) = self.seen.recv().await.expect("the gateway lives");
            if let Some(rest) = path.strip_prefix("/v2/e/").filter(|rest| rest.starts_with(operation)) {
                return (rest.to_owned(), body);
            }
        }
    }

    /// Tells the worker to leave and waits for it.
    async fn end(mut self) -> Vec<Seen> {
        drop(self.leave.take());
        self.worker.await.expect("it did not panic").expect("it left in peace");
        let mut rest = Vec::new();
        while let Ok(seen) = self.seen.try_recv() {
            rest.push(seen);
        }
        rest
    }
}

fn job(id: &str, input: Value) -> Response {
    axum::Json(json!({ "id": id, "input": input })).into_response()
}

async fn echo(job: Job, _: Context) -> Result<Outcome, Failed> {
    Ok(job.input.into())
}

#[tokio::test]
async fn a_job_is_taken_run_and_answered() {
    let mut test = begin(vec![job("j-1", json!({ "a": 1 }))], 1, echo).await;
    assert_eq!(test.next("job-take").await, ("job-take/w?gpu=x&job_in_progress=0".to_owned(), json!("secret")));
    let done = test.next("job-done").await;
    assert_eq!(done, ("job-done/w/j-1?gpu=x&isStream=false".to_owned(), json!({ "output": { "a": 1 } })));
    test.next("job-take").await;
    test.end().await;
}

#[tokio::test]
async fn a_worker_with_several_places_takes_several_jobs_at_once() {
    let jobs = json!([{ "id": "a", "input": 1 }, { "id": "b", "input": 2 }, { "id": "a", "input": 3 }, { "id": 4 }]);
    let barrier = Arc::new(tokio::sync::Barrier::new(2));
    let handler = move |job: Job, _: Context| {
        let barrier = Arc::clone(&barrier);
        async move {
            // Only jobs that run at the same time pass.
            barrier.wait().await;
            Ok(Outcome::output(job.input))
        }
    };
    let mut test = begin(vec![axum::Json(jobs).into_response()], 3, handler).await;
    assert_eq!(test.next("job-take").await.0, "job-take-batch/w?gpu=x&batch_size=3&job_in_progress=0");
    let mut done =
        [test.next("job-done").await, test.next("job-done").await].map(|(path, body)| (path, body["output"].clone()));
    done.sort_by_key(|(path, _)| path.clone());
    assert_eq!(done[0], ("job-done/w/a?gpu=x&isStream=false".to_owned(), json!(1)));
    assert_eq!(done[1], ("job-done/w/b?gpu=x&isStream=false".to_owned(), json!(2)));
    let rest = test.end().await;
    assert!(!rest.iter().any(|(path, _)| path.contains("job-done")), "the second job `a` was refused: {rest:?}");
}

#[tokio::test]
async fn pieces_and_progress_come_before_the_end() {
    let handler = |_: Job, context: Context| async move {
        context.progress(&json!("begun")).await;
        context.stream(&json!("one")).await;
        context.stream(&json!("two")).await;
        Ok(Outcome::streamed().and_refresh())
    };
    let mut test = begin(vec![job("j", json!({}))], 1, handler).await;
    assert_eq!(test.next("job-done").await.1, json!({ "status": "IN_PROGRESS", "output": "begun" }));
    for piece in ["one", "two"] {
        let (path, body) = test.next("job-stream").await;
        assert_eq!((path.as_str(), body), ("job-stream/w/j?gpu=x&isStream=false", json!({ "output": piece })));
    }
    let (path, body) = test.next("job-done").await;
    assert_eq!((path.as_str(), body), ("job-done/w/j?gpu=x&isStream=true", json!({ "output": [], "stopPod": true })));
    test.end().await;
}

#[tokio::test]
async fn errors_and_panics_of_the_handler_are_errors_of_the_job() {
    let handler = |job: Job, _: Context| async move {
        match job.input.as_str() {
            Some("panic") => panic!("out of luck"),
            _ => Err(Failed::new("bad input")),
        }
    };
    let mut test = begin(vec![job("a", json!("x")), job("b", json!("panic"))], 1, handler).await;
    for expected in ["bad input", "the handler panicked: out of luck"] {
        let body = test.next("job-done").await.1;
        let error: Value = serde_json::from_str(body["error"].as_str().expect("a text")).expect("JSON in it");
        assert_eq!(error["error_message"], expected);
        assert_eq!(error["worker_id"], "w");
    }
    test.end().await;
}

#[tokio::test]
async fn a_stop_signal_ends_the_job_without_a_word() {
    let (started, mut running) = mpsc::unbounded_channel();
    let handler = move |job: Job, _: Context| {
        let started = started.clone();
        async move {
            if job.input == json!("long") {
                let _ = started.send(());
                std::future::pending::<()>().await;
            }
            Ok(Outcome::output(job.input))
        }
    };
    let mut test = begin(vec![job("long", json!("long")), job("next", json!("short"))], 1, handler).await;
    running.recv().await.expect("it runs");
    test.stop
        .take()
        .expect("nobody was stopped yet")
        .send(vec!["long".to_owned(), "unknown".to_owned()])
        .expect("it waits");
    assert_eq!(test.next("job-done").await.0, "job-done/w/next?gpu=x&isStream=false");
    let rest = test.end().await;
    assert!(!rest.iter().any(|(path, _)| path.contains("job-done/w/long")), "{rest:?}");
}

#[tokio::test]
async fn a_result_is_posted_again_until_it_is_taken_but_not_when_it_is_refused() {
    let mut test = begin(vec![job("a", json!(1))], 1, echo).await;
    test.gate.statuses.lock().expect("no test panics here").push_back(StatusCode::INTERNAL_SERVER_ERROR);
    let first = test.next("job-done").await;
    assert_eq!(test.next("job-done").await, first, "posted again after 500");
    test.end().await;
    let mut test = begin(vec![job("a", json!(1)), job("b", json!(2))], 1, echo).await;
    test.gate.statuses.lock().expect("no test panics here").push_back(StatusCode::NOT_FOUND);
    assert!(test.next("job-done").await.0.starts_with("job-done/w/a"));
    assert!(test.next("job-done").await.0.starts_with("job-done/w/b"), "a 404 is final");
    test.end().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_ends_what_it_holds() {
    let (started, mut running) = mpsc::unbounded_channel();
    let (go, gone) = tokio::sync::watch::channel(false);
    let handler = move |job: Job, _: Context| {
        let (started, mut gone) = (started.clone(), gone.clone());
        async move {
            let _ = started.send(());
            let _ = gone.wait_for(|go| *go).await;
            Ok(Outcome::output(job.input))
        }
    };
    let mut test = begin(vec![job("held", json!(1))], 1, handler).await;
    running.recv().await.expect("it runs");
    drop(test.leave.take());
    go.send_replace(true);
    assert_eq!(test.next("job-done").await.1, json!({ "output": 1 }));
    test.end().await;
}

#[test]
fn templates_become_urls_and_ids_cannot_leave_their_place() {
    let get = |name: &str| {
        let value = match name {
            "RUNPOD_WEBHOOK_GET_JOB" => "http://g/v2/e/job-take/$ID",
            "RUNPOD_WEBHOOK_POST_OUTPUT" => "http://g/v2/e/job-done/$RUNPOD_POD_ID/$ID?gpu=x",
            "RUNPOD_WEBHOOK_PING" => "http://g/v2/e/ping/$RUNPOD_POD_ID?gpu=x",
            "RUNPOD_POD_ID" => "w1-1",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let settings = Settings::read(get).expect("complete");
    assert_eq!(settings.take_url(1, true), "http://g/v2/e/job-take/w1-1?job_in_progress=1");
    assert_eq!(settings.take_url(2, true), "http://g/v2/e/job-take-batch/w1-1?batch_size=2&job_in_progress=1");
    assert_eq!(settings.stop_url().as_deref(), Some("http://g/v2/e/job-stop/w1-1"));
    assert_eq!(settings.done_url("../x?a", true), "http://g/v2/e/job-done/w1-1/..%2Fx%3Fa?gpu=x&isStream=true");
    let ping = settings.ping_url(&["a".to_owned(), "b&c".to_owned()]).expect("it has a place for pings");
    assert!(ping.starts_with("http://g/v2/e/ping/w1-1?gpu=x&job_id=a,b%26c&runpod_version=thermocline-"), "{ping}");
    assert!(!format!("{settings:?}").contains("token"));
}

#[test]
fn an_environment_that_says_too_little_is_told_what_is_missing() {
    let error = Settings::read(|_| None).expect_err("nothing is there").to_string();
    assert!(error.contains("no RUNPOD_WEBHOOK_GET_JOB") && error.contains("thermocline worker env"), "{error}");
    let get = |name: &str| Some(if name == "RUNPOD_PING_INTERVAL" { "5" } else { "http://g" }.to_owned());
    let error = Settings::read(get).expect_err("too short").to_string();
    assert_eq!(error, "RUNPOD_PING_INTERVAL: `5`; allowed: 100 to 600000 (milliseconds)");
}
