//! What the next calls of an operation meet instead of success. Knows nothing of logs.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::publish::PublishError;

/// An operation of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// An envelope is published.
    Publish,
    /// A shard is opened for publishing.
    Open,
    /// A shard's incarnation is asked for.
    Incarnation,
    /// A shard's low watermark is asked for.
    Progress,
    /// Commit notices are subscribed to.
    Notices,
}

/// How many operations there are.
const OPS: usize = 5;

/// What a call meets instead of success.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The error is answered, nothing is done.
    Refuse(PublishError),
    /// The work is done, the answer is lost.
    StoreThenLose,
    /// The call waits until [`MemoryLog::release_on`](super::MemoryLog::release_on), then the work is done; or until the
    /// timeout, if the operation has one, then the call is lost.
    Hold,
    /// The work is done after this time; or the call is lost, if the timeout is shorter.
    Delay(Duration),
}

/// The scripts of all operations.
#[derive(Debug, Default)]
pub(super) struct Scripts {
    of: [Script; OPS],
}

#[derive(Debug)]
struct Script {
    faults: Mutex<VecDeque<Option<Fault>>>,
    held: Semaphore,
    attempts: watch::Sender<usize>,
}

impl Default for Script {
    fn default() -> Self {
        Self { faults: Mutex::default(), held: Semaphore::new(0), attempts: watch::Sender::new(0) }
    }
}

impl Scripts {
    fn of(&self, op: Op) -> &Script {
        &self.of[op as usize]
    }

    pub(super) fn add(&self, op: Op, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.of(op).faults.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    pub(super) fn clear(&self, op: Op) {
        self.of(op).faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn release(&self, op: Op) {
        self.of(op).held.add_permits(1);
    }

    pub(super) async fn attempted(&self, op: Op, count: usize) {
        let mut attempts = self.of(op).attempts.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _ = attempts.wait_for(|made| *made >= count).await;
    }

    pub(super) fn attempts(&self, op: Op) -> usize {
        *self.of(op).attempts.borrow()
    }

    /// Does the work of a call, or what is scripted for it.
    pub(super) async fn run<T>(
        &self,
        op: Op,
        timeout: Option<Duration>,
        work: impl FnOnce() -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        let script = self.of(op);
        let fault = script.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten();
        script.attempts.send_modify(|made| *made += 1);
        match fault {
            None => {}
            Some(Fault::Refuse(error)) => return Err(error),
            Some(Fault::StoreThenLose) => {
                work()?;
                return Err(PublishError::Unknown("the answer was lost".to_owned()));
            }
            Some(Fault::Hold) => {
                let permit = within(timeout, script.held.acquire()).await?;
                permit.expect("the semaphore is never closed").forget();
            }
            Some(Fault::Delay(delay)) => within(timeout, tokio::time::sleep(delay)).await?,
        }
        work()
    }
}

async fn within<T>(timeout: Option<Duration>, call: impl Future<Output = T>) -> Result<T, PublishError> {
    let Some(timeout) = timeout else { return Ok(call.await) };
    let lost = |_| PublishError::Unknown(format!("no answer within {timeout:?}"));
    tokio::time::timeout(timeout, call).await.map_err(lost)
}
