//! Image pulls: only what a host lacks is fetched, a layer never twice at a time, and the image counts when all is unpacked.

use super::agenda::{Agenda, Due};
use super::bandwidth::Bandwidth;
use super::hosts::{Catalogue, Host};
use super::plan::RegistryPlan;
use super::streams::{Purpose, Streams};
use crate::units::{ImageId, Span, Time};
use crate::workload::deviate::{chance, normal};

/// How a pull ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PullEnd {
    pub host: u32,
    pub image: ImageId,
    pub complete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Vacant,
    Transfer,
    Unpack,
    /// All its own layers are there; it waits for those that other pulls fetch.
    Waits,
}

#[derive(Clone, Debug)]
struct Pull {
    generation: u32,
    state: State,
    image: ImageId,
    host: u32,
    /// Layers that this pull fetches.
    own: Vec<u32>,
    unpack: Span,
    fails: bool,
}

/// All pulls under way.
#[derive(Debug)]
pub(super) struct Pulls {
    table: Vec<Pull>,
    free: Vec<u32>,
    /// Pulls of each host.
    here: Vec<Vec<u32>>,
    transfers: Bandwidth,
    registry_bytes_per_s: f64,
    failure_probability: f64,
    /// Moments at which the registry goes down (even places) and comes back (odd places).
    turns: Vec<Time>,
    turned: usize,
}

impl Pulls {
    pub fn new(host_limits: impl IntoIterator<Item = f64>, registry: &RegistryPlan, agenda: &mut Agenda) -> Pulls {
        let turns = outage_turns(&registry.outages);
        for &turn in &turns {
            agenda.add(turn, Due::RegistryTurns);
        }
        let limits: Vec<f64> = host_limits.into_iter().collect();
        Pulls {
            table: Vec::new(),
            free: Vec::new(),
            here: vec![Vec::new(); limits.len()],
            transfers: Bandwidth::new(limits, registry.bytes_per_s),
            registry_bytes_per_s: registry.bytes_per_s,
            failure_probability: registry.failure_probability,
            turns,
            turned: 0,
        }
    }

    /// When the next transfer ends.
    #[inline]
    pub fn next_time(&self) -> Time {
        self.transfers.next_time()
    }

    /// The scheduler wants `image` on `host`. Answers at once when nothing is missing.
    pub fn begin(
        &mut self,
        now: Time,
        host: &mut Host,
        image: ImageId,
        catalogue: &Catalogue,
        streams: &Streams,
    ) -> Option<PullEnd> {
        if host.disk.holds(image) {
            return Some(PullEnd { host: host.id.0, image, complete: true });
        }
        let needed = catalogue.layers_of(image).iter().copied();
        let missing = |layer: &u32| !host.disk.has_layer(*layer) && !host.disk.fetching.contains_key(layer);
        let own: Vec<u32> = needed.filter(missing).collect();
        let mut stream = streams.at(Purpose::Pull, u64::from(host.id.0), host.pulls);
        host.pulls += 1;
        let luck = if host.pull_sigma > 0.0 { libm::exp(host.pull_sigma * normal(&mut stream)) } else { 1.0 };
        let unpack = Span::from_secs(catalogue.disk_bytes(&own) as f64 * luck / host.unpack_bytes_per_s);
        let fails = chance(self.failure_probability, &mut stream);
        let bytes = catalogue.pull_bytes(&own) as f64 * luck;
        let number = self.enter(host.id.0, image, own, unpack, fails);
        for &layer in &self.table[number as usize].own {
            host.disk.fetching.insert(layer, number);
        }
        let needed = host.disk.bytes_with_pulls(catalogue);
        assert!(
            needed <= host.disk_bytes,
            "t={now}: {needed} bytes on the disk of {} with {}",
            host.id,
            host.disk_bytes
        );
        self.transfers.start(now, host.id.index(), number, bytes);
        None
    }

    /// One transfer has ended: it is unpacked next.
    pub fn transfer_ended(&mut self, now: Time, agenda: &mut Agenda) {
        if let Some(number) = self.transfers.finish(now) {
            let pull = &mut self.table[number as usize];
            pull.state = State::Unpack;
            agenda.add(now + pull.unpack, Due::Unpacked { pull: number, generation: pull.generation });
        }
    }

    /// A pull's layers are unpacked. Tells which pulls ended by that: itself, and those that waited for its layers.
    pub fn unpacked(
        &mut self,
        number: u32,
        generation: u32,
        hosts: &mut [Host],
        catalogue: &Catalogue,
    ) -> Vec<PullEnd> {
        if self.table[number as usize].generation != generation {
            return Vec::new();
        }
        let pull = &mut self.table[number as usize];
        pull.state = State::Waits;
        let host = &mut hosts[pull.host as usize];
        let mut ends = Vec::new();
        if pull.fails {
            let own = std::mem::take(&mut pull.own);
            ends.push(self.leave(number, false, host, catalogue));
            // Layers that were lost with it fail those who counted on them.
            for &other in &self.here[host.id.index()] {
                let pull = &mut self.table[other as usize];
                pull.fails |= catalogue.layers_of(pull.image).iter().any(|layer| own.contains(layer));
            }
        }
        for other in self.here[host.id.index()].clone() {
            if self.table[other as usize].state == State::Waits && !self.waits(other, host, catalogue) {
                let complete = !self.table[other as usize].fails;
                ends.push(self.leave(other, complete, host, catalogue));
            }
        }
        ends
    }

    /// Another pull still fetches a layer that this one needs.
    fn waits(&self, number: u32, host: &Host, catalogue: &Catalogue) -> bool {
        let arrives = |layer: &u32| {
            let fetcher = host.disk.fetching.get(layer);
            fetcher.is_some_and(|&by| by != number && self.table[by as usize].state != State::Waits)
        };
        catalogue.layers_of(self.table[number as usize].image).iter().any(arrives)
    }

    /// The host is lost: its pulls are gone without an answer.
    pub fn host_lost(&mut self, now: Time, host: &mut Host, catalogue: &Catalogue) {
        for number in self.here[host.id.index()].clone() {
            if self.table[number as usize].state == State::Transfer {
                self.transfers.cancel(now, number);
            }
            self.leave(number, false, host, catalogue);
        }
    }

    /// The registry goes down or comes back.
    pub fn registry_turns(&mut self, now: Time) {
        self.turned += 1;
        let down = self.turned % 2 == 1;
        debug_assert!(self.turns[self.turned - 1] == now, "t={now}: an outage turned at another time");
        self.transfers.set_registry(now, if down { 0.0 } else { self.registry_bytes_per_s });
    }

    fn enter(&mut self, host: u32, image: ImageId, own: Vec<u32>, unpack: Span, fails: bool) -> u32 {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.table.push(Pull {
                    generation: 0,
                    state: State::Vacant,
                    host: 0,
                    image,
                    own: Vec::new(),
                    unpack: Span::ZERO,
                    fails: false,
                });
                (self.table.len() - 1) as u32
            }
        };
        let pull = &mut self.table[number as usize];
        self.here[host as usize].push(number);
        *pull = Pull { generation: pull.generation + 1, state: State::Transfer, host, image, own, unpack, fails };
        number
    }

    fn leave(&mut self, number: u32, complete: bool, host: &mut Host, catalogue: &Catalogue) -> PullEnd {
        let pull = &mut self.table[number as usize];
        pull.state = State::Vacant;
        pull.generation += 1;
        self.free.push(number);
        self.here[host.id.index()].retain(|&other| other != number);
        host.disk.fetching.retain(|_, by| *by != number);
        if complete {
            host.disk.keep(catalogue, pull.image);
        }
        PullEnd { host: host.id.0, image: pull.image, complete }
    }
}

/// Overlapping and touching outages become one; the moments at which the registry turns, in order.
fn outage_turns(outages: &[(Time, Time)]) -> Vec<Time> {
    let mut sorted: Vec<(Time, Time)> = outages.iter().copied().filter(|outage| outage.0 < outage.1).collect();
    sorted.sort_unstable();
    let mut turns: Vec<Time> = Vec::new();
    for (from, until) in sorted {
        match turns.last_mut() {
            Some(end) if *end >= from => *end = until.max(*end),
            _ => turns.extend([from, until]),
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::{HostSpec, Image, Layer};
    use crate::sim::plan::HostPlan;
    use crate::units::HostId;

    const MB: f64 = 1e6;

    struct Bench {
        agenda: Agenda,
        pulls: Pulls,
        hosts: Vec<Host>,
        catalogue: Catalogue,
        streams: Streams,
    }

    /// One host with 100 MB/s; images `a` = base 100 MB + 50 MB, `b` = base + 200 MB; unpacking at 100 MB/s.
    fn bench(failure_probability: f64, outages: Vec<(Time, Time)>) -> Bench {
        let layer = |digest: &str, mb: u64| Layer {
            digest: digest.to_owned(),
            pull_bytes: mb * 1_000_000,
            disk_bytes: mb * 1_000_000,
        };
        let image = |name: &str, mb| Image { name: name.to_owned(), layers: vec![layer("base", 100), layer(name, mb)] };
        let catalogue = Catalogue::new(&[image("a", 50), image("b", 200)]);
        let plan = HostPlan {
            spec: HostSpec { disk_bytes: 1 << 40, ..HostPlan::plain().spec },
            unpack_bytes_per_s: 100.0 * MB,
            ..HostPlan::plain()
        };
        let registry = RegistryPlan { failure_probability, outages, ..RegistryPlan::unlimited() };
        let mut agenda = Agenda::default();
        let pulls = Pulls::new([100.0 * MB], &registry, &mut agenda);
        let hosts = vec![Host::new(HostId(0), &plan, &catalogue)];
        Bench { agenda, pulls, hosts, catalogue, streams: Streams::new(1) }
    }

    impl Bench {
        fn begin(&mut self, now: Time, image: u32) -> Option<PullEnd> {
            self.pulls.begin(now, &mut self.hosts[0], ImageId(image), &self.catalogue, &self.streams)
        }

        /// Runs to the end; (seconds, image, complete).
        fn ends(&mut self) -> Vec<(f64, u32, bool)> {
            let mut ends = Vec::new();
            loop {
                let now = self.pulls.next_time().min(self.agenda.next_time());
                if now == Time::MAX {
                    return ends;
                }
                if self.pulls.next_time() <= now {
                    self.pulls.transfer_ended(now, &mut self.agenda);
                    continue;
                }
                match self.agenda.pop() {
                    Some(Due::Unpacked { pull, generation }) => {
                        let done = self.pulls.unpacked(pull, generation, &mut self.hosts, &self.catalogue);
                        ends.extend(done.iter().map(|end| (now.as_secs(), end.image.0, end.complete)));
                    }
                    Some(Due::RegistryTurns) => self.pulls.registry_turns(now),
                    other => panic!("unexpected {other:?}"),
                }
            }
        }
    }

    #[test]
    fn an_image_counts_when_it_is_transferred_and_unpacked() {
        let mut bench = bench(0.0, Vec::new());
        assert_eq!(bench.begin(Time::ZERO, 0), None);
        assert!(!bench.hosts[0].disk.holds(ImageId(0)));
        assert_eq!(bench.ends(), [(3.0, 0, true)]);
        assert!(bench.hosts[0].disk.holds(ImageId(0)));
        assert!(bench.begin(Time::from_secs(9.0), 0).is_some(), "nothing is missing: the answer comes at once");
        // Of the other image only its own layer is missing.
        assert_eq!(bench.begin(Time::from_secs(10.0), 1), None);
        assert_eq!(bench.ends(), [(14.0, 1, true)]);
    }

    #[test]
    fn a_shared_layer_is_fetched_once_by_two_pulls_at_a_time() {
        let mut bench = bench(0.0, Vec::new());
        bench.begin(Time::ZERO, 1);
        bench.begin(Time::ZERO, 0);
        // b moves 300 MB, a only its own 50: at 50 MB/s each a is transferred at 1 s, unpacked at 1.5 s, and waits for the base
        // layer; b has 250 MB left at 100 MB/s, is transferred at 3.5 s and unpacked at 6.5 s.
        assert_eq!(bench.ends(), [(6.5, 1, true), (6.5, 0, true)]);
        assert_eq!(bench.hosts[0].disk.bytes, 350_000_000);
        assert_eq!(bench.pulls.table.len(), bench.pulls.free.len());
    }

    #[test]
    fn nothing_moves_while_the_registry_is_down() {
        let down = |from, until| (Time::from_secs(from), Time::from_secs(until));
        let mut bench = bench(0.0, vec![down(1.0, 4.0), down(3.0, 11.0), down(0.5, 0.5)]);
        bench.begin(Time::ZERO, 0);
        assert_eq!(bench.ends(), [(13.0, 0, true)]);
    }

    #[test]
    fn a_failed_pull_leaves_nothing_and_fails_those_who_counted_on_its_layers() {
        let mut bench = bench(1.0, Vec::new());
        bench.begin(Time::ZERO, 1);
        bench.begin(Time::ZERO, 0);
        assert_eq!(bench.ends(), [(1.5, 0, false), (6.5, 1, false)]);
        assert_eq!(bench.hosts[0].disk.bytes_with_pulls(&bench.catalogue), 0);
    }

    #[test]
    fn a_lost_host_pulls_no_more() {
        let mut bench = bench(0.0, Vec::new());
        bench.begin(Time::ZERO, 0);
        bench.pulls.host_lost(Time::from_secs(1.0), &mut bench.hosts[0], &bench.catalogue);
        assert_eq!(bench.ends(), []);
        assert!(bench.hosts[0].disk.fetching.is_empty());
    }
}
