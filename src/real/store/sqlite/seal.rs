//! Bodies of rows: JSON (or a payload as it came) with a checksum behind it, over the body and over the columns that name the
//! row. SQLite checks the structure of its pages, not what is written on them.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Length of the checksum: XXH3, 64 bits, little-endian.
const SUM: usize = 8;

/// The columns of a row that its checksum covers.
#[derive(Clone, Copy, Debug)]
pub struct Tag(u64);

impl Tag {
    /// Of the one row of marks.
    pub const MARKS: Tag = Tag(0);

    /// Named by a text.
    pub fn text(text: &str) -> Tag {
        Tag(xxh3_64(text.as_bytes()))
    }

    /// Named by numbers.
    pub fn numbers(numbers: [i64; 2]) -> Tag {
        Tag(numbers.iter().fold(0, |tag, number| xxh3_64_with_seed(&number.to_le_bytes(), tag)))
    }
}

/// A payload with its checksum.
pub fn seal(tag: Tag, body: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(body.len() + SUM);
    sealed.extend_from_slice(body);
    close(tag, sealed)
}

/// A value as JSON with its checksum. The error says what cannot be written as JSON.
pub fn seal_json<T: Serialize>(tag: Tag, value: &T) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map(|body| close(tag, body)).map_err(|e| e.to_string())
}

/// The payload, if it is what was written.
pub fn open(tag: Tag, mut sealed: Vec<u8>) -> Result<Bytes, String> {
    let length = checked(tag, &sealed)?.len();
    sealed.truncate(length);
    Ok(Bytes::from(sealed))
}

/// The value, if it is what was written; else what is wrong.
pub fn open_json<T: DeserializeOwned>(tag: Tag, sealed: &[u8]) -> Result<T, String> {
    crate::json::read(checked(tag, sealed)?).map_err(|e| e.to_string())
}

fn close(tag: Tag, mut body: Vec<u8>) -> Vec<u8> {
    let sum = xxh3_64_with_seed(&body, tag.0);
    body.extend_from_slice(&sum.to_le_bytes());
    body
}

fn checked(tag: Tag, sealed: &[u8]) -> Result<&[u8], String> {
    let parts = sealed.split_last_chunk::<SUM>();
    let whole = parts.filter(|(body, sum)| u64::from_le_bytes(**sum) == xxh3_64_with_seed(body, tag.0));
    whole.map(|(body, _)| body).ok_or_else(|| "its checksum does not fit".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_opens_as_it_was_sealed_and_not_with_any_bit_turned() {
        let tag = Tag::numbers([7, 1]);
        let sealed = seal(tag, b"{\"a\":1}");
        assert_eq!(open(tag, sealed.clone()).as_deref(), Ok(&b"{\"a\":1}"[..]));
        for other in [Tag::numbers([1, 7]), Tag::numbers([7, 2]), Tag::text("7")] {
            assert!(open(other, sealed.clone()).is_err(), "{other:?}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut turned = sealed.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert!(open(tag, turned).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(tag, sealed[..length].to_vec()).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn floats_come_back_to_the_last_bit() {
        for bits in [0x3fb9_9999_9999_999a_u64, 0x7fef_ffff_ffff_ffff, 0x0000_0000_0000_0001, 0x3ff3_c0ca_428c_59fb] {
            let value = f64::from_bits(bits);
            let sealed = seal_json(Tag::text("a"), &value).expect("a number is JSON");
            assert_eq!(open_json::<f64>(Tag::text("a"), &sealed).map(f64::to_bits), Ok(bits), "{value}");
        }
    }
}
