//! One connection under watch: how long its head, its idleness and its reader may take. hyper's own header timer also runs while a
//! kept-alive connection is idle, so it cannot tell 10 s for a head from 75 s between requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::settings::Times;

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What a connection is at, shared by its socket, its requests and its keeper. Times are ms since it was accepted.
#[derive(Debug)]
pub struct Watch {
    accepted: Instant,
    phase: AtomicU8,
    /// The phase must be over by then.
    deadline: AtomicU64,
    /// Since when nothing could be written; 0 = not waiting.
    stalled: AtomicU64,
    head_ms: u64,
    idle_ms: u64,
    stall_ms: u64,
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Watch {
    /// Of a connection just accepted, whose first request must come within the time of a head.
    pub fn new(times: &Times) -> Watch {
        let head_ms = ms(times.head);
        Watch {
            accepted: Instant::now(),
            phase: AtomicU8::new(HEAD),
            deadline: AtomicU64::new(head_ms),
            stalled: AtomicU64::new(0),
            head_ms,
            idle_ms: ms(times.keep_alive),
            stall_ms: ms(times.write_stall),
        }
    }

    fn now(&self) -> u64 {
        ms(self.accepted.elapsed())
    }

    /// A request's head is complete.
    pub fn begin(&self) {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.deadline.store(u64::MAX, Ordering::Relaxed);
    }

    fn end(&self) {
        self.deadline.store(self.now() + self.idle_ms, Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
    }

    /// How long to sleep before looking again; `None` when the connection's time is up.
    pub fn look(&self) -> Option<Duration> {
        let now = self.now();
        let stalled = self.stalled.load(Ordering::Relaxed);
        if now >= self.deadline.load(Ordering::Relaxed) || (stalled != 0 && now >= stalled + self.stall_ms) {
            return None;
        }
        // A phase may begin and its time be up before the next look: late by at most half of the shortest time.
        let nap = self.head_ms.min(self.stall_ms).min(self.idle_ms) / 2;
        Some(Duration::from_millis(nap.min(self.deadline.load(Ordering::Relaxed) - now).max(1)))
    }
}

/// A socket under watch.
pub struct Watched<S> {
    socket: S,
    watch: Arc<Watch>,
}

impl<S> Watched<S> {
    /// Puts `socket` under `watch`.
    pub fn new(socket: S, watch: Arc<Watch>) -> Watched<S> {
        Watched { socket, watch }
    }

    fn note<T>(&self, poll: Poll<T>) -> Poll<T> {
        let stalled = self.watch.stalled.load(Ordering::Relaxed);
        if poll.is_pending() && stalled == 0 {
            self.watch.stalled.store(self.watch.now().max(1), Ordering::Relaxed);
        } else if poll.is_ready() && stalled != 0 {
            self.watch.stalled.store(0, Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > before && self.watch.phase.load(Ordering::Relaxed) == IDLE {
            self.watch.phase.store(HEAD, Ordering::Relaxed);
            self.watch.deadline.store(self.watch.now() + self.watch.head_ms, Ordering::Relaxed);
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.note(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.note(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A response body whose end ends the request, and drops what is held for it.
pub struct LastPart<B, H> {
    body: B,
    watch: Arc<Watch>,
    _held: H,
}

impl<B, H> LastPart<B, H> {
    /// Of the response to the request that began last.
    pub fn new(body: B, watch: Arc<Watch>, held: H) -> LastPart<B, H> {
        LastPart { body, watch, _held: held }
    }
}

impl<B, H> Drop for LastPart<B, H> {
    fn drop(&mut self) {
        self.watch.end();
    }
}

impl<B: Body<Data = Bytes> + Unpin, H: Unpin> Body for LastPart<B, H> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
