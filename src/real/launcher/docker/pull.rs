//! Images: fetched once however many ask, named by their digest, dropped when nobody wants them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::super::{Report, repository};
use super::request::is_reference;
use super::{Host, engine};
use crate::units::ImageId;

/// A pull that says nothing for so long has failed. Unpacking a layer of 10 GB says nothing for a minute or two.
const SILENCE: Duration = Duration::from_secs(600);
/// Least time between two reports of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// Fetches an image unless it is there. Whoever asks for one that is on its way gets the same answer at the same time.
pub(super) async fn pull(host: Arc<Host>, image: ImageId, reference: String) {
    let begun = Instant::now();
    {
        let mut state = host.lock();
        let waiting = state.pulls.entry(reference.clone()).or_default();
        waiting.push((image, begun));
        if waiting.len() > 1 {
            return;
        }
    }
    let outcome = fetch(&host, image, &reference).await;
    for (image, begun) in host.lock().pulls.remove(&reference).unwrap_or_default() {
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        host.reporter.report(match &outcome {
            Ok(digest) => Report::Pulled { host: host.id, image, digest: digest.clone(), took_ms },
            Err(detail) => Report::PullFailed { host: host.id, image, detail: detail.clone() },
        });
    }
}

/// The digest that the reference means.
async fn fetch(host: &Host, image: ImageId, reference: &str) -> Result<Option<String>, String> {
    if !is_reference(reference) {
        return Err(format!("{reference:?} is no image reference: letters, digits and . _ : / @ - only"));
    }
    let docker = host.docker().await?;
    match digest(&docker, reference).await {
        Ok(digest) => return Ok(digest),
        Err(error) if engine::status(&error) == Some(404) => {}
        Err(error) => return Err(engine::words(&error)),
    }
    // Without a tag the engine would fetch every tag that there is.
    let options = CreateImageOptionsBuilder::new().from_image(reference);
    let options = if has_tag(reference) { options } else { options.tag("latest") };
    let mut messages = Box::pin(docker.create_image(Some(options.build()), None, None));
    let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut told = Instant::now();
    loop {
        let message = match timeout(SILENCE, messages.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => return Err(engine::words(&error)),
            Ok(None) => break,
            Err(_) => return Err(format!("nothing was heard of the pull for {SILENCE:?}")),
        };
        // Only downloads count: the same bytes come again when they are unpacked.
        if let (Some(layer), Some("Downloading"), Some(progress)) =
            (message.id, message.status.as_deref(), message.progress_detail)
        {
            let bytes = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            layers.insert(layer, (bytes(progress.current), bytes(progress.total)));
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let (done, total) = layers.values().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
            host.reporter.report(Report::PullProgress { host: host.id, image, done, total });
        }
    }
    digest(&docker, reference).await.map_err(|error| engine::words(&error))
}

/// What the reference means here: the digest under which a registry knows it; none for an image that never saw a registry.
async fn digest(docker: &Docker, reference: &str) -> Result<Option<String>, bollard::errors::Error> {
    let found = docker.inspect_image(reference).await?;
    let name = repository(reference);
    let digests = found.repo_digests.unwrap_or_default();
    // Several names may stand for the same image, each with its own registry's digest.
    let own = digests.iter().filter_map(|known| known.split_once('@'));
    let same = |known: &str| known == name || known.rsplit_once('/').map_or(known, |(_, last)| last) == name;
    Ok(own.filter(|(known, _)| same(known)).map(|(_, digest)| digest.to_owned()).next())
}

fn has_tag(reference: &str) -> bool {
    reference.contains('@') || repository(reference) != reference
}

/// Drops an image, whether it came by its tag or by its digest. One that a container still uses stays.
pub(super) async fn evict(host: Arc<Host>, reference: String) {
    let Ok(docker) = host.docker().await else { return };
    let options = RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
    let dropped = async {
        // By its id: an image that still has a tag would outlive its digest.
        let id = docker.inspect_image(&reference).await?.id.unwrap_or_else(|| reference.clone());
        docker.remove_image(&id, Some(options), None).await
    };
    match dropped.await {
        Ok(_) => {}
        Err(error) if engine::status(&error) == Some(404) => {}
        Err(error) => tracing::warn!(host = host.id.0, reference, error = engine::words(&error), "an image stays"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_taken_apart() {
        for (reference, name, tagged) in [
            ("python", "python", false),
            ("python:3.11", "python", true),
            ("host:5000/team/x", "host:5000/team/x", false),
            ("host:5000/team/x:1", "host:5000/team/x", true),
            ("host:5000/x@sha256:ab", "host:5000/x", true),
            ("x:1@sha256:ab", "x", true),
        ] {
            assert_eq!((repository(reference), has_tag(reference)), (name, tagged), "{reference}");
        }
    }
}
