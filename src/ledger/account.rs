//! Accounts: where charges are added up. Every charge is booked against an endpoint and for a host, with the same amount.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::billing::{CostPhase, Profile};
use super::meter::Spent;
use crate::scheduler::WorkerKind;
use crate::scheduler::compact::pairs;
use crate::scheduler::watch::StartCause;
use crate::units::{Money, UsdPerSecond};

/// Costs by phase, with the billed time behind them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// Amounts in the order of [`CostPhase::ALL`].
    pub cost: [Money; 5],
    /// Microseconds in the same order.
    #[serde(with = "micros")]
    pub micros: [u128; 5],
    /// Sessions that ended.
    pub sessions: u64,
}

/// Micros as numbers of at most 64 bits: enough for 584,000 years of worker time.
mod micros {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(micros: &[u128; 5], serializer: S) -> Result<S::Ok, S::Error> {
        micros.map(|micros| u64::try_from(micros).unwrap_or(u64::MAX)).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u128; 5], D::Error> {
        <[u64; 5]>::deserialize(deserializer).map(|micros| micros.map(u128::from))
    }
}

impl Bill {
    /// Everything, rounding included.
    pub fn total(&self) -> Money {
        self.cost.iter().copied().sum()
    }

    /// Without what rounding added.
    pub fn exact(&self) -> Money {
        self.total() - self.of(CostPhase::Rounding)
    }

    /// One phase.
    pub fn of(&self, phase: CostPhase) -> Money {
        self.cost[phase.index()]
    }

    /// Billed microseconds, those that rounding added included.
    pub fn billed_micros(&self) -> u128 {
        self.micros.iter().sum()
    }

    pub(super) fn charge(&mut self, spent: &Spent, price: UsdPerSecond) {
        for (place, amount) in spent.cost(price).into_iter().enumerate() {
            self.cost[place] += amount;
            self.micros[place] += u128::from(spent.micros()[place]);
        }
        self.sessions += u64::from(spent.sessions);
    }

    /// Adds another bill.
    pub fn add(&mut self, other: &Bill) {
        for place in 0..5 {
            self.cost[place] += other.cost[place];
            self.micros[place] += other.micros[place];
        }
        self.sessions += other.sessions;
    }
}

/// What the workers that one cause started have cost, from that start to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseBill {
    /// Starts asked for.
    pub starts: u64,
    /// Cost of the starts alone, in the order of [`Profile::ALL`].
    pub start_cost: [Money; 2],
    /// Cost of everything up to the next start.
    pub total: [Money; 2],
}

/// An endpoint's account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointAccount {
    /// By profile and kind of worker.
    pub bills: [[Bill; 3]; 2],
    /// By who asked for the start.
    #[serde(with = "pairs")]
    pub causes: BTreeMap<StartCause, CauseBill>,
    /// Starts that failed.
    pub failed_starts: u64,
    /// What those starts cost (already in `bills`).
    pub failed_start_cost: [Money; 2],
    /// Attempts that brought no result: lost with their worker, or stopped by a timeout.
    pub wasted_attempts: u64,
    /// Worker time of those attempts at the worker's price (already in `bills`); jobs beside them are not subtracted.
    pub wasted_cost: Money,
}

impl EndpointAccount {
    /// The bill of one kind of worker.
    pub fn bill(&self, profile: Profile, kind: WorkerKind) -> &Bill {
        &self.bills[profile.index()][kind as usize]
    }

    /// All kinds together.
    pub fn total(&self, profile: Profile) -> Bill {
        let mut sum = Bill::default();
        self.bills[profile.index()].iter().for_each(|bill| sum.add(bill));
        sum
    }

    /// Adds another account, for totals.
    pub fn add(&mut self, other: &EndpointAccount) {
        for (mine, theirs) in self.bills.iter_mut().flatten().zip(other.bills.iter().flatten()) {
            mine.add(theirs);
        }
        for (cause, bill) in &other.causes {
            let mine = self.causes.entry(*cause).or_default();
            mine.starts += bill.starts;
            for profile in 0..2 {
                mine.start_cost[profile] += bill.start_cost[profile];
                mine.total[profile] += bill.total[profile];
            }
        }
        self.failed_starts += other.failed_starts;
        for profile in 0..2 {
            self.failed_start_cost[profile] += other.failed_start_cost[profile];
        }
        self.wasted_attempts += other.wasted_attempts;
        self.wasted_cost += other.wasted_cost;
    }
}
