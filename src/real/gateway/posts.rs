//! What workers post, read leniently: whatever can be understood is, and what cannot fails the job with the reason. A refused post
//! is never repeated by the SDK, so its result would be lost.

use std::ops::Range;

use bytes::Bytes;

use super::super::core::api::Done;
use super::json::{self, Fault, Members, Mode};

/// Longest error text kept, in bytes.
const ERROR_MAX: usize = 64 << 10;

/// A post, and whether it held numbers that are no JSON.
pub struct Post<T> {
    /// What it says.
    pub what: T,
    /// Bare `NaN` or `Infinity` were in it; they are `null` now.
    pub odd_numbers: bool,
}

/// Reads the body of a job-done.
pub fn done(body: &Bytes) -> Post<Done> {
    read(body, final_or_progress)
}

/// Reads a body in one pass, or in two if Python's own numbers have to be replaced first.
fn read<T>(body: &Bytes, understand: impl Fn(&Bytes, Result<Members<'_>, Fault>) -> T) -> Post<T> {
    let (members, odd_numbers) = match json::members(body, Mode::Python) {
        Ok((members, odd)) => (Ok(members), odd),
        Err(fault) => (Err(fault), json::check(body, Mode::Python) == Ok(true)),
    };
    if !odd_numbers {
        return Post { what: understand(body, members), odd_numbers };
    }
    let plain = Bytes::from(json::without_odd_numbers(body));
    let members = json::members(&plain, Mode::Strict).map(|(members, _)| members);
    Post { what: understand(&plain, members), odd_numbers }
}

fn final_or_progress(body: &Bytes, members: Result<Members<'_>, Fault>) -> Done {
    let members = match members {
        Ok(members) => members,
        // Not an object: a bare value is taken as the output, anything else is an error of the worker's.
        Err(_) if json::check(body, Mode::Strict).is_ok() => {
            return Done::Final { output: Some(trimmed(body)), error: None, refresh: false };
        }
        Err(fault) => return failed(format!("invalid_result: the worker's result is not JSON: {fault}")),
    };
    let value = |name: &str| members.last(name).map(|range| &body[range]);
    let output = members.last("output").map(|range| body.slice(range));
    let status = value("status").map(json::text);
    if status.as_deref() == Some("IN_PROGRESS") {
        return Done::Progress(output.unwrap_or(Bytes::from_static(b"null")));
    }
    let given = value("error").filter(|error| truthy(error)).map(error_text);
    let error = match status.as_deref() {
        Some("FAILED") => Some(given.unwrap_or_else(|| "the worker reported FAILED without an error".to_owned())),
        _ => given,
    };
    Done::Final { output, error, refresh: value("stopPod").is_some_and(truthy) }
}

/// A result that cannot be used.
pub fn failed(error: String) -> Done {
    Done::Final { output: None, error: Some(error), refresh: false }
}

/// Why a result of `size` bytes is not kept.
pub fn too_large(size: u64, most: usize) -> String {
    format!("output_too_large: the worker posted {size} bytes, at most {most} are kept")
}

/// Reads the body of a job-stream: the pieces that it becomes. Texts longer than `most` bytes are split.
pub fn chunks(body: &Bytes, most: usize) -> Post<Vec<Bytes>> {
    read(body, |body, members| {
        let value = match members {
            Ok(members) => members.last("output").map_or(Bytes::from_static(b"null"), |range| body.slice(range)),
            Err(_) if json::check(body, Mode::Strict).is_ok() => trimmed(body),
            Err(_) => {
                let mut text = Vec::new();
                json::push_text(&mut text, &String::from_utf8_lossy(body));
                text.into()
            }
        };
        split(&value, most)
    })
}

fn trimmed(body: &Bytes) -> Bytes {
    body.slice_ref(body.trim_ascii())
}

/// Python's idea of truth, on JSON text.
fn truthy(json: &[u8]) -> bool {
    match json {
        b"null" | b"false" | b"\"\"" => false,
        [b'[' | b'{', inner @ .., _] => !inner.trim_ascii().is_empty(),
        [b'-' | b'0'..=b'9', ..] => {
            let digits = json.split(|b| matches!(b, b'e' | b'E')).next().unwrap_or_default();
            digits.iter().any(|b| matches!(b, b'1'..=b'9'))
        }
        _ => true,
    }
}

fn error_text(json: &[u8]) -> String {
    let mut text = if json.first() == Some(&b'"') { json::text(json) } else { String::from_utf8_lossy(json).into() };
    if text.len() > ERROR_MAX {
        let length = text.len();
        text.truncate(text.floor_char_boundary(ERROR_MAX));
        text.push_str(&format!("... ({length} bytes in all)"));
    }
    text
}

/// A JSON text split into several of at most `most` bytes each, none of them through an escape or a character; any other value as
/// it is.
fn split(value: &Bytes, most: usize) -> Vec<Bytes> {
    // Room for the quotes and for the longest thing that must stay whole, a pair of surrogate escapes.
    let most = most.max(16) - 2;
    if value.len() <= most + 2 || value.first() != Some(&b'"') {
        return vec![value.clone()];
    }
    let inner = &value[1..value.len() - 1];
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at < inner.len() {
        let unit = unit_at(inner, at);
        if unit.end - start > most {
            pieces.push([b"\"", &inner[start..at], b"\""].concat().into());
            start = at;
        }
        at = unit.end;
    }
    pieces.push([b"\"", &inner[start..], b"\""].concat().into());
    pieces
}

/// The character or escape that begins at `at`.
fn unit_at(text: &[u8], at: usize) -> Range<usize> {
    let length = match text[at] {
        b'\\' if text.get(at + 1) == Some(&b'u') => {
            let is_high = |at: usize| {
                text.get(at + 2).is_some_and(|b| matches!(b, b'd' | b'D'))
                    && text.get(at + 3).is_some_and(|b| matches!(b, b'8' | b'9' | b'a' | b'A' | b'b' | b'B'))
            };
            let is_escape = |at: usize| text.get(at) == Some(&b'\\') && text.get(at + 1) == Some(&b'u');
            if is_high(at) && is_escape(at + 6) { 12 } else { 6 }
        }
        b'\\' => 2,
        0xf0.. => 4,
        0xe0..=0xef => 3,
        0xc0..=0xdf => 2,
        _ => 1,
    };
    at..(at + length).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<String>, Option<String>, bool) {
        match done(&Bytes::from(text.to_owned())).what {
            Done::Progress(output) => (Some(format!("progress {}", String::from_utf8_lossy(&output))), None, false),
            Done::Final { output, error, refresh } => {
                (output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()), error, refresh)
            }
        }
    }

    fn is(text: &str, output: Option<&str>, error: Option<&str>, refresh: bool) {
        assert_eq!(read(text), (output.map(str::to_owned), error.map(str::to_owned), refresh), "{text}");
    }

    #[test]
    fn every_form_of_a_result_that_the_sdk_posts_is_understood() {
        is(r#"{"output": {"a": 1}}"#, Some(r#"{"a": 1}"#), None, false);
        for falsy in ["null", "0", "false", "\"\"", "[]"] {
            is(&format!(r#"{{"output": {falsy}}}"#), Some(falsy), None, false);
            is(&format!(r#"{{"output": 1, "error": {falsy}}}"#), Some("1"), None, false);
        }
        is("{}", None, None, false);
        is(r#"{"output": {"x": 2}, "error": "no GPU"}"#, Some(r#"{"x": 2}"#), Some("no GPU"), false);
        is(
            r#"{"error": "{\"error_type\": \"<class 'ValueError'>\"}"}"#,
            None,
            Some(r#"{"error_type": "<class 'ValueError'>"}"#),
            false,
        );
        is(r#"{"output": 1, "stopPod": true}"#, Some("1"), None, true);
        is(r#"{"stopPod": true}"#, None, None, true);
        is(r#"{"status": "IN_PROGRESS", "output": "50 %"}"#, Some("progress \"50 %\""), None, false);
    }

    #[test]
    fn an_error_that_is_no_text_fails_the_job_and_is_kept_as_text() {
        is(r#"{"error": {"code": 7}}"#, None, Some(r#"{"code": 7}"#), false);
        is(r#"{"error": 1.5}"#, None, Some("1.5"), false);
        is(r#"{"error": true}"#, None, Some("true"), false);
        for falsy in ["0.0", "-0", "0e7", "{ }", "[ ]"] {
            is(&format!(r#"{{"error": {falsy}}}"#), None, None, false);
        }
        let long = read(&format!(r#"{{"error": "{}"}}"#, "é".repeat(100_000))).1.expect("an error");
        assert!(long.len() < ERROR_MAX + 100 && long.ends_with("(200000 bytes in all)"));
    }

    #[test]
    fn what_python_writes_and_json_does_not_know_becomes_null() {
        let post = done(&Bytes::from_static(br#"{"output": [NaN, -Infinity, "NaN"]}"#));
        assert!(post.odd_numbers);
        let Done::Final { output: Some(output), .. } = post.what else { panic!("a final result") };
        assert_eq!(&output[..], br#"[null, null, "NaN"]"#);
    }

    #[test]
    fn rubbish_fails_the_job_and_says_where() {
        let (output, error, _) = read(r#"{"output": {"a" 1}}"#);
        assert_eq!(output, None);
        assert!(error.expect("an error").contains("byte 16"), "the place is named");
        let deep = format!("{{\"output\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(read(&deep).1.expect("an error").contains("128 levels"));
        is("[1, 2]", Some("[1, 2]"), None, false);
        assert!(read("").1.is_some());
        let last = read(r#"{"output": 1, "output": 2}"#);
        assert_eq!(last.0.as_deref(), Some("2"), "as Python reads it");
    }

    #[test]
    fn long_texts_are_split_and_join_to_what_they_were() {
        let text = format!("{}{}\\n{}", "é".repeat(50), "\\ud83d\\ude00".repeat(20), "x\\\\\\\"".repeat(30));
        let body = Bytes::from(format!("{{\"output\": \"{text}\"}}"));
        let whole: String = serde_json::from_str(&format!("\"{text}\"")).expect("a text");
        for most in [0, 16, 17, 31, 64, 10_000] {
            let pieces = chunks(&body, most).what;
            assert!(pieces.iter().all(|piece| piece.len() <= most.max(16)), "{most}");
            let joined: String =
                pieces.iter().map(|piece| serde_json::from_slice::<String>(piece).expect("each is a text")).collect();
            assert_eq!(joined, whole, "{most}");
        }
        let object = Bytes::from(format!("{{\"output\": {{\"a\": \"{text}\"}}}}"));
        assert_eq!(chunks(&object, 16).what.len(), 1, "only texts can be split");
        assert_eq!(&chunks(&Bytes::from_static(b"{}"), 16).what[0][..], b"null");
    }
}
