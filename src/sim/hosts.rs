//! What is true of the hosts: GPUs in use, other tenants, layers on disk. The scheduler's picture may differ from it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::agenda::At;
use super::plan::HostPlan;
use crate::scheduler::Image;
use crate::units::{HostId, ImageId, Time};

/// A layer, interned: images that name the same digest share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LayerInfo {
    pub pull_bytes: u64,
    pub disk_bytes: u64,
}

/// Every image by its layers.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    pub layers: Vec<LayerInfo>,
    images: Vec<Vec<u32>>,
}

impl Catalogue {
    pub fn new(images: &[Image]) -> Catalogue {
        let mut digests: BTreeMap<&str, u32> = BTreeMap::new();
        let mut catalogue = Catalogue::default();
        for image in images {
            let mut numbers = Vec::with_capacity(image.layers.len());
            for layer in &image.layers {
                let next = digests.len() as u32;
                let number = *digests.entry(&layer.digest).or_insert(next);
                if number == next {
                    let info = LayerInfo { pull_bytes: layer.pull_bytes, disk_bytes: layer.disk_bytes };
                    catalogue.layers.push(info);
                }
                if !numbers.contains(&number) {
                    numbers.push(number);
                }
            }
            catalogue.images.push(numbers);
        }
        catalogue
    }

    /// The layers of an image, base first.
    pub fn layers_of(&self, image: ImageId) -> &[u32] {
        self.images.get(image.index()).map_or(&[], Vec::as_slice)
    }

    pub fn disk_bytes(&self, layers: &[u32]) -> u64 {
        layers.iter().map(|&layer| self.layers[layer as usize].disk_bytes).sum()
    }

    pub fn pull_bytes(&self, layers: &[u32]) -> u64 {
        layers.iter().map(|&layer| self.layers[layer as usize].pull_bytes).sum()
    }
}

/// The layers on a host's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// How many complete images use each layer.
    uses: BTreeMap<u32, u32>,
    complete: BTreeSet<ImageId>,
    /// Layers that a pull is fetching, and which pull.
    pub fetching: BTreeMap<u32, u32>,
    pub bytes: u64,
}

impl Disk {
    pub fn holds(&self, image: ImageId) -> bool {
        self.complete.contains(&image)
    }

    pub fn has_layer(&self, layer: u32) -> bool {
        self.uses.contains_key(&layer)
    }

    /// The image is complete: its layers are kept from now on.
    pub fn keep(&mut self, catalogue: &Catalogue, image: ImageId) {
        if !self.complete.insert(image) {
            return;
        }
        for &layer in catalogue.layers_of(image) {
            let uses = self.uses.entry(layer).or_insert(0);
            if *uses == 0 {
                self.bytes += catalogue.layers[layer as usize].disk_bytes;
            }
            *uses += 1;
        }
    }

    /// The image goes, with the layers that no other complete image needs.
    pub fn evict(&mut self, catalogue: &Catalogue, image: ImageId) {
        if !self.complete.remove(&image) {
            return;
        }
        for &layer in catalogue.layers_of(image) {
            let uses = self.uses.get_mut(&layer).expect("a complete image's layers are counted");
            *uses -= 1;
            if *uses == 0 {
                self.uses.remove(&layer);
                self.bytes -= catalogue.layers[layer as usize].disk_bytes;
            }
        }
    }

    /// Bytes on the disk when every pull under way has ended.
    pub fn bytes_with_pulls(&self, catalogue: &Catalogue) -> u64 {
        self.bytes + self.fetching.keys().map(|&layer| catalogue.layers[layer as usize].disk_bytes).sum::<u64>()
    }
}

/// A host as it is.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub id: HostId,
    pub up: bool,
    /// GPUs built in.
    pub gpus: u32,
    /// GPUs of our workers that start, are up or stop.
    pub held: u32,
    /// GPUs of the tenant who is there now.
    pub tenant: u32,
    /// GPUs that an action gave to other tenants.
    pub reserved: u32,
    /// What the scheduler was last told it may use.
    pub told: u32,
    pub disk: Disk,
    pub disk_bytes: u64,
    pub unpack_bytes_per_s: f64,
    pub pull_sigma: f64,
    pub slowdown: f64,
    pub max_starts: u32,
    /// Starts under way, and those that wait for one of them to end.
    pub starting: u32,
    pub waiting: VecDeque<At>,
    /// How many starts, stops and pulls there were: their numbers are the keys of their draws.
    pub starts: u64,
    pub stops: u64,
    pub pulls: u64,
}

impl Host {
    pub fn new(id: HostId, plan: &HostPlan, catalogue: &Catalogue) -> Host {
        let mut disk = Disk::default();
        for &image in &plan.spec.cached {
            disk.keep(catalogue, image);
        }
        Host {
            id,
            up: true,
            gpus: plan.spec.gpus,
            held: 0,
            tenant: 0,
            reserved: 0,
            told: plan.spec.gpus,
            disk,
            disk_bytes: plan.spec.disk_bytes,
            unpack_bytes_per_s: plan.unpack_bytes_per_s,
            pull_sigma: plan.pull_sigma,
            slowdown: plan.slowdown,
            max_starts: plan.max_starts,
            starting: 0,
            waiting: VecDeque::new(),
            starts: 0,
            stops: 0,
            pulls: 0,
        }
    }

    /// GPUs that we may use, those we hold included.
    pub fn capacity(&self) -> u32 {
        self.gpus.saturating_sub(self.tenant + self.reserved)
    }

    /// GPUs that nobody uses.
    pub fn free(&self) -> u32 {
        self.capacity().saturating_sub(self.held)
    }

    /// A worker takes its GPUs. The caller has made sure that they are free.
    pub fn hold(&mut self, now: Time, gpus: u32) {
        self.held += gpus;
        assert!(self.held <= self.gpus, "t={now}: {} of {} GPUs in use on {}", self.held, self.gpus, self.id);
    }

    /// A worker gives its GPUs back.
    pub fn release(&mut self, now: Time, gpus: u32) {
        assert!(self.held >= gpus, "t={now}: {gpus} GPUs freed on {}, {} in use", self.id, self.held);
        self.held -= gpus;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Layer;

    fn image(name: &str, layers: &[(&str, u64)]) -> Image {
        let layer = |&(digest, bytes): &(&str, u64)| Layer {
            digest: digest.to_owned(),
            pull_bytes: bytes,
            disk_bytes: 2 * bytes,
        };
        Image { name: name.to_owned(), layers: layers.iter().map(layer).collect() }
    }

    #[test]
    fn a_shared_layer_is_kept_once_and_leaves_with_its_last_image() {
        let catalogue = Catalogue::new(&[image("a", &[("base", 5), ("a", 1)]), image("b", &[("base", 5), ("b", 2)])]);
        assert_eq!(catalogue.layers.len(), 3);
        let mut disk = Disk::default();
        disk.keep(&catalogue, ImageId(0));
        disk.keep(&catalogue, ImageId(1));
        disk.keep(&catalogue, ImageId(1));
        assert_eq!(disk.bytes, 2 * 8);
        disk.evict(&catalogue, ImageId(0));
        disk.evict(&catalogue, ImageId(0));
        assert_eq!(disk.bytes, 2 * 7);
        assert!(disk.has_layer(0) && !disk.has_layer(1) && disk.holds(ImageId(1)));
        disk.evict(&catalogue, ImageId(1));
        assert_eq!(disk.bytes, 0);
    }

    #[test]
    fn what_others_use_is_not_ours() {
        let plan =
            HostPlan { spec: crate::scheduler::HostSpec { gpus: 8, ..HostPlan::plain().spec }, ..HostPlan::plain() };
        let mut host = Host::new(HostId(0), &plan, &Catalogue::default());
        host.hold(Time::ZERO, 3);
        host.tenant = 2;
        host.reserved = 4;
        assert_eq!((host.capacity(), host.free()), (2, 0));
        host.release(Time::ZERO, 3);
        assert_eq!(host.free(), 2);
    }
}
