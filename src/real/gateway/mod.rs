//! The gateway: the platform's HTTP API for clients, workers and operators, in front of the core.
//!
//! ```text
//! listen (connections, drain) -> routes -> jobs, stream, openai   client API      -> core::Handle
//!                                       -> worker                 worker API      -> core::Handle
//!                                       -> proxy                  load balancing  -> a worker's port
//!                                       -> manage, logs           management API  -> core::Handle
//! ```
//!
//! It keeps no state that matters: jobs, endpoints and workers are the core's. Bodies are never logged, `s3Config` goes to workers
//! alone.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::core::handle::Handle;

pub mod auth;
mod body;
mod catalog;
mod document;
mod jobs;
mod json;
mod keys;
mod listen;
mod logs;
mod manage;
mod manage_shape;
mod openai;
mod openapi;
mod openapi_manage;
mod posts;
mod problem;
mod proxy;
mod query;
mod rates;
mod routes;
mod settings;
mod stream;
mod submit;
mod telemetry;
mod watch_io;
mod worker;

pub use document::{ended_view, job_view, status_document, status_word};
pub use listen::tls;
pub use openapi::document as openapi_document;
pub use settings::{GatewayConfig, Limits, Rate, RateLimits, Times};

/// Where the gateway is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Serving.
    Serving,
    /// No new jobs, no polls; what is in flight ends.
    Draining,
    /// Idle connections go, the last bytes of answers are sent.
    Closing,
    /// Nobody is served any more.
    Over,
}

/// What every request may use.
struct Gateway {
    handle: Handle,
    config: GatewayConfig,
    stage: watch::Receiver<Stage>,
    catalog: catalog::Catalog,
    failures: auth::Failures,
    buffered: body::Buffered,
    cursors: stream::Cursors,
    telemetry: telemetry::Telemetry,
    flights: listen::Flights,
    /// A worker's poll was ended because we go down.
    polls_ended: AtomicBool,
    /// For load-balancing requests; made when the first one comes.
    client: OnceLock<reqwest::Client>,
}

impl Gateway {
    fn draining(&self) -> bool {
        *self.stage.borrow() != Stage::Serving
    }

    /// Completes when the gateway is to go down.
    async fn drain(&self) {
        let mut stage = self.stage.clone();
        // An error means that the sender is gone: over as well.
        let _ = stage.wait_for(|stage| *stage != Stage::Serving).await;
    }
}

/// Serves the gateway on `listeners` until `shutdown` completes; returns when the requests in flight are done, at the latest after
/// [`Times::drain`]. The core must live until then.
pub async fn serve(
    listeners: Vec<TcpListener>,
    handle: Handle,
    config: GatewayConfig,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (sender, stage) = watch::channel(Stage::Serving);
    let gateway = Arc::new(Gateway {
        handle,
        config,
        stage,
        catalog: catalog::Catalog::default(),
        failures: auth::Failures::default(),
        buffered: body::Buffered::default(),
        cursors: stream::Cursors::default(),
        telemetry: telemetry::Telemetry::default(),
        flights: listen::Flights::default(),
        polls_ended: AtomicBool::new(false),
        client: OnceLock::new(),
    });
    let router = routes::router(Arc::clone(&gateway));
    listen::run(gateway, sender, listeners, router, shutdown).await;
}
