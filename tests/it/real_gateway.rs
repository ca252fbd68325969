//! The gateway over real sockets in front of a stand-in for the core: the client API, the worker API and its traps, bounds, drain.
//!
//! Method: a gateway on a free port per test, spoken to by an HTTP client or byte by byte; the stand-in's table shows what arrived.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "real sockets are waited for in real time")]

mod client;
mod edges;
mod jobs;
mod manage;
mod proxy;
mod stand_in;
mod workers;

use std::net::SocketAddr;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;
use thermocline::real::core::handle::Handle;
use thermocline::real::gateway::{GatewayConfig, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::support::patience::{PATIENCE, soon};
use stand_in::StandIn;

/// A gateway that serves, and what is behind it.
struct Running {
    stand_in: StandIn,
    address: SocketAddr,
    http: Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Running {
    async fn start(config: GatewayConfig) -> Running {
        let stand_in = StandIn::start();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let handle: Handle = stand_in.handle.clone();
        let served = tokio::spawn(async move {
            serve(vec![listener], handle, config, async move { drop(stopped.await) }).await;
        });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder().no_proxy().timeout(PATIENCE).build().expect("a client");
        Running { stand_in, address, http, stop: Some(stop), served }
    }

    async fn plain() -> Running {
        Running::start(GatewayConfig::default()).await
    }

    /// Waits until the gateway takes another connection and answers on it.
    async fn place(&self) {
        loop {
            let mut socket = TcpStream::connect(self.address).await.expect("a connection");
            let _ = socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            if !until_closed(&mut socket).await.is_empty() {
                return;
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    fn post(&self, path: &str, body: &str) -> RequestBuilder {
        self.http.post(self.url(path)).header("content-type", "application/json").body(body.to_owned())
    }

    /// A call of a worker, with its token and the SDK's headers.
    fn worker(&self, request: RequestBuilder, worker: &str) -> RequestBuilder {
        let token = self.stand_in.handle.tokens().token(&format!("worker:q:{worker}"));
        request.header("authorization", token).header("content-type", "application/json")
    }

    fn take(&self, worker: &str) -> RequestBuilder {
        self.worker(self.get(&format!("/v2/q/job-take/{worker}?gpu=x&job_in_progress=0")), worker)
    }

    fn done(&self, worker: &str, id: &str, body: &str) -> RequestBuilder {
        let url = self.url(&format!("/v2/q/job-done/{worker}/{id}?gpu=x&isStream=false"));
        let token = self.stand_in.handle.tokens().token(&format!("worker:q:{worker}"));
        let form = "application/x-www-form-urlencoded";
        self.http.post(url).header("authorization", token).header("content-type", form).body(body.to_owned())
    }

    /// Submits a job; its id.
    async fn run(&self, input: &str) -> String {
        let answer = sent(self.post("/v2/q/run", &format!("{{\"input\":{input}}}"))).await;
        answer["id"].as_str().expect("an id").to_owned()
    }

    fn signal(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).expect("the gateway serves");
        }
    }
}

async fn answer(request: RequestBuilder) -> Response {
    request.send().await.expect("the gateway answers")
}

/// The JSON of a 200.
async fn sent(request: RequestBuilder) -> Value {
    let response = answer(request).await;
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Status and JSON of any answer.
async fn told(request: RequestBuilder) -> (u16, Value) {
    let response = answer(request).await;
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Everything up to the end of the connection.
async fn until_closed(socket: &mut TcpStream) -> Vec<u8> {
    let mut seen = Vec::new();
    let _ = socket.read_to_end(&mut seen).await;
    seen
}

/// Waits until `there` holds.
async fn until(what: &str, mut there: impl FnMut() -> bool) {
    let there = async {
        while !there() {
            tokio::task::yield_now().await;
        }
    };
    soon(what, there).await;
}
