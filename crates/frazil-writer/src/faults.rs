//! What may happen to one operation of a fake, in one vocabulary for the log and the tables. For tests.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// What happens to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It works.
    None,
    /// It does not happen, and the caller is told that trying again may help.
    Unavailable,
    /// It does not happen, and will not.
    Rejected,
    /// It does not happen, for somebody else was faster. Only for a change of the schema.
    Conflict,
    /// It does not happen, and the caller does not know.
    LoseRequest,
    /// It happens, and the caller does not know.
    LoseAnswer,
    /// The caller is told at once that nobody knows. It happens after a while, if what it was checked on still holds.
    Late(Duration),
    /// It does not happen, and nobody ever answers.
    HangBefore,
    /// It happens, and nobody ever answers.
    HangAfter,
    /// It happens once the gate is opened.
    HoldBefore(Gate),
    /// It happens; the answer comes once the gate is opened.
    HoldAfter(Gate),
    /// It happens after a while.
    DelayBefore(Duration),
    /// It happens; the answer comes after a while.
    DelayAfter(Duration),
}

impl Fault {
    /// Waits, works and answers as the fault wants it. `hung` is told of every operation that never ends. An error
    /// means that the caller gets no answer; the work may be done.
    pub(crate) async fn around<T>(self, hung: &Notify, work: impl FnOnce() -> T) -> Result<T, Self> {
        match &self {
            Self::None => Ok(work()),
            Self::LoseAnswer => {
                work();
                Err(self)
            }
            Self::HangBefore => {
                hung.notify_one();
                pending().await
            }
            Self::HangAfter => {
                work();
                hung.notify_one();
                pending().await
            }
            Self::HoldBefore(gate) => {
                gate.pass().await;
                Ok(work())
            }
            Self::HoldAfter(gate) => {
                let done = work();
                gate.pass().await;
                Ok(done)
            }
            Self::DelayBefore(time) => {
                tokio::time::sleep(*time).await;
                Ok(work())
            }
            Self::DelayAfter(time) => {
                let done = work();
                tokio::time::sleep(*time).await;
                Ok(done)
            }
            Self::Unavailable | Self::Rejected | Self::Conflict | Self::LoseRequest | Self::Late(_) => Err(self),
        }
    }
}

/// Holds operations until the test opens it. Clones are the same gate.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    state: Arc<watch::Sender<State>>,
}

#[derive(Debug, Default)]
struct State {
    reached: bool,
    open: bool,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { state: Arc::new(watch::channel(State::default()).0) }
    }

    /// Lets everything through, from now on.
    pub(crate) fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Waits until an operation is held, which must happen soon.
    pub(crate) async fn reached(&self) {
        let reached = self.until(|state| state.reached);
        tokio::time::timeout(Duration::from_secs(600), reached).await.expect("an operation comes to the gate");
    }

    async fn pass(&self) {
        self.state.send_modify(|state| state.reached = true);
        self.until(|state| state.open).await;
    }

    async fn until(&self, done: impl FnMut(&State) -> bool) {
        self.state.subscribe().wait_for(done).await.expect("the sender is our own");
    }
}

impl PartialEq for Gate {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Eq for Gate {}
