//! The listening side of a wire: accepts, and stops listening while connections are to be refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Control, Following, MAX_CONNECTIONS, Shared, WireFault, connection, reset};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// A socket that has the port and does not listen: whoever connects is refused.
fn bind(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket");
    // A port with connections of an earlier socket may be bound again.
    socket.set_reuseaddr(true).expect("a socket option");
    socket.bind(addr).unwrap_or_else(|error| panic!("{addr} cannot be bound: {error}"));
    socket
}

pub(super) fn listen(addr: SocketAddr) -> TcpListener {
    bind(addr).listen(BACKLOG).unwrap_or_else(|error| panic!("{addr} cannot be listened on: {error}"))
}

/// Accepts until the wire is dropped.
pub(super) async fn accept(mut listener: TcpListener, mut control: watch::Receiver<Control>, shared: Arc<Shared>) {
    let addr = listener.local_addr().expect("a listening socket has an address");
    let (mut connections, mut cuts) = (JoinSet::new(), 0);
    loop {
        let now = *control.borrow_and_update();
        if now.cuts != cuts {
            cuts = now.cuts;
            // To a client a connection is open as soon as it is in the backlog.
            while let Some(Some(waiting)) = next(&listener).now_or_never() {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                reset(waiting);
            }
        }
        if now.fault == WireFault::Refuse {
            drop(listener);
            let silent = bind(addr);
            if control.wait_for(|now| now.fault != WireFault::Refuse).await.is_err() {
                return;
            }
            listener = silent.listen(BACKLOG).expect("the port is ours");
        }
        shared.open.store(connections.len() as u64, Ordering::Relaxed);
        let room = connections.len() < MAX_CONNECTIONS;
        tokio::select! {
            biased;
            changed = control.changed() => if changed.is_err() { return },
            Some(ended) = connections.join_next() => ended.expect("a connection does not panic"),
            Some(accepted) = next(&listener), if room => {
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let following = Following { control: control.clone(), born: cuts };
                connections.spawn(connection(accepted, following, Arc::clone(&shared)));
            }
        }
    }
}

/// The next connection. Nothing if it ended in the backlog.
async fn next(listener: &TcpListener) -> Option<TcpStream> {
    let (stream, _) = listener.accept().await.ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}
