//! The owner of one stream of requests: reads, lets the ingest path work on them side by side, and tells the client how
//! far it has come.
//!
//! Bounded in every direction: what is read and not yet told never exceeds the window, so neither a client that sends
//! without pause nor one that does not read its acknowledgements makes anything grow. Ends when the client is done or
//! gone, when it breaks the rules, when nothing comes for too long, and with the drain; in all cases but the second only
//! after it has told how every request that it read has ended.

mod commits;
mod ledger;

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::http::HeaderMap;
use frazil_proto::v1::{IngestRequest, IngestStreamRequest, IngestStreamResponse};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::{Front, INGEST_STREAM, answer};
use crate::error::Rejection;
use commits::Commits;
use ledger::{Answer, Ledger};

/// What goes to the client; without an `End` something broke.
enum Out {
    Message(IngestStreamResponse),
    End(Result<(), Status>),
}

/// Starts the owner of a stream; the answers are what it has to say.
pub(super) fn open(
    front: &Front,
    authorization: HeaderMap,
    inbound: Streaming<IngestStreamRequest>,
) -> BoxStream<'static, Result<IngestStreamResponse, Status>> {
    // One message waits for the transport; the next one gathers meanwhile.
    let (out, messages) = mpsc::channel(1);
    // A task of its own, because answers are only asked for while the client takes them, and requests must go on.
    front.core.tasks.spawn(Session::new(front.clone(), authorization, inbound, out).run());
    let broken = || Status::internal("the stream broke; what was not acknowledged may be stored or not");
    let told = futures::stream::unfold(Some(messages), move |messages| async move {
        let mut messages = messages?;
        match messages.recv().await {
            Some(Out::Message(message)) => Some((Ok(message), Some(messages))),
            Some(Out::End(Ok(()))) => None,
            Some(Out::End(Err(status))) => Some((Err(status), None)),
            None => Some((Err(broken()), None)),
        }
    });
    told.boxed()
}

/// Why nothing more is read.
enum Ending {
    /// The client has sent all it wanted to.
    Done,
    /// Drain or silence.
    Closing,
    /// The client broke a rule, or the connection broke.
    Failed(Status),
}

/// How a request ended, and how long to wait before more are tried.
type Outcome = (Answer, Option<Duration>);

struct Session {
    front: Front,
    authorization: HeaderMap,
    inbound: Streaming<IngestStreamRequest>,
    out: mpsc::Sender<Out>,
    running: FuturesUnordered<BoxFuture<'static, (u64, Outcome)>>,
    ledger: Ledger,
    /// Only if the client asked for it.
    commits: Option<Commits>,
    /// Not read before then: the proxy or something behind it is overloaded.
    paused: Option<Instant>,
    ending: Option<Ending>,
    /// When something came last, or when the reading ended.
    heard: Instant,
    /// What the client was last told besides answers; nothing at first.
    told: Option<Told>,
}

#[derive(Debug, PartialEq, Eq)]
struct Told {
    window: u32,
    committed: u64,
    closing: bool,
}

enum Event {
    Gone,
    Close,
    Answered(u64, Outcome),
    Room,
    Grown,
    Resume,
    Message(Result<Option<IngestStreamRequest>, Status>),
}

impl Session {
    fn new(
        front: Front,
        authorization: HeaderMap,
        inbound: Streaming<IngestStreamRequest>,
        out: mpsc::Sender<Out>,
    ) -> Self {
        Self {
            front,
            authorization,
            inbound,
            out,
            running: FuturesUnordered::new(),
            ledger: Ledger::default(),
            commits: None,
            paused: None,
            ending: None,
            heard: Instant::now(),
            told: None,
        }
    }

    async fn run(mut self) {
        while !self.is_over() {
            match self.event().await {
                Event::Gone => return,
                Event::Close => self.end(Ending::Closing),
                Event::Answered(number, outcome) => self.answered(number, outcome),
                Event::Room => self.tell(),
                Event::Grown => {}
                Event::Resume => self.paused = None,
                Event::Message(Ok(Some(message))) => self.take(message),
                Event::Message(Ok(None)) => self.end(Ending::Done),
                Event::Message(Err(status)) => self.fail(status),
            }
        }
        let last = match self.ending {
            Some(Ending::Failed(status)) => Err(status),
            Some(Ending::Done | Ending::Closing) | None => Ok(()),
        };
        // A client that has gone needs no last word.
        let _ = self.out.send(Out::End(last)).await;
    }

    /// What happens next. Nothing is lost when it is asked again.
    async fn event(&mut self) -> Event {
        let (news, reads, paused, idle_at) = (self.has_news(), self.reads(), self.paused, self.idle_at());
        let open = matches!(self.ending, None | Some(Ending::Done));
        tokio::select! {
            biased;
            () = self.out.closed() => Event::Gone,
            () = self.front.core.draining.cancelled(), if open => Event::Close,
            Some((number, outcome)) = self.running.next() => Event::Answered(number, outcome),
            Ok(_) = self.out.reserve(), if news => Event::Room,
            () = grown(&mut self.commits) => Event::Grown,
            () = at(paused) => Event::Resume,
            message = self.inbound.message(), if reads => Event::Message(message),
            () = at(idle_at) => Event::Close,
        }
    }

    /// Takes a request in, and ends the stream if it may not come now.
    fn take(&mut self, message: IngestStreamRequest) {
        self.heard = Instant::now();
        if let Err(rejection) = self.begin(&message) {
            let status = self.front.refuse(INGEST_STREAM, &rejection);
            return self.end(Ending::Failed(status));
        }
        let (front, authorization) = (self.front.clone(), self.authorization.clone());
        self.running.push(work(front, authorization, message.number, message.request).boxed());
    }

    /// Bytes that are no message, if the status has no details; else a refusal of ours, which is counted already.
    fn fail(&mut self, status: Status) {
        if status.details().is_empty() {
            self.front.count(INGEST_STREAM, 400, "BAD_REQUEST");
        }
        self.end(Ending::Failed(status));
    }

    fn begin(&mut self, message: &IngestStreamRequest) -> Result<(), Rejection> {
        let malformed = |name, message: String| Rejection::Malformed { name, message };
        if let Some(options) = &message.options {
            if message.number > 1 {
                return Err(malformed("options", "belong to the first request of a stream".to_owned()));
            }
            self.commits = options.committed_acks.then(|| Commits::new(&self.front.core));
        }
        let wrong = |expected| malformed("number", format!("expected {expected}, got {}", message.number));
        self.ledger.read(message.number).map_err(wrong)
    }

    fn answered(&mut self, number: u64, (answer, pause): Outcome) {
        self.heard = Instant::now();
        self.ledger.answered(number, answer);
        if let (Some(pause), None) = (pause, &self.ending) {
            self.paused = Some(Instant::now() + pause);
        }
    }

    /// Tells what there is to tell; there is room for it.
    fn tell(&mut self) {
        let (mut message, stored) = self.ledger.tell();
        if let Some(commits) = &mut self.commits {
            commits.extend(stored);
        }
        let told = self.now();
        (message.window, message.committed, message.closing) = (told.window, told.committed, told.closing);
        self.told = Some(told);
        // Nobody else sends, so the room is still there, unless the client has gone.
        let _ = self.out.try_send(Out::Message(message));
    }

    fn has_news(&self) -> bool {
        self.ledger.has_news() || self.told.as_ref() != Some(&self.now())
    }

    /// What the client should know besides answers.
    fn now(&self) -> Told {
        let closing = matches!(self.ending, Some(Ending::Closing)) && self.ledger.open() == 0;
        Told { window: self.window(), committed: self.commits.as_ref().map_or(0, Commits::committed), closing }
    }

    fn window(&self) -> u32 {
        if self.paused.is_some() { 0 } else { self.front.core.config.stream_window }
    }

    fn reads(&self) -> bool {
        let room = self.ledger.open() < u64::from(self.window());
        self.ending.is_none() && room && !self.commits.as_ref().is_some_and(Commits::is_full)
    }

    /// When silence has lasted too long; never while there is something to do. A client that has sent everything is kept
    /// for its rows to become visible, no longer than any other wait.
    fn idle_at(&self) -> Option<Instant> {
        let visible = self.commits.as_ref().is_none_or(Commits::is_empty);
        let patience = match self.ending {
            None if visible && self.ledger.open() == 0 && self.paused.is_none() => {
                self.front.core.config.stream_idle_timeout
            }
            Some(Ending::Done) if self.ledger.open() == 0 => self.front.core.config.wait_max,
            None | Some(Ending::Done | Ending::Closing | Ending::Failed(_)) => return None,
        };
        Some(self.heard + patience)
    }

    fn end(&mut self, ending: Ending) {
        (self.ending, self.heard, self.paused) = (Some(ending), Instant::now(), None);
    }

    /// Whether all is told that is to be told.
    fn is_over(&self) -> bool {
        let visible = self.commits.as_ref().is_none_or(Commits::is_empty);
        let waits = matches!(self.ending, Some(Ending::Done)) && !visible;
        self.ending.is_some() && self.ledger.open() == 0 && !self.has_news() && !waits
    }
}

/// One request, from its message to its answer.
async fn work(front: Front, authorization: HeaderMap, number: u64, request: Option<IngestRequest>) -> (u64, Outcome) {
    let taken = front.take(INGEST_STREAM, request, &authorization, None);
    let outcome = AssertUnwindSafe(taken).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!(number, "a request of a stream panicked");
        Err(Rejection::Internal)
    });
    let outcome = match outcome {
        Ok(accepted) => (Answer::Accepted(answer::response(&accepted), answer::receipts(accepted)), None),
        Err(rejection) => {
            let seconds = rejection.shape().retry_after.filter(|_| !matches!(rejection, Rejection::Draining));
            let pause = seconds.map(|seconds| Duration::from_secs(seconds.into()));
            (Answer::Refused(answer::problem(&rejection)), pause)
        }
    };
    (number, outcome)
}

async fn grown(commits: &mut Option<Commits>) {
    match commits {
        Some(commits) => commits.grown().await,
        None => std::future::pending().await,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
