//! Reading JSON documents of our own.

use serde::de::DeserializeOwned;

/// Reads a document. By way of a tree: in this build `serde_json` keeps the digits of numbers (its feature
/// `arbitrary_precision`, which the Starlark crate asks for), and then neither enums with a tag nor flattened records understand
/// numbers with decimals that come straight from a text.
///
/// # Errors
///
/// The text is no JSON (with the place), or not the document asked for.
pub fn read<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_value(serde_json::from_slice(text)?)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Tagged {
        Wait { seconds: f64 },
    }

    #[test]
    fn decimals_in_an_enum_with_a_tag_are_read() {
        let text = br#"{"kind": "wait", "seconds": 2.5}"#;
        assert_eq!(read::<Tagged>(text).unwrap(), Tagged::Wait { seconds: 2.5 });
    }

    #[test]
    fn a_torn_document_is_told_from_a_wrong_one() {
        assert!(read::<Tagged>(br#"{"kind": "wait", "sec"#).unwrap_err().is_eof());
        assert!(read::<Tagged>(br#"{"kind": "walk"}"#).unwrap_err().is_data());
    }
}
