//! One try to deliver: a POST that goes nowhere it should not, takes no longer than it may, and is signed.
//!
//! The signature lets a receiver tell our calls from forged and from repeated ones:
//!
//! ```text
//! X-Thermocline-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>" under the endpoint's webhook_secret>
//! ```
//! A receiver computes the HMAC over the digits of `t`, a full stop and the bytes of the body as they came, compares in constant
//! time, and refuses a `t` more than five minutes away from its own clock. There may be other elements after `v1` in future.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::Sha256;

use super::guard::{Allow, Guard, Lookup, Refused, check_url};
use crate::real::clock::unix_us;
use crate::real::ids::hex;

/// The header with the signature.
pub const SIGNATURE: HeaderName = HeaderName::from_static("x-thermocline-signature");

/// What is read of an answer, bytes; nobody looks at it.
const ANSWER_MAX: usize = 64 << 10;

/// Longest text about a failure, characters.
const TEXT_MAX: usize = 200;

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// An answer with this status.
    Answered(u16),
    /// No answer.
    Failed(String),
    /// The address is not allowed.
    Refused(String),
    /// There is nothing to tell any more.
    Pointless(String),
}

/// Sends webhooks.
#[derive(Clone, Debug)]
pub struct Poster {
    client: reqwest::Client,
    allow: Arc<Allow>,
}

impl Poster {
    /// With `timeout` for a whole try, from the look-up of the name to the end of the answer.
    ///
    /// # Errors
    /// Why there is no client (TLS cannot be set up).
    pub fn new(allow: Allow, lookup: Arc<dyn Lookup>, timeout: Duration) -> Result<Poster, String> {
        // Fails when the process has one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let allow = Arc::new(allow);
        let guard = Guard::new(Arc::clone(&allow), lookup);
        let builder = || {
            reqwest::Client::builder()
                // A proxy would resolve names for us, and the guard would not see them.
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .dns_resolver(guard.clone())
                .timeout(timeout)
                .pool_max_idle_per_host(2)
                .pool_idle_timeout(Duration::from_secs(20))
                .user_agent(concat!("thermocline/", env!("CARGO_PKG_VERSION")))
        };
        let client = builder().build().or_else(|error| {
            // A bare container: plain HTTP still works, and every https delivery says why it does not.
            tracing::warn!(error = %root(&error), "no CA certificates are installed: webhooks to https addresses will fail");
            builder().tls_certs_only([]).build()
        });
        Ok(Poster { client: client.map_err(|error| root(&error))?, allow })
    }

    /// Posts `body` (JSON) to `url`, signed if there is a secret.
    pub async fn post(&self, url: &str, body: Vec<u8>, secret: Option<&str>) -> Tried {
        let url = match check_url(url, &self.allow) {
            Ok(url) => url,
            Err(refused) => return Tried::Refused(refused.0),
        };
        let mut request = self.client.post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(secret) = secret {
            request = request.header(SIGNATURE, signature(secret, unix_us() / 1_000_000, &body));
        }
        let mut answer = match request.body(body).send().await {
            Ok(answer) => answer,
            Err(error) => return failure(&error),
        };
        let mut left = ANSWER_MAX;
        while left > 0 {
            match answer.chunk().await {
                Ok(Some(piece)) => left = left.saturating_sub(piece.len()),
                Ok(None) => break,
                Err(error) => return failure(&error),
            }
        }
        Tried::Answered(answer.status().as_u16())
    }
}

/// The value of the header for a body sent at `unix_s`.
pub fn signature(secret: &str, unix_s: u64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("an HMAC takes keys of any length");
    mac.update(format!("{unix_s}.").as_bytes());
    mac.update(body);
    format!("t={unix_s},v1={}", hex(&mac.finalize().into_bytes()))
}

fn failure(error: &reqwest::Error) -> Tried {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(Refused(why)) = error.downcast_ref() {
            return Tried::Refused(why.clone());
        }
        cause = error.source();
    }
    if error.is_timeout() {
        return Tried::Failed("no complete answer in time".to_owned());
    }
    let what = if error.is_connect() { "no connection" } else { "the connection broke" };
    Tried::Failed(format!("{what}: {}", root(error)))
}

/// The innermost cause, on one short line.
fn root(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_any_hmac_tool_computes() {
        // printf '1700000000.{"id":"a"}' | openssl dgst -sha256 -hmac secret
        assert_eq!(
            signature("secret", 1_700_000_000, br#"{"id":"a"}"#),
            "t=1700000000,v1=24d16fb59a06bae8d031d22eb88b663480215741cc94a5cd046993fa9ea6ac23"
        );
    }
}
