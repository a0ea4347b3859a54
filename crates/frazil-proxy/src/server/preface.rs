//! Which version of HTTP a client speaks, by the first bytes that it sends.
//!
//! The bytes are given back to whoever serves the connection; nobody waits for more of them than it takes to tell.

use std::io::{self, Cursor};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, join};
use tokio::net::TcpStream;

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
pub(super) async fn read(
    stream: TcpStream,
) -> io::Result<(Version, impl AsyncRead + AsyncWrite + Unpin + Send + 'static)> {
    let (mut reader, writer) = stream.into_split();
    let (version, seen) = recognise(&mut reader).await?;
    Ok((version, join(Cursor::new(seen).chain(reader), writer)))
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
    async fn a_client_that_hangs_up_early_is_left_to_http_1() {
        let (version, seen) = recognise(&mut &b"PRI"[..]).await.expect("a slice has no errors");
        assert_eq!((version, &seen[..]), (Version::Http1, &b"PRI"[..]));
    }
}
