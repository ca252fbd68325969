//! Who is let in: API keys from the store, as the gateway asks for them.
//!
//! The keys are read again at most once a second, so a key made or revoked while the gateway runs holds within a second and a
//! request costs no disk access.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::config::AuthMode;
use super::gateway::auth::{Authorize, Need, Verdict};
use super::keys::Keys;
use super::store::StoreReader;

/// Time from one look at the stored keys to the next.
const FRESH: Duration = Duration::from_secs(1);

/// Checks API keys against the store.
pub struct KeyRing {
    reader: Arc<dyn StoreReader>,
    mode: AuthMode,
    loopback: bool,
    known: Mutex<Option<(Instant, Arc<Keys>)>>,
}

impl KeyRing {
    /// Of a gateway that listens on a loopback address (or not).
    pub fn new(reader: Arc<dyn StoreReader>, mode: AuthMode, loopback: bool) -> KeyRing {
        KeyRing { reader, mode, loopback, known: Mutex::new(None) }
    }

    fn keys(&self) -> Arc<Keys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some((read, keys)) = known.as_ref()
            && now.duration_since(*read) < FRESH
        {
            return Arc::clone(keys);
        }
        let keys = match self.reader.keys() {
            Ok(rows) => Arc::new(Keys::load(rows)),
            Err(error) => {
                tracing::error!(%error, "the keys cannot be read: those known before stay in force");
                known.as_ref().map(|(_, keys)| Arc::clone(keys)).unwrap_or_default()
            }
        };
        *known = Some((now, Arc::clone(&keys)));
        keys
    }
}

impl Authorize for KeyRing {
    fn check(&self, key: Option<&str>, need: Need<'_>) -> Verdict {
        let open = match self.mode {
            AuthMode::Off => true,
            AuthMode::Required => false,
            AuthMode::Auto => self.loopback && self.keys().is_empty(),
        };
        if open {
            return Verdict::Allowed;
        }
        let access = match key.map(|key| self.keys().check(key)) {
            Some(Ok(access)) => access,
            _ => return Verdict::Unknown,
        };
        let allowed = match need {
            Need::Endpoint(endpoint) => access.allows(endpoint),
            Need::Management => access.is_admin(),
        };
        if allowed { Verdict::Allowed } else { Verdict::Forbidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::real::keys;
    use crate::real::store::memory::MemoryStore;
    use crate::real::store::{Store, Write};

    #[test]
    fn keys_open_what_they_are_for_and_nothing_else() {
        let mut store = MemoryStore::new();
        let ring = |store: &MemoryStore, mode, loopback| KeyRing::new(store.reader(), mode, loopback);
        let endpoint = Need::Endpoint("a");
        assert_eq!(ring(&store, AuthMode::Auto, true).check(None, Need::Management), Verdict::Allowed);
        assert_eq!(ring(&store, AuthMode::Auto, false).check(None, endpoint), Verdict::Unknown);
        assert_eq!(ring(&store, AuthMode::Required, true).check(None, endpoint), Verdict::Unknown);
        let (all, first) = keys::create("all", Vec::new());
        let (one, second) = keys::create("one", vec!["a".to_owned()]);
        let rows = [first, second.clone(), keys::revoke(&second)];
        let batch: Vec<Write> = rows[..2].iter().map(|row| Write::Key(Box::new(row.clone()))).collect();
        store.commit(&batch).expect("memory takes everything");
        let with_keys = ring(&store, AuthMode::Auto, true);
        assert_eq!(with_keys.check(None, endpoint), Verdict::Unknown, "a key exists: everybody needs one");
        assert_eq!(with_keys.check(Some(&all), Need::Management), Verdict::Allowed);
        assert_eq!(with_keys.check(Some(&one), endpoint), Verdict::Allowed);
        assert_eq!(with_keys.check(Some(&one), Need::Endpoint("b")), Verdict::Forbidden);
        assert_eq!(with_keys.check(Some(&one), Need::Management), Verdict::Forbidden);
        assert_eq!(with_keys.check(Some("tc_wrong"), endpoint), Verdict::Unknown);
        store.commit(&[Write::Key(Box::new(rows[2].clone()))]).expect("memory takes everything");
        assert_eq!(ring(&store, AuthMode::Auto, true).check(Some(&one), endpoint), Verdict::Unknown, "revoked");
        assert_eq!(ring(&store, AuthMode::Off, false).check(None, Need::Management), Verdict::Allowed);
    }
}
