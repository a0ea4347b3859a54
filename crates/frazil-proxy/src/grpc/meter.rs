//! How much of messages may be received, and how slowly: what the HTTP front knows from `Content-Length` and the end of
//! a body, gRPC knows from the frames inside it.
//!
//! Reads nothing of the messages but their lengths.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures::stream;
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::{Front, INGEST};
use crate::error::Rejection;

/// The body of a call, read no faster than there is room for its messages. A message that is too large or comes too
/// slowly ends it.
pub(super) fn metered(body: Body, front: Front, route: &'static str) -> Body {
    // A unary call is one message and has to come to its end; a stream may be silent between messages.
    let deadline = (route == INGEST).then(|| Instant::now() + front.core.config.body_timeout);
    let lengths = Lengths::new(front.message_max_bytes());
    let meter = Meter { body, lengths, timed: None, held: None, deadline, front, route };
    Body::from_stream(stream::unfold(Some(meter), |meter| async {
        let mut meter = meter?;
        match meter.next().await? {
            Ok(data) => Some((Ok(data), Some(meter))),
            Err(rejection) => Some((Err::<Bytes, Status>(meter.front.refuse(meter.route, &rejection)), None)),
        }
    }))
}

struct Meter {
    body: Body,
    lengths: Lengths,
    /// The message that the deadline is for, on a stream.
    timed: Option<u64>,
    /// Room for a message, and for which.
    held: Option<(u64, OwnedSemaphorePermit)>,
    deadline: Option<Instant>,
    front: Front,
    route: &'static str,
}

impl Meter {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Rejection>> {
        let limit = self.front.core.config.body_timeout;
        match self.deadline {
            None => self.read().await,
            Some(deadline) => {
                timeout_at(deadline, self.read()).await.unwrap_or(Some(Err(Rejection::BodyTimeout(limit))))
            }
        }
    }

    async fn read(&mut self) -> Option<Result<Bytes, Rejection>> {
        self.make_room().await;
        let data = loop {
            match self.body.frame().await? {
                // Clients send no trailers.
                Ok(frame) => match frame.into_data() {
                    Ok(data) => break data,
                    Err(_) => continue,
                },
                Err(error) => return Some(Err(Rejection::BodyBroken(error.to_string()))),
            }
        };
        if !self.lengths.advance(&data) {
            return Some(Err(Rejection::BodyTooLarge { limit: self.front.core.config.body_max_bytes }));
        }
        if self.route != INGEST && self.timed != self.lengths.open() {
            self.timed = self.lengths.open();
            self.deadline = self.timed.map(|_| Instant::now() + self.front.core.config.body_timeout);
        }
        Some(Ok(data))
    }

    /// Holds room for the message that is being received, and for no other.
    async fn make_room(&mut self) {
        let open = self.lengths.open();
        if self.held.as_ref().is_some_and(|(message, _)| open != Some(*message)) {
            self.held = None;
        }
        let (Some(message), Some(length), None) = (open, self.lengths.length(), &self.held) else { return };
        let all = self.front.core.config.max_in_flight_bytes;
        let bytes = u32::try_from(length.min(all)).expect("the configuration bounds it");
        let room = Arc::clone(&self.front.receiving).acquire_many_owned(bytes).await;
        self.held = Some((message, room.expect("the semaphore is never closed")));
    }
}

/// Flag and length in front of every message.
const HEAD_BYTES: usize = 5;

/// Follows the framing of gRPC through pieces of any size. Pure.
#[derive(Debug)]
struct Lengths {
    max: usize,
    /// Messages whose first byte was seen.
    begun: u64,
    head: [u8; HEAD_BYTES],
    filled: usize,
    /// Payload that has not come yet.
    left: usize,
}

impl Lengths {
    fn new(max: usize) -> Self {
        Self { max, begun: 0, head: [0; HEAD_BYTES], filled: 0, left: 0 }
    }

    /// The message that has begun and not ended.
    fn open(&self) -> Option<u64> {
        (self.filled > 0).then_some(self.begun)
    }

    /// Its length, once that is known.
    fn length(&self) -> Option<usize> {
        let [_, length @ ..] = self.head;
        (self.filled == HEAD_BYTES).then(|| u32::from_be_bytes(length) as usize)
    }

    /// Takes the next piece in; `false` if a message is longer than allowed.
    fn advance(&mut self, mut piece: &[u8]) -> bool {
        while !piece.is_empty() {
            if self.filled < HEAD_BYTES {
                self.begun += u64::from(self.filled == 0);
                let count = piece.len().min(HEAD_BYTES - self.filled);
                self.head[self.filled..self.filled + count].copy_from_slice(&piece[..count]);
                self.filled += count;
                piece.advance(count);
                self.left = self.length().unwrap_or(0);
            }
            let count = piece.len().min(self.left);
            piece.advance(count);
            self.left -= count;
            if self.length().is_some_and(|length| length > self.max) {
                return false;
            }
            if self.filled == HEAD_BYTES && self.left == 0 {
                self.filled = 0;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(lengths: &[usize]) -> Vec<u8> {
        let frame = |length: &usize| {
            let head = u32::try_from(*length).expect("small").to_be_bytes();
            [&[0][..], &head, &vec![7; *length]].concat()
        };
        lengths.iter().flat_map(frame).collect()
    }

    proptest! {
        /// 1. However the bytes are cut, a message is open exactly between its first byte and its last.
        #[test]
        fn messages_are_followed_through_any_cuts(
            lengths in prop::collection::vec(0..40_usize, 0..8),
            cuts in prop::collection::vec(1..20_usize, 1..50),
        ) {
            let bytes = framed(&lengths);
            let ends: Vec<usize> =
                lengths.iter().scan(0, |end, length| { *end += HEAD_BYTES + length; Some(*end) }).collect();
            let (mut followed, mut at) = (Lengths::new(40), 0);
            for cut in cuts.into_iter().cycle() {
                let next = (at + cut).min(bytes.len());
                prop_assert!(followed.advance(&bytes[at..next]));
                at = next;
                let ended = ends.iter().filter(|end| **end <= at).count();
                let begins = if ended == 0 { 0 } else { ends[ended - 1] };
                prop_assert_eq!(followed.open(), (at > begins).then_some(ended as u64 + 1));
                if at >= begins + HEAD_BYTES && at > begins {
                    prop_assert_eq!(followed.length(), Some(lengths[ended]));
                }
                if at == bytes.len() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_message_above_the_limit_is_known_by_its_head() {
        assert!(Lengths::new(40).advance(&framed(&[40, 40])));
        assert!(!Lengths::new(39).advance(&framed(&[3, 40])[..8 + 5]));
    }
}
