//! One direction of one connection: reads, holds for as long as the fault says, writes or swallows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::{Broken, Direction, Following, WireFault};

/// Bytes that are held between reading and writing; at the limit reading waits. Under a delay this is the window:
/// a direction of a connection passes at most this much per delay.
pub(super) const MAX_HELD: usize = 256 * 1024;
/// Bytes read at a time.
const CHUNK: usize = 16 * 1024;

/// What becomes of bytes under a fault, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Later(Duration),
    Slowly(u64),
    Hold,
    Swallow,
}

/// Something read and not passed yet.
#[derive(Debug)]
struct Held {
    read: Instant,
    /// `None` is the end of the direction.
    bytes: Option<Bytes>,
}

pub(super) struct Pipe<'c> {
    from: ReadHalf<'c>,
    to: WriteHalf<'c>,
    following: Following,
    direction: &'c Direction,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Whether `from` has ended.
    read_all: bool,
    /// Whether something was swallowed.
    holed: bool,
}

impl<'c> Pipe<'c> {
    pub(super) fn new(from: ReadHalf<'c>, to: WriteHalf<'c>, following: Following, direction: &'c Direction) -> Self {
        Self { from, to, following, direction, held: VecDeque::new(), held_bytes: 0, read_all: false, holed: false }
    }

    /// Carries until the end has passed.
    pub(super) async fn run(mut self) -> Result<(), Broken> {
        loop {
            let mode = self.mode()?;
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let reading = mode != Mode::Hold && !self.read_all && self.held_bytes < MAX_HELD;
            let passing = mode != Mode::Hold && !self.held.is_empty();
            let Self { from, to, following, held, direction, .. } = &mut self;
            tokio::select! {
                changed = following.changed() => changed?,
                passed = pass(held.front(), mode, to, direction), if passing => {
                    let passed = passed.map_err(|_| Broken)?;
                    if self.passed(passed, mode) {
                        return Ok(());
                    }
                }
                read = from.read_buf(&mut chunk), if reading => {
                    let count = read.map_err(|_| Broken)?;
                    self.read_all = count == 0;
                    self.held_bytes += count;
                    let bytes = (count > 0).then(|| chunk.freeze());
                    self.held.push_back(Held { read: Instant::now(), bytes });
                }
            }
        }
    }

    /// What the fault of now means here.
    fn mode(&mut self) -> Result<Mode, Broken> {
        let mode = match self.following.fault()? {
            WireFault::BlackHole => Mode::Hold,
            WireFault::Delay { each_way } => Mode::Later(each_way),
            WireFault::Throttle { bytes_per_second } => Mode::Slowly(bytes_per_second),
            WireFault::LoseAnswers if !self.direction.towards_server => Mode::Swallow,
            WireFault::LoseRequests if self.direction.towards_server => Mode::Swallow,
            WireFault::None | WireFault::LoseAnswers | WireFault::LoseRequests => Mode::Pass,
            WireFault::Refuse | WireFault::Reset => return Err(Broken),
        };
        if self.holed && mode != Mode::Swallow { Err(Broken) } else { Ok(mode) }
    }

    /// Drops from the front what passed or was swallowed; whether the direction is at its end.
    fn passed(&mut self, count: usize, mode: Mode) -> bool {
        let add = |counter: &AtomicU64| counter.fetch_add(count as u64, Ordering::Relaxed);
        if mode == Mode::Swallow {
            self.holed = true;
            add(&self.direction.swallowed);
        } else {
            add(&self.direction.passed);
        }
        self.held_bytes -= count;
        let Some(bytes) = self.held.front_mut().and_then(|front| front.bytes.as_mut()) else {
            self.held.pop_front();
            // A swallowed end leaves the connection half-open until the fault ends.
            return mode != Mode::Swallow;
        };
        bytes.advance(count);
        if bytes.is_empty() {
            self.held.pop_front();
        }
        false
    }
}

/// Passes (a part of) the front once it is time; returns how many bytes. Nothing has happened if this is dropped
/// before it returns.
async fn pass(
    front: Option<&Held>,
    mode: Mode,
    to: &mut WriteHalf<'_>,
    direction: &Direction,
) -> std::io::Result<usize> {
    let Some(Held { read, bytes }) = front else { return Ok(0) };
    let length = bytes.as_ref().map_or(0, Bytes::len);
    let mut allowed = length;
    match mode {
        Mode::Swallow => return Ok(length),
        Mode::Later(delay) => tokio::time::sleep_until(*read + delay).await,
        Mode::Slowly(rate) if length > 0 => {
            // Taken only once the socket has room, so that tokens are not lost with a dropped future.
            to.writable().await?;
            allowed = loop {
                match direction.bucket.take(rate, length, Instant::now()) {
                    Ok(allowed) => break allowed,
                    Err(later) => tokio::time::sleep_until(later).await,
                }
            };
        }
        Mode::Pass | Mode::Slowly(_) | Mode::Hold => {}
    }
    match bytes {
        Some(bytes) => to.write(&bytes[..allowed]).await,
        None => to.shutdown().await.map(|()| 0),
    }
}
