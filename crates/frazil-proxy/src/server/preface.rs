//! Which version of HTTP a client speaks, by the first bytes that it sends.
//!
//! The bytes are given back to whoever serves the connection; nobody waits for more of them than it takes to tell.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4), and no HTTP/1 request.
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0 or 1.1, or something else that its parser will refuse.
    Http1,
    /// 2 with prior knowledge.
    Http2,
}

/// The version, and the connection as if nothing had been read from it. Lasts as long as the client is silent.
///
/// # Errors
/// Those of the connection.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Version, Replayed<S>)> {
    let (version, seen) = recognise(&mut stream).await?;
    Ok((version, Replayed { seen, stream }))
}

/// A connection whose first bytes come once more.
#[derive(Debug)]
pub(super) struct Replayed<S> {
    seen: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.seen.len().min(buf.remaining());
        buf.put_slice(&self.seen.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

async fn recognise(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<(Version, Bytes)> {
    let mut seen = [0; PREFACE.len()];
    let mut filled = 0;
    loop {
        let read = reader.read(&mut seen[filled..]).await?;
        filled += read;
        if read == 0 || seen[..filled] != PREFACE[..filled] {
            return Ok((Version::Http1, Bytes::copy_from_slice(&seen[..filled])));
        }
        if filled == PREFACE.len() {
            return Ok((Version::Http2, Bytes::from_static(&PREFACE)));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What is recognised when the pieces come one by one, with the connection left open behind them.
    async fn recognised(pieces: &[&[u8]]) -> (Version, Bytes) {
        let (mut client, mut server) = tokio::io::duplex(64);
        let send = async {
            for piece in pieces {
                client.write_all(piece).await.expect("the pipe has room");
                tokio::task::yield_now().await;
            }
        };
        let (said, ()) = tokio::join!(recognise(&mut server), send);
        said.expect("a pipe has no errors")
    }

    #[tokio::test]
    async fn a_preface_in_any_pieces_is_http_2() {
        for cut in 1..PREFACE.len() {
            let (version, seen) = recognised(&[&PREFACE[..cut], &PREFACE[cut..]]).await;
            assert_eq!((version, &seen[..]), (Version::Http2, &PREFACE[..]), "{cut}");
        }
    }

    #[tokio::test]
    async fn the_first_other_byte_decides_without_waiting() {
        for text in ["G", "POST / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "\0"] {
            let (version, seen) = recognised(&[text.as_bytes()]).await;
            assert_eq!(version, Version::Http1, "{text:?}");
            assert_eq!(seen, text.as_bytes()[..text.len().min(PREFACE.len())], "{text:?}");
        }
    }

    #[tokio::test]
    async fn nothing_of_a_connection_is_lost_or_doubled() {
        for cut in [1, 5, PREFACE.len(), PREFACE.len() + 3] {
            for text in [&[&PREFACE[..], b"frames"].concat()[..], b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
                let (mut client, server) = tokio::io::duplex(256);
                let send = async {
                    client.write_all(&text[..cut]).await.expect("the pipe has room");
                    tokio::task::yield_now().await;
                    client.write_all(&text[cut..]).await.expect("the pipe has room");
                    client.shutdown().await.expect("the pipe closes");
                    client
                };
                let (said, _client) = tokio::join!(read(server), send);
                let (_, mut replayed) = said.expect("a pipe has no errors");
                let mut read = Vec::new();
                replayed.read_to_end(&mut read).await.expect("a pipe has no errors");
                assert_eq!(read, text, "{cut}");
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_early_is_left_to_http_1() {
        let (version, seen) = recognise(&mut &b"PRI"[..]).await.expect("a slice has no errors");
        assert_eq!((version, &seen[..]), (Version::Http1, &b"PRI"[..]));
    }
}
