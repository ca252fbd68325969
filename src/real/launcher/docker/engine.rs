//! How an engine is reached: a socket of this machine, TCP with TLS, or ssh.

use std::net::IpAddr;
use std::path::Path;

use bollard::errors::Error;
use bollard::models::IpamConfig;
use bollard::{API_DEFAULT_VERSION, Docker};

use crate::real::config::DockerConfig;

/// Where the engine listens unless somebody says otherwise.
pub const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";
/// Longest wait for the answer to one request, seconds. Streams (events, logs, pulls) are not bounded by it.
const TIMEOUT_S: u64 = 60;

/// Whether the engine is on this machine, so that its loopback address is ours.
pub fn is_local(config: &DockerConfig) -> bool {
    config.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT).starts_with("unix://")
}

/// Connects and settles on a version of the API that both sides speak.
///
/// # Errors
/// Nobody answers there, or the place cannot be understood. The text is for people.
pub async fn connect(config: &DockerConfig) -> Result<Docker, String> {
    let endpoint = config.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT);
    let docker = open(endpoint, config.tls_dir.as_deref()).map_err(|error| format!("{endpoint}: {error}"))?;
    docker.negotiate_version().await.map_err(|error| format!("{endpoint}: {}", words(&error)))
}

fn open(endpoint: &str, tls: Option<&Path>) -> Result<Docker, String> {
    let opened = match (endpoint.split_once("://").map(|(scheme, _)| scheme), tls) {
        (Some("unix"), _) => Docker::connect_with_unix(endpoint, TIMEOUT_S, API_DEFAULT_VERSION),
        (Some("tcp" | "https"), Some(folder)) => Docker::connect_with_ssl(
            endpoint,
            &folder.join("key.pem"),
            &folder.join("cert.pem"),
            &folder.join("ca.pem"),
            TIMEOUT_S,
            API_DEFAULT_VERSION,
        ),
        // Without TLS whoever is on the way owns the engine's machine.
        (Some("tcp" | "http"), None) => {
            let local = ["127.0.0.1:", "localhost:", "[::1]:"];
            let address = endpoint.split_once("://").map_or("", |(_, address)| address);
            if !local.iter().any(|prefix| address.starts_with(prefix)) {
                return Err(
                    "an engine on another machine needs TLS: name the folder of ca.pem, cert.pem and key.pem".into()
                );
            }
            Docker::connect_with_http(endpoint, TIMEOUT_S, API_DEFAULT_VERSION)
        }
        (Some("ssh"), _) => Docker::connect_with_ssh(endpoint, TIMEOUT_S, API_DEFAULT_VERSION, None),
        _ => return Err("an engine is at unix:///path, tcp://host:port or ssh://user@host".into()),
    };
    opened.map_err(|error| words(&error))
}

/// The address that the engine's machine has on its default bridge: containers of every bridge reach the machine there.
///
/// # Errors
/// The engine is elsewhere, does not answer, or has no such network.
pub async fn engine_gateway(config: &DockerConfig) -> Result<IpAddr, String> {
    if !is_local(config) {
        return Err("the engine is on another machine".to_owned());
    }
    let docker = connect(config).await?;
    let network = docker.inspect_network("bridge", None).await.map_err(|error| words(&error))?;
    let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let address = |config: IpamConfig| {
        let told = config.gateway.and_then(|gateway| gateway.to_string().parse().ok());
        told.or_else(|| first_of(&config.subnet?.to_string()))
    };
    configs.into_iter().find_map(address).ok_or_else(|| "the engine's default bridge has no address".to_owned())
}

/// The first address of a subnet such as `172.17.0.0/16`: the bridge's own, unless the engine is told another one. Docker 20.10 does not
/// say the address of a bridge that it has made since it was started.
fn first_of(subnet: &str) -> Option<IpAddr> {
    let (network, _) = subnet.split_once('/')?;
    match network.parse().ok()? {
        IpAddr::V4(network) => Some(IpAddr::V4((u32::from(network).checked_add(1)?).into())),
        IpAddr::V6(network) => Some(IpAddr::V6((u128::from(network).checked_add(1)?).into())),
    }
}

/// A time as the engine writes it, in ns since 1970.
pub fn unix_ns(text: &str) -> Option<u64> {
    super::output::nanos(text)
}

/// An error with its causes: the outermost alone often says nothing (`client error (Connect)`).
pub fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// The engine's status code, if it is that which refused.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_whose_address_is_not_told_has_the_first_one_of_its_subnet() {
        let address = |text: &str| text.parse::<IpAddr>().ok();
        assert_eq!(first_of("172.17.0.0/16"), address("172.17.0.1"));
        assert_eq!(first_of("fd00:1::/64"), address("fd00:1::1"));
        assert_eq!([first_of("172.17.0.0"), first_of("bridge/16"), first_of("255.255.255.255/32")], [None; 3]);
    }

    #[test]
    fn a_place_that_is_none_and_one_without_tls_are_refused_in_words() {
        let tried = |endpoint: &str| open(endpoint, None).map(drop).unwrap_err();
        assert!(tried("tcp://10.0.0.5:2375").contains("TLS"));
        assert!(tried("tcp://localhost.evil.example:2375").contains("TLS"));
        assert!(tried("ftp://x").contains("unix:///path"));
        assert!(tried("/var/run/docker.sock").contains("unix:///path"));
        assert!(!tried("unix:///no/such/socket").is_empty());
        assert!(open("tcp://127.0.0.1:1", None).is_ok());
    }
}
