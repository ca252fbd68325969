//! Hosts as the scheduler knows them: GPUs in use, images on the disk, who waits for room.

use std::collections::{BTreeMap, VecDeque};

use super::config::{HostSpec, Image};
use crate::policy::{CachedImageView, EvictionPolicy};
use crate::units::{HostId, ImageId, Time, WorkerId};

/// An image on a host's disk, complete or on its way.
#[derive(Clone, Debug)]
pub(super) struct HostImage {
    pub(super) complete: bool,
    /// A pull is under way; neither complete nor pulling = the last pull failed.
    pub(super) pulling: bool,
    /// Workers placed there that need it: it cannot be dropped while there are any.
    pub(super) users: u32,
    pub(super) last_used: Time,
    pub(super) cached_at: Time,
    pub(super) uses: u64,
}

/// A host.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) spec: HostSpec,
    pub(super) up: bool,
    /// GPUs that other tenants leave to us.
    pub(super) usable_gpus: u32,
    /// GPUs that our workers hold.
    pub(super) used_gpus: u32,
    /// GPUs of all workers placed here, asleep ones included.
    pub(super) promised_gpus: u32,
    /// Workers placed here.
    pub(super) workers: Vec<WorkerId>,
    /// Throttled workers in order of asking.
    pub(super) waiting: VecDeque<WorkerId>,
    pub(super) images: BTreeMap<ImageId, HostImage>,
    /// How many images hold each layer.
    layers: BTreeMap<u32, u32>,
    pub(super) disk_used: u64,
    pub(super) pulls: u32,
}

/// The images with their layers numbered across all images.
#[derive(Clone, Debug)]
pub(super) struct Catalogue {
    images: Vec<Vec<u32>>,
    layers: Vec<(u64, u64)>,
    numbers: BTreeMap<String, u32>,
}

impl Catalogue {
    pub(super) fn new(images: &[Image]) -> Catalogue {
        let mut catalogue = Catalogue { images: Vec::new(), layers: Vec::new(), numbers: BTreeMap::new() };
        images.iter().for_each(|image| catalogue.add(image));
        catalogue
    }

    /// Bytes that a pull of the whole image would transfer.
    pub(super) fn pull_bytes(&self, image: ImageId) -> u64 {
        self.of(image).iter().map(|layer| self.layers[*layer as usize].0).sum()
    }

    /// The next image. A layer that is known by its digest is that one, whatever sizes are given for it now.
    pub(super) fn add(&mut self, image: &Image) {
        let layers = &mut self.layers;
        let mut own: Vec<u32> = image
            .layers
            .iter()
            .map(|layer| {
                *self.numbers.entry(layer.digest.clone()).or_insert_with(|| {
                    layers.push((layer.pull_bytes, layer.disk_bytes));
                    layers.len() as u32 - 1
                })
            })
            .collect();
        own.sort_unstable();
        own.dedup();
        self.images.push(own);
    }

    fn of(&self, image: ImageId) -> &[u32] {
        self.images.get(image.index()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn knows(&self, image: ImageId) -> bool {
        image.index() < self.images.len()
    }
}

impl Host {
    pub(super) fn new(id: HostId, spec: HostSpec, catalogue: &Catalogue, now: Time) -> Host {
        let mut host = Host::bare(id, spec);
        for image in host.spec.cached.clone() {
            if catalogue.knows(image) {
                host.add_image(image, catalogue, now);
                host.complete(image);
            }
        }
        host.pulls = 0;
        host
    }

    /// A host with nothing on its disk.
    pub(super) fn bare(id: HostId, spec: HostSpec) -> Host {
        Host {
            id,
            up: true,
            usable_gpus: spec.gpus,
            used_gpus: 0,
            promised_gpus: 0,
            workers: Vec::new(),
            waiting: VecDeque::new(),
            images: BTreeMap::new(),
            layers: BTreeMap::new(),
            disk_used: 0,
            pulls: 0,
            spec,
        }
    }

    /// GPUs that could be given to a worker now.
    #[inline]
    pub(super) fn free_gpus(&self) -> u32 {
        if self.up { self.usable_gpus.saturating_sub(self.used_gpus) } else { 0 }
    }

    /// GPUs not promised to any worker placed here.
    pub(super) fn unpromised_gpus(&self) -> u32 {
        self.usable_gpus.saturating_sub(self.promised_gpus)
    }

    /// The image is complete on the disk.
    pub(super) fn has(&self, image: ImageId) -> bool {
        self.images.get(&image).is_some_and(|found| found.complete)
    }

    /// Compressed bytes that a pull of `image` would transfer; what is already on its way counts as there.
    pub(super) fn missing_bytes(&self, image: ImageId, catalogue: &Catalogue) -> u64 {
        self.missing(image, catalogue).map(|(pull, _)| pull).sum()
    }

    fn missing<'a>(&'a self, image: ImageId, catalogue: &'a Catalogue) -> impl Iterator<Item = (u64, u64)> + 'a {
        let present = self.images.contains_key(&image);
        catalogue
            .of(image)
            .iter()
            .filter(move |layer| !present && !self.layers.contains_key(*layer))
            .map(|layer| catalogue.layers[*layer as usize])
    }

    /// Images to drop so that `image` fits, in order; `None` if it cannot fit.
    pub(super) fn make_room(
        &self,
        image: ImageId,
        catalogue: &Catalogue,
        eviction: &dyn EvictionPolicy,
    ) -> Option<Vec<ImageId>> {
        let needed: u64 = self.missing(image, catalogue).map(|(_, disk)| disk).sum();
        if self.disk_used + needed <= self.spec.disk_bytes {
            return Some(Vec::new());
        }
        let mut candidates: Vec<(u64, ImageId)> = self
            .images
            .iter()
            .filter(|(_, found)| !found.pulling && found.users == 0)
            .map(|(id, found)| (eviction.key(&self.view(*id, found, catalogue)), *id))
            .collect();
        candidates.sort_unstable();
        let mut trial = self.clone_disk();
        let mut dropped = Vec::new();
        for (_, victim) in candidates {
            trial.remove_image(victim, catalogue);
            dropped.push(victim);
            let needed: u64 = trial.missing(image, catalogue).map(|(_, disk)| disk).sum();
            if trial.disk_used + needed <= self.spec.disk_bytes {
                return Some(dropped);
            }
        }
        None
    }

    fn clone_disk(&self) -> Host {
        Host { workers: Vec::new(), waiting: VecDeque::new(), ..self.clone() }
    }

    fn view(&self, id: ImageId, found: &HostImage, catalogue: &Catalogue) -> CachedImageView {
        let (pull_bytes, disk_bytes) = catalogue.of(id).iter().fold((0, 0), |(pull, disk), layer| {
            let (layer_pull, layer_disk) = catalogue.layers[*layer as usize];
            (pull + layer_pull, disk + layer_disk)
        });
        CachedImageView {
            last_used: found.last_used,
            uses: found.uses,
            cached_at: found.cached_at,
            disk_bytes,
            pull_bytes,
        }
    }

    /// Reserves disk for an image that is to be fetched.
    pub(super) fn add_image(&mut self, image: ImageId, catalogue: &Catalogue, now: Time) {
        if self.images.contains_key(&image) {
            return;
        }
        self.hold_layers(image, catalogue);
        self.pulls += 1;
        let entry = HostImage { complete: false, pulling: true, users: 0, last_used: now, cached_at: now, uses: 0 };
        self.images.insert(image, entry);
    }

    /// Counts the layers of `image` among those on the disk.
    pub(super) fn hold_layers(&mut self, image: ImageId, catalogue: &Catalogue) {
        for layer in catalogue.of(image) {
            let holders = self.layers.entry(*layer).or_insert(0);
            if *holders == 0 {
                self.disk_used += catalogue.layers[*layer as usize].1;
            }
            *holders += 1;
        }
    }

    /// The pull of `image` is over; false if none was under way.
    pub(super) fn complete(&mut self, image: ImageId) -> bool {
        match self.images.get_mut(&image) {
            Some(found) if found.pulling => {
                found.complete = true;
                found.pulling = false;
                self.pulls -= 1;
                true
            }
            _ => false,
        }
    }

    /// The pull of `image` failed; false if none was under way. Its disk stays reserved for the next try.
    pub(super) fn fail_pull(&mut self, image: ImageId) -> bool {
        match self.images.get_mut(&image) {
            Some(found) if found.pulling => {
                found.pulling = false;
                self.pulls -= 1;
                true
            }
            _ => false,
        }
    }

    /// Notes that a pull of `image` begins again; false if it is complete or already under way.
    pub(super) fn retry_pull(&mut self, image: ImageId) -> bool {
        match self.images.get_mut(&image) {
            Some(found) if !found.complete && !found.pulling => {
                found.pulling = true;
                self.pulls += 1;
                true
            }
            _ => false,
        }
    }

    /// Takes the image off the disk.
    pub(super) fn remove_image(&mut self, image: ImageId, catalogue: &Catalogue) {
        let Some(found) = self.images.remove(&image) else { return };
        if found.pulling {
            self.pulls -= 1;
        }
        for layer in catalogue.of(image) {
            if let Some(holders) = self.layers.get_mut(layer) {
                *holders -= 1;
                if *holders == 0 {
                    self.layers.remove(layer);
                    self.disk_used -= catalogue.layers[*layer as usize].1;
                }
            }
        }
    }

    /// A worker is placed here and needs `image`.
    pub(super) fn add_worker(&mut self, worker: WorkerId, image: ImageId, gpus: u32, now: Time) {
        self.workers.push(worker);
        self.promised_gpus += gpus;
        if let Some(found) = self.images.get_mut(&image) {
            found.users += 1;
            found.uses += 1;
            found.last_used = now;
        }
    }

    /// The worker leaves the host.
    pub(super) fn remove_worker(&mut self, worker: WorkerId, image: ImageId, gpus: u32, now: Time) {
        self.workers.retain(|other| *other != worker);
        self.waiting.retain(|other| *other != worker);
        self.promised_gpus -= gpus;
        if let Some(found) = self.images.get_mut(&image) {
            found.users -= 1;
            found.last_used = now;
        }
    }

    /// A start needs `image` now.
    pub(super) fn touch(&mut self, image: ImageId, now: Time) {
        if let Some(found) = self.images.get_mut(&image) {
            found.last_used = now;
            found.uses += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::script::host_spec;
    use crate::scheduler::{Event, Layer, Scheduler, SchedulerConfig};

    fn image(name: &str, layers: &[(&str, u64)]) -> Image {
        let layer = |(digest, bytes): &(&str, u64)| Layer {
            digest: (*digest).to_owned(),
            pull_bytes: bytes / 2,
            disk_bytes: *bytes,
        };
        Image { name: name.to_owned(), layers: layers.iter().map(layer).collect() }
    }

    #[test]
    fn an_image_made_known_later_is_as_one_known_from_the_beginning() {
        let first = image("first", &[("base", 100), ("app", 10)]);
        let second = image("second", &[("base", 100), ("other", 7)]);
        let both = Catalogue::new(&[first.clone(), second.clone()]);
        let mut grown = Catalogue::new(&[first]);
        assert!(!grown.knows(ImageId(1)));
        grown.add(&second);
        assert_eq!((grown.images, grown.layers), (both.images, both.layers));
    }

    #[test]
    fn a_host_that_held_an_image_before_it_was_known_accounts_for_its_layers() {
        let config = SchedulerConfig {
            gpu_classes: crate::scheduler::script::classes(),
            images: Vec::new(),
            eviction: crate::policy::PolicyChoice::named("lru"),
        };
        let mut scheduler = Scheduler::new(config).unwrap();
        let told = |scheduler: &mut Scheduler, event: Event| scheduler.handle(Time::ZERO, &event);
        told(&mut scheduler, Event::HostAdded { host: Box::new(host_spec(0)) });
        let spec = crate::scheduler::EndpointSpec::with_defaults("e", ImageId(0), crate::scheduler::GpuClassId(0));
        told(&mut scheduler, Event::EndpointCreated { spec: Box::new(spec) });
        assert!(scheduler.hosts[0].images.contains_key(&ImageId(0)));
        assert_eq!(scheduler.hosts[0].disk_used, 0);
        told(&mut scheduler, Event::ImageAdded { image: Box::new(image("late", &[("base", 100)])) });
        assert_eq!(scheduler.hosts[0].disk_used, 100);
        let Scheduler { hosts, catalogue, .. } = &mut scheduler;
        hosts[0].remove_image(ImageId(0), catalogue);
        assert_eq!(hosts[0].disk_used, 0);
    }
}
