//! A connection whose client must take what it is sent: bytes that the network does not take within a limit end it.
//!
//! Any progress starts the limit anew. Knows nothing of HTTP.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A stream that fails with [`io::ErrorKind::TimedOut`] when writing has made no progress for the limit.
#[derive(Debug)]
pub(super) struct Unstalled<S> {
    stream: S,
    limit: Duration,
    /// Runs while something waits to be written; boxed, because most connections never wait.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, waiting: None }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let limit = self.limit;
        match self.waiting.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes no bytes"))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.judge(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_cut_off() {
        let (_client, server) = tokio::io::duplex(10);
        let begun = Instant::now();
        let error = Unstalled::new(server, LIMIT).write_all(&[0; 11]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_little_now_and_then_is_waited_for() {
        let (mut client, server) = tokio::io::duplex(10);
        let begun = Instant::now();
        let read = async {
            for _ in 0..5 {
                sleep(LIMIT - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 10]).await.expect("there is more");
            }
        };
        let mut server = Unstalled::new(server, LIMIT);
        let (written, ()) = tokio::join!(server.write_all(&[0; 60]), read);
        written.expect("always some progress");
        assert!(begun.elapsed() > LIMIT * 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_nothing_to_write_lasts() {
        let (mut client, server) = tokio::io::duplex(10);
        let mut server = Unstalled::new(server, LIMIT);
        sleep(LIMIT * 10).await;
        server.write_all(&[1; 10]).await.expect("there is room");
        sleep(LIMIT * 10).await;
        client.write_all(&[2]).await.expect("there is room");
        assert_eq!(server.read_u8().await.expect("a byte"), 2);
    }
}
