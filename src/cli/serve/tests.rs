//! The core on its own thread between a worker that the test plays and a store whose commits the test lets through one by one.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};
use tokio::task::yield_now;

use super::{Overrides, serve_config};
use crate::real::core::api::{Done, HandedJob, JobStatus, Submission, Taken};
use crate::real::core::handle::{Handle, Request};
use crate::real::core::{Outside, Started, start};
use crate::real::launcher::external::ExternalLauncher;
use crate::real::launcher::{Launcher, Reporter};
use crate::real::store::memory::MemoryStore;
use crate::real::store::{Recovered, Store, StoreError, StoreReader, Write};
use crate::scenario::serving;
use crate::scheduler::JobPolicy;

/// Commits allowed (none: any number), and those that wait to be.
#[derive(Default)]
struct Gate {
    state: Mutex<(Option<u32>, u32)>,
    changed: Condvar,
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut (Option<u32>, u32))) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Returns once the state is so.
    fn until(&self, so: impl Fn(&(Option<u32>, u32)) -> bool) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(state, |state| !so(state)).unwrap_or_else(PoisonError::into_inner));
    }

    fn pass(&self) {
        self.change(|(_, waiting)| *waiting += 1);
        self.until(|(allowed, _)| *allowed != Some(0));
        self.change(|(allowed, waiting)| {
            *allowed = allowed.map(|left| left - 1);
            *waiting -= 1;
        });
    }
}

struct GatedStore(MemoryStore, Arc<Gate>);

impl Store for GatedStore {
    fn load(&mut self) -> Result<Recovered, StoreError> {
        self.0.load()
    }

    fn commit(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        self.1.pass();
        self.0.commit(batch)
    }

    fn reader(&self) -> Arc<dyn StoreReader> {
        self.0.reader()
    }
}

fn job() -> Submission {
    Submission {
        endpoint: "a".to_owned(),
        sync: false,
        input: Bytes::from_static(b"{}"),
        s3: None,
        webhook: None,
        policy: JobPolicy::default(),
        idempotency_key: None,
        trace: None,
    }
}

struct Bench {
    handle: Handle,
    gate: Arc<Gate>,
    thread: JoinHandle<Result<(), StoreError>>,
}

impl Bench {
    /// One endpoint, one worker that somebody else starts.
    fn start() -> Bench {
        let text = "{endpoints: {a: {workers: {active: 1, max: 1, extra: 0}}}, serve: {launcher: external}}";
        let serving = serving::from_str(text, "app.yaml", Path::new("apps"), &[]).expect("it is well-formed");
        let (config, _) = serve_config(&serving, &Overrides::default()).expect("it can be served");
        let gate = Arc::new(Gate::default());
        let store = GatedStore(MemoryStore::new(), Arc::clone(&gate));
        let hosts = config.hosts.len();
        let outside = |_: &Handle, requests: std::sync::mpsc::Sender<Request>| {
            let reporter = Reporter::new(move |report| drop(requests.send(Request::Report(report))));
            let launcher: Arc<dyn Launcher> = Arc::new(ExternalLauncher::new(reporter));
            let launchers = vec![launcher; hosts];
            let (notices, _) = broadcast::channel(1);
            let webhooks = Arc::new(Notify::new());
            let worker_base_urls = vec![String::new(); hosts];
            Ok(Outside { launchers, notices, webhooks, worker_base_urls, spans: None, probe: Box::new(|_| {}) })
        };
        let Started { core, requests, handle } = start(config, Box::new(store), outside).expect("nothing is on record");
        let thread = std::thread::spawn(move || core.run(&requests));
        Bench { handle, gate, thread }
    }

    async fn submit(&self) -> String {
        self.handle.submit(job()).await.expect("it is taken").0
    }

    async fn hand_out(&self) -> HandedJob {
        loop {
            // The scheduler may not have asked for its worker yet: then the poll is sent away.
            match self.handle.take("a", "outsider", 1, false).await {
                Ok(Taken::Jobs(mut jobs)) => return jobs.remove(0),
                Ok(Taken::KeepOff) => yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn end(self) {
        self.handle.shut_down(false).await;
        self.thread.join().expect("no panic").expect("the store works");
    }
}

/// Lets everything that was spawned go as far as it can.
async fn others_go_on() {
    for _ in 0..16 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_question_about_a_job_that_ends_in_the_same_batch_is_answered_when_its_end_is_durable() {
    let bench = Bench::start();
    let id = bench.submit().await;
    assert_eq!(bench.hand_out().await.id, id);
    // The core is held in the commit of another submission; meanwhile the end of the job and the questions come in.
    bench.gate.change(|(allowed, _)| *allowed = Some(0));
    let other = tokio::spawn({
        let handle = bench.handle.clone();
        async move { handle.submit(job()).await }
    });
    others_go_on().await;
    bench.gate.until(|(_, waiting)| *waiting == 1);
    let spawn = |ask: &'static str| {
        let (handle, id) = (bench.handle.clone(), id.clone());
        tokio::spawn(async move {
            match ask {
                "done" => {
                    let done = Done::Final { output: Some(Bytes::from_static(b"7")), error: None, refresh: false };
                    handle.done("a", "outsider", &id, done).await.expect("the result is taken");
                }
                "live" => assert!(handle.live("a", &id).await.is_none(), "it has ended"),
                _ => {
                    // Asked after the end: the store is to answer, and it has to know by then.
                    assert!(handle.ended(&id).await.is_none_or(|view| view.status == JobStatus::Completed));
                }
            }
            let row = handle.reader().job(&id).expect("it can be read").expect("the job is there");
            assert!(row.end.is_some(), "{ask}: answered before the end was durable");
        })
    };
    let answers = ["done", "live", "ended"].map(spawn);
    others_go_on().await;
    bench.gate.change(|(allowed, _)| *allowed = Some(1));
    other.await.expect("no panic").expect("it is taken");
    bench.gate.until(|(_, waiting)| *waiting == 1);
    others_go_on().await;
    assert!(answers.iter().all(|answer| !answer.is_finished()), "somebody was told what may still be lost");
    bench.gate.change(|(allowed, _)| *allowed = None);
    for answer in answers {
        answer.await.expect("as it should be");
    }
    bench.end().await;
}
