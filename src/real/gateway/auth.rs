//! Who may call: API keys of clients (checked by whoever keeps them) and tokens of workers (checked here).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};

use super::super::ids::{TokenKey, is_id, parse_worker_name};
use super::problem::Problem;

/// What a call needs a key for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need<'a> {
    /// The client API of this endpoint.
    Endpoint(&'a str),
    /// The management API and the metrics.
    Management,
}

/// What a key is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead.
    Allowed,
    /// No key, an unknown or a revoked one (401).
    Unknown,
    /// A key for something else (403).
    Forbidden,
}

/// Checks API keys. Called for every request: must be quick and must take the same time for every wrong key.
pub trait Authorize: Send + Sync {
    /// Whether `key` (`None` = none was shown), shown by `peer`, is good for `need`.
    fn check(&self, key: Option<&str>, need: Need<'_>, peer: Option<IpAddr>) -> Verdict;
}

/// Nobody needs a key.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Authorize for Open {
    fn check(&self, _: Option<&str>, _: Need<'_>, _: Option<IpAddr>) -> Verdict {
        Verdict::Allowed
    }
}

impl<F: Fn(Option<&str>, Need<'_>) -> Verdict + Send + Sync> Authorize for F {
    fn check(&self, key: Option<&str>, need: Need<'_>, _: Option<IpAddr>) -> Verdict {
        self(key, need)
    }
}

/// The key that a request shows: `Authorization: Bearer k`, or `k` alone.
pub fn shown_key(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim();
    let key = match value.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer ") => key.trim_start(),
        _ => value,
    };
    (!key.is_empty()).then_some(key)
}

/// Whether a worker's token is good: its own, or the endpoint's token for workers that somebody else starts. The latter is not
/// good for the names that we give to launches ourselves.
pub fn worker_may(tokens: &TokenKey, headers: &HeaderMap, endpoint: &str, worker: &str) -> bool {
    let Some(token) = shown_key(headers).filter(|_| is_id(endpoint) && is_id(worker)) else { return false };
    tokens.check(&format!("worker:{endpoint}:{worker}"), token)
        || (parse_worker_name(worker).is_none() && tokens.check(&format!("join:{endpoint}"), token))
}

/// Counts failed authentications by address.
#[derive(Debug, Default)]
pub struct Failures(Mutex<BTreeMap<IpAddr, (Option<Instant>, u32)>>);

/// Addresses remembered; all are forgotten when there are more.
const ADDRESSES_MAX: usize = 10_000;

impl Failures {
    /// The answer to a failed authentication: 401 or 403, and 429 for an address that fails more than `most` times a second.
    pub fn refuse(&self, peer: Option<IpAddr>, verdict: Verdict, most: u32) -> Problem {
        if let Some(peer) = peer {
            let mut addresses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&peer) {
                addresses.clear();
            }
            let now = Instant::now();
            let (since, count) = addresses.entry(peer).or_default();
            if since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(1)) {
                (*since, *count) = (Some(now), 0);
            }
            *count = count.saturating_add(1);
            if *count > most {
                return Problem::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too_many_failures",
                    "too many failed authentications",
                )
                .retry_after(1);
            }
        }
        match verdict {
            Verdict::Forbidden => Problem::new(StatusCode::FORBIDDEN, "forbidden", "this key is not good for that"),
            Verdict::Allowed | Verdict::Unknown => {
                Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "a valid API key is needed")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().expect("a header value"));
        headers
    }

    #[test]
    fn a_key_is_read_with_and_without_its_scheme() {
        for value in ["Bearer tk_1", "bearer tk_1", "tk_1", " tk_1 ", "Bearer   tk_1"] {
            assert_eq!(shown_key(&with(value)), Some("tk_1"), "{value}");
        }
        assert_eq!(shown_key(&with("Bearer ")), Some("Bearer"), "no key: a word that no key equals");
        assert_eq!(shown_key(&HeaderMap::new()), None);
    }

    #[test]
    fn a_workers_token_is_good_for_that_worker_alone_and_a_join_token_for_no_launch_of_ours() {
        let tokens = TokenKey::new([3; 32]);
        let own = with(&tokens.token("worker:e:w1-1"));
        assert!(worker_may(&tokens, &own, "e", "w1-1"));
        assert!(!worker_may(&tokens, &own, "e", "w1-2"));
        assert!(!worker_may(&tokens, &own, "f", "w1-1"));
        let join = with(&tokens.token("join:e"));
        assert!(worker_may(&tokens, &join, "e", "my-own-box"));
        assert!(!worker_may(&tokens, &join, "e", "w1-1"), "that name is a launch of ours");
        assert!(!worker_may(&tokens, &join, "e", "a b"));
        assert!(!worker_may(&tokens, &HeaderMap::new(), "e", "my-own-box"));
    }

    #[test]
    fn the_eleventh_failure_of_a_second_is_429() {
        let failures = Failures::default();
        let peer = Some(IpAddr::from([10, 0, 0, 1]));
        let codes: Vec<u16> = (0..11).map(|_| failures.refuse(peer, Verdict::Unknown, 10).status.as_u16()).collect();
        assert_eq!(codes[..10], [401; 10]);
        assert_eq!(codes[10], 429);
        assert_eq!(failures.refuse(Some(IpAddr::from([10, 0, 0, 2])), Verdict::Forbidden, 10).status.as_u16(), 403);
    }
}
