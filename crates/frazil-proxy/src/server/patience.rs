//! What of one connection's requests is under way, and when the proxy loses patience with its client: an answer that is
//! not taken, or no request for too long.
//!
//! HTTP/2 lets a client hold an answer back by flow control while its connection is in the best of health, so watching
//! the bytes of the connection is not enough. Looks at no answer's contents.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::service::Service;
use tokio::time::{Instant, sleep_until};

/// Largest piece of an answer that is handed to the connection at once, in bytes. So much, per request, can lie in
/// the buffers of HTTP/2 without anybody knowing whether the client takes it.
const PIECE_MAX_BYTES: usize = 4096;

/// Why the proxy ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// An answer was not taken.
    Untaken,
    /// There was no request for too long.
    Idle,
}

/// The requests of one connection. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    next: u64,
    /// Requests whose answers have not been handed out whole.
    open: usize,
    /// When the last of them ended.
    idle_since: Instant,
    /// Answers of which a piece was handed out, and when, and no more was asked for since.
    untaken: BTreeMap<u64, Instant>,
}

impl Patience {
    pub(super) fn new() -> Self {
        let state = State { next: 0, open: 0, idle_since: Instant::now(), untaken: BTreeMap::new() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// The service with its requests watched.
    pub(super) fn watch<S>(&self, service: S) -> Watched<S> {
        Watched { service, patience: self.clone() }
    }

    /// Returns when patience is lost.
    pub(super) async fn lost(&self, write_timeout: Duration, idle_timeout: Duration) -> Lost {
        loop {
            let (now, due) = (Instant::now(), self.due(write_timeout, idle_timeout));
            match due {
                Some((at, lost)) if at <= now => return lost,
                // What begins meanwhile is not due before this.
                Some((at, _)) => sleep_until(at.min(now + write_timeout)).await,
                None => sleep_until(now + write_timeout.min(idle_timeout)).await,
            }
        }
    }

    fn due(&self, write_timeout: Duration, idle_timeout: Duration) -> Option<(Instant, Lost)> {
        let state = self.state();
        let untaken = state.untaken.values().min().map(|since| (*since + write_timeout, Lost::Untaken));
        untaken.or_else(|| (state.open == 0).then(|| (state.idle_since + idle_timeout, Lost::Idle)))
    }

    fn begin(&self) -> UnderWay {
        let mut state = self.state();
        state.next += 1;
        state.open += 1;
        UnderWay { number: state.next, patience: self.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request from its head to the end of its answer.
#[derive(Debug)]
struct UnderWay {
    number: u64,
    patience: Patience,
}

impl UnderWay {
    /// A piece of the answer goes to the connection.
    fn handed_out(&self) {
        self.patience.state().untaken.insert(self.number, Instant::now());
    }

    /// The connection has taken all pieces.
    fn taken(&self) {
        self.patience.state().untaken.remove(&self.number);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.patience.state();
        state.untaken.remove(&self.number);
        state.open -= 1;
        state.idle_since = Instant::now();
    }
}

/// A service whose requests are watched.
#[derive(Debug, Clone)]
pub(super) struct Watched<S> {
    service: S,
    patience: Patience,
}

impl<S> Service<Request<Incoming>> for Watched<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Future: Send + 'static, Error: Send + 'static>,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, S::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let watched = self.patience.begin();
        let answering = self.service.call(request);
        Box::pin(async move { Ok(answering.await?.map(|body| Answer { body, rest: Bytes::new(), watched })) })
    }
}

/// The body of an answer, in pieces.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    /// What is left of a piece that was too large.
    rest: Bytes,
    watched: UnderWay,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.watched.taken();
        if self.rest.is_empty() {
            let frame = match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                end => return end,
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        self.watched.handed_out();
        let piece = self.rest.len().min(PIECE_MAX_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
