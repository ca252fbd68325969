//! What the machine takes for the two things that a lone job mostly waits for, so that latencies of two machines can be compared: a
//! byte to another thread and back over the loopback interface, and four kilobytes to the disk.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Medians of both, measured for `span` each.
pub fn line(span: Duration) -> String {
    let (round_trip, sync) = (median_us(round_trips(span)), median_us(syncs(span)));
    format!(
        "this machine: a loopback round trip of a byte takes {round_trip:.0} us, a sync of 4 KiB {sync:.0} us (medians)"
    )
}

fn median_us(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

/// Repeats `work` until `span` is over, once at least.
fn times(span: Duration, mut work: impl FnMut()) -> Vec<Duration> {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || began.elapsed() < span {
        let at = Instant::now();
        work();
        times.push(at.elapsed());
    }
    times
}

fn round_trips(span: Duration) -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    std::thread::scope(|threads| {
        threads.spawn(move || {
            let (mut stream, _) = listener.accept().expect("the other side connects");
            stream.set_nodelay(true).expect("a socket takes it");
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).expect("the other side reads");
            }
        });
        let mut stream = TcpStream::connect(address).expect("the other side listens");
        stream.set_nodelay(true).expect("a socket takes it");
        let mut byte = [7];
        times(span, || {
            stream.write_all(&byte).expect("the other side reads");
            stream.read_exact(&mut byte).expect("the other side answers");
        })
    })
}

fn syncs(span: Duration) -> Vec<Duration> {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sync-{}", std::process::id()));
    let mut file = File::create(&path).expect("the file can be made");
    let times = times(span, || {
        file.write_all(&[7; 4_096]).expect("the disk has room");
        file.sync_data().expect("the disk works");
    });
    std::fs::remove_file(&path).expect("it was there");
    times
}
