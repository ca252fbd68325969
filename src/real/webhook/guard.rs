//! Which addresses a webhook may go to. The URL comes from whoever may submit a job, the gateway stands inside a network: without
//! this, a webhook is a way to reach the services of that network and the metadata of the machine.
//!
//! A name is resolved once, at the time of the connection; all its addresses must be public; the connection goes to one of the
//! addresses that were looked at. So a name whose answer changes between two look-ups gains nothing.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Longest URL, bytes.
const URL_MAX: usize = 2_048;

/// Why a webhook's address is refused. Trying again does not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl Error for Refused {}

/// Hosts and networks that webhooks may go to although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    hosts: BTreeSet<String>,
    /// Address and length of the prefix.
    networks: Vec<(IpAddr, u32)>,
}

impl Allow {
    /// Of `webhook_allow`: host names (`localhost`), addresses (`10.1.2.3`, `::1`) and networks (`10.0.0.0/8`, `fd00::/8`).
    ///
    /// # Errors
    /// Names the entry that is none of these.
    pub fn parse(entries: &[String]) -> Result<Allow, String> {
        let mut allow = Allow::default();
        for entry in entries {
            let wrong = || {
                format!(
                    "webhook_allow: {entry:?} is no host name, address or network; write `localhost`, `10.1.2.3` or `10.0.0.0/8`"
                )
            };
            let (address, length) = entry.split_once('/').map_or((entry.as_str(), None), |(a, l)| (a, Some(l)));
            let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
            if let Ok(address) = address.parse::<IpAddr>() {
                let bits = bits_of(address);
                let length = length.map_or(Ok(bits), str::parse).map_err(|_| wrong())?;
                if length > bits {
                    return Err(wrong());
                }
                allow.networks.push((address, length));
            } else if length.is_none() && is_host_name(entry) {
                allow.hosts.insert(plain(entry));
            } else {
                return Err(wrong());
            }
        }
        Ok(allow)
    }

    fn host(&self, host: &str) -> bool {
        self.hosts.contains(&plain(host))
    }

    /// Why a connection to this address is refused; `None` if it is allowed.
    pub fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let address = match address {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        let allowed = self.networks.iter().any(|(network, length)| within(address, *network, *length));
        if allowed { None } else { not_public(address) }
    }
}

fn bits_of(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_host_name(text: &str) -> bool {
    let character = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    (1..=253).contains(&text.len()) && text.bytes().all(character) && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// A host name as it is compared.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn within(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => u64::from(u32::from(a) ^ u32::from(n)) >> (32 - length) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => (u128::from(a) ^ u128::from(n)).checked_shr(128 - length).unwrap_or(0) == 0,
        _ => false,
    }
}

/// Why an address is not one of the public internet; `None` if it is.
pub fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => not_public_v4(v4),
        IpAddr::V6(v6) => not_public_v6(v6),
    }
}

/// By the registry of special-purpose addresses (IANA, RFC 6890) and the metadata services of the clouds.
fn not_public_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, _, _) => "unspecified address",
        (10, _, _) | (172, 16..=31, _) | (192, 168, _) => "private address",
        (100, 64..=127, _) => "address behind a carrier's NAT",
        (127, _, _) => "loopback address",
        (169, 254, _) => "link-local or metadata address",
        (168, 63, 129) => "metadata address",
        (192, 0, 0) | (192, 88, 99) | (198, 18..=19, _) => "reserved address",
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => "documentation address",
        (224..=239, _, _) => "multicast address",
        (240..=255, _, _) => "reserved or broadcast address",
        _ => return None,
    })
}

fn not_public_v6(address: Ipv6Addr) -> Option<&'static str> {
    let s = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        not_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("loopback address"),
        // Other spellings of an IPv4 address: mapped, translated (SIIT), NAT64, 6to4, ISATAP.
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low] if v4(high, low).is_some() => v4(high, low),
        [0x64, 0xff9b, ..] => Some("address of a local translator"),
        [0xfc00..=0xfdff, ..] => Some("unique local address"),
        [0xfe80..=0xfebf, ..] => Some("link-local address"),
        [0xfec0..=0xfeff, ..] => Some("site-local address"),
        [0xff00..=0xffff, ..] => Some("multicast address"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation address"),
        // 2001::/23 holds Teredo, ORCHID, benchmarking and other protocols' addresses; none is a host of the internet.
        [0x2001, 0..=0x1ff, ..] => Some("reserved address"),
        // 2000::/3 is what is given out as global unicast.
        [0x2000..=0x3fff, ..] => None,
        _ => Some("reserved address"),
    }
}

/// Reads and judges the URL of a webhook. An address written out in it, in whatever notation, is judged here; a name when it is
/// resolved.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(text: &str, allow: &Allow) -> Result<Url, Refused> {
    let refuse = |why: &str| Err(Refused(why.to_owned()));
    if text.len() > URL_MAX {
        return refuse("the URL is longer than 2,048 bytes");
    }
    // URL parsers drop tabs and newlines, so that what is seen is not what is meant.
    if text.bytes().any(|b| b.is_ascii_control() || b == b' ' || b == b'\\') {
        return refuse("the URL has blanks, backslashes or control characters in it");
    }
    let Ok(url) = Url::parse(text) else { return refuse("this is no URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("only http and https are allowed");
    }
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    if !url.username().is_empty() || url.password().is_some() || authority.contains('@') {
        return refuse("the URL has a user name or password in it");
    }
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else { return refuse("the URL has no host") };
    if url.port() == Some(0) {
        return refuse("port 0");
    }
    if !allow.host(host) {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        if let Some(why) = literal.ok().and_then(|address| allow.refuses(address)) {
            return refuse(why);
        }
    }
    Ok(url)
}

/// A look-up under way.
pub type Looking = Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send>>;

/// Finds the addresses of a name.
pub trait Lookup: Send + Sync + 'static {
    /// All of them.
    fn lookup(&self, host: &str) -> Looking;
}

/// The operating system's resolver.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, host: &str) -> Looking {
        let host = host.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A resolver that gives out allowed addresses only.
#[derive(Clone)]
pub struct Guard {
    allow: Arc<Allow>,
    lookup: Arc<dyn Lookup>,
}

impl Guard {
    /// Over another resolver.
    pub fn new(allow: Arc<Allow>, lookup: Arc<dyn Lookup>) -> Guard {
        Guard { allow, lookup }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let looking = self.lookup.lookup(name.as_str());
        let allow = Arc::clone(&self.allow);
        Box::pin(async move {
            let addresses = looking.await?;
            let refused = addresses.iter().find_map(|address| allow.refuses(*address));
            if let Some(why) = refused.filter(|_| !allow.host(name.as_str())) {
                return Err(Refused(why.to_owned()).into());
            }
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}
