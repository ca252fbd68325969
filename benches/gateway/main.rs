//! What a job costs on its way through the served gateway: CPU, latency, jobs per second; what an idle gateway costs; how long a
//! gateway with many stored jobs is away after a kill.
//!
//! `cargo bench --bench gateway`. The server is a process of its own with the echo worker in another, the load comes from this
//! one over keep-alive connections: all three share the machine. CPU is what the kernel charged to the server. A job is one
//! `/runsync` call: accepted, stored, handed out, answered by the worker, stored again, answered to the client.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a bench measures time and prints it"
)]

mod client;
mod machine;
#[allow(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/it/e2e/processes.rs"]
mod processes;
mod server;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use client::Connection;
use server::{Server, Store};

/// How much is done; the second one checks only that everything runs.
struct Size {
    jobs_alone: u64,
    jobs_together: u64,
    stored: u64,
    idle: Duration,
}

const FULL: Size = Size { jobs_alone: 4_000, jobs_together: 60_000, stored: 100_000, idle: Duration::from_secs(5) };
const TEST: Size = Size { jobs_alone: 20, jobs_together: 200, stored: 500, idle: Duration::from_millis(200) };

/// Clients of the loaded measurement.
const CLIENTS: u64 = 64;

fn main() {
    // `cargo test --benches` and `cargo bench -- --test` only want to see it run; `cargo bench` says `--bench`.
    let size = if std::env::args().any(|argument| argument == "--bench") { FULL } else { TEST };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let built = if cfg!(debug_assertions) { "debug" } else { "release" };
    println!("{built} build, {cores} cores shared by server, echo worker and clients; `/runsync`, input of 11 bytes\n");
    println!("{}\n", machine::line(size.idle));
    println!("store     clients    jobs/s    CPU/job        p50        p99   bar");
    for store in [Store::Sqlite, Store::Memory] {
        let bars = match store {
            Store::Sqlite => ["p50 <= 1 ms", "CPU <= 250 us"],
            Store::Memory => ["p50 <= 0.3 ms", "CPU <= 150 us"],
        };
        let server = Server::start("throughput", store, CLIENTS);
        measure(&server, store, 1, size.jobs_alone / 4 + 1);
        for (clients, jobs, bar) in [(1, size.jobs_alone, bars[0]), (CLIENTS, size.jobs_together, bars[1])] {
            let figures = measure(&server, store, clients, jobs);
            println!("{figures}   {bar}");
        }
    }
    println!();
    idle(&size);
    restart(&size);
}

/// Sends `jobs` from `clients` connections; a line of the table.
fn measure(server: &Server, store: Store, clients: u64, jobs: u64) -> String {
    let left = AtomicU64::new(jobs);
    let cpu = server.cpu();
    let began = Instant::now();
    let mut latencies: Vec<Duration> = std::thread::scope(|threads| {
        let client = || {
            let mut connection = Connection::open(server.address());
            let mut latencies = Vec::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                let sent = Instant::now();
                let (status, body) = connection.post("/v2/echo/runsync", br#"{"input":{"n":12345}}"#);
                latencies.push(sent.elapsed());
                assert!(status == 200 && body.contains("COMPLETED"), "{status}: {body}");
            }
            latencies
        };
        let all: Vec<_> = (0..clients).map(|_| threads.spawn(client)).collect();
        all.into_iter().flat_map(|thread| thread.join().expect("a client ends well")).collect()
    });
    let (took, cpu) = (began.elapsed(), server.cpu() - cpu);
    latencies.sort_unstable();
    let quantile = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!(
        "{:<8} {clients:>8} {:>9.0} {:>7.0} us {:>7.2} ms {:>7.2} ms",
        store.word(),
        jobs as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / jobs as f64,
        quantile(0.5),
        quantile(0.99),
    )
}

/// What a gateway costs that has nothing to do but hold its worker's poll.
fn idle(size: &Size) {
    let began = Instant::now();
    let mut server = Server::start("idle", Store::Sqlite, 1);
    println!(
        "first start    ready in {:.3} s (worker up in {:.3} s)",
        server.ready.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    server.kill();
    server.resume();
    println!("start          ready in {:.3} s   bar <= 0.1 s", server.ready.as_secs_f64());
    let cpu = server.cpu();
    std::thread::sleep(size.idle);
    let share = (server.cpu() - cpu).as_secs_f64() / size.idle.as_secs_f64();
    println!("idle           {:.1} MiB, {:.2} % of a core   bar <= 30 MiB, ~0 %", server.resident_mib(), share * 100.0);
}

/// How long a gateway is away that is killed with many stored jobs.
fn restart(size: &Size) {
    let mut server = Server::start("restart", Store::Sqlite, 1);
    let (left, began) = (AtomicU64::new(size.stored), Instant::now());
    let last = std::thread::scope(|threads| {
        let client = || {
            let mut connection = Connection::open(server.address());
            let mut last = String::new();
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                last = connection.submit("parked");
            }
            last
        };
        let all: Vec<_> = (0..CLIENTS).map(|_| threads.spawn(client)).collect();
        all.into_iter().map(|thread| thread.join().expect("a client ends well")).max().expect("there are clients")
    });
    let rate = size.stored as f64 / began.elapsed().as_secs_f64();
    println!("submit         {rate:.0} jobs/s, {} jobs stored, {:.1} MiB", size.stored, server.resident_mib());
    server.kill();
    let began = Instant::now();
    server.resume();
    let mut connection = Connection::open(server.address());
    let (status, body) = connection.get(&format!("/v2/parked/status/{last}"));
    assert!(status == 200 && body.contains("IN_QUEUE"), "{status}: {body}");
    let (_, health) = connection.get("/v2/parked/health");
    assert!(health.contains(&format!("\"inQueue\":{}", size.stored)), "{health}");
    let away = began.elapsed().as_secs_f64();
    println!("kill, restart  serving again in {away:.3} s with {} stored jobs   bar <= 2 s", size.stored);
}
