//! How much may come before the head of an answer is complete. The layers above skip `100 Continue` and other
//! such answers, as many as come: a server that sends nothing else would keep a thread busy for as long as it
//! likes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes before the head is complete, the head among them.
pub(crate) const BYTES_MAX: usize = 256 * 1024;
/// Read at once meanwhile, so that little of the body is counted as well.
const PIECE_BYTES: usize = 8 * 1024;
/// Nothing is counted.
const NO_LIMIT: usize = usize::MAX;

/// What the reading and the asking side of a connection share.
#[derive(Debug, Clone)]
pub(crate) struct BeforeHead {
    left: Arc<AtomicUsize>,
    exceeded: Arc<AtomicBool>,
}

impl BeforeHead {
    /// Counts from here on.
    pub(crate) fn begin(&self) {
        self.left.store(BYTES_MAX, Ordering::SeqCst);
    }

    /// The head is there.
    pub(crate) fn end(&self) {
        self.left.store(NO_LIMIT, Ordering::SeqCst);
    }

    /// Why the connection broke off, if that was the reason.
    pub(crate) fn reason(&self) -> Option<String> {
        let exceeded = self.exceeded.load(Ordering::SeqCst);
        exceeded.then(|| {
            let kib = BYTES_MAX / 1024;
            format!(
                "it sent {kib} KiB, and the head of its answer was still not complete: `100 Continue` without end, \
                 or giant headers; look at what serves this port"
            )
        })
    }
}

/// A connection that breaks off when too much comes before the head.
pub(crate) struct Counted<T> {
    inner: T,
    before: BeforeHead,
}

impl<T> Counted<T> {
    pub(crate) fn new(inner: T) -> (Self, BeforeHead) {
        let before = BeforeHead {
            left: Arc::new(AtomicUsize::new(BYTES_MAX)),
            exceeded: Arc::new(AtomicBool::new(false)),
        };
        let shared = before.clone();
        (Self { inner, before }, shared)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.before.left.load(Ordering::SeqCst);
        if left == NO_LIMIT {
            return Pin::new(&mut self.inner).poll_read(cx, buf);
        }
        if left == 0 {
            self.before.exceeded.store(true, Ordering::SeqCst);
            return Poll::Ready(Err(io::Error::other("too much before the head")));
        }
        let mut piece = [0; PIECE_BYTES];
        let most = PIECE_BYTES.min(left).min(buf.remaining());
        let mut taken = ReadBuf::new(&mut piece[..most]);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut taken))?;
        buf.put_slice(taken.filled());
        let count = taken.filled().len();
        // The head may have been taken in meanwhile: then nothing is counted any more.
        let less = |now: usize| (now != NO_LIMIT).then(|| now.saturating_sub(count));
        let left = &self.before.left;
        let _ = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
