//! One batch until it is stored or given up: the same body under the same key until somebody says yes or never.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Reject};
use super::client::{Answer, Client};
use super::problem::{Problem, Verdict};
use super::{OnError, SendArgs};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What became of one batch (or of one text that is no event).
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub(super) accepted: u64,
    /// Bytes of accepted events.
    pub(super) bytes: u64,
    pub(super) requests: u64,
    pub(super) retries: u64,
    pub(super) receipt: Option<String>,
    pub(super) rejects: Vec<Reject>,
    /// Events that were read but neither accepted nor found at fault.
    pub(super) unsent: u64,
    /// Why nothing more should be sent.
    pub(super) failure: Option<String>,
}

impl Delivered {
    pub(super) fn failed(reason: String) -> Self {
        Self { failure: Some(reason), ..Self::default() }
    }

    pub(super) fn reject(reject: Reject, stop: bool) -> Self {
        let failure = stop.then(|| STOPPED.to_owned());
        Self { rejects: vec![reject], failure, ..Self::default() }
    }
}

/// The failure of a run that stops at refused events.
pub(super) const STOPPED: &str = "stopped at refused events; fix them, or leave them out with --on-error skip";

/// Delivers batches to one client.
#[derive(Debug)]
pub(super) struct Courier {
    client: Client,
    on_error: OnError,
    max_retry_time: Duration,
    stop: CancellationToken,
}

impl Courier {
    pub(super) fn new(client: Client, args: &SendArgs, stop: CancellationToken) -> Self {
        Self { client, on_error: args.on_error, max_retry_time: args.max_retry_time.0, stop }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    pub(super) fn stops_at_errors(&self) -> bool {
        self.on_error == OnError::Stop
    }

    /// Sends the batch until it is stored, or given up.
    pub(super) async fn deliver(&self, mut batch: Batch) -> Delivered {
        let mut done = Delivered::default();
        if self.stop.is_cancelled() {
            done.unsent = batch.len() as u64;
            return done;
        }
        while batch.len() > 0 {
            match self.until_answered(&batch, &mut done).await {
                Ok(Answer::Accepted { accepted, receipt }) => {
                    done.accepted = accepted;
                    done.bytes = batch.body.len() as u64;
                    done.receipt = receipt;
                    return done;
                }
                Ok(Answer::Invalid(problem)) => match self.take_out(&batch, &problem, &mut done) {
                    Ok(rest) => batch = rest,
                    Err(failure) => return give_up(done, &batch, failure),
                },
                Ok(Answer::Refused(reason) | Answer::Again { reason, .. }) | Err(reason) => {
                    return give_up(done, &batch, reason);
                }
            }
        }
        done
    }

    /// Sends until there is an answer other than "again", or the time is up.
    async fn until_answered(&self, batch: &Batch, done: &mut Delivered) -> Result<Answer, String> {
        let mut since = None;
        let mut attempt = 0_u32;
        loop {
            done.requests += 1;
            let (reason, after) = match self.client.post(batch).await {
                Answer::Again { reason, after } => (reason, after),
                answer => return Ok(answer),
            };
            let waited = since.get_or_insert_with(Instant::now).elapsed();
            let pause = pause(attempt, after);
            if waited + pause > self.max_retry_time {
                return Err(format!("gave up after {} tries in {:.0} s: {reason}", attempt + 1, waited.as_secs_f64()));
            }
            if attempt == 2 {
                tracing::warn!(key = batch.key, "not accepted yet, trying again: {reason}");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Err(format!("stopped while trying again: {reason}")),
            }
            done.retries += 1;
            attempt += 1;
        }
    }

    /// Books the events at fault and returns the rest of the batch.
    fn take_out(&self, batch: &Batch, problem: &Problem, done: &mut Delivered) -> Result<Batch, String> {
        let verdicts = problem.verdicts(batch.len());
        if verdicts.is_empty() {
            return Err(problem.words());
        }
        done.rejects.extend(verdicts.iter().filter_map(|verdict| reject(batch, verdict)));
        let mut indices: Vec<usize> = verdicts.iter().map(|verdict| verdict.index).collect();
        indices.dedup();
        match self.on_error {
            OnError::Skip => Ok(batch.without(&indices)),
            OnError::Stop => Err(STOPPED.to_owned()),
        }
    }
}

fn give_up(mut done: Delivered, batch: &Batch, failure: String) -> Delivered {
    let mut faulty: Vec<u64> = done.rejects.iter().map(|reject| reject.place.number).collect();
    faulty.dedup();
    let faulty = batch.numbers.iter().filter(|number| faulty.contains(number)).count();
    done.unsent = (batch.len() - faulty) as u64;
    done.failure = Some(failure);
    done
}

fn reject(batch: &Batch, verdict: &Verdict) -> Option<Reject> {
    Some(Reject {
        place: batch.place(verdict.index)?,
        field: verdict.field.clone(),
        reason: verdict.words(),
        event: batch.event(verdict.index)?.to_vec(),
    })
}

/// Doubling with jitter, never shorter than the proxy asks for.
fn pause(attempt: u32, after: Option<Duration>) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(LONGEST_PAUSE);
    let jittered = full.mul_f64(rand::random_range(0.5..=1.0));
    jittered.max(after.unwrap_or_default())
}
