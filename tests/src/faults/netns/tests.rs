use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Network;

const LIMIT: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes, and short enough that TCP does not wait long with its next try.
const QUIET: Duration = Duration::from_millis(500);

fn tokio_stream(stream: TcpStream) -> tokio::net::TcpStream {
    stream.set_nonblocking(true).unwrap();
    tokio::net::TcpStream::from_std(stream).unwrap()
}

/// A connection from one node to another.
fn connect(network: &Network, from: usize, to: usize) -> (tokio::net::TcpStream, tokio::net::TcpStream) {
    let listener = network.listen(to);
    let address = listener.local_addr().unwrap();
    let client = network.inside(from, || TcpStream::connect_timeout(&address, LIMIT)).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer.ip(), network.address(from), "each node has its own address");
    (tokio_stream(client), tokio_stream(server))
}

#[tokio::test]
async fn nodes_reach_one_another_until_one_is_isolated_and_again_when_it_is_healed() {
    let network = Network::start(2);
    let (mut client, mut server) = connect(&network, 0, 1);
    let mut received = [0; 4];
    client.write_all(b"ping").await.unwrap();
    server.read_exact(&mut received).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"pong");

    network.isolate(1);
    client.write_all(b"lost").await.unwrap();
    let silence = tokio::time::timeout(QUIET, server.read_exact(&mut received)).await;
    assert!(silence.is_err(), "{silence:?}");
    let listener = network.listen(1);
    let address = listener.local_addr().unwrap();
    let refused = network.inside(0, || TcpStream::connect_timeout(&address, QUIET));
    assert!(refused.is_err(), "a new connection gets no further: {refused:?}");

    network.heal(1);
    let arrived = tokio::time::timeout(LIMIT, server.read_exact(&mut received)).await;
    arrived.expect("TCP sends again what was lost").unwrap();
    assert_eq!(&received, b"lost");
    connect(&network, 0, 1);
}

#[tokio::test]
async fn this_machine_reaches_the_nodes_and_commands_run_there() {
    let network = Network::start(1);
    let listener = network.listen(0);
    let client = TcpStream::connect_timeout(&listener.local_addr().unwrap(), LIMIT).unwrap();
    assert_eq!(client.local_addr().unwrap().ip(), network.gateway());
    let outside = TcpListener::bind(SocketAddr::from((network.gateway(), 0))).unwrap();
    let address = outside.local_addr().unwrap();
    network.inside(0, || TcpStream::connect_timeout(&address, LIMIT)).unwrap();

    let output = network.command(0, "ip").args(["-oneline", "-4", "address"]).output().await.unwrap();
    let addresses = String::from_utf8(output.stdout).unwrap();
    assert!(addresses.contains(&network.address(0).to_string()), "{addresses}");
    assert!(!addresses.contains(&format!("{}/", network.gateway())), "it sees this machine's own: {addresses}");
}

#[test]
fn networks_do_not_collide_and_leave_nothing_behind() {
    let (first, second) = (Network::start(2), Network::start(2));
    assert_ne!(first.gateway(), second.gateway());
    let names: Vec<String> = first.nodes.iter().map(|node| node.namespace.clone()).collect();
    let devices = [first.bridge.clone(), first.nodes[0].port.clone()];
    let exist = |device: &String| Path::new("/sys/class/net").join(device).exists();
    assert!(devices.iter().all(exist));
    drop(first);
    assert!(!devices.iter().any(exist));
    assert!(!names.iter().any(|name| Path::new("/run/netns").join(name).exists()));
    assert!(exist(&second.bridge));
}
