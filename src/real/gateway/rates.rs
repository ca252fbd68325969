//! Rate limits of one endpoint: requests of an operation in a window, and at once (contract §4.4).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::http::StatusCode;

use super::problem::Problem;
use super::settings::{Rate, RateLimits};

/// Operations that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the paths")]
pub enum Op {
    Run,
    RunSync,
    Status,
    Stream,
    Openai,
    Cancel,
    Requests,
    Purge,
    /// Not limited: `/health`, which monitors ask, and load-balancing requests, which the workers limit.
    Free,
}

impl Op {
    fn rate(self, limits: &RateLimits) -> Option<Rate> {
        match self {
            Op::Run => Some(limits.run),
            Op::RunSync => Some(limits.runsync),
            Op::Status => Some(limits.status),
            Op::Stream => Some(limits.stream),
            Op::Openai => Some(limits.openai),
            Op::Cancel => Some(limits.cancel),
            Op::Requests => Some(limits.requests),
            Op::Purge => Some(limits.purge),
            Op::Free => None,
        }
    }
}

const OPS: usize = Op::Free as usize;

#[derive(Debug, Default)]
struct Bucket {
    /// Start of the window and requests in it.
    window: Mutex<Option<(Instant, u32)>>,
    at_once: AtomicU32,
}

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub struct Rates {
    buckets: [Bucket; OPS],
    /// Running workers, as last seen: more of them allow for more.
    pub running: AtomicU32,
}

/// A counted request; counts as over when dropped.
#[derive(Debug)]
pub struct Ongoing {
    rates: Arc<Rates>,
    op: Op,
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        if let Some(bucket) = self.rates.buckets.get(self.op as usize) {
            bucket.at_once.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Rates {
    /// Counts a request; 429 with the seconds to wait if there are too many.
    pub fn enter(self: &Arc<Rates>, op: Op, limits: Option<&RateLimits>, now: Instant) -> Result<Ongoing, Problem> {
        let ongoing = Ongoing { rates: Arc::clone(self), op };
        let Some(bucket) = self.buckets.get(op as usize) else { return Ok(ongoing) };
        let at_once = bucket.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        let Some((limits, rate)) = limits.and_then(|limits| Some((limits, op.rate(limits)?))) else {
            return Ok(ongoing);
        };
        let by_workers = self.running.load(Ordering::Relaxed).saturating_mul(limits.per_worker);
        // Purges and lists cost us, not the workers: more workers do not allow for more of them.
        let most = |base: u32| if matches!(op, Op::Purge | Op::Requests) { base } else { base.max(by_workers) };
        if at_once > most(rate.concurrent) {
            return Err(too_many("at once", most(rate.concurrent), 1));
        }
        let mut window = bucket.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) = match *window {
            Some((since, count)) if now.duration_since(since) < limits.window => (since, count),
            Some(_) | None => (now, 0),
        };
        if count >= most(rate.window) {
            let left = limits.window.saturating_sub(now.duration_since(since));
            return Err(too_many("in a window", most(rate.window), left.as_secs() + 1));
        }
        *window = Some((since, count + 1));
        Ok(ongoing)
    }
}

fn too_many(when: &str, most: u32, seconds: u64) -> Problem {
    let text = format!("too many requests of this kind for this endpoint: {most} are allowed {when}");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", text).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_window_the_concurrency_and_the_workers_count() {
        let limits = RateLimits { run: Rate { window: 3, concurrent: 2 }, ..RateLimits::default() };
        let rates = Arc::new(Rates::default());
        let start = Instant::now();
        let enter = |after_s: u64| rates.enter(Op::Run, Some(&limits), start + Duration::from_secs(after_s));
        let (first, second) = (enter(0).expect("1 of 2"), enter(0).expect("2 of 2"));
        let problem = enter(0).expect_err("a third at once");
        assert_eq!((problem.status.as_u16(), problem.retry_after), (429, Some(1)));
        drop((first, second));
        drop(enter(4).expect("3 of 3 in the window"));
        assert_eq!(enter(4).expect_err("a fourth").retry_after, Some(7));
        drop(enter(10).expect("the next window"));
        rates.running.store(1, Ordering::Relaxed);
        let many: Vec<Ongoing> = (0..49).map(|_| enter(11).expect("50 per worker")).collect();
        assert!(enter(11).is_err());
        drop(many);
        assert!(rates.enter(Op::Run, None, start).is_ok(), "switched off");
        assert!((0..9).all(|_| rates.enter(Op::Free, Some(&limits), start).is_ok()));
    }
}
