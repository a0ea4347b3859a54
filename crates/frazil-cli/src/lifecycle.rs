//! The life of a process that serves: run until told to stop or until a part ends, then drain under a deadline.
//!
//! The first SIGINT or SIGTERM drains, the second ends the process at once.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::FutureExt;
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::exit::Failure;
use crate::telemetry::{self, LogFormat};

/// How long blocking work may hold up the end of the process once everything is drained.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(2);

/// Exit code after a second signal: 128 + SIGINT, as a shell would say.
const INTERRUPTED: i32 = 130;

/// Tells a serving process to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    /// Cancelled by the first signal.
    pub(crate) drain: CancellationToken,
    child: Arc<AtomicI32>,
}

impl Stop {
    /// Names the child process that must not outlive this one even if it ends at once; `None` if there is none now.
    pub(crate) fn guard_child(&self, child: Option<Pid>) {
        self.child.store(child.map_or(0, |pid| pid.as_raw_nonzero().get()), Ordering::Relaxed);
    }

    fn end_child(&self) {
        if let Some(pid) = Pid::from_raw(self.child.load(Ordering::Relaxed)) {
            // It may be gone already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

/// Runs a serving command on all cores until it has ended by itself or by a signal.
pub(crate) fn serve<F>(run: impl FnOnce(Stop) -> F) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(async {
        let stop = Stop::default();
        let mut signals = JoinSet::new();
        signals.spawn(watch_signals(stop.clone()));
        run(stop).await
    });
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Runs a client command to its end; an interrupt ends the process as usual.
pub(crate) fn client(run: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    // The end of a client's own connection is no news.
    telemetry::start(LogFormat::Text, "warn,frazil_log=error,async_nats=error");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let outcome = runtime.block_on(run);
    runtime.shutdown_timeout(RUNTIME_PATIENCE);
    outcome
}

async fn watch_signals(stop: Stop) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        error!("cannot listen for signals; the process ends without draining");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => info!("interrupt: draining; once more to end at once"),
        _ = terminate.recv() => info!("terminate: draining; once more to end at once"),
    }
    stop.drain.cancel();
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    warn!("second signal: ending at once");
    stop.end_child();
    std::process::exit(INTERRUPTED);
}

/// One part of a serving process: a task with its own cancellation and its own patience.
#[derive(Debug)]
pub(crate) struct Stage {
    name: &'static str,
    patience: Duration,
    cancel: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    /// Starts the part. `run` must return soon after its token is cancelled, at most `patience` later.
    pub(crate) fn start<F>(name: &'static str, patience: Duration, run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let cancel = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(run(cancel.clone()));
        Self { name, patience, cancel, task }
    }

    /// Resolves when the part has ended, which before the drain is always a failure.
    async fn ended(&mut self) -> anyhow::Error {
        let name = self.name;
        match self.task.join_next().await {
            Some(Ok(Ok(()))) | None => anyhow!("the {name} ended although nobody asked it to"),
            Some(Ok(Err(failure))) => failure.context(format!("the {name} failed")),
            Some(Err(panic)) => anyhow::Error::new(panic).context(format!("the {name} panicked")),
        }
    }

    /// Stops the part; whether it ended in time and well.
    async fn drain(mut self) -> bool {
        self.cancel.cancel();
        match tokio::time::timeout(self.patience, self.task.join_next()).await {
            Ok(Some(Ok(Ok(()))) | None) => {
                info!(part = self.name, "drained");
                true
            }
            Ok(Some(Ok(Err(failure)))) => {
                error!(part = self.name, "failed while draining: {failure:#}");
                false
            }
            Ok(Some(Err(panic))) => {
                error!(part = self.name, "panicked while draining: {panic}");
                false
            }
            Err(_) => {
                error!(part = self.name, "did not drain within {:?}; abandoned", self.patience);
                false
            }
        }
    }
}

/// Runs until `stop` or until one stage ends by itself, then drains. `announce` runs beside the stages; its failure is
/// a failure of the whole.
///
/// # Errors
/// If a stage ended by itself, `announce` failed, or a stage did not drain well.
pub(crate) async fn run_stages(
    mut stages: Vec<Stage>,
    stop: &Stop,
    announce: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let failure = {
        let mut ended = futures::future::select_all(stages.iter_mut().map(|stage| stage.ended().boxed()));
        let announced = async {
            match announce.await {
                Ok(()) => std::future::pending().await,
                Err(failure) => failure,
            }
        };
        tokio::select! {
            () = stop.drain.cancelled() => None,
            (failure, _, _) = &mut ended => Some(failure),
            failure = announced => Some(failure),
        }
    };
    if let Some(failure) = &failure {
        error!("{failure:#}; draining the rest");
    }
    let clean = drain(stages).await;
    match failure {
        Some(failure) => Err(failure),
        None if clean => Ok(()),
        None => Err(anyhow!("the drain was not clean, see the log lines above; a restart continues where the log is")),
    }
}

/// Drains the stages one after the other, the one started last first. Whether all ended in time and well.
pub(crate) async fn drain(stages: Vec<Stage>) -> bool {
    let mut clean = true;
    for stage in stages.into_iter().rev() {
        clean &= stage.drain().await;
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn stage(name: &'static str, order: &Arc<Mutex<Vec<&'static str>>>) -> Stage {
        let order = order.clone();
        Stage::start(name, Duration::from_secs(5), |cancel| async move {
            cancel.cancelled().await;
            order.lock().expect("not poisoned").push(name);
            Ok(())
        })
    }

    #[tokio::test]
    async fn the_stage_started_last_drains_first() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let stop = Stop::default();
        stop.drain.cancel();
        let stages = vec![stage("log", &order), stage("writer", &order), stage("proxy", &order)];
        run_stages(stages, &stop, std::future::pending()).await.expect("clean");
        assert_eq!(*order.lock().expect("not poisoned"), ["proxy", "writer", "log"]);
    }

    #[tokio::test]
    async fn a_stage_that_ends_takes_the_others_along() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let broken = Stage::start("writer", Duration::from_secs(5), |_| async { Err(anyhow!("no disk")) });
        let stages = vec![stage("proxy", &order), broken];
        let announce = std::future::ready(Ok(()));
        let failure = run_stages(stages, &Stop::default(), announce).await.expect_err("failed");
        assert_eq!(format!("{failure:#}"), "the writer failed: no disk");
        assert_eq!(*order.lock().expect("not poisoned"), ["proxy"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_that_does_not_drain_is_abandoned() {
        let stuck = Stage::start("writer", Duration::from_secs(5), |_| std::future::pending());
        let stop = Stop::default();
        stop.drain.cancel();
        assert!(run_stages(vec![stuck], &stop, std::future::pending()).await.is_err());
    }
}
