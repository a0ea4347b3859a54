//! A TCP proxy with faults: `Wire` stands between a client and one upstream address on this machine.
//!
//! Bytes pass exactly as they came, the end of one direction passes alone (half-close), a reset passes as a reset.
//! A connection that lost bytes is reset as soon as its fault ends, because a stream with a hole is something that TCP
//! never delivers. Bounded: [`MAX_CONNECTIONS`] connections, each holds at most `pipe::MAX_HELD` bytes per direction.

mod bucket;
mod listen;
mod pipe;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use bucket::Bucket;
use pipe::Pipe;

/// Connections that are open at a time; more wait in the backlog of the listening socket.
pub const MAX_CONNECTIONS: usize = 4096;

/// What is wrong with a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WireFault {
    /// Nothing.
    #[default]
    None,
    /// Nobody listens: new connections are refused, open ones are reset.
    Refuse,
    /// Connections are accepted and reset at once, open ones too.
    Reset,
    /// Connections are accepted and stay open, nothing passes in either direction, not even their end. What was sent
    /// meanwhile passes once the fault ends.
    BlackHole,
    /// Everything arrives later.
    Delay {
        /// Added to each direction.
        each_way: Duration,
    },
    /// Little passes at a time.
    Throttle {
        /// In each direction, all connections together. At least 1.
        bytes_per_second: u64,
    },
    /// Bytes towards the server pass, those back are swallowed: the work is done, the answer is lost.
    LoseAnswers,
    /// Bytes towards the server are swallowed, those back pass.
    LoseRequests,
}

/// What passed a wire so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireCounts {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes that passed towards the server.
    pub up: u64,
    /// Bytes that passed back.
    pub down: u64,
    /// Bytes swallowed, in both directions.
    pub swallowed: u64,
}

/// A running TCP proxy on a port of the loopback interface. Dropping it closes what is open.
#[derive(Debug)]
pub struct Wire {
    addr: SocketAddr,
    control: watch::Sender<Control>,
    shared: Arc<Shared>,
    _acceptor: JoinSet<()>,
}

/// What the owner of a wire wants now.
#[derive(Debug, Clone, Copy, Default)]
struct Control {
    fault: WireFault,
    /// Grows with each cut: connections that are older end.
    cuts: u64,
}

/// The connection must end with a reset.
#[derive(Debug)]
struct Broken;

/// A connection's view of what the owner wants.
#[derive(Debug, Clone)]
struct Following {
    control: watch::Receiver<Control>,
    /// The cuts there were when the connection was accepted.
    born: u64,
}

impl Following {
    /// The fault of now, unless it or a cut ends the connection.
    fn fault(&mut self) -> Result<WireFault, Broken> {
        let Control { fault, cuts } = *self.control.borrow_and_update();
        let ends = cuts != self.born || matches!(fault, WireFault::Refuse | WireFault::Reset);
        if ends { Err(Broken) } else { Ok(fault) }
    }

    /// Waits until the owner wants something else than what was seen last.
    async fn changed(&mut self) -> Result<(), Broken> {
        self.control.changed().await.map_err(|_| Broken)
    }
}

/// What all connections of a wire have in common.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    up: Direction,
    down: Direction,
    accepted: AtomicU64,
    open: AtomicU64,
}

/// One direction of all connections.
#[derive(Debug)]
struct Direction {
    towards_server: bool,
    bucket: Bucket,
    passed: AtomicU64,
    swallowed: AtomicU64,
}

impl Direction {
    fn new(towards_server: bool) -> Self {
        Self { towards_server, bucket: Bucket::default(), passed: AtomicU64::new(0), swallowed: AtomicU64::new(0) }
    }
}

impl Wire {
    /// Starts a wire to `upstream` on a free port.
    ///
    /// # Panics
    /// If no port is free, or outside of a tokio runtime.
    pub fn start(upstream: SocketAddr) -> Self {
        Self::start_on(0, upstream)
    }

    /// Starts a wire to `upstream` on this port of the loopback interface; 0 is any free one.
    ///
    /// # Panics
    /// If the port is taken, or outside of a tokio runtime.
    pub fn start_on(port: u16, upstream: SocketAddr) -> Self {
        let listener = listen::listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let addr = listener.local_addr().expect("a listening socket has an address");
        let shared = Arc::new(Shared {
            upstream,
            up: Direction::new(true),
            down: Direction::new(false),
            accepted: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let control = watch::Sender::new(Control::default());
        let mut acceptor = JoinSet::new();
        acceptor.spawn(listen::accept(listener, control.subscribe(), Arc::clone(&shared)));
        Self { addr, control, shared, _acceptor: acceptor }
    }

    /// Where clients connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Puts this fault in place of the one before.
    ///
    /// # Panics
    /// If a throttle lets nothing pass; that is [`WireFault::BlackHole`].
    pub fn set(&self, fault: WireFault) {
        assert!(fault != WireFault::Throttle { bytes_per_second: 0 }, "a throttle lets something pass");
        self.control.send_modify(|control| control.fault = fault);
    }

    /// Ends the fault.
    pub fn heal(&self) {
        self.set(WireFault::None);
    }

    /// Resets every connection that is open now, on both sides. New ones are as the fault says.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// What passed so far.
    pub fn counts(&self) -> WireCounts {
        let Shared { up, down, accepted, open, .. } = &*self.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WireCounts {
            accepted: read(accepted),
            open: read(open),
            up: read(&up.passed),
            down: read(&down.passed),
            swallowed: read(&up.swallowed) + read(&down.swallowed),
        }
    }
}

/// Serves one accepted connection to its end.
async fn connection(mut client: TcpStream, mut following: Following, shared: Arc<Shared>) {
    match connect(&mut following, &shared).await {
        Ok(mut server) => {
            if both_ways(&mut client, &mut server, following, &shared).await.is_err() {
                reset(server);
                reset(client);
            }
        }
        Err(Broken) => reset(client),
    }
    shared.open.fetch_sub(1, Ordering::Relaxed);
}

/// Connects to the server as soon as the fault allows.
async fn connect(following: &mut Following, shared: &Shared) -> Result<TcpStream, Broken> {
    while following.fault()? == WireFault::BlackHole {
        following.changed().await?;
    }
    let server = TcpStream::connect(shared.upstream).await.map_err(|_| Broken)?;
    server.set_nodelay(true).map_err(|_| Broken)?;
    Ok(server)
}

/// Carries both directions until both have ended, or one is broken.
async fn both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    following: Following,
    shared: &Shared,
) -> Result<(), Broken> {
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    let up = Pipe::new(from_client, to_server, following.clone(), &shared.up);
    let down = Pipe::new(from_server, to_client, following, &shared.down);
    tokio::try_join!(up.run(), down.run()).map(|_| ())
}

/// Closes with a reset instead of an orderly end.
fn reset(stream: TcpStream) {
    // A socket that is broken already refuses the option, and is closed all the same.
    let _ = stream.set_zero_linger();
    drop(stream);
}

#[cfg(test)]
mod tests;
