//! API keys: `tc_`, 40 base62 characters, and 6 more that are a CRC-32 of what stands before them, so that a mistyped key is told
//! from a wrong one and scanners for leaked secrets can be sure. The first 8 characters after the prefix are the public id.
//!
//! The store has the SHA-256 of a key, never the key. 32 of its characters are secret: 190 bits, so a fast hash is enough and
//! guessing is hopeless; the limiter of failed attempts keeps the logs readable and the CPU for others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use super::clock::unix_us;
use super::ids::{hex, random_bytes};
use super::store::KeyRow;

const PREFIX: &str = "tc_";
const ID: usize = 8;
const SECRET: usize = 32;
const SUM: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a request is not let in. All are answered with 401; the text is for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No key.
    #[error("an API key is needed: send the header `Authorization: Bearer <key>`")]
    Missing,
    /// Not a key at all, or a mistyped one.
    #[error("this is not an API key: a key is `tc_` and 46 letters and digits, as it was shown when it was created")]
    Malformed,
    /// No such key.
    #[error("this API key is not known here")]
    Unknown,
    /// It was good once.
    #[error("this API key has been revoked")]
    Revoked,
}

/// What a key opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    id: Arc<str>,
    /// None: everything.
    endpoints: Option<Arc<[String]>>,
}

impl Access {
    /// Of a gateway that asks for no keys: everything.
    pub fn open() -> Access {
        Access { id: Arc::from(""), endpoints: None }
    }

    /// Public id of the key; empty without one.
    pub fn key_id(&self) -> &str {
        &self.id
    }

    /// Whether requests to this endpoint are allowed.
    pub fn allows(&self, endpoint: &str) -> bool {
        self.endpoints.as_ref().is_none_or(|endpoints| endpoints.iter().any(|allowed| allowed == endpoint))
    }

    /// Whether the management API is allowed: the key is not bound to endpoints.
    pub fn is_admin(&self) -> bool {
        self.endpoints.is_none()
    }
}

/// A new key for these endpoints (empty: for all, and for the management API): the key itself, to be shown once, and the row to
/// be stored.
pub fn create(label: &str, endpoints: Vec<String>) -> (String, KeyRow) {
    let random = base62(ID + SECRET);
    let id = random[..ID].to_owned();
    let body = format!("{PREFIX}{random}");
    let key = format!("{body}{}", sum(&body));
    let created_ms = unix_us() / 1_000;
    let row = KeyRow { id, label: label.to_owned(), sha256: digest(&key), endpoints, created_ms, revoked_ms: None };
    (key, row)
}

/// The row of a key from now on, revoked.
pub fn revoke(row: &KeyRow) -> KeyRow {
    KeyRow { revoked_ms: row.revoked_ms.or(Some(unix_us() / 1_000)), ..row.clone() }
}

/// The keys that a gateway knows. Load it again after a change.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, Known>);

#[derive(Clone, Debug)]
struct Known {
    sha256: String,
    revoked: bool,
    access: Access,
}

impl Keys {
    /// Of the rows in the store.
    pub fn load(rows: Vec<KeyRow>) -> Keys {
        let known = rows.into_iter().map(|row| {
            let endpoints = (!row.endpoints.is_empty()).then(|| row.endpoints.into());
            let access = Access { id: row.id.as_str().into(), endpoints };
            (row.id, Known { sha256: row.sha256, revoked: row.revoked_ms.is_some(), access })
        });
        Keys(known.collect())
    }

    /// Whether there is no key at all, revoked ones not counted.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|known| known.revoked)
    }

    /// What the value of an `Authorization` header opens: `Bearer <key>`, or the bare key.
    ///
    /// # Errors
    /// Why the request must not be let in. The secret is compared in constant time; public ids may be found out by timing.
    pub fn check(&self, header_value: &str) -> Result<Access, KeyError> {
        let value = header_value.trim();
        let key = match value.split_once(' ') {
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim(),
            Some(_) => return Err(KeyError::Malformed),
            None if value.eq_ignore_ascii_case("bearer") => "",
            None => value,
        };
        if key.is_empty() {
            return Err(KeyError::Missing);
        }
        let known = self.0.get(public_id(key).ok_or(KeyError::Malformed)?).ok_or(KeyError::Unknown)?;
        if !bool::from(digest(key).as_bytes().ct_eq(known.sha256.as_bytes())) {
            return Err(KeyError::Unknown);
        }
        if known.revoked { Err(KeyError::Revoked) } else { Ok(known.access.clone()) }
    }
}

/// The public id in a well-formed key.
fn public_id(key: &str) -> Option<&str> {
    let random = key.strip_prefix(PREFIX)?;
    let whole = random.len() == ID + SECRET + SUM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    let (body, end) = whole.then(|| key.split_at(key.len() - SUM))?;
    (sum(body) == end).then_some(&random[..ID])
}

fn digest(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

/// CRC-32 (IEEE) in six base62 characters, the first one the most significant.
fn sum(body: &str) -> String {
    let mut crc = flate2::Crc::new();
    crc.update(body.as_bytes());
    let mut rest = crc.sum() as usize;
    let mut text = [b'0'; SUM];
    for place in text.iter_mut().rev() {
        *place = BASE62[rest % 62];
        rest /= 62;
    }
    text.iter().map(|b| char::from(*b)).collect()
}

/// Random characters, each of the 62 as likely as any other: bytes from 248 on (4 × 62) are thrown away.
fn base62(length: usize) -> String {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let fair = random_bytes().into_iter().filter(|b| *b < 248).map(|b| char::from(BASE62[usize::from(b) % 62]));
        text.extend(fair.take(length - text.len()));
    }
    text
}

/// Addresses that are remembered at once: 4,096, less than 1 MiB. Those beyond share one allowance.
const REMEMBERED: usize = 4_096;

/// Failed attempts of one address: 10 at once, then 10 a second.
const ALLOWED: f64 = 10.0;

/// From one look for addresses that can be forgotten to the next.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Counts failed attempts by address (IPv6: by /64, which is what one customer has).
#[derive(Debug, Default)]
pub struct FailedAttempts(Mutex<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    by_address: BTreeMap<IpAddr, Allowance>,
    others: Option<Allowance>,
    /// When those that have served their time were last forgotten.
    pruned: Option<Instant>,
}

/// What is left, and when that was so.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn at(self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * ALLOWED).min(ALLOWED)
    }
}

impl FailedAttempts {
    /// Nobody has failed yet.
    pub fn new() -> FailedAttempts {
        FailedAttempts::default()
    }

    /// Whether this address may try a key now; otherwise the answer is 429, whatever the key.
    pub fn may_try(&self, address: IpAddr, now: Instant) -> bool {
        let attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = attempts.by_address.len() >= REMEMBERED;
        let shared = || attempts.others.filter(|_| full);
        let allowance = attempts.by_address.get(&network(address)).copied().or_else(shared);
        allowance.is_none_or(|allowance| allowance.at(now) >= 1.0)
    }

    /// This address has shown a wrong key.
    pub fn failed(&self, address: IpAddr, now: Instant) {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        let new = !attempts.by_address.contains_key(&address);
        // At most once a second: a flood of new addresses is not to cost a walk through all of them each.
        let rested = attempts.pruned.is_none_or(|at| now.saturating_duration_since(at) >= PRUNE_EVERY);
        if new && rested && attempts.by_address.len() >= REMEMBERED {
            attempts.by_address.retain(|_, allowance| allowance.at(now) < ALLOWED);
            attempts.pruned = Some(now);
        }
        let fresh = Allowance { left: ALLOWED, at: now };
        let full = new && attempts.by_address.len() >= REMEMBERED;
        let allowance = if full {
            attempts.others.get_or_insert(fresh)
        } else {
            attempts.by_address.entry(address).or_insert(fresh)
        };
        *allowance = Allowance { left: (allowance.at(now) - 1.0).max(0.0), at: now };
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_what_it_was_made_for_with_and_without_bearer() {
        let (key, row) = create("ci", vec!["llm".to_owned()]);
        let (admin_key, admin) = create("ops", Vec::new());
        let keys = Keys::load(vec![row.clone(), admin]);
        for header in [key.clone(), format!("Bearer {key}"), format!("bearer  {key} "), format!(" {key}")] {
            let access = keys.check(&header).unwrap();
            assert!(access.allows("llm") && !access.allows("other") && !access.is_admin(), "{header}");
            assert_eq!(access.key_id(), row.id);
        }
        let access = keys.check(&admin_key).unwrap();
        assert!(access.is_admin() && access.allows("other"));
    }

    #[test]
    fn anything_else_is_refused_and_the_reason_is_told() {
        let (key, row) = create("ci", Vec::new());
        let (stranger, _) = create("stranger", Vec::new());
        let keys = Keys::load(vec![row.clone()]);
        assert_eq!(keys.check(""), Err(KeyError::Missing));
        assert_eq!(keys.check("Bearer "), Err(KeyError::Missing));
        assert_eq!(keys.check(&stranger), Err(KeyError::Unknown));
        for wrong in
            [format!("Basic {key}"), key[1..].to_owned(), format!("{key}0"), format!("Bearer x {key}"), "é".repeat(49)]
        {
            assert_eq!(keys.check(&wrong), Err(KeyError::Malformed), "{wrong}");
        }
        assert_eq!(Keys::load(vec![revoke(&row)]).check(&key), Err(KeyError::Revoked));
        assert!(Keys::load(vec![revoke(&row)]).is_empty() && !keys.is_empty());
    }

    #[test]
    fn every_mistyped_character_is_noticed() {
        let (key, _) = create("ci", Vec::new());
        assert!(public_id(&key).is_some());
        for at in 0..key.len() {
            let other = if &key[at..=at] == "x" { "y" } else { "x" };
            let mistyped = format!("{}{other}{}", &key[..at], &key[at + 1..]);
            assert_eq!(public_id(&mistyped), None, "{mistyped}");
        }
    }

    #[test]
    fn neither_the_secret_nor_its_hash_half_is_in_what_is_stored() {
        let (key, row) = create("ci", Vec::new());
        let stored = format!("{row:?}{:?}", Keys::load(vec![row.clone()]));
        assert!(!stored.contains(&key[PREFIX.len() + ID..]));
        assert_eq!(row.sha256.len(), 64);
        assert!(key.starts_with(&format!("tc_{}", row.id)));
    }

    #[test]
    fn the_checksum_is_the_crc_that_everybody_computes() {
        // CRC-32 of "123456789" is 0xCBF43926 = 3·62⁵ + 45·62⁴ + 35·62³ + 27·62² + 22·62 + 14.
        assert_eq!(sum("123456789"), "3jZRME");
    }

    #[test]
    fn the_eleventh_failure_in_a_second_is_one_too_many() {
        let (limiter, now) = (FailedAttempts::new(), Instant::now());
        let [one, two]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|a| a.parse().unwrap());
        for _ in 0..10 {
            assert!(limiter.may_try(one, now));
            limiter.failed(one, now);
        }
        assert!(!limiter.may_try(one, now) && limiter.may_try(two, now));
        assert!(!limiter.may_try("::ffff:10.0.0.1".parse().unwrap(), now));
        assert!(!limiter.may_try(one, now + Duration::from_millis(99)));
        assert!(limiter.may_try(one, now + Duration::from_millis(101)));
    }

    #[test]
    fn a_flood_of_addresses_takes_no_more_memory_than_a_few_thousand() {
        let (limiter, now) = (FailedAttempts::new(), Instant::now());
        for address in 0..20_000_u32 {
            limiter.failed(IpAddr::V4(address.into()), now);
        }
        assert_eq!(limiter.0.lock().unwrap().by_address.len(), REMEMBERED);
        // Strangers share what is left: nothing. A second later all are forgotten.
        assert!(!limiter.may_try("2001:db8::1".parse().unwrap(), now));
        limiter.failed("2001:db8::1".parse().unwrap(), now + Duration::from_secs(1));
        assert_eq!(limiter.0.lock().unwrap().by_address.len(), 1);
        assert_eq!(network("2001:db8::1".parse().unwrap()), network("2001:db8::ffff:1".parse().unwrap()));
    }
}
