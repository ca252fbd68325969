//! Max-min fair sharing of two limits, fluidly: every transfer's rate is the smaller of its share of the host's bandwidth
//! and the level up to which the registry can serve everybody.
//!
//! Hosts whose own share is below the level run on a clock of their own (bytes done per transfer since some moment); all
//! others share one clock at the level. A change of rate therefore touches a clock, not the transfers under it: the work per
//! start or end of a transfer is logarithmic in the number of hosts, however many thousands of transfers run.

use std::collections::BTreeSet;

use super::timers::Timers;
use crate::units::{MICROS_PER_S, Span, Time};

/// Bytes that each transfer under this clock has moved, at `rate` bytes per second each.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    done: f64,
    rate: f64,
    at: Time,
}

impl Clock {
    fn advance(&mut self, now: Time) {
        let elapsed = now.since(self.at).0;
        self.at = now;
        // An infinite rate ends its transfers at the very moment at which it is set.
        if elapsed > 0 && self.rate.is_finite() {
            self.done += self.rate * (elapsed as f64) / MICROS_PER_S as f64;
        }
    }

    /// Time until `target` is reached at the present rate, to the nearest microsecond.
    fn until(&self, target: f64) -> Span {
        let left = target - self.done;
        if left <= 0.0 { Span::ZERO } else { Span::from_secs(left / self.rate) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Under {
    /// Its own bandwidth is what holds its transfers back.
    Own,
    /// The registry is.
    Level,
}

#[derive(Clone, Debug)]
struct HostShare {
    limit: f64,
    under: Under,
    clock: Clock,
    flows: Vec<u32>,
}

impl HostShare {
    /// What one transfer gets from the host alone.
    fn share(&self) -> f64 {
        self.limit / self.flows.len() as f64
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    host: u32,
    target: f64,
}

/// All transfers of a registry. Flow numbers are the caller's: small and reused.
#[derive(Clone, Debug)]
pub(super) struct Bandwidth {
    registry: f64,
    hosts: Vec<HostShare>,
    flows: Vec<Flow>,
    /// Hosts under their own limit, by share; those under the level, by share.
    own: BTreeSet<(u64, u32)>,
    at_level: BTreeSet<(u64, u32)>,
    /// Bytes per second that the hosts under their own limit use together (whole bytes, so that sums stay exact).
    own_limits: u128,
    level: Clock,
    level_flows: u64,
    /// Transfers under the level by their targets.
    level_order: BTreeSet<(u64, u32)>,
    /// Entry 0 is the level, entry h + 1 host h.
    timers: Timers,
}

impl Bandwidth {
    /// Limits in bytes per second; infinite = none.
    pub fn new(host_limits: impl IntoIterator<Item = f64>, registry: f64) -> Bandwidth {
        let host = |limit: f64| HostShare {
            limit: limit.round(),
            under: Under::Own,
            clock: Clock::default(),
            flows: Vec::new(),
        };
        Bandwidth {
            registry,
            hosts: host_limits.into_iter().map(host).collect(),
            flows: Vec::new(),
            own: BTreeSet::new(),
            at_level: BTreeSet::new(),
            own_limits: 0,
            level: Clock::default(),
            level_flows: 0,
            level_order: BTreeSet::new(),
            timers: Timers::new(),
        }
    }

    /// When the next transfer ends at the present rates.
    pub fn next_time(&self) -> Time {
        self.timers.next_time()
    }

    /// A transfer of `bytes` begins.
    pub fn start(&mut self, now: Time, host: usize, flow: u32, bytes: f64) {
        self.level.advance(now);
        self.leave_order(host);
        if self.flows.len() <= flow as usize {
            self.flows.resize(flow as usize + 1, Flow::default());
        }
        let clock = self.clock_of(now, host);
        self.flows[flow as usize] = Flow { host: host as u32, target: clock.done + bytes };
        self.hosts[host].flows.push(flow);
        if self.hosts[host].under == Under::Level {
            self.level_order.insert((self.flows[flow as usize].target.to_bits(), flow));
        }
        self.enter_order(host);
        self.settle(now);
    }

    /// A transfer is called off.
    pub fn cancel(&mut self, now: Time, flow: u32) {
        self.level.advance(now);
        self.remove(now, flow);
        self.settle(now);
    }

    /// Takes one transfer that ends at `now`.
    pub fn finish(&mut self, now: Time) -> Option<u32> {
        let (at, entry) = self.timers.next().filter(|next| next.0 <= now)?;
        debug_assert!(at == now, "t={now}: a transfer ended at {at} without notice");
        self.level.advance(now);
        let first = match entry {
            0 => self.level_order.first().map(|first| first.1),
            _ => self.hosts[entry - 1].first(&self.flows),
        };
        let flow = first?;
        let host = self.flows[flow as usize].host as usize;
        if !self.clock_of(now, host).until(self.flows[flow as usize].target).is_zero() {
            // Rounding put the timer a microsecond early.
            self.rearm(now, entry);
            return None;
        }
        self.remove(now, flow);
        self.settle(now);
        Some(flow)
    }

    /// The registry's limit changes (0 = outage).
    pub fn set_registry(&mut self, now: Time, bytes_per_s: f64) {
        self.level.advance(now);
        self.registry = bytes_per_s;
        self.settle(now);
    }

    fn clock_of(&mut self, now: Time, host: usize) -> Clock {
        if self.hosts[host].under == Under::Level {
            return self.level;
        }
        self.hosts[host].clock.advance(now);
        self.hosts[host].clock
    }

    fn remove(&mut self, now: Time, flow: u32) {
        let Flow { host, target } = self.flows[flow as usize];
        let host = host as usize;
        self.leave_order(host);
        self.clock_of(now, host);
        self.level_order.remove(&(target.to_bits(), flow));
        self.hosts[host].flows.retain(|&other| other != flow);
        self.enter_order(host);
        if self.hosts[host].flows.is_empty() {
            self.timers.clear(host + 1);
        }
    }

    fn leave_order(&mut self, host: usize) {
        let share = &self.hosts[host];
        if share.flows.is_empty() {
            return;
        }
        let key = (share.share().to_bits(), host as u32);
        match share.under {
            Under::Own => {
                self.own_limits -= share.whole_limit();
                self.own.remove(&key)
            }
            Under::Level => {
                self.level_flows -= share.flows.len() as u64;
                self.at_level.remove(&key)
            }
        };
    }

    fn enter_order(&mut self, host: usize) {
        let share = &mut self.hosts[host];
        if share.flows.is_empty() {
            share.under = Under::Own;
            share.clock = Clock::default();
            return;
        }
        let key = (share.share().to_bits(), host as u32);
        match share.under {
            Under::Own => {
                share.clock.rate = share.share();
                self.own_limits += share.whole_limit();
                self.own.insert(key);
                self.dirty(host);
            }
            Under::Level => {
                self.level_flows += share.flows.len() as u64;
                self.at_level.insert(key);
            }
        }
    }

    /// Arms the timer of a host under its own limit.
    fn dirty(&mut self, host: usize) {
        let at = self.hosts[host].clock.at;
        self.rearm(at, host + 1);
    }

    fn rearm(&mut self, now: Time, entry: usize) {
        let due = match entry {
            0 => self.level_order.first().map(|&(target, _)| self.level.until(f64::from_bits(target))),
            _ => {
                let host = &self.hosts[entry - 1];
                host.first(&self.flows).map(|flow| host.clock.until(self.flows[flow as usize].target))
            }
        };
        self.timers.set(entry, due.map_or(Time::MAX, |span| now + span));
    }

    /// What is left of the registry for each transfer that its host does not hold back.
    fn level(&self) -> f64 {
        if self.registry.is_infinite() {
            return f64::INFINITY;
        }
        let taken = self.own_limits as f64;
        match self.level_flows {
            0 if taken <= self.registry => f64::INFINITY,
            0 => -1.0,
            flows => (self.registry - taken) / flows as f64,
        }
    }

    /// Moves hosts between the two clocks until every share under its own limit is at most the level and every other above it.
    /// Each move raises the level: first all that have to come under it do, then none that leaves has to come back.
    fn settle(&mut self, now: Time) {
        while let Some(&(share, host)) = self.own.last()
            && !self.held_by_host(f64::from_bits(share))
        {
            self.shift(now, host as usize, Under::Level);
        }
        while let Some(&(share, host)) = self.at_level.first()
            && self.held_by_host(f64::from_bits(share))
        {
            self.shift(now, host as usize, Under::Own);
        }
        let idle = self.level_flows == 0;
        self.level = Clock {
            done: if idle { 0.0 } else { self.level.done },
            rate: if idle { 0.0 } else { self.level() },
            at: now,
        };
        self.rearm(now, 0);
    }

    fn held_by_host(&self, share: f64) -> bool {
        share <= self.level() && (share.is_finite() || self.registry.is_infinite())
    }

    fn shift(&mut self, now: Time, host: usize, under: Under) {
        self.leave_order(host);
        let from = self.clock_of(now, host);
        self.hosts[host].clock = Clock { done: 0.0, rate: 0.0, at: now };
        self.hosts[host].under = under;
        let to = self.clock_of(now, host);
        for &flow in &self.hosts[host].flows {
            let target = &mut self.flows[flow as usize].target;
            self.level_order.remove(&(target.to_bits(), flow));
            *target = (*target - from.done).max(0.0) + to.done;
            if under == Under::Level {
                self.level_order.insert((target.to_bits(), flow));
            }
        }
        if under == Under::Level {
            self.timers.clear(host + 1);
        }
        self.enter_order(host);
    }
}

impl HostShare {
    /// The limit as it enters sums; no limit counts as none, since such a host is never what holds its transfers back.
    fn whole_limit(&self) -> u128 {
        if self.limit.is_finite() { self.limit as u128 } else { 0 }
    }

    /// The transfer that ends first.
    fn first(&self, flows: &[Flow]) -> Option<u32> {
        let key = |flow: &u32| (flows[*flow as usize].target.to_bits(), *flow);
        self.flows.iter().copied().min_by_key(|flow| key(flow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: f64 = 1e6;

    /// Runs to the end and returns (flow, end in seconds).
    fn ends(shares: &mut Bandwidth) -> Vec<(u32, f64)> {
        let mut ends = Vec::new();
        while shares.next_time() < Time::MAX {
            let now = shares.next_time();
            if let Some(flow) = shares.finish(now) {
                ends.push((flow, now.as_secs()));
            }
        }
        ends
    }

    #[test]
    fn a_host_is_shared_equally_and_the_rest_speeds_up() {
        let mut shares = Bandwidth::new([100.0 * MB], f64::INFINITY);
        shares.start(Time::ZERO, 0, 0, 100.0 * MB);
        shares.start(Time::ZERO, 0, 1, 300.0 * MB);
        // 50 MB/s each: the first ends at 2 s; the second has 200 MB left at 100 MB/s.
        assert_eq!(ends(&mut shares), [(0, 2.0), (1, 4.0)]);
    }

    #[test]
    fn the_registry_is_shared_by_all_but_slow_hosts() {
        // Max-min: the slow host keeps its 10, the others get (100 - 10) / 2 = 45 each.
        let mut shares = Bandwidth::new([10.0 * MB, 80.0 * MB, f64::INFINITY], 100.0 * MB);
        for host in 0..3 {
            shares.start(Time::ZERO, host, host as u32, 90.0 * MB);
        }
        // Both end at 2 s; the slow one then goes on at its own 10 MB/s.
        assert_eq!(ends(&mut shares), [(1, 2.0), (2, 2.0), (0, 9.0)]);
    }

    #[test]
    fn a_host_leaves_the_level_when_others_are_done() {
        let mut shares = Bandwidth::new([60.0 * MB, 60.0 * MB], 100.0 * MB);
        shares.start(Time::ZERO, 0, 0, 50.0 * MB);
        shares.start(Time::ZERO, 1, 1, 110.0 * MB);
        // 50 each for 1 s, then 60 for the other: 1 s more.
        assert_eq!(ends(&mut shares), [(0, 1.0), (1, 2.0)]);
    }

    #[test]
    fn an_outage_stops_progress() {
        let mut shares = Bandwidth::new([50.0 * MB], f64::INFINITY);
        shares.start(Time::ZERO, 0, 0, 100.0 * MB);
        shares.set_registry(Time::from_secs(1.0), 0.0);
        assert_eq!(shares.next_time(), Time::MAX);
        shares.set_registry(Time::from_secs(11.0), f64::INFINITY);
        assert_eq!(ends(&mut shares), [(0, 12.0)]);
    }

    #[test]
    fn a_cancelled_transfer_gives_its_share_back() {
        let mut shares = Bandwidth::new([100.0 * MB], f64::INFINITY);
        shares.start(Time::ZERO, 0, 0, 100.0 * MB);
        shares.start(Time::ZERO, 0, 1, 100.0 * MB);
        shares.cancel(Time::from_secs(1.0), 0);
        assert_eq!(ends(&mut shares), [(1, 1.5)]);
    }

    #[test]
    fn without_limits_everything_is_there_at_once() {
        let mut shares = Bandwidth::new([f64::INFINITY], f64::INFINITY);
        shares.start(Time(7), 0, 0, 1e12);
        assert_eq!(ends(&mut shares), [(0, 0.000_007)]);
    }

    #[test]
    fn thousands_of_transfers_use_the_registry_fully() {
        let hosts = 2_000;
        let limits = (0..hosts).map(|host| MB * (1.0 + f64::from(host % 50)));
        let mut shares = Bandwidth::new(limits, 1_000.0 * MB);
        let mut bytes = 0.0;
        for flow in 0..2 * hosts as u32 {
            let size = MB * f64::from(1 + flow * 7 % 90);
            bytes += size;
            shares.start(Time::ZERO, flow as usize % hosts as usize, flow, size);
        }
        let ends = ends(&mut shares);
        assert_eq!(ends.len(), 2 * hosts as usize);
        let least = bytes / (1_000.0 * MB);
        let last = ends[ends.len() - 1].1;
        assert!(last >= least - 0.01, "{last} s is less than {least} s: more than the registry's bandwidth was used");
        // The slowest hosts have 1 MB/s and two transfers of at most 90 MB.
        assert!(last <= least + 180.0, "{last} s against {least} s");
    }
}
