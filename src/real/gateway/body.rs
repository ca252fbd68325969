//! Bodies: received whole within bounds of size, time and memory; sent as a few pieces without joining them.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use super::problem::Problem;
use super::settings::{Limits, Times};

/// Bytes of all bodies that are being received.
#[derive(Debug, Default)]
pub struct Buffered(AtomicUsize);

/// A share of [`Buffered`], given back when dropped.
struct Share<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize, most: usize) -> bool {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= most
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// The whole body.
    Whole(Bytes),
    /// More than the limit: this many bytes, all read and dropped.
    TooLarge(u64),
}

/// How a body is received.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most bytes kept.
    pub bytes: usize,
    /// Most bytes read and dropped beyond that, so that the sender gets to read our answer.
    pub drop_bytes: u64,
    /// Longest wait for the next piece.
    pub idle: Duration,
    /// Longest wait for everything.
    pub total: Duration,
    /// Most bytes of all bodies.
    pub buffered: usize,
}

impl Bounds {
    /// Of a client's body.
    pub fn client(bytes: usize, limits: &Limits, times: &Times) -> Bounds {
        let drop_bytes = 4 * bytes as u64;
        Bounds { bytes, drop_bytes, idle: times.body_idle, total: times.body, buffered: limits.buffered }
    }

    /// Of a worker's body: read to its end whatever its size, because a refused result is never posted again.
    pub fn worker(limits: &Limits, times: &Times) -> Bounds {
        Bounds {
            bytes: limits.output,
            drop_bytes: u64::MAX,
            idle: times.body_idle,
            total: times.worker_body,
            buffered: limits.buffered,
        }
    }
}

/// Receives a body. Errors: too slow (408), broken off (400), no memory left for it (503).
pub async fn receive(all: &Buffered, headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Received, Problem> {
    let announced = body.size_hint().exact();
    if let Some(size) = announced.filter(|size| *size > bounds.bytes as u64) {
        // Who asks first (`Expect: 100-continue`) has not sent it yet; who announces more than we would drop need not go on.
        if headers.contains_key(header::EXPECT) || size > bounds.drop_bytes.saturating_add(bounds.bytes as u64) {
            return Ok(Received::TooLarge(size));
        }
    }
    let begun = Instant::now();
    let mut body = body;
    let mut share = Share { all: &all.0, bytes: 0 };
    let (mut first, mut joined, mut size) = (Bytes::new(), BytesMut::new(), 0_u64);
    while let Some(piece) = next_piece(&mut body, bounds, begun).await? {
        size += piece.len() as u64;
        if size > bounds.bytes as u64 {
            (first, joined) = (Bytes::new(), BytesMut::new());
            if size > bounds.drop_bytes.saturating_add(bounds.bytes as u64) {
                break;
            }
            continue;
        }
        if !share.grow(piece.len(), bounds.buffered) {
            let text = "too many bodies are being received at once";
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text).retry_after(1));
        }
        if first.is_empty() {
            first = piece;
            continue;
        }
        if joined.is_empty() {
            // An announcement is not believed beyond a first megabyte: it costs the sender nothing.
            joined.reserve(announced.map_or(2 * first.len(), |size| size.min(1 << 20) as usize));
            joined.extend_from_slice(&first);
        }
        joined.extend_from_slice(&piece);
    }
    if size > bounds.bytes as u64 {
        return Ok(Received::TooLarge(size));
    }
    Ok(Received::Whole(if joined.is_empty() { first } else { joined.freeze() }))
}

async fn next_piece(body: &mut Body, bounds: Bounds, begun: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let left = bounds.total.saturating_sub(begun.elapsed());
        let Ok(frame) = tokio::time::timeout(bounds.idle.min(left), body.frame()).await else {
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", "the body came too slowly"));
        };
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Problem::bad("the body broke off")),
            // Trailers are of no use to anybody here.
            Some(Ok(frame)) => {
                if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// A client's body, or 413 with the limit.
pub async fn receive_whole(all: &Buffered, headers: &HeaderMap, body: Body, bounds: Bounds) -> Result<Bytes, Problem> {
    match receive(all, headers, body, bounds).await? {
        Received::Whole(bytes) => Ok(bytes),
        Received::TooLarge(size) => {
            let text = format!("the body has {size} bytes or more, at most {} are taken here", bounds.bytes);
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text))
        }
    }
}

/// A body of a few pieces whose length is known.
pub struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    left: u64,
}

/// Below this many bytes pieces are joined: one write is cheaper than several.
const JOIN_MAX: u64 = 16 << 10;

impl Pieces {
    /// A body of these pieces, one after the other.
    pub fn body(pieces: Vec<Bytes>) -> Body {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        if left <= JOIN_MAX {
            return Body::from(pieces.concat());
        }
        Body::new(Pieces { pieces: pieces.into_iter(), left })
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.pieces.find(|piece| !piece.is_empty());
        if let Some(piece) = &piece {
            self.left -= piece.len() as u64;
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
