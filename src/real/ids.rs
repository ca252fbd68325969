//! Names on the wire: job ids, worker ids, worker tokens, API keys.
//!
//! A job id is a random UUID with the suffix `-u1` (`sync-` before it for `/runsync`), as the platform's are. A worker id names one
//! *launch*: the scheduler's worker and the number of its start, so whatever comes late from an earlier start is recognised by
//! its name. A worker's token is an HMAC of its id under a secret of the store: nothing to keep, valid for that worker alone.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::units::WorkerId;

/// 32 random bytes from the operating system.
///
/// # Panics
/// When the operating system has no randomness to give: nothing can be served safely then.
pub fn random_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A fresh job id.
pub fn job_id(sync: bool) -> String {
    let mut b = random_bytes();
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = hex(&b[..16]);
    let prefix = if sync { "sync-" } else { "" };
    format!("{prefix}{}-{}-{}-{}-{}-u1", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Whether a text from outside may be an id at all: `[A-Za-z0-9_-]{1,64}`.
pub fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// The name of one launch of a worker.
pub fn worker_name(worker: WorkerId, epoch: u32) -> String {
    format!("w{:x}-{epoch}", worker.0)
}

/// The worker and start that a name stands for.
pub fn parse_worker_name(name: &str) -> Option<(WorkerId, u32)> {
    let (worker, epoch) = name.strip_prefix('w')?.split_once('-')?;
    let parsed = (WorkerId(u64::from_str_radix(worker, 16).ok()?), epoch.parse().ok()?);
    (worker_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// Signs and checks worker tokens.
#[derive(Clone)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// Of the store's secret.
    pub fn new(secret: [u8; 32]) -> TokenKey {
        TokenKey(secret)
    }

    /// The token of a subject: `worker:<endpoint>:<worker name>` or `join:<endpoint>`.
    pub fn token(&self, subject: &str) -> String {
        hex(&self.mac(subject))
    }

    /// Whether `token` is the subject's. Takes the same time whatever is wrong with it.
    pub fn check(&self, subject: &str, token: &str) -> bool {
        self.token(subject).as_bytes().ct_eq(token.as_bytes()).into()
    }

    fn mac(&self, subject: &str) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("an HMAC takes keys of any length");
        mac.update(subject.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)] as char, DIGITS[usize::from(b & 15)] as char]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_name_is_read_back_in_one_spelling_only() {
        let name = worker_name(WorkerId(0x1_0000_002a), 3);
        assert_eq!(name, "w10000002a-3");
        assert_eq!(parse_worker_name(&name), Some((WorkerId(0x1_0000_002a), 3)));
        for wrong in ["w2A-3", "w02a-3", "w2a-03", "w2a", "2a-3", "w-1", "w2a-", "w2a-3-4", "w+2a-3"] {
            assert_eq!(parse_worker_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_for_its_subject_alone() {
        let key = TokenKey::new([7; 32]);
        let token = key.token("worker:a:w1-1");
        assert!(key.check("worker:a:w1-1", &token));
        assert!(!key.check("worker:a:w1-2", &token));
        assert!(!TokenKey::new([8; 32]).check("worker:a:w1-1", &token));
        assert!(!key.check("worker:a:w1-1", &token[1..]));
    }

    #[test]
    fn job_ids_look_like_the_platforms_and_differ() {
        let (a, b) = (job_id(false), job_id(true));
        assert!(is_id(&a) && a.len() == 39 && a.ends_with("-u1"), "{a}");
        assert!(b.starts_with("sync-") && is_id(&b), "{b}");
        assert_ne!(job_id(false), job_id(false));
        for hostile in ["", "a b", "../x", "a/b", "a\nb", "é", &"a".repeat(65)] {
            assert!(!is_id(hostile), "{hostile}");
        }
    }
}
