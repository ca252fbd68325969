//! Which host: new slots, extra workers, throttled workers, pulls and evictions, hosts that come and go.

use super::hosts::Host;
use super::worker::{AfterStop, Class, Worker};
use super::{Command, ExtraMode, HostSpec, Image, Phase, Scheduler, Slots, WorkerKind, WorkerReason};
use crate::policy::HostView;
use crate::units::{EndpointId, HostId, ImageId, Span, Time, WorkerId};

/// An unanswered pull is asked for again after this long: three times what 100 GB take at the slow 0.06 GB/s of a plain pull.
const PULL_ANSWER_TIMEOUT: Span = Span::from_whole_secs(5_000);

impl Scheduler {
    /// Makes sure that the endpoint has its slots: all of max ahead of demand, or only those of active workers.
    pub(super) fn fill_slots(&mut self, endpoint: EndpointId) {
        self.place_homeless(endpoint);
        loop {
            let entry = &self.endpoints[endpoint.index()];
            if entry.deleted {
                return;
            }
            let regular = entry.regular_workers() + entry.gave_up;
            let wanted = match entry.spec.slots {
                Slots::Ahead => entry.max,
                Slots::OnDemand => entry.active.min(entry.max),
            };
            if regular < wanted {
                self.create_slot(endpoint, false, WorkerReason::Precache);
            } else if entry.spec.extra_mode == ExtraMode::PrecacheOnly
                && entry.extras < entry.spec.extra
                && entry.max > 0
            {
                self.create_worker(endpoint, WorkerKind::Extra, false, WorkerReason::Precache);
            } else {
                return;
            }
        }
    }

    /// A new regular worker of the current release, placed if there is a host for it.
    pub(super) fn create_slot(&mut self, endpoint: EndpointId, wanted: bool, cause: WorkerReason) -> WorkerId {
        let entry = &self.endpoints[endpoint.index()];
        let actives = entry.workers.iter().filter(|id| self.worker(**id).kind == WorkerKind::Active).count() as u32;
        let kind = if actives < entry.active { WorkerKind::Active } else { WorkerKind::Flex };
        self.create_worker(endpoint, kind, wanted, cause)
    }

    pub(super) fn create_worker(
        &mut self,
        endpoint: EndpointId,
        kind: WorkerKind,
        wanted: bool,
        cause: WorkerReason,
    ) -> WorkerId {
        let id = self.add_worker(endpoint, kind, wanted, cause);
        self.find_place(id, None);
        id
    }

    /// An extra worker on a host that holds the image and has room now.
    pub(super) fn create_extra(&mut self, endpoint: EndpointId, host: HostId) -> WorkerId {
        let id = self.add_worker(endpoint, WorkerKind::Extra, true, WorkerReason::Burst);
        self.put_on_host(id, host);
        id
    }

    fn add_worker(&mut self, endpoint: EndpointId, kind: WorkerKind, wanted: bool, cause: WorkerReason) -> WorkerId {
        let now = self.now;
        let entry = &mut self.endpoints[endpoint.index()];
        let (version, image, gpus) = (entry.version, entry.spec.image, entry.spec.gpus_per_worker);
        let id = WorkerId(self.workers.insert(|id| Worker {
            id: WorkerId(id),
            endpoint,
            host: None,
            kind,
            version,
            image,
            gpus,
            phase: Phase::Placing,
            since: now,
            reason: cause,
            outdated: false,
            cause,
            wanted,
            epoch: 0,
            held: Vec::new(),
            open_takes: 0,
            available: None,
            frozen: false,
            after_stop: AfterStop::Sleep,
            replacing: false,
            idle_deadline: Time::MAX,
            phase_deadline: Time::MAX,
            lease_deadline: Time::MAX,
            started: now,
            ready_since: now,
            last_used: now,
            failures: 0,
            first_failure: now,
            bound: None,
        }));
        entry.workers.push(id);
        entry.extras += u32::from(kind == WorkerKind::Extra);
        let class = self.worker(id).class();
        self.endpoints[endpoint.index()].tally.add(class);
        self.emit(Command::WorkerPlaced { worker: id, endpoint, host: None, kind, version });
        self.emit(Command::WorkerChanged { worker: id, phase: Phase::Placing, outdated: false, reason: cause });
        id
    }

    /// Looks for a host; without one the worker stays `Placing` until a host changes.
    fn find_place(&mut self, id: WorkerId, except: Option<HostId>) {
        match self.best_host(id, except) {
            Some(host) => self.put_on_host(id, host),
            None if self.worker(id).reason != WorkerReason::NoCapacity => {
                self.set_phase(id, Phase::Placing, WorkerReason::NoCapacity);
            }
            None => {}
        }
    }

    fn best_host(&self, id: WorkerId, except: Option<HostId>) -> Option<HostId> {
        let worker = self.worker(id);
        let entry = &self.endpoints[worker.endpoint.index()];
        if worker.outdated {
            // The endpoint's needs are those of another release now: it stays where it is until it is replaced.
            return None;
        }
        let fits = |host: &&Host| {
            Some(host.id) != except
                && self.suits(host, worker.endpoint)
                && host.make_room(worker.image, &self.catalogue, &*self.eviction).is_some()
        };
        let score = |host: &Host| {
            let view = self.host_view(host, worker.endpoint, host.unpromised_gpus());
            (entry.policies.placement.score(&view, worker.gpus), host.id)
        };
        self.hosts.iter().filter(fits).map(score).min().map(|(_, host)| host)
    }

    /// Up to `count` places for extra workers: hosts with the image and with free GPUs, best first, a host once per place.
    pub(super) fn hosts_for_extra(&self, endpoint: EndpointId, count: u32) -> Vec<HostId> {
        let entry = &self.endpoints[endpoint.index()];
        let count = count.min(entry.spec.extra.saturating_sub(entry.extras)) as usize;
        if count == 0 || entry.max == 0 {
            return Vec::new();
        }
        let gpus = entry.spec.gpus_per_worker;
        let mut places: Vec<_> = self
            .hosts
            .iter()
            .filter(|host| self.suits(host, endpoint) && host.has(entry.spec.image))
            .flat_map(|host| {
                let free = host.free_gpus();
                let rooms = free.checked_div(gpus).unwrap_or(count as u32);
                (0..rooms.min(count as u32)).map(move |nth| (host, free - nth * gpus))
            })
            .map(|(host, free)| (entry.policies.placement.score(&self.host_view(host, endpoint, free), gpus), host.id))
            .collect();
        places.sort_unstable();
        places.truncate(count);
        places.into_iter().map(|(_, host)| host).collect()
    }

    /// The host meets the endpoint's hard needs, its current load aside.
    fn suits(&self, host: &Host, endpoint: EndpointId) -> bool {
        let spec = &self.endpoints[endpoint.index()].spec;
        host.up
            && spec.gpu_classes.contains(&host.spec.gpu_class)
            && host.spec.gpus >= spec.gpus_per_worker
            && host.spec.memory_bytes >= spec.memory_bytes
            && (spec.data_centers.is_empty() || spec.data_centers.contains(&host.spec.data_center))
    }

    fn host_view(&self, host: &Host, endpoint: EndpointId, gpus_free: u32) -> HostView {
        let entry = &self.endpoints[endpoint.index()];
        let rank = entry.spec.gpu_classes.iter().position(|class| *class == host.spec.gpu_class);
        let own = host.workers.iter().filter(|id| self.worker(**id).endpoint == endpoint).count() as u32;
        HostView {
            id: host.id,
            class_rank: rank.map_or(u32::MAX, |rank| rank as u32),
            priority: host.spec.priority,
            gpus: host.spec.gpus,
            gpus_free,
            own_slots: own,
            slots: host.workers.len() as u32,
            missing_bytes: host.missing_bytes(entry.spec.image, &self.catalogue),
            pulls: host.pulls,
            pull_bytes_per_s: host.spec.pull_bytes_per_s,
            image_bytes: self.catalogue.pull_bytes(entry.spec.image),
        }
    }

    /// Puts the worker into a slot of the host: room on the disk, image, and then sleep or start.
    fn put_on_host(&mut self, id: WorkerId, host_id: HostId) {
        let now = self.now;
        let (image, gpus) = (self.worker(id).image, self.worker(id).gpus);
        let host = &mut self.hosts[host_id.index()];
        let room = host.make_room(image, &self.catalogue, &*self.eviction);
        for victim in room.expect("the host was chosen because the image fits") {
            host.remove_image(victim, &self.catalogue);
            self.commands.push_back(Command::EvictImage { host: host_id, image: victim });
        }
        let pull = !host.images.contains_key(&image);
        if pull {
            host.add_image(image, &self.catalogue, now);
        }
        let pull = pull || host.retry_pull(image);
        host.add_worker(id, image, gpus, now);
        let complete = host.has(image);
        let worker = self.worker_mut(id);
        worker.host = Some(host_id);
        let (endpoint, kind, version, wanted) = (worker.endpoint, worker.kind, worker.version, worker.wanted);
        self.emit(Command::WorkerPlaced { worker: id, endpoint, host: Some(host_id), kind, version });
        if complete {
            return self.image_ready(id, wanted);
        }
        self.set_phase_for(id, Phase::Pulling, WorkerReason::ImagePull, PULL_ANSWER_TIMEOUT);
        if pull {
            self.emit(Command::PullImage { host: host_id, image });
        }
    }

    /// The worker's image is there: it starts if it is wanted and sleeps otherwise.
    fn image_ready(&mut self, id: WorkerId, wanted: bool) {
        if wanted {
            self.try_start(id);
        } else {
            self.set_phase(id, Phase::Asleep, WorkerReason::Precache);
            self.settle_replacement(id);
        }
    }

    /// The worker no longer belongs to its host.
    pub(super) fn leave_host(&mut self, id: WorkerId) {
        let now = self.now;
        let worker = self.worker_mut(id);
        let (image, gpus) = (worker.image, worker.gpus);
        if let Some(host) = worker.host.take() {
            self.hosts[host.index()].remove_worker(id, image, gpus, now);
            self.freed.push_back(host);
        }
    }

    /// The host's GPUs are taken: the worker waits there for room, and an extra worker may stand in for it.
    pub(super) fn throttle(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let endpoint = worker.endpoint;
        let host = worker.host.expect("only a placed worker can be throttled");
        let limit = self.endpoints[endpoint.index()].spec.replace_throttled_after;
        self.set_phase_for(id, Phase::Throttled, WorkerReason::HostFull, limit);
        self.hosts[host.index()].waiting.push_back(id);
        let entry = &self.endpoints[endpoint.index()];
        let stuck = entry.tally.get(Class::Throttled) + entry.tally.get(Class::Unhealthy);
        let stand_in = match entry.spec.extra_mode {
            ExtraMode::Burst => true,
            ExtraMode::ReplaceThrottled => entry.extras < stuck,
            ExtraMode::PrecacheOnly => false,
        };
        if stand_in && entry.queue.len() > 0 {
            for host in self.hosts_for_extra(endpoint, 1) {
                self.create_extra(endpoint, host);
            }
        }
    }

    /// GPUs became free on the host: throttled workers start in the order in which they asked.
    pub(super) fn serve_throttled(&mut self, host: HostId) {
        while let Some(id) = self.hosts[host.index()].waiting.front().copied() {
            if self.worker(id).gpus > self.hosts[host.index()].free_gpus() {
                break;
            }
            self.hosts[host.index()].waiting.pop_front();
            self.start(id);
        }
    }

    /// A throttled worker has waited long enough: it moves to another host with room, if there is one.
    pub(super) fn replace_throttled(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let (endpoint, old, gpus) = (worker.endpoint, worker.host, worker.gpus);
        let (extra, image) = (worker.kind == WorkerKind::Extra, worker.image);
        let has_room = |host: &HostId| {
            let host = &self.hosts[host.index()];
            // An extra worker runs only where the image is cached.
            host.free_gpus() >= gpus && (!extra || host.has(image))
        };
        let found = self.best_host(id, old).filter(has_room);
        let Some(host) = found else {
            let limit = self.endpoints[endpoint.index()].spec.replace_throttled_after;
            let at = self.now + limit.max(Span::SECOND);
            self.worker_mut(id).phase_deadline = at;
            return self.worker_deadlines.arm(id.slot(), at);
        };
        self.set_phase(id, Phase::Placing, WorkerReason::Replaced);
        self.leave_host(id);
        self.worker_mut(id).frozen = false;
        self.put_on_host(id, host);
    }

    pub(super) fn image_pulled(&mut self, host: HostId, image: ImageId) {
        if !self.hosts.get_mut(host.index()).is_some_and(|host| host.complete(image)) {
            return;
        }
        for id in self.pulling(host, image) {
            let wanted = self.worker(id).wanted;
            self.image_ready(id, wanted);
        }
    }

    pub(super) fn image_pull_failed(&mut self, host: HostId, image: ImageId) {
        if !self.hosts.get_mut(host.index()).is_some_and(|host| host.fail_pull(image)) {
            return;
        }
        for id in self.pulling(host, image) {
            self.fail(id, WorkerReason::ImagePullFailed);
        }
    }

    fn pulling(&self, host: HostId, image: ImageId) -> Vec<WorkerId> {
        let waits = |id: &&WorkerId| {
            let worker = self.worker(**id);
            worker.phase == Phase::Pulling && worker.image == image
        };
        self.hosts[host.index()].workers.iter().filter(waits).copied().collect()
    }

    /// No word about a pull for a long time: asks again.
    pub(super) fn ask_for_pull_again(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let (host, image) = (worker.host.expect("a pulling worker has a host"), worker.image);
        let at = self.now + PULL_ANSWER_TIMEOUT;
        self.worker_mut(id).phase_deadline = at;
        self.worker_deadlines.arm(id.slot(), at);
        self.emit(Command::PullImage { host, image });
    }

    /// A placed worker whose host lacks the image (its last pull failed) fetches it again; otherwise it starts.
    pub(super) fn fetch_and_start(&mut self, id: WorkerId) {
        let worker = self.worker(id);
        let (host, image) = (worker.host.expect("called for a placed worker"), worker.image);
        if self.hosts[host.index()].has(image) {
            return self.try_start(id);
        }
        self.set_phase_for(id, Phase::Pulling, WorkerReason::ImagePull, PULL_ANSWER_TIMEOUT);
        if self.hosts[host.index()].retry_pull(image) {
            self.emit(Command::PullImage { host, image });
        }
    }

    /// Workers without a host try again.
    fn place_homeless(&mut self, endpoint: EndpointId) {
        let homeless: Vec<WorkerId> = self.endpoints[endpoint.index()]
            .workers
            .iter()
            .filter(|id| self.worker(**id).phase == Phase::Placing)
            .copied()
            .collect();
        for id in homeless {
            self.find_place(id, None);
        }
    }

    fn unsettle_all(&mut self) {
        for endpoint in 0..self.endpoints.len() {
            self.unsettle(EndpointId(endpoint as u32));
        }
    }

    pub(super) fn host_added(&mut self, spec: &HostSpec) {
        let id = HostId(self.hosts.len() as u32);
        self.hosts.push(Host::new(id, spec.clone(), &self.catalogue, self.now));
        self.unsettle_all();
    }

    /// An endpoint may have named the image before it was known: hosts that hold it learn what it takes on their disks.
    pub(super) fn image_added(&mut self, image: &Image) {
        let id = ImageId(self.config.images.len() as u32);
        self.catalogue.add(image);
        self.config.images.push(image.clone());
        for host in self.hosts.iter_mut().filter(|host| host.images.contains_key(&id)) {
            host.hold_layers(id, &self.catalogue);
        }
    }

    pub(super) fn host_capacity_changed(&mut self, host: HostId, gpus: u32) {
        if let Some(entry) = self.hosts.get_mut(host.index()) {
            entry.usable_gpus = gpus.min(entry.spec.gpus);
            self.freed.push_back(host);
        }
    }

    pub(super) fn host_lost(&mut self, host: HostId) {
        let Some(entry) = self.hosts.get_mut(host.index()).filter(|entry| entry.up) else { return };
        entry.up = false;
        let interrupted: Vec<ImageId> =
            entry.images.iter().filter(|(_, image)| !image.complete).map(|(id, _)| *id).collect();
        for id in entry.workers.clone() {
            self.remove(id, WorkerReason::HostLost);
        }
        for image in interrupted {
            self.hosts[host.index()].remove_image(image, &self.catalogue);
        }
    }

    pub(super) fn host_returned(&mut self, host: HostId) {
        if let Some(entry) = self.hosts.get_mut(host.index()).filter(|entry| !entry.up) {
            entry.up = true;
            self.unsettle_all();
        }
    }
}
