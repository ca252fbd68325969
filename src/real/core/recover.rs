//! From what is on record to a running core: at the first start, and after any end of the last one.
//!
//! The snapshot and the events after it restore scheduler, ledger, metrics and tables exactly as they were told. What the
//! launchers were asked and had not reported is then asked again: workers that still run are taken up, pulls and stops are
//! repeated, a start that never happened is made up for. Nothing is redone that was done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::super::clock::Clock;
use super::super::config::{LauncherConfig, ServeConfig};
use super::super::ids::{self, TokenKey};
use super::super::launcher::Known;
use super::super::store::{JobRow, Recovered, Store, StoreError, Write};
use super::super::transcript::{Limits, LiveTranscript};
use super::desk::{Desk, StopSignal};
use super::endpoints::{Definitions, PIN};
use super::handle::{Handle, Request};
use super::housekeeping::Housekeeping;
use super::metrics::Live;
use super::tables::{TICKET_BIT, Tables};
use super::{Core, Outside};
use crate::policy::{ParamError, Phase};
use crate::scheduler::{Event, JobPolicy, Scheduler, SchedulerState, StopMode};
use crate::units::{HostId, ImageId, Time, WorkerId};

/// Format of the core's part of a snapshot.
const STATE_FORMAT: u32 = 1;

/// Why a core cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A policy of the configuration.
    #[error(transparent)]
    Policy(#[from] ParamError),
    /// What is on record cannot be understood.
    #[error("what the store holds cannot be taken up: {0}")]
    Record(String),
    /// The application file asks for something that cannot be.
    #[error("{0}")]
    Config(String),
}

/// Everything that is not in rows of the store.
#[derive(Deserialize)]
struct State {
    format: u32,
    tables: Tables,
    scheduler: SchedulerState,
    live: Live,
}

/// A core that is ready to run on a thread of its own, and its handle.
pub struct Started {
    /// To be run: `core.run(&requests)`.
    pub core: Core,
    /// What it listens to.
    pub requests: Receiver<Request>,
    /// For everybody else.
    pub handle: Handle,
}

/// Takes up what the store holds (nothing, at the first start) and brings it in line with `config`.
///
/// # Errors
/// If the store cannot be read, or what it holds and what the configuration asks for cannot be reconciled.
pub fn start(
    config: ServeConfig,
    mut store: Box<dyn Store>,
    outside: impl FnOnce(&Handle, Sender<Request>) -> Result<Outside, String>,
) -> Result<Started, StartError> {
    let mut found = store.load()?;
    let meta: BTreeMap<String, Bytes> = std::mem::take(&mut found.meta).into_iter().collect();
    let mut batch = Vec::new();
    let secret: [u8; 32] = match meta.get("secret").and_then(|bytes| bytes.as_ref().try_into().ok()) {
        Some(secret) => secret,
        None => {
            let secret = ids::random_bytes();
            batch.push(Write::Meta { key: "secret".to_owned(), value: Bytes::copy_from_slice(&secret) });
            secret
        }
    };
    let last = found.events.last().map(|(_, at, _)| *at).or(found.snapshot.as_ref().map(|(_, at, _)| *at));
    let clock = match meta.get("epoch_unix_us").and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()) {
        Some(epoch) => Clock::resume(epoch, last.unwrap_or(Time::ZERO)),
        None => Clock::start(),
    };
    let epoch = clock.epoch_unix_us().to_string();
    if !meta.contains_key("epoch_unix_us") {
        batch.push(Write::Meta { key: "epoch_unix_us".to_owned(), value: Bytes::from(epoch) });
    }
    let tokens = TokenKey::new(secret);
    let (sender, requests) = channel();
    let (notices, _) = tokio::sync::broadcast::channel(4_096);
    let handle = Handle::new(sender.clone(), store.reader(), notices.clone(), tokens.clone(), clock);
    let outside = Outside { notices, ..outside(&handle, sender).map_err(StartError::Config)? };
    let scheduler = Scheduler::new(config.scheduler.clone())?;
    let live = Live::new(&config.scheduler.gpu_classes);
    let mut definitions = Definitions::recover(std::mem::take(&mut found.endpoints), config.scheduler.images.clone());
    for (key, digest) in &meta {
        if let Some(image) = key.strip_prefix(PIN).and_then(|number| number.parse().ok()) {
            definitions.pin(ImageId(image), &String::from_utf8_lossy(digest));
        }
    }
    let mut core = Core {
        clock,
        now: clock.now(),
        reader: store.reader(),
        scheduler,
        tables: Tables::new(clock.epoch_unix_us()),
        live,
        definitions,
        desk: Desk::default(),
        outside,
        tokens,
        seq: 0,
        last_ref: found.last_client_ref,
        batch,
        // What is made anew is durable before anything happens.
        commit_by: Some(Time::ZERO),
        effects: Vec::new(),
        postponed: Vec::new(),
        submitted: Vec::new(),
        facts: std::collections::VecDeque::new(),
        acquiring: BTreeMap::new(),
        housekeeping: Housekeeping::default(),
        transcript: None,
        shutting_down: false,
        draining: Vec::new(),
        shut_down: None,
        config,
        store,
    };
    core.take_up(found)?;
    core.open_transcript();
    core.agree_with_config()?;
    core.settle(&requests)?;
    Ok(Started { core, requests, handle })
}

impl Core {
    /// A record of the run for people and for `replay`, beside a store that is kept.
    fn open_transcript(&mut self) {
        self.transcript = self.config.data_dir.as_ref().map(|folder| {
            LiveTranscript::open(&folder.join("transcripts"), "serve", Limits::default(), self.now, &self.scheduler)
        });
    }

    /// The part of a snapshot that is the core's.
    pub(super) fn state(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        struct StateRef<'a> {
            format: u32,
            tables: &'a Tables,
            scheduler: SchedulerState,
            live: &'a Live,
        }
        serde_json::to_vec(&StateRef {
            format: STATE_FORMAT,
            tables: &self.tables,
            scheduler: self.scheduler.snapshot(),
            live: &self.live,
        })
    }

    fn take_up(&mut self, found: Recovered) -> Result<(), StartError> {
        let record = |error: &dyn std::fmt::Display| StartError::Record(error.to_string());
        if let Some((seq, _, state)) = found.snapshot {
            let state: State = crate::json::read(&state).map_err(|error| record(&error))?;
            if state.format != STATE_FORMAT {
                return Err(StartError::Record(format!("a snapshot of format {}", state.format)));
            }
            self.scheduler = Scheduler::restore(state.scheduler).map_err(|error| record(&error))?;
            self.live = state.live;
            self.tables = state.tables;
            self.tables.index();
            (self.seq, self.housekeeping.snapshot_seq) = (seq, seq);
        }
        let rows: BTreeMap<u64, JobRow> = found.jobs.into_iter().map(|row| (row.client_ref, row)).collect();
        let first = self.seq == 0;
        for (seq, at, event) in found.events {
            self.replay(at, &event, &rows);
            self.seq = seq;
        }
        self.definitions.images = self.scheduler.images().to_vec();
        self.now = self.clock.now();
        // At the first start too: a launcher waits to be told what should run before it touches anything.
        self.take_up_workers();
        if first && self.seq == 0 {
            return Ok(());
        }
        self.take_up_jobs();
        tracing::info!(events = self.seq, jobs = self.tables.job_count(), "took up what the store holds");
        Ok(())
    }

    /// Folds an event again: the same decisions, nothing carried out.
    fn replay(&mut self, at: Time, event: &Event, rows: &BTreeMap<u64, JobRow>) {
        if let Event::JobSubmitted { endpoint, client_ref, policy } = *event {
            if client_ref & TICKET_BIT != 0 {
                self.tables.add_ticket(client_ref & !TICKET_BIT, endpoint);
            } else {
                let row = rows.get(&client_ref).cloned().unwrap_or_else(|| forgotten(client_ref, policy));
                self.tables.add_job(row, endpoint, at);
            }
        }
        self.tables.event(at, event);
        self.live.event(at, event);
        self.scheduler.handle(at, event);
        while let Some(command) = self.scheduler.poll_command() {
            self.live.command(at, &command);
            if let crate::scheduler::Command::RejectJob { client_ref, .. } = command {
                self.tables.drop_job(client_ref);
            }
            drop(self.tables.command(at, &command));
        }
        self.live.settled(at, &self.scheduler);
    }

    /// Asks the launchers for the workers that should be running, and for what was asked and not reported.
    fn take_up_workers(&mut self) {
        let mut known: Vec<Vec<Known>> = vec![Vec::new(); self.config.hosts.len()];
        let mut repeat: Vec<(HostId, String, WorkerId)> = Vec::new();
        let mut pulls: Vec<(HostId, ImageId)> = Vec::new();
        let now = self.now;
        for (id, entry) in self.tables.workers() {
            let Some(host) = entry.host.filter(|host| host.index() < known.len()) else { continue };
            let name = entry.name(id);
            let (stopping, frozen) = (entry.phase == Phase::Stopping, entry.phase == Phase::Frozen);
            if entry.phase == Phase::Pulling
                && let Some(config) = self.definitions.of_release(entry.endpoint, entry.version)
            {
                pulls.push((host, config.spec.image));
            }
            if !entry.phase.holds_gpus() && !frozen {
                continue;
            }
            let name = entry.frozen_as.filter(|_| frozen).map_or(name, |epoch| ids::worker_name(id, epoch));
            if stopping {
                repeat.push((host, name.clone(), id));
            }
            known[host.index()].push(Known { name, host, stopping, frozen });
            let seat = self.desk.seat(id);
            (seat.epoch, seat.last_seen, seat.leaving) = (entry.epoch, now, stopping);
            seat.restart_owed = entry.phase == Phase::Starting;
            seat.ready = matches!(entry.phase, Phase::Ready | Phase::Draining);
            for hand in entry.hands.iter().filter(|hand| hand.stopping) {
                let signal = StopSignal { id: hand.id.clone(), next: now, sent: false };
                seat.stops.insert(hand.job, signal);
            }
        }
        pulls.sort_unstable();
        pulls.dedup();
        for (host, launcher) in self.outside.launchers.clone().into_iter().enumerate() {
            let known = std::mem::take(&mut known[host]);
            self.effect(move || launcher.adopt(HostId(host as u32), &known));
        }
        for (host, name, _) in repeat {
            let launcher = Arc::clone(&self.outside.launchers[host.index()]);
            self.effect(move || launcher.stop(host, &name, StopMode::Sleep));
        }
        for (host, image) in pulls {
            let launcher = Arc::clone(&self.outside.launchers[host.index()]);
            let reference = self.definitions.image_reference(image);
            self.effect(move || launcher.pull(host, image, &reference));
        }
        self.extend_leases();
    }

    /// The gateway was away: nobody could vouch for a job meanwhile. Every lease begins anew; polls that were open are not.
    fn extend_leases(&mut self) {
        let up: Vec<(WorkerId, u32, bool)> = self
            .tables
            .workers()
            .filter(|(_, entry)| matches!(entry.phase, Phase::Ready | Phase::Draining))
            .map(|(id, entry)| (id, entry.epoch, entry.hands.is_empty()))
            .collect();
        for (worker, epoch, idle) in up {
            self.tell(Event::TakeClosed { worker, epoch });
            if !idle {
                self.tell(Event::WorkerPinged { worker, epoch });
            }
        }
    }

    /// Requests of load-balancing endpoints died with their connections.
    fn take_up_jobs(&mut self) {
        let open: Vec<u64> = self.tables.tickets().map(|(ticket, _)| ticket).collect();
        for ticket in open {
            self.release("", ticket, false);
        }
    }

    /// A start that was asked for just before the gateway went down and never happened.
    pub(super) fn launch_again(&mut self, worker: WorkerId) {
        let Some(entry) = self.tables.worker(worker) else { return };
        let (Some(host), epoch) = (entry.host, entry.epoch) else { return };
        let (endpoint, version) = (entry.endpoint, entry.version);
        let again = crate::scheduler::Command::StartWorker { worker, epoch, endpoint, host, version, resume: false };
        self.wish(&again, None);
    }

    /// Hosts and endpoints of the configuration.
    fn agree_with_config(&mut self) -> Result<(), StartError> {
        let known = self.scheduler.host_count();
        if known > self.config.hosts.len() {
            // Hosts are numbered in order: one that is gone from the file stays known and is lost.
            for gone in self.config.hosts.len()..known {
                self.tell(Event::HostLost { host: HostId(gone as u32) });
            }
        }
        for (number, host) in self.config.hosts.clone().into_iter().enumerate() {
            let id = HostId(number as u32);
            if number < known {
                self.tell(Event::HostReturned { host: id });
                self.tell(Event::HostCapacityChanged { host: id, gpus: host.spec.gpus });
            } else {
                if host.launcher == LauncherConfig::External && host.spec.gpus == 0 {
                    return Err(StartError::Config(format!("host {}: no places", host.spec.name)));
                }
                self.tell(Event::HostAdded { host: Box::new(host.spec) });
            }
        }
        let endpoints = self.config.endpoints.clone();
        self.reconcile(endpoints).map_err(StartError::Config)
    }
}

/// A job that ended before the restart: only its counts are still of interest.
fn forgotten(client_ref: u64, policy: JobPolicy) -> JobRow {
    JobRow {
        client_ref,
        id: format!("#{client_ref}"),
        endpoint: String::new(),
        generation: 0,
        sync: false,
        policy,
        submitted_ms: 0,
        webhook: None,
        end: None,
    }
}
