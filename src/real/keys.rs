//! API keys: made once, shown once, kept as a hash. `tk_<id>_<secret>`: the id finds the key in lists, the secret is 256 bits
//! of the operating system's randomness, so a plain SHA-256 protects it.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::ids::{hex, random_bytes};
use super::store::KeyRow;

/// Where the store is in a data folder.
pub fn store_path(data_dir: &Path) -> PathBuf {
    data_dir.join("store.sqlite")
}

/// A fresh key, and what is kept of it. `endpoints` empty = good for all, and for the management API.
pub fn fresh(label: &str, endpoints: Vec<String>, now_ms: u64) -> (String, KeyRow) {
    let id = hex(&random_bytes()[..6]);
    let key = format!("tk_{id}_{}", hex(&random_bytes()));
    let row =
        KeyRow { sha256: sha256(&key), id, label: label.to_owned(), endpoints, created_ms: now_ms, revoked_ms: None };
    (key, row)
}

/// The hash under which a key is kept: lower-case hexadecimal.
pub fn sha256(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_as_its_hash_alone() {
        let (key, row) = fresh("ci", vec!["sdxl".to_owned()], 5);
        assert_eq!((row.sha256.as_str(), key.len()), (sha256(&key).as_str(), 3 + 12 + 1 + 64));
        assert!(key.starts_with(&format!("tk_{}_", row.id)));
        assert!(!format!("{row:?}").contains(&key));
        assert_ne!(fresh("ci", Vec::new(), 5).0, key);
    }

    #[test]
    fn the_hash_is_sha_256() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
