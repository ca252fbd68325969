//! Query strings: percent-decoding and checked numbers.

use std::borrow::Cow;

use super::problem::Problem;

/// The parameters of a query string.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Of `a=1&b=2`; of nothing.
    pub fn new(query: Option<&'a str>) -> Query<'a> {
        Query(query.unwrap_or(""))
    }

    /// The first value of `name`, decoded.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key) == name).then(|| decode(value))
        })
    }

    /// A whole number within a range; 400 with the range otherwise.
    pub fn whole(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        match text.parse().ok().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::bad(format!("`{name}` must be a whole number from {least} to {most}"))),
        }
    }
}

/// `%41` and `+` resolved; what is no escape stays; what is no UTF-8 is replaced.
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(bytes.get(at + 1)), digit(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_numbers_checked() {
        let query = Query::new(Some("job_id=a%2Cb&reason=no+GPU%21&wait=90000&x=%zz&y=%4"));
        assert_eq!(query.get("job_id").as_deref(), Some("a,b"));
        assert_eq!(query.get("reason").as_deref(), Some("no GPU!"));
        assert_eq!(query.get("x").as_deref(), Some("%zz"));
        assert_eq!(query.get("y").as_deref(), Some("%4"));
        assert_eq!(query.get("none"), None);
        assert_eq!(query.whole("wait", 1_000, 300_000), Ok(Some(90_000)));
        assert_eq!(query.whole("none", 1, 2), Ok(None));
        let problem = query.whole("wait", 1, 5).expect_err("out of range");
        assert!(problem.error.contains("from 1 to 5"), "{problem:?}");
        assert!(query.whole("reason", 1, 5).is_err());
    }
}
