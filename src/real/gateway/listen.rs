//! The accept loops: bounded connections, each served by hyper under watch, and the way out when the gateway is to go down.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use super::problem::Problem;
use super::watch_io::{LastPart, Watch, Watched};
use super::{Gateway, Stage, proxy, telemetry};

/// Address of the other end of a connection, in the extensions of its requests.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Connections that are open.
#[derive(Default)]
struct Open {
    count: AtomicUsize,
    by_address: Mutex<BTreeMap<IpAddr, u32>>,
    none: Notify,
}

/// One of them; closed when dropped.
struct Place {
    open: Arc<Open>,
    address: IpAddr,
}

impl Open {
    fn admit(self: &Arc<Open>, address: IpAddr, most: usize, most_per_address: u32) -> Option<Place> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = by_address.entry(address).or_default();
        if self.count.load(Ordering::Relaxed) >= most || *of_address >= most_per_address {
            if *of_address == 0 {
                by_address.remove(&address);
            }
            return None;
        }
        *of_address += 1;
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(Place { open: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.open.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                by_address.remove(&self.address);
            }
        }
        if self.open.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.open.none.notify_waiters();
        }
    }
}

/// Requests whose answer is not complete.
#[derive(Default)]
pub(super) struct Flights {
    count: AtomicUsize,
    none: Notify,
}

/// One of them; over when dropped.
pub(super) struct Flight(Arc<Gateway>);

impl Flight {
    fn begin(gateway: &Arc<Gateway>) -> Flight {
        gateway.flights.count.fetch_add(1, Ordering::Relaxed);
        Flight(Arc::clone(gateway))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.flights.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.flights.none.notify_waiters();
        }
    }
}

async fn zero(count: &AtomicUsize, none: &Notify) {
    loop {
        let notified = none.notified();
        if count.load(Ordering::Relaxed) == 0 {
            return;
        }
        notified.await;
    }
}

/// A worker whose poll was ended asks again at once. It should find us, and 429, rather than nobody: that it would ask 2,000 times a
/// second.
const LINGER: Duration = Duration::from_millis(250);
/// For the last bytes of answers after the time for draining.
const FLUSH: Duration = Duration::from_secs(1);

/// Serves until `shutdown` completes, then lets the requests in flight end.
///
/// From the signal on new jobs get 503, polls that are held end with 204 and later ones get 429. Connections are still accepted and
/// idle ones kept, so that workers can post their results: the SDK never repeats a post whose connection broke off. Each answer is
/// the last on its connection. Returns when nothing is in flight any more, or after the time for draining.
pub(super) async fn run(
    gateway: Arc<Gateway>,
    stage: watch::Sender<Stage>,
    listeners: Vec<TcpListener>,
    router: Router,
    shutdown: impl Future<Output = ()> + Send,
) {
    let open = Arc::new(Open::default());
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(accept(Arc::clone(&gateway), Arc::clone(&open), listener, router.clone())))
        .collect();
    shutdown.await;
    let flights = &gateway.flights;
    tracing::info!(requests = flights.count.load(Ordering::Relaxed), "draining");
    stage.send_replace(Stage::Draining);
    let answered = async {
        zero(&flights.count, &flights.none).await;
        if gateway.polls_ended.load(Ordering::Relaxed) {
            tokio::time::sleep(LINGER).await;
            zero(&flights.count, &flights.none).await;
        }
    };
    if tokio::time::timeout(gateway.config.times.drain, answered).await.is_err() {
        tracing::warn!(requests = flights.count.load(Ordering::Relaxed), "requests cut off: they took too long");
    }
    for accepting in loops {
        accepting.abort();
    }
    stage.send_replace(Stage::Closing);
    let _ = tokio::time::timeout(FLUSH, zero(&open.count, &open.none)).await;
    stage.send_replace(Stage::Over);
}

async fn accept(gateway: Arc<Gateway>, open: Arc<Open>, listener: TcpListener, router: Router) {
    let limits = gateway.config.limits;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: they come back when connections close.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let Some(place) = open.admit(address, limits.connections, limits.connections_per_address) else {
            gateway.telemetry.refused_connections.inc();
            tracing::debug!(%address, "too many connections: closed");
            continue;
        };
        tokio::spawn(connection(Arc::clone(&gateway), stream, router.clone(), address, place));
    }
}

async fn connection(gateway: Arc<Gateway>, stream: TcpStream, router: Router, address: IpAddr, place: Place) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let watch = Arc::new(Watch::new(&gateway.config.times));
    let plain = Watched::new(stream, Arc::clone(&watch));
    match gateway.config.tls.clone() {
        None => serve_one(gateway, plain, watch, router, address).await,
        Some(tls) => {
            let handshake = tokio_rustls::TlsAcceptor::from(tls).accept(plain);
            match tokio::time::timeout(gateway.config.times.head, handshake).await {
                Ok(Ok(secure)) => serve_one(gateway, secure, watch, router, address).await,
                Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS handshake"),
                Err(_) => tracing::debug!(%address, "the TLS handshake took too long"),
            }
        }
    }
    drop(place);
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin>(
    gateway: Arc<Gateway>,
    socket: S,
    watch: Arc<Watch>,
    router: Router,
    address: IpAddr,
) {
    let mut stage = gateway.stage.clone();
    // hyper takes no less than 8 KiB.
    let head = gateway.config.limits.head.max(8 << 10);
    let service = service_fn(|request: Request<Incoming>| {
        watch.begin();
        let (gateway, router, watch) = (Arc::clone(&gateway), router.clone(), Arc::clone(&watch));
        async move {
            let flight = Flight::begin(&gateway);
            let response = answer(gateway, router, request, address).await;
            Ok::<_, Infallible>(response.map(|body| LastPart::new(body, watch, flight)))
        }
    });
    let served = http1::Builder::new().max_buf_size(head).serve_connection(TokioIo::new(socket), service);
    let mut served = std::pin::pin!(served);
    let mut nap = watch.look();
    while let Some(time) = nap {
        tokio::select! {
            ended = served.as_mut() => {
                if let Err(error) = ended {
                    tracing::trace!(%address, %error, "a connection broke off");
                }
                return;
            }
            changed = stage.changed() => match *stage.borrow_and_update() {
                Stage::Closing if changed.is_ok() => served.as_mut().graceful_shutdown(),
                Stage::Serving | Stage::Draining if changed.is_ok() => {}
                _ => return,
            },
            () = tokio::time::sleep(time) => nap = watch.look(),
        }
    }
    gateway.telemetry.timed_out_connections.inc();
    tracing::debug!(%address, "a connection took too long: closed");
}

/// One request; a panic on the way is a 500 and the end of nothing else.
async fn answer(gateway: Arc<Gateway>, router: Router, request: Request<Incoming>, address: IpAddr) -> Response<Body> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(Peer(address));
    let trace = telemetry::Trace::begin(&gateway.telemetry, &request);
    let label = proxy::host_label(&gateway, request.headers());
    let work = async {
        match proxy::by_host(&gateway, label).await {
            Some(known) => proxy::whole_host(&gateway, known, request).await,
            None => tower::ServiceExt::oneshot(router, request).await.unwrap_or_else(|never| match never {}),
        }
    };
    let mut response = trace.inside(AssertUnwindSafe(work).catch_unwind()).await.unwrap_or_else(|_| {
        tracing::error!("a request's handler panicked");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "an internal error").into_response()
    });
    if gateway.draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    trace.end(&gateway.telemetry, response.status());
    response
}

/// Reads certificate chain and key and makes the TLS settings of them.
///
/// # Errors
/// A file cannot be read, holds nothing usable, or key and certificate do not fit.
pub fn tls(config: &super::super::config::TlsConfig) -> io::Result<Arc<rustls::ServerConfig>> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let wrong = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&config.certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(&config.certificate, &"no certificate in PEM format"));
    }
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| wrong(&config.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let made = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(&config.certificate, &error))?;
    Ok(Arc::new(made))
}
