//! One pass over a JSON text: checks it, bounds its depth, finds the members of the outermost object. No recursion, no copies.
//!
//! `serde_json`'s raw values skip its recursion limit (5,000,000 levels pass), and two passes over 20 MB are one too many.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Deepest nesting taken.
pub const DEPTH_MAX: u32 = 128;

/// How strictly a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// RFC 8259.
    Strict,
    /// Also `NaN`, `Infinity` and `-Infinity`, which Python writes.
    Python,
}

/// What is wrong with a text, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Byte, from 0.
    pub at: usize,
    /// What.
    pub what: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.what, self.at)
    }
}

/// The members of the outermost object in order: name and where its value is.
#[derive(Debug, Default)]
pub struct Members<'a>(Vec<(Cow<'a, str>, Range<usize>)>);

impl Members<'_> {
    /// Where the value of `name` is; an error if it is there twice.
    pub fn only(&self, name: &str) -> Result<Option<Range<usize>>, Fault> {
        let mut found = self.0.iter().filter(|(key, _)| key == name).map(|(_, range)| range);
        let first = found.next().cloned();
        match found.next() {
            Some(second) => Err(Fault { at: second.start, what: "the same member for a second time" }),
            None => Ok(first),
        }
    }

    /// Where the last value of `name` is, as Python and JavaScript read it.
    pub fn last(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, range)| range.clone())
    }
}

/// Most members of the outermost object.
const MEMBERS_MAX: usize = 10_000;

/// Checks `text`, which must be one object, and finds its members.
pub fn members(text: &[u8], mode: Mode) -> Result<(Members<'_>, bool), Fault> {
    let mut scanner = Scanner::new(text, mode)?;
    let mut found = Vec::new();
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return scanner.fault("not an object");
    }
    scanner.open(true)?;
    scanner.space();
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            scanner.space();
            let start = scanner.at;
            scanner.key()?;
            let key = name(&text[start..], start)?;
            scanner.space();
            let start = scanner.at;
            scanner.value()?;
            if found.len() == MEMBERS_MAX {
                return scanner.fault("too many members");
            }
            found.push((key, start..scanner.at));
            scanner.space();
            match scanner.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return scanner.fault_before("expected `,` or `}`"),
            }
        }
    }
    scanner.end()?;
    Ok((Members(found), scanner.odd))
}

/// Checks `text`, which must be one value.
pub fn check(text: &[u8], mode: Mode) -> Result<bool, Fault> {
    let mut scanner = Scanner::new(text, mode)?;
    scanner.value()?;
    scanner.end()?;
    Ok(scanner.odd)
}

/// The same text with `null` for every bare `NaN`, `Infinity` and `-Infinity`.
pub fn without_odd_numbers(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 64);
    let (mut at, mut inside) = (0, false);
    while at < text.len() {
        let rest = &text[at..];
        let word = [&b"-Infinity"[..], b"Infinity", b"NaN"].into_iter().find(|word| !inside && rest.starts_with(word));
        if let Some(word) = word {
            out.extend_from_slice(b"null");
            at += word.len();
            continue;
        }
        if inside && rest[0] == b'\\' && rest.len() > 1 {
            out.extend_from_slice(&rest[..2]);
            at += 2;
            continue;
        }
        inside ^= rest[0] == b'"';
        out.push(rest[0]);
        at += 1;
    }
    out
}

/// The text of a JSON string, escapes resolved; as it stands if an escape has no character (a lone surrogate).
pub fn text(json: &[u8]) -> String {
    serde_json::from_slice(json).unwrap_or_else(|_| String::from_utf8_lossy(json).into_owned())
}

/// Appends `text` as a JSON string.
pub fn push_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string can be written into memory");
}

fn name(text: &[u8], at: usize) -> Result<Cow<'_, str>, Fault> {
    let mut end = 1;
    while text[end] != b'"' {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    let raw = &text[..=end];
    if raw.contains(&b'\\') {
        let wrong = |_| Fault { at, what: "a member's name with an escape that is no character" };
        return serde_json::from_slice(raw).map(Cow::Owned).map_err(wrong);
    }
    let plain = std::str::from_utf8(&raw[1..end]).map_err(|_| Fault { at, what: "not UTF-8" })?;
    Ok(Cow::Borrowed(plain))
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    mode: Mode,
    depth: u32,
    /// Bit n: the n-th open bracket is an object's.
    objects: u128,
    odd: bool,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8], mode: Mode) -> Result<Scanner<'a>, Fault> {
        if let Err(error) = std::str::from_utf8(text) {
            return Err(Fault { at: error.valid_up_to(), what: "not UTF-8" });
        }
        Ok(Scanner { text, at: 0, mode, depth: 0, objects: 0, odd: false })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at.min(self.text.len()), what })
    }

    fn fault_before<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at - 1, what })
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn open(&mut self, object: bool) -> Result<(), Fault> {
        if self.depth == DEPTH_MAX {
            return self.fault("nested more than 128 levels deep");
        }
        let bit = 1 << self.depth;
        self.objects = if object { self.objects | bit } else { self.objects & !bit };
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    fn in_object(&self) -> bool {
        self.objects >> (self.depth - 1) & 1 == 1
    }

    /// One value, from its first byte to behind its last.
    fn value(&mut self) -> Result<(), Fault> {
        let floor = self.depth;
        loop {
            self.space();
            let opened = match self.peek() {
                Some(b'{') => {
                    self.open(true)?;
                    self.space();
                    self.peek() != Some(b'}')
                }
                Some(b'[') => {
                    self.open(false)?;
                    self.space();
                    self.peek() != Some(b']')
                }
                _ => {
                    self.scalar()?;
                    false
                }
            };
            if opened {
                if self.in_object() {
                    self.key()?;
                }
                continue;
            }
            // Behind a value, or in front of the bracket that closes an empty object or array.
            loop {
                if self.depth == floor {
                    return Ok(());
                }
                self.space();
                match (self.next(), self.in_object()) {
                    (Some(b','), true) => {
                        self.space();
                        self.key()?;
                        break;
                    }
                    (Some(b','), false) => break,
                    (Some(b'}'), true) | (Some(b']'), false) => self.depth -= 1,
                    _ => return self.fault_before("expected `,` or a closing bracket"),
                }
            }
        }
    }

    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return self.fault("expected a member's name in double quotes");
        }
        self.string()?;
        self.space();
        match self.next() {
            Some(b':') => Ok(()),
            _ => self.fault_before("expected `:`"),
        }
    }

    fn scalar(&mut self) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-') if self.mode == Mode::Python && rest.starts_with(b"-Infinity") => return self.odd_number(9),
            Some(b'-' | b'0'..=b'9') => return self.number(),
            Some(b'I') if self.mode == Mode::Python && rest.starts_with(b"Infinity") => return self.odd_number(8),
            Some(b'N') if self.mode == Mode::Python && rest.starts_with(b"NaN") => return self.odd_number(3),
            None => return self.fault("the text ends too early"),
            Some(_) => {}
        }
        let Some(word) = [&b"true"[..], b"false", b"null"].into_iter().find(|word| rest.starts_with(word)) else {
            return self.fault("expected a value");
        };
        self.at += word.len();
        Ok(())
    }

    fn odd_number(&mut self, length: usize) -> Result<(), Fault> {
        self.odd = true;
        self.at += length;
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        loop {
            let rest = &self.text[self.at.min(self.text.len())..];
            let Some(plain) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)) else {
                self.at = self.text.len();
                return self.fault("a string without an end");
            };
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Ok(()),
                b'\\' => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') => {
                        let digits = self.text.get(self.at..self.at + 4).unwrap_or_default();
                        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                            return self.fault("expected four hexadecimal digits");
                        }
                        self.at += 4;
                    }
                    _ => return self.fault_before("no such escape"),
                },
                _ => return self.fault_before("a control character in a string"),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_some_and(|b| b.is_ascii_digit()) {
            return self.fault("expected a digit");
        }
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.fault("text behind the end of the value") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_takes_is_what_serde_json_takes() {
        let good = [
            "{}",
            "[]",
            "null",
            " true ",
            "-0.5e+10",
            "[1,2,[3]]",
            r#"{"a":{"b":[]},"c":"\u00e9\n\"x"}"#,
            "\"é\"",
            "[[],{}]",
            "1E5",
            "0",
            r#"{"a":[{},{"b":1}],"d":[[1],[]]}"#,
            "[\n1 ,\t2 ]",
        ];
        let bad = [
            "",
            "{",
            "}",
            "[1,]",
            "[,1]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{,}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "[1 2]",
            "{\"a\":1 \"b\":2}",
            "[1}",
            "{\"a\":1]",
            "\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"a\nb\"",
            "1 2",
            "NaN",
            "[Infinity]",
            "{a:1}",
            "{'a':1}",
            "[-]",
            "\u{feff}{}",
            "[[]",
            "[]]",
        ];
        for text in good {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_ok(), "{text}");
            assert_eq!(check(text.as_bytes(), Mode::Strict), Ok(false), "{text}");
        }
        for text in bad {
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text}");
            assert!(check(text.as_bytes(), Mode::Strict).is_err(), "{text}");
        }
        assert!(check(b"\"\xff\"", Mode::Strict).is_err());
    }

    #[test]
    fn a_bomb_of_brackets_is_refused_and_128_levels_are_not() {
        let nested = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(check(nested(128).as_bytes(), Mode::Strict).is_ok());
        let fault = check(nested(129).as_bytes(), Mode::Strict).expect_err("too deep");
        assert_eq!(fault.at, 128);
        assert!(check("[".repeat(5_000_000).as_bytes(), Mode::Strict).is_err());
        let mixed = r#"{"a":["#.repeat(64) + &"]}".repeat(64);
        assert!(members(mixed.as_bytes(), Mode::Strict).is_ok());
        assert!(members(format!(r#"{{"a":{mixed}}}"#).as_bytes(), Mode::Strict).is_err());
    }

    #[test]
    fn members_are_found_under_every_spelling_of_their_name() {
        let text = br#" {"x":[1], "inp\u0075t" : {"a":"}"} ,"webhook":"u"} "#;
        let (found, odd) = members(text, Mode::Strict).expect("an object");
        assert!(!odd);
        let input = found.only("input").expect("once").expect("there");
        assert_eq!(&text[input], br#"{"a":"}"}"#);
        assert_eq!(found.only("none"), Ok(None));
        let twice = br#"{"input":1,"inp\u0075t":2}"#;
        let (found, _) = members(twice, Mode::Strict).expect("an object");
        assert!(found.only("input").is_err());
        assert_eq!(found.last("input").map(|range| &twice[range]), Some(&b"2"[..]));
        assert!(members(b"[1]", Mode::Strict).is_err());
    }

    #[test]
    fn pythons_numbers_become_null_outside_of_texts_only() {
        let text = br#"{"output":[NaN,-Infinity,Infinity,1,"NaN \" Infinity"],"NaN":2}"#;
        assert!(members(text, Mode::Strict).is_err());
        let (_, odd) = members(text, Mode::Python).expect("as Python writes it");
        assert!(odd);
        let plain = without_odd_numbers(text);
        assert_eq!(plain, br#"{"output":[null,null,null,1,"NaN \" Infinity"],"NaN":2}"#);
        assert!(check(&plain, Mode::Strict).is_ok());
    }
}
