//! Rows of the tables `placements` and `hosts`: which worker had a place on which host from when to when, and what each host had
//! to give over time. A worker may move, and a host may be lost and come back: the row of a worker alone cannot say so.

use std::io::Write;

use crate::results::tables::{Cell, Kind, Table};
use crate::scheduler::watch::{Member, Watcher};
use crate::scheduler::{EndpointSpec, Event, GpuClass, HostSpec, Phase};
use crate::units::{EndpointId, HostId, Time, WorkerId};

/// Columns of the table `placements`: a row per stay of a worker on a host, in order of their ends.
pub const PLACEMENT_COLUMNS: &[(&str, Kind)] = &[
    ("worker", Kind::Count),
    ("endpoint", Kind::Text),
    ("host", Kind::Count),
    ("from_s", Kind::Number),
    ("to_s", Kind::Number),
];

/// Columns of the table `hosts`: a row per stretch of time in which a host had the same to give, in order of their ends.
/// `state` is `up` or `lost`; a lost host has no GPUs.
pub const HOST_COLUMNS: &[(&str, Kind)] = &[
    ("host", Kind::Count),
    ("name", Kind::Text),
    ("data_center", Kind::Text),
    ("gpu_class", Kind::Text),
    ("from_s", Kind::Number),
    ("to_s", Kind::Number),
    ("state", Kind::Text),
    ("gpus", Kind::Count),
];

/// A host as it is now.
struct Host {
    spec: HostSpec,
    since: Time,
    is_lost: bool,
    /// What it has when it is not lost.
    gpus: u32,
}

/// Writes both tables.
pub struct PlaceRows<W: Write> {
    placements: Table<W>,
    hosts: Table<W>,
    classes: Vec<GpuClass>,
    endpoints: Vec<String>,
    known: Vec<Host>,
    /// Who has a place where since when, by the worker's slot.
    stays: Vec<Option<(WorkerId, HostId, Time)>>,
}

impl<W: Write> PlaceRows<W> {
    /// Writes to `placements`, which has [`PLACEMENT_COLUMNS`], and `hosts`, which has [`HOST_COLUMNS`].
    pub fn new(placements: Table<W>, hosts: Table<W>, classes: &[GpuClass]) -> PlaceRows<W> {
        let classes = classes.to_vec();
        PlaceRows { placements, hosts, classes, endpoints: Vec::new(), known: Vec::new(), stays: Vec::new() }
    }

    /// Both tables, to be finished.
    pub fn into_tables(self) -> [Table<W>; 2] {
        [self.placements, self.hosts]
    }

    /// The worker is on `host` from now on.
    fn moved(&mut self, now: Time, worker: &Member, host: Option<HostId>) {
        let slot = worker.id.slot();
        if self.stays.len() <= slot {
            self.stays.resize_with(slot + 1, || None);
        }
        if self.stays[slot].map(|(id, host, _)| (id, host)) == host.map(|host| (worker.id, host)) {
            return;
        }
        if let Some((id, host, since)) = self.stays[slot].take() {
            self.placements.row(&[
                id.sequence().into(),
                self.endpoints.get(worker.endpoint.index()).map(String::as_str).into(),
                host.0.into(),
                since.as_secs().into(),
                now.as_secs().into(),
            ]);
        }
        self.stays[slot] = host.map(|host| (worker.id, host, now));
    }

    /// The host changes now: what it was until now is a row.
    fn changed(&mut self, now: Time, host: HostId, change: impl FnOnce(&mut Host)) {
        let Some(known) = self.known.get_mut(host.index()) else { return };
        let class = self.classes.get(usize::from(known.spec.gpu_class.0)).map(|class| class.name.as_str());
        if now > known.since {
            self.hosts.row(&[
                host.0.into(),
                known.spec.name.as_str().into(),
                known.spec.data_center.as_str().into(),
                Cell::Text(class),
                known.since.as_secs().into(),
                now.as_secs().into(),
                if known.is_lost { "lost" } else { "up" }.into(),
                if known.is_lost { 0 } else { known.gpus }.into(),
            ]);
            known.since = now;
        }
        change(known);
    }
}

impl<W: Write> Watcher for PlaceRows<W> {
    fn host_added(&mut self, now: Time, _: HostId, spec: &HostSpec) {
        self.known.push(Host { since: now, is_lost: false, gpus: spec.gpus, spec: spec.clone() });
    }

    fn endpoint_changed(&mut self, _: Time, endpoint: EndpointId, spec: &EndpointSpec) {
        if self.endpoints.len() <= endpoint.index() {
            self.endpoints.resize(endpoint.index() + 1, String::new());
        }
        self.endpoints[endpoint.index()].clone_from(&spec.name);
    }

    fn worker_placed(&mut self, now: Time, worker: &Member, _: Option<&Member>) {
        self.moved(now, worker, worker.host);
    }

    fn phase_changed(&mut self, now: Time, worker: &Member, _: &Member) {
        if worker.phase == Phase::Removed {
            self.moved(now, worker, None);
        }
    }

    fn worker_left(&mut self, now: Time, worker: &Member) {
        self.moved(now, worker, None);
    }

    fn fact(&mut self, now: Time, event: &Event) {
        match event {
            Event::HostLost { host } => self.changed(now, *host, |host| host.is_lost = true),
            Event::HostReturned { host } => self.changed(now, *host, |host| host.is_lost = false),
            Event::HostCapacityChanged { host, gpus } => self.changed(now, *host, |host| host.gpus = *gpus),
            Event::GpuClassAdded { class } => self.classes.push((**class).clone()),
            _ => {}
        }
    }

    fn run_ended(&mut self, now: Time) {
        (0..self.known.len() as u32).for_each(|host| self.changed(now, HostId(host), |_| {}));
    }
}
