//! The meter of one worker: exact billed microseconds by what they were spent on, and sessions rounded up to seconds.
//!
//! A session is a maximal run of billable time at one price. Two billable stretches that touch are one session, so
//! handing out the next job in the same instant in which the last one ended never rounds twice (reliability M3).

use serde::{Deserialize, Serialize};

use super::billing::CostPhase;
use crate::units::{MICROS_PER_S, Money, Span, Time, UsdPerSecond};

/// Whether partial seconds are billed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rounding {
    /// Every session is rounded up to whole seconds, as the platform does.
    #[default]
    UpToSeconds,
    /// Exact microseconds: theory's clean mode.
    Exact,
}

/// Billed time of one profile at one price since it was last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Microseconds by [`CostPhase`], rounding included; the place behind them is time that was not billed.
    micros: [u64; 6],
    /// Sessions that ended.
    pub sessions: u32,
}

impl Spent {
    /// Billed microseconds by [`CostPhase`]; the last one is what rounding added.
    pub fn micros(&self) -> [u64; 5] {
        let [start, work, warm_idle, drain, rounding, _] = self.micros;
        [start, work, warm_idle, drain, rounding]
    }

    /// What rounding added.
    pub fn rounding(&self) -> Span {
        Span(self.micros[CostPhase::Rounding.index()])
    }

    /// Costs by phase at `price`.
    pub fn cost(&self, price: UsdPerSecond) -> [Money; 5] {
        self.micros().map(|micros| price.cost(Span(micros)))
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Session {
    /// What is billed now.
    phase: Option<CostPhase>,
    begin: Time,
    /// End of the last session, whose rounding is not yet booked because the next one may touch it.
    tail: Option<Time>,
}

/// One worker's meter for both profiles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Meter {
    at: Time,
    price: UsdPerSecond,
    rounding: Rounding,
    sessions: [Session; 2],
    spent: [Spent; 2],
}

/// Place in [`Spent::micros`] of time that is not billed: written without a branch, never read.
const UNBILLED: usize = 5;

impl Meter {
    /// A meter at rest.
    pub fn new(now: Time, price: UsdPerSecond, rounding: Rounding) -> Meter {
        let rest = Session { phase: None, begin: now, tail: None };
        Meter { at: now, price, rounding, sessions: [rest; 2], spent: [Spent::default(); 2] }
    }

    /// Price per second while it bills.
    pub fn price(&self) -> UsdPerSecond {
        self.price
    }

    /// What each profile bills at the moment.
    #[inline]
    pub fn phases(&self) -> [Option<CostPhase>; 2] {
        [self.sessions[0].phase, self.sessions[1].phase]
    }

    /// From `now` on, `next` is billed. Times never go backwards.
    #[inline]
    pub fn turn(&mut self, now: Time, next: [Option<CostPhase>; 2]) {
        let elapsed = now.since(self.at).0;
        self.at = self.at.max(now);
        for profile in 0..2 {
            let (session, spent, next) = (&mut self.sessions[profile], &mut self.spent[profile], next[profile]);
            spent.micros[session.phase.map_or(UNBILLED, CostPhase::index)] += elapsed;
            match (session.phase.is_some(), next.is_some()) {
                (true, false) => session.tail = Some(now),
                (false, true) => {
                    if session.tail != Some(now) {
                        close(session, spent, self.rounding);
                        session.begin = now;
                    }
                    session.tail = None;
                }
                _ => {}
            }
            session.phase = next;
        }
    }

    /// A new price from `now` on: open sessions end, and what was spent at the old price must be taken first by the caller
    /// of this method, which gets it here.
    pub fn reprice(&mut self, now: Time, price: UsdPerSecond) -> ([Spent; 2], UsdPerSecond) {
        if price == self.price {
            return (self.take(now), price);
        }
        let phases = self.phases();
        self.turn(now, [None, None]);
        for (session, spent) in self.sessions.iter_mut().zip(&mut self.spent) {
            close(session, spent, self.rounding);
        }
        let old = std::mem::replace(&mut self.price, price);
        let spent = std::mem::take(&mut self.spent);
        self.turn(now, phases);
        (spent, old)
    }

    /// What was spent up to `now` and not yet taken. Open sessions go on; their rounding comes when they end.
    pub fn take(&mut self, now: Time) -> [Spent; 2] {
        self.turn(now, self.phases());
        for (session, spent) in self.sessions.iter_mut().zip(&mut self.spent) {
            if session.tail.is_some_and(|tail| tail < now) {
                close(session, spent, self.rounding);
            }
        }
        std::mem::take(&mut self.spent)
    }

    /// Ends everything at `now`.
    pub fn end(&mut self, now: Time) -> [Spent; 2] {
        self.turn(now, [None, None]);
        for (session, spent) in self.sessions.iter_mut().zip(&mut self.spent) {
            close(session, spent, self.rounding);
        }
        std::mem::take(&mut self.spent)
    }
}

/// Books the rounding of a session that has ended for good.
fn close(session: &mut Session, spent: &mut Spent, rounding: Rounding) {
    let Some(end) = session.tail.take() else { return };
    let length = end.since(session.begin);
    if length.is_zero() {
        return;
    }
    spent.sessions += 1;
    if rounding == Rounding::UpToSeconds {
        spent.micros[CostPhase::Rounding.index()] += length.ceil_secs() * MICROS_PER_S - length.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORK: [Option<CostPhase>; 2] = [Some(CostPhase::Work); 2];
    const IDLE: [Option<CostPhase>; 2] = [None, Some(CostPhase::WarmIdle)];

    fn meter() -> Meter {
        Meter::new(Time::ZERO, UsdPerSecond(1), Rounding::UpToSeconds)
    }

    #[test]
    fn sessions_round_up_once_and_touching_ones_are_one() {
        let mut meter = meter();
        meter.turn(Time(500_000), WORK);
        meter.turn(Time(1_700_000), IDLE);
        meter.turn(Time(1_700_000), WORK);
        meter.turn(Time(2_800_000), IDLE);
        let [seed, documented] = meter.end(Time(4_000_000));
        assert_eq!(seed.micros(), [0, 2_300_000, 0, 0, 700_000], "2.3 s of work in one session are billed as 3 s");
        assert_eq!(seed.sessions, 1);
        assert_eq!(documented.micros(), [0, 2_300_000, 1_200_000, 0, 500_000]);
    }

    #[test]
    fn looking_at_the_meter_never_changes_the_bill() {
        let run = |looks: &[u64]| {
            let mut meter = meter();
            let mut sum = [0; 5];
            meter.turn(Time(100), WORK);
            for look in looks {
                add(&mut sum, &meter.take(Time(*look))[0]);
            }
            meter.turn(Time(5_300_000), IDLE);
            add(&mut sum, &meter.end(Time(6_000_000))[0]);
            sum
        };
        assert_eq!(run(&[]), run(&[1_000, 1_000_000, 5_299_999]));
    }

    fn add(sum: &mut [u64; 5], spent: &Spent) {
        for (sum, micros) in sum.iter_mut().zip(spent.micros()) {
            *sum += micros;
        }
    }

    #[test]
    fn a_new_price_ends_the_session() {
        let mut meter = meter();
        meter.turn(Time(0), WORK);
        let (spent, old) = meter.reprice(Time(1_500_000), UsdPerSecond(2));
        assert_eq!((spent[0].micros(), old), ([0, 1_500_000, 0, 0, 500_000], UsdPerSecond(1)));
        let [seed, _] = meter.end(Time(2_000_000));
        assert_eq!(seed.micros(), [0, 500_000, 0, 0, 500_000]);
    }

    #[test]
    fn exact_mode_bills_exact_microseconds() {
        let mut meter = Meter::new(Time::ZERO, UsdPerSecond(1), Rounding::Exact);
        meter.turn(Time(0), WORK);
        let [seed, _] = meter.end(Time(1));
        assert_eq!(seed.micros(), [0, 1, 0, 0, 0]);
    }
}
