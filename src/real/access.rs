//! Who is let in: API keys from the store, as the gateway asks for them.
//!
//! The keys are read again at most once a second, so a key made or revoked while the gateway runs holds within a second and a
//! request costs no disk access.

use std::net::IpAddr;
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
    known: Mutex<Option<(Instant, Arc<Keys>)>>,
}

impl KeyRing {
    /// Of a gateway that asks for keys as `mode` says.
    pub fn new(reader: Arc<dyn StoreReader>, mode: AuthMode) -> KeyRing {
        KeyRing { reader, mode, known: Mutex::new(None) }
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
    fn check(&self, key: Option<&str>, need: Need<'_>, peer: Option<IpAddr>) -> Verdict {
        let open = match self.mode {
            AuthMode::Off => true,
            AuthMode::Required => false,
            // Only for this machine itself: its containers, too, come from elsewhere.
            AuthMode::Auto => peer.is_some_and(|peer| peer.to_canonical().is_loopback()) && self.keys().is_empty(),
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
        let ring = |store: &MemoryStore, mode| KeyRing::new(store.reader(), mode);
        let endpoint = Need::Endpoint("a");
        let here = Some(IpAddr::from([127, 0, 0, 1]));
        let elsewhere = Some(IpAddr::from([172, 17, 0, 2]));
        assert_eq!(ring(&store, AuthMode::Auto).check(None, Need::Management, here), Verdict::Allowed);
        assert_eq!(ring(&store, AuthMode::Auto).check(None, endpoint, elsewhere), Verdict::Unknown);
        assert_eq!(ring(&store, AuthMode::Required).check(None, endpoint, here), Verdict::Unknown);
        let (all, first) = keys::create("all", Vec::new());
        let (one, second) = keys::create("one", vec!["a".to_owned()]);
        let rows = [first, second.clone(), keys::revoke(&second)];
        let batch: Vec<Write> = rows[..2].iter().map(|row| Write::Key(Box::new(row.clone()))).collect();
        store.commit(&batch).expect("memory takes everything");
        let with_keys = ring(&store, AuthMode::Auto);
        assert_eq!(with_keys.check(None, endpoint, here), Verdict::Unknown, "a key exists: everybody needs one");
        assert_eq!(with_keys.check(Some(&all), Need::Management, elsewhere), Verdict::Allowed);
        assert_eq!(with_keys.check(Some(&one), endpoint, here), Verdict::Allowed);
        assert_eq!(with_keys.check(Some(&one), Need::Endpoint("b"), here), Verdict::Forbidden);
        assert_eq!(with_keys.check(Some(&one), Need::Management, here), Verdict::Forbidden);
        assert_eq!(with_keys.check(Some("tc_wrong"), endpoint, here), Verdict::Unknown);
        store.commit(&[Write::Key(Box::new(rows[2].clone()))]).expect("memory takes everything");
        assert_eq!(ring(&store, AuthMode::Auto).check(Some(&one), endpoint, here), Verdict::Unknown, "revoked");
        assert_eq!(ring(&store, AuthMode::Off).check(None, Need::Management, elsewhere), Verdict::Allowed);
    }
}
