//! Hosts: groups to single hosts, an ample pool where none is given, and whether every worker fits somewhere.

use serde_json::json;

use super::Context;
use crate::scenario::node::{Node, Origin, Value, number_of};
use crate::scenario::types::world::{HostGroup, Tenants};
use crate::scheduler::{EndpointSpec, HostSpec};
use crate::sim::plan::{EndpointPlan, HostPlan, TenantPlan};

/// GPUs of a host of the default pool.
const POOL_GPUS: u32 = 8;
/// Most hosts in all: ids are dense, and a table of more has no use.
const MOST_HOSTS: u64 = 1_000_000;

/// When no hosts are given: for every GPU class that an endpoint names, hosts enough for twice the workers of all endpoints
/// that name it, on disks and memory that hold whatever is asked for.
pub fn add_default_pool(tree: &mut Node) {
    let given = tree.get("hosts").and_then(Node::as_map).is_some_and(|hosts| !hosts.entries.is_empty());
    if given {
        return;
    }
    let mut needs: Vec<(String, u64, u64, f64)> = Vec::new();
    for entry in tree.get("endpoints").and_then(Node::as_map).map(|map| map.entries.as_slice()).unwrap_or_default() {
        let whole = |node: Option<&Node>| node.and_then(Node::as_number).map_or(0, |number| number as u64);
        let workers = entry.node.get("workers");
        let count = whole(workers.and_then(|workers| workers.get("max")))
            .max(whole(workers.and_then(|workers| workers.get("active"))))
            + whole(workers.and_then(|workers| workers.get("extra")));
        let per_worker = whole(entry.node.get("gpus_per_worker")).max(1);
        let memory = entry.node.get("memory_gb").and_then(Node::as_number).unwrap_or(0.0);
        let Some(Value::List(classes)) = entry.node.get("gpu_classes").map(|classes| &classes.value) else { continue };
        for class in classes.iter().filter_map(Node::as_text) {
            match needs.iter_mut().find(|(known, ..)| known == class) {
                Some((_, gpus, largest, most_memory)) => {
                    *gpus += count * per_worker;
                    *largest = (*largest).max(per_worker);
                    *most_memory = most_memory.max(memory);
                }
                None => needs.push((class.to_owned(), count * per_worker, per_worker, memory)),
            }
        }
    }
    let origin = Origin::Default("no hosts given: an ample pool".to_owned());
    let Some(map) = tree.as_map_mut() else { return };
    let mut pool = Node::map(origin.clone());
    for (class, gpus, largest, memory) in needs {
        let each = u64::from(POOL_GPUS).max(largest);
        // One host more than twice the need: a worker of several GPUs wants them on one host.
        let count = (2 * gpus).div_ceil(each) + 1;
        let group = json!({
            "count": count, "gpu_class": class, "gpus": each, "memory_gb": number_of(1_000.0_f64.max(memory * 8.0)),
            "disk_gb": 4_000, "pull_gb_per_s": 0.06, "pull_sigma": 0.35, "data_center": "default", "priority": 0,
            "slowdown": 1, "max_starts": 0, "cached": [],
        });
        if let Some(hosts) = pool.as_map_mut() {
            hosts.set(&class.to_lowercase(), Node::from_json(&group, &origin));
        }
    }
    map.set("hosts", pool);
}

impl Context<'_> {
    /// Every host with the name of its group, in the order of the file.
    pub fn hosts(&mut self) -> Vec<(String, HostPlan)> {
        let app = self.app;
        let mut hosts = Vec::new();
        let wanted: u64 = app.hosts.0.iter().map(|(_, group)| u64::from(group.count)).sum();
        if wanted > MOST_HOSTS {
            self.problem(&["hosts"], format!("{wanted} hosts"), "at most 1000000", "");
            return hosts;
        }
        for (name, group) in &app.hosts.0 {
            let Some(plan) = self.host(name, group) else { continue };
            for number in 1..=group.count {
                let mut host = plan.clone();
                host.spec.name = if group.count == 1 { name.clone() } else { format!("{name}-{number}") };
                hosts.push((name.clone(), host));
            }
        }
        hosts
    }

    fn host(&mut self, name: &str, group: &HostGroup) -> Option<HostPlan> {
        let path = ["hosts", name];
        let mut cached = Vec::new();
        for image in &group.cached.0 {
            if image == "all" {
                cached.extend((0..self.images.len()).map(|index| crate::units::ImageId(index as u32)));
            } else {
                cached.extend(self.image(image, &[path[0], path[1], "cached"]));
            }
        }
        cached.sort_unstable();
        cached.dedup();
        let disk: u64 = self.cached_bytes(&cached);
        if disk > group.disk_gb.bytes() {
            let found = format!("cached images of {} GB on a disk of {} GB", disk as f64 / 1e9, group.disk_gb.get());
            self.problem(&[path[0], path[1], "disk_gb"], found, "a disk that holds them", "");
        }
        let pull = group.pull_gb_per_s.bytes_per_s();
        let spec = HostSpec {
            name: String::new(),
            data_center: group.data_center.clone(),
            gpu_class: self.class(&group.gpu_class, &[path[0], path[1], "gpu_class"])?,
            gpus: group.gpus,
            memory_bytes: group.memory_gb.bytes(),
            disk_bytes: group.disk_gb.bytes(),
            pull_bytes_per_s: pull.round() as u64,
            priority: group.priority,
            cached,
        };
        Some(HostPlan {
            spec,
            pull_bytes_per_s: pull,
            unpack_bytes_per_s: group.unpack_gb_per_s.map_or(f64::INFINITY, |rate| rate.bytes_per_s()),
            pull_sigma: group.pull_sigma.get(),
            slowdown: group.slowdown.get(),
            max_starts: group.max_starts,
            tenants: group.tenants.as_ref().map(|tenants| self.tenants(tenants, &path)),
        })
    }

    /// What cached images take, layers that several share counted once.
    fn cached_bytes(&self, cached: &[crate::units::ImageId]) -> u64 {
        let mut layers: Vec<(&str, u64)> = cached
            .iter()
            .flat_map(|image| &self.images[image.index()].layers)
            .map(|layer| (layer.digest.as_str(), layer.disk_bytes))
            .collect();
        layers.sort_unstable();
        layers.dedup();
        layers.iter().map(|(_, bytes)| bytes).sum()
    }

    fn tenants(&mut self, tenants: &Tenants, path: &[&str]) -> TenantPlan {
        let at = |key| [path, &["tenants", key]].concat();
        TenantPlan {
            away: self.amount(&tenants.away_s, &at("away_s")),
            stay: self.amount(&tenants.stay_s, &at("stay_s")),
            gpus: self.amount(&tenants.gpus, &at("gpus")),
        }
    }

    /// A worker that fits no host would wait for ever.
    pub fn every_worker_fits(&mut self, endpoints: &[EndpointPlan], hosts: &[(String, HostPlan)]) {
        for endpoint in endpoints {
            let name = endpoint.spec.name.clone();
            self.worker_fits(&endpoint.spec, hosts, &["endpoints", &name]);
        }
    }

    /// Reports the first need of `spec` that no host meets, needs taken one after the other.
    pub fn worker_fits(&mut self, spec: &EndpointSpec, hosts: &[(String, HostPlan)], path: &[&str]) {
        let hosts: Vec<&HostSpec> = hosts.iter().map(|(_, host)| &host.spec).collect();
        self.fits_some(spec, &hosts, path);
    }

    /// The same for hosts as the scheduler sees them.
    pub fn fits_some(&mut self, spec: &EndpointSpec, hosts: &[&HostSpec], path: &[&str]) {
        let mut fitting = hosts.to_vec();
        if fitting.is_empty() || spec.gpu_classes.is_empty() {
            // Hosts or classes were refused before: nothing to compare with.
            return;
        }
        let disk = self.disk_bytes(spec.image);
        let at = |key| [path, &[key]].concat();
        fitting.retain(|host| spec.gpu_classes.contains(&host.gpu_class));
        if fitting.is_empty() {
            let found = "GPU classes that no host has".to_owned();
            let names = self.class_names(hosts.iter().map(|host| host.gpu_class));
            return self.problem(&at("gpu_classes"), found, &names, "add hosts of that class, or remove `hosts`");
        }
        if !spec.data_centers.is_empty() {
            let centers = listed(fitting.iter().map(|host| host.data_center.clone()));
            fitting.retain(|host| spec.data_centers.contains(&host.data_center));
            if fitting.is_empty() {
                let found = "data centres in which there is no fitting host".to_owned();
                return self.problem(&at("data_centers"), found, &centers, "");
            }
        }
        let most = fitting.iter().map(|host| host.gpus).max().unwrap_or(0);
        fitting.retain(|host| host.gpus >= spec.gpus_per_worker);
        if fitting.is_empty() {
            let found = format!("{} GPUs on one host", spec.gpus_per_worker);
            let allowed = format!("at most {most}: the largest fitting host has {most}");
            return self.problem(&at("gpus_per_worker"), found, &allowed, "add a larger host");
        }
        let most = fitting.iter().map(|host| host.memory_bytes).max().unwrap_or(0);
        fitting.retain(|host| host.memory_bytes >= spec.memory_bytes);
        if fitting.is_empty() {
            let found = format!("{} GB of memory", spec.memory_bytes as f64 / 1e9);
            let allowed = format!("at most {}: no fitting host has more", most as f64 / 1e9);
            return self.problem(&at("memory_gb"), found, &allowed, "");
        }
        let most = fitting.iter().map(|host| host.disk_bytes).max().unwrap_or(0);
        if most < disk {
            let found = format!("an image of {} GB unpacked", disk as f64 / 1e9);
            let allowed = format!("at most {} GB: no fitting host has a larger disk", most as f64 / 1e9);
            self.problem(&at("image"), found, &allowed, "raise `disk_gb` of the hosts");
        }
    }

    fn class_names(&self, ids: impl Iterator<Item = crate::scheduler::GpuClassId>) -> String {
        let names = self.app.prices.gpu_classes.names();
        listed(ids.filter_map(|id| names.get(usize::from(id.0)).map(|name| (*name).to_owned())))
    }
}

/// Each once, in order of the alphabet.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}
