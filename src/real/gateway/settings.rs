//! What the gateway is told besides the core's handle: who may call, how much it takes, how long it waits.

use std::sync::Arc;
use std::time::Duration;

use super::auth::{Authorize, Open};

/// Everything `serve` may be told. The default is what the documents say, without keys and without TLS.
#[derive(Clone)]
pub struct GatewayConfig {
    /// Who may call.
    pub auth: Arc<dyn Authorize>,
    /// TLS; plain HTTP unless given.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Sizes and counts.
    pub limits: Limits,
    /// Times.
    pub times: Times,
    /// Requests per endpoint and operation; `None` = unlimited (benches).
    pub rates: Option<RateLimits>,
    /// GPU classes by number, so that the management API can speak of them by name.
    pub gpu_classes: Vec<String>,
    /// Requests for the host `{endpoint}.<anything>` go to the load-balancing endpoint of that name.
    pub host_routing: bool,
}

impl Default for GatewayConfig {
    fn default() -> GatewayConfig {
        GatewayConfig {
            auth: Arc::new(Open),
            tls: None,
            limits: Limits::default(),
            times: Times::default(),
            rates: Some(RateLimits::default()),
            gpu_classes: Vec::new(),
            host_routing: true,
        }
    }
}

/// Sizes in bytes, and counts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Body of `/run`. Default 10 MB (contract §4.1).
    pub run_body: usize,
    /// Body of `/runsync` and of the OpenAI routes. Default 20 MB.
    pub runsync_body: usize,
    /// A worker's result or piece of a stream. Default 20 MB; what is larger fails the job with its size.
    pub output: usize,
    /// A piece of a stream as a client gets it. Default 1 MB; longer texts are split.
    pub chunk: usize,
    /// Body of a management call. Default 1 MiB.
    pub manage_body: usize,
    /// Body of a load-balancing request, and of its answer. Default 30 MB each.
    pub proxy_body: u64,
    /// All bodies being received, together. Default 1 GiB; beyond it 503.
    pub buffered: usize,
    /// Connections in all. Default 4,096.
    pub connections: usize,
    /// Connections per address. Default 1,024: 200 workers of this machine hold three each.
    pub connections_per_address: u32,
    /// Request line and headers, about: what one further read brings is still taken. Default 64 KiB, and at most 100 headers.
    pub head: usize,
    /// Failed authentications per address and second. Default 10; beyond it 429.
    pub auth_failures_per_s: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            run_body: 10_000_000,
            runsync_body: 20_000_000,
            output: 20_000_000,
            chunk: 1_000_000,
            manage_body: 1 << 20,
            proxy_body: 30_000_000,
            buffered: 1 << 30,
            connections: 4_096,
            connections_per_address: 1_024,
            head: 64 << 10,
            auth_failures_per_s: 10,
        }
    }
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// A worker's poll is held for this long. Default 30 s; the SDK gives up at 90 s.
    pub poll_hold: Duration,
    /// A poll that must be refused is answered after this long: the SDK repeats it at once. Default 1 s.
    pub refused_poll: Duration,
    /// The head of a request. Default 10 s.
    pub head: Duration,
    /// Between two pieces of a body. Default 10 s.
    pub body_idle: Duration,
    /// A client's whole body. Default 60 s.
    pub body: Duration,
    /// A worker's whole body. Default 600 s, the SDK's own limit.
    pub worker_body: Duration,
    /// A connection without a request. Default 75 s.
    pub keep_alive: Duration,
    /// A client that reads nothing. Default 30 s.
    pub write_stall: Duration,
    /// From the shutdown signal to the end of the requests in flight. Default 30 s.
    pub drain: Duration,
    /// `/stream` waits this long for the next piece. Default 4 s; the SDK gives up at 10 s.
    pub stream_hold: Duration,
    /// `/runsync` answers in one piece if the job ends within this time; after it the headers (with the job's id) go ahead. Default
    /// 200 ms.
    pub headers_after: Duration,
    /// Quiet streams say something this often, so that nothing between us and the client gives up. Default 15 s.
    pub heartbeat: Duration,
    /// The OpenAI routes wait this long for an outcome, then cancel the job. Default 330 s.
    pub openai: Duration,
    /// A load-balancing request waits this long for a worker. Default 120 s (contract §4.6).
    pub lb_wait: Duration,
    /// A load-balancing request in all. Default 330 s.
    pub lb_total: Duration,
    /// What is known of the endpoints is asked again this often. Default 1 s.
    pub refresh: Duration,
    /// A follower of a worker's log is told of new lines this often. Default 500 ms.
    pub log_poll: Duration,
}

impl Default for Times {
    fn default() -> Times {
        let s = Duration::from_secs;
        Times {
            poll_hold: s(30),
            refused_poll: s(1),
            head: s(10),
            body_idle: s(10),
            body: s(60),
            worker_body: s(600),
            keep_alive: s(75),
            write_stall: s(30),
            drain: s(30),
            stream_hold: s(4),
            headers_after: Duration::from_millis(200),
            heartbeat: s(15),
            openai: s(330),
            lb_wait: s(120),
            lb_total: s(330),
            refresh: s(1),
            log_poll: Duration::from_millis(500),
        }
    }
}

/// Most requests of one operation at one endpoint: in a window, and at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per window.
    pub window: u32,
    /// At once.
    pub concurrent: u32,
}

/// The platform's rates (contract §4.4), per endpoint and operation.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Length of a window. Default 10 s.
    pub window: Duration,
    /// Each running worker allows for this many requests per window, if that is more. Default 50.
    pub per_worker: u32,
    /// `/run`: 1,000 and 200.
    pub run: Rate,
    /// `/runsync`: 2,000 and 400.
    pub runsync: Rate,
    /// `/status`, `/status-sync`: 2,000 and 400.
    pub status: Rate,
    /// `/stream`, `/events`: 2,000 and 400.
    pub stream: Rate,
    /// The OpenAI routes: 2,000 and 400.
    pub openai: Rate,
    /// `/cancel`, `/retry`: 100 and 20.
    pub cancel: Rate,
    /// `/requests`: 10 and 2.
    pub requests: Rate,
    /// `/purge-queue`: 2, and 2 at once.
    pub purge: Rate,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        let rate = |window, concurrent| Rate { window, concurrent };
        RateLimits {
            window: Duration::from_secs(10),
            per_worker: 50,
            run: rate(1_000, 200),
            runsync: rate(2_000, 400),
            status: rate(2_000, 400),
            stream: rate(2_000, 400),
            openai: rate(2_000, 400),
            cancel: rate(100, 20),
            requests: rate(10, 2),
            purge: rate(2, 2),
        }
    }
}
