//! Webhooks: the outbox in the store is worked off, each entry at most three times, ten seconds apart (contract §5.1).
//!
//! An entry becomes durable together with the outcome that it tells of, and every try is recorded before the next one: a gateway
//! that dies delivers again after its restart, at least once in all. Receivers must take the same call twice. A delivery never
//! changes its job.

pub mod guard;
pub mod post;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::guard::{Allow, Lookup, SystemLookup};
use self::post::{Poster, Tried};
use super::clock::unix_us;
use super::core::handle::{Handle, Request};
use super::store::{Delivery, DeliveryState, StoreError, StoreReader};

/// The body to post for a delivery: the `/status` document of its job as it ended; `None` when there is no such job any more.
/// Called where it may block.
pub type BodyOf = Arc<dyn Fn(&Delivery) -> Option<Vec<u8>> + Send + Sync>;

/// Tries under way at once.
const RUNNING: usize = 64;

/// Tries under way at once for one endpoint, so that a receiver that hangs holds up its own deliveries only.
const RUNNING_PER_ENDPOINT: usize = 16;

/// Entries read from the outbox at once.
const READ_AT_ONCE: u32 = 1_024;

/// How often the store is asked whether a try that was reported is on record.
const CONFIRM_EVERY: Duration = Duration::from_millis(100);

/// A report that is not on record after this long is taken as lost, and the delivery is tried again.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// The clock of due times may jump: no sleep is longer than this while something is pending.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// How webhooks are delivered.
#[derive(Clone)]
pub struct Config {
    /// Where they may go beyond the public internet.
    pub allow: Allow,
    /// Any 2xx status is success, not 200 alone. Default off, as on the platform.
    pub any_2xx: bool,
    /// Tries in all. Default 3.
    pub tries: u32,
    /// Time for one try. Default 10 s.
    pub timeout: Duration,
    /// From the end of a try to the next one. Default 10 s.
    pub retry_after: Duration,
    /// Who resolves names.
    pub lookup: Arc<dyn Lookup>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            allow: Allow::default(),
            any_2xx: false,
            tries: 3,
            timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(10),
            lookup: Arc::new(SystemLookup),
        }
    }
}

/// Delivers for as long as the core lives. `wake` is notified when an outcome with a webhook has become durable.
///
/// # Errors
/// Why nothing can be delivered at all (TLS cannot be set up).
pub async fn deliver(handle: Handle, config: Config, wake: Arc<Notify>, body_of: BodyOf) -> Result<(), String> {
    let poster = Poster::new(config.allow.clone(), Arc::clone(&config.lookup), config.timeout)?;
    let mut outbox = Outbox {
        sender: Sender { reader: Arc::clone(handle.reader()), poster, config: Arc::new(config), body_of },
        handle,
        waiting: VecDeque::new(),
        seen: BTreeMap::new(),
        running: JoinSet::new(),
        busy: BTreeMap::new(),
        secrets: BTreeMap::new(),
        next_due_ms: None,
    };
    let mut look = true;
    loop {
        if look || outbox.waiting.is_empty() {
            outbox.look().await;
        }
        outbox.start();
        let rest = outbox.rest();
        look = tokio::select! {
            () = wake.notified() => true,
            Some(tried) = outbox.running.join_next() => {
                match tried {
                    Ok(delivery) => outbox.report(delivery),
                    // It stays in the outbox: the next start of the gateway finds it there.
                    Err(error) => tracing::error!(%error, "a delivery of a webhook broke off"),
                }
                false
            }
            () = sleep_until(rest.unwrap_or_else(Instant::now)), if rest.is_some() => true,
        };
    }
}

/// What this process knows of a delivery beyond what the store says.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// A try is under way.
    Running,
    /// The core was told of the end of this try, then.
    Told(u32, Instant),
}

struct Outbox {
    handle: Handle,
    sender: Sender,
    /// Due and not started.
    waiting: VecDeque<Delivery>,
    /// By job and generation.
    seen: BTreeMap<(String, u32), Seen>,
    running: JoinSet<Delivery>,
    /// Tries under way, by endpoint.
    busy: BTreeMap<String, usize>,
    /// By endpoint.
    secrets: BTreeMap<String, String>,
    next_due_ms: Option<u64>,
}

impl Outbox {
    /// Reads what is due.
    async fn look(&mut self) {
        let reader = Arc::clone(&self.sender.reader);
        let limit = READ_AT_ONCE + u32::try_from(self.seen.len()).unwrap_or(READ_AT_ONCE);
        let read = tokio::task::spawn_blocking(move || reader.due(unix_us() / 1_000, limit)).await;
        let (due, next) = match read.unwrap_or_else(|error| Err(StoreError::Fatal(error.to_string()))) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "the outbox of webhooks cannot be read; trying again in a second");
                self.next_due_ms = Some(unix_us() / 1_000 + 1_000);
                return;
            }
        };
        self.next_due_ms = next;
        let on_record: BTreeMap<(&str, u32), u32> =
            due.iter().map(|delivery| ((delivery.job.as_str(), delivery.generation), delivery.tries)).collect();
        self.seen.retain(|(job, generation), seen| match seen {
            Seen::Running => true,
            Seen::Told(tries, at) => {
                let open = on_record.get(&(job.as_str(), *generation)).is_some_and(|known| known < tries);
                open && at.elapsed() < CONFIRM_WITHIN
            }
        });
        self.waiting = due.into_iter().filter(|delivery| !self.seen.contains_key(&key(delivery))).collect();
        if !self.waiting.is_empty() {
            // The secret of an endpoint that was deleted meanwhile stays good for what it left in the outbox.
            for endpoint in self.handle.endpoints().await {
                match endpoint.config.webhook_secret {
                    Some(secret) => self.secrets.insert(endpoint.config.id, secret),
                    None => self.secrets.remove(&endpoint.config.id),
                };
            }
        }
    }

    /// Starts what may be started now.
    fn start(&mut self) {
        let mut kept = VecDeque::new();
        while let Some(delivery) = self.waiting.pop_front() {
            let busy = self.busy.entry(delivery.endpoint.clone()).or_default();
            if self.running.len() >= RUNNING || *busy >= RUNNING_PER_ENDPOINT {
                kept.push_back(delivery);
                continue;
            }
            *busy += 1;
            self.seen.insert(key(&delivery), Seen::Running);
            let secret = self.secrets.get(&delivery.endpoint).cloned();
            self.running.spawn(self.sender.clone().attempt(delivery, secret));
        }
        self.waiting = kept;
    }

    /// Hands the end of a try to the core.
    fn report(&mut self, delivery: Delivery) {
        if let Some(busy) = self.busy.get_mut(&delivery.endpoint) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&delivery.endpoint);
            }
        }
        self.seen.insert(key(&delivery), Seen::Told(delivery.tries, Instant::now()));
        self.handle.send(Request::Delivered(Box::new(delivery)));
    }

    /// When to look again unless something happens before; none: not until then.
    fn rest(&self) -> Option<Instant> {
        let now = Instant::now();
        let unconfirmed = self.seen.values().any(|seen| matches!(seen, Seen::Told(..)));
        let confirm = unconfirmed.then_some(CONFIRM_EVERY);
        // What is due already and not started waits for the end of another try.
        let now_ms = unix_us() / 1_000;
        let due = self.next_due_ms.filter(|due| self.waiting.is_empty() || *due > now_ms);
        let due = due.map(|due| Duration::from_millis(due.saturating_sub(now_ms)).min(SLEEP_MAX));
        confirm.into_iter().chain(due).min().map(|rest| now + rest)
    }
}

fn key(delivery: &Delivery) -> (String, u32) {
    (delivery.job.clone(), delivery.generation)
}

/// What one try needs.
#[derive(Clone)]
struct Sender {
    reader: Arc<dyn StoreReader>,
    poster: Poster,
    config: Arc<Config>,
    body_of: BodyOf,
}

impl Sender {
    /// One try: the delivery as it is to be recorded.
    async fn attempt(self, delivery: Delivery, secret: Option<String>) -> Delivery {
        let (reader, body_of, asked) = (Arc::clone(&self.reader), Arc::clone(&self.body_of), delivery.clone());
        let body = tokio::task::spawn_blocking(move || body(&*reader, &body_of, &asked)).await;
        let tried = match body.unwrap_or_else(|error| Body::NotNow(error.to_string())) {
            Body::There(body) => self.poster.post(&delivery.url, body, secret.as_deref()).await,
            Body::Gone(why) => Tried::Pointless(why),
            Body::NotNow(why) => Tried::Failed(why),
        };
        let after = after(delivery, tried, &self.config, unix_us() / 1_000);
        tracing::debug!(job = after.job, tries = after.tries, last = after.last, "a webhook was tried");
        after
    }
}

enum Body {
    There(Vec<u8>),
    /// There is nothing (any more) to tell.
    Gone(String),
    NotNow(String),
}

fn body(reader: &dyn StoreReader, body_of: &BodyOf, delivery: &Delivery) -> Body {
    let job = match reader.job(&delivery.job) {
        Ok(job) => job,
        Err(error) => return Body::NotNow(error.to_string()),
    };
    match job.filter(|job| job.generation == delivery.generation).map(|_| body_of(delivery)) {
        None => Body::Gone("the job is gone or was put back into the queue".to_owned()),
        Some(None) => Body::Gone("the job's result is gone".to_owned()),
        Some(Some(body)) => Body::There(body),
    }
}

/// The delivery after one more try that ended at `now_ms`.
fn after(delivery: Delivery, tried: Tried, config: &Config, now_ms: u64) -> Delivery {
    let tries = delivery.tries.saturating_add(1);
    let good = |status: u16| status == 200 || config.any_2xx && (200..300).contains(&status);
    let (last, state) = match tried {
        Tried::Answered(status) if good(status) => (status.to_string(), DeliveryState::Delivered),
        Tried::Answered(status) => (status.to_string(), DeliveryState::Pending),
        Tried::Failed(why) => (why, DeliveryState::Pending),
        Tried::Refused(why) => (format!("refused: {why}"), DeliveryState::Failed),
        Tried::Pointless(why) => (format!("given up: {why}"), DeliveryState::Failed),
    };
    let state = if state == DeliveryState::Pending && tries >= config.tries { DeliveryState::Failed } else { state };
    let retry_ms = u64::try_from(config.retry_after.as_millis()).unwrap_or(u64::MAX);
    Delivery { tries, last, state, due_ms: now_ms.saturating_add(retry_ms), ..delivery }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first() -> Delivery {
        Delivery {
            job: "a".to_owned(),
            generation: 1,
            endpoint: "e".to_owned(),
            url: "http://example.org/".to_owned(),
            tries: 0,
            due_ms: 5,
            last: String::new(),
            state: DeliveryState::Pending,
        }
    }

    #[test]
    fn three_tries_ten_seconds_apart_and_no_more() {
        let config = Config::default();
        let once = after(first(), Tried::Answered(500), &config, 1_000);
        assert_eq!(
            (once.tries, once.due_ms, once.state, once.last.as_str()),
            (1, 11_000, DeliveryState::Pending, "500")
        );
        let twice = after(once, Tried::Failed("no connection".to_owned()), &config, 12_000);
        assert_eq!((twice.due_ms, twice.state, twice.last.as_str()), (22_000, DeliveryState::Pending, "no connection"));
        let thrice = after(twice.clone(), Tried::Answered(503), &config, 23_000);
        assert_eq!((thrice.tries, thrice.state), (3, DeliveryState::Failed));
        assert_eq!(after(twice, Tried::Answered(200), &config, 23_000).state, DeliveryState::Delivered);
    }

    #[test]
    fn two_hundred_alone_is_success_unless_the_configuration_says_more() {
        let lenient = Config { any_2xx: true, ..Config::default() };
        for (status, strict, any) in [(200, true, true), (202, false, true), (302, false, false), (404, false, false)] {
            for (config, success) in [(&Config::default(), strict), (&lenient, any)] {
                let delivered = after(first(), Tried::Answered(status), config, 0).state == DeliveryState::Delivered;
                assert_eq!(delivered, success, "{status}");
            }
        }
    }

    #[test]
    fn a_refused_address_is_not_tried_again() {
        let refused = after(first(), Tried::Refused("private address".to_owned()), &Config::default(), 0);
        assert_eq!((refused.state, refused.last.as_str()), (DeliveryState::Failed, "refused: private address"));
    }
}
