//! Bodies of rows: JSON (or a payload as it came) with a checksum behind it. SQLite checks the structure of its pages, not what
//! is written on them.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

/// Length of the checksum: XXH3, 64 bits, little-endian.
const SUM: usize = 8;

/// A payload with its checksum.
pub fn seal(body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(body.len() + SUM);
    sealed.extend_from_slice(body);
    close(sealed)
}

/// A value as JSON with its checksum. The error says what cannot be written as JSON.
pub fn seal_json<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map(close).map_err(|e| e.to_string())
}

/// The payload, if it is what was written.
pub fn open(mut sealed: Vec<u8>) -> Option<Bytes> {
    let length = checked(&sealed)?.len();
    sealed.truncate(length);
    Some(Bytes::from(sealed))
}

/// The value, if it is what was written; else what is wrong.
pub fn open_json<T: DeserializeOwned>(sealed: &[u8]) -> Result<T, String> {
    let body = checked(sealed).ok_or("the checksum does not fit the record")?;
    serde_json::from_slice(body).map_err(|e| e.to_string())
}

fn close(mut body: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64(&body);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

fn checked(sealed: &[u8]) -> Option<&[u8]> {
    let (body, sum) = sealed.split_last_chunk::<SUM>()?;
    (u64::from_le_bytes(*sum) == xxh3_64(body)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_as_it_was_sealed_and_not_with_any_bit_turned() {
        let sealed = seal(b"{\"a\":1}");
        assert_eq!(open(sealed.clone()).as_deref(), Some(&b"{\"a\":1}"[..]));
        for bit in 0..sealed.len() * 8 {
            let mut turned = sealed.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(turned), None, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(open(sealed[..length].to_vec()), None, "cut at {length}");
        }
    }

    #[test]
    fn floats_come_back_to_the_last_bit() {
        for bits in [0x3fb9_9999_9999_999a_u64, 0x7fef_ffff_ffff_ffff, 0x0000_0000_0000_0001, 0x3ff3_c0ca_428c_59fb] {
            let value = f64::from_bits(bits);
            let sealed = seal_json(&value).expect("a number is JSON");
            assert_eq!(open_json::<f64>(&sealed).map(f64::to_bits), Ok(bits), "{value}");
        }
    }
}
