//! A TLS server before a plain one, which asks its clients for certificates.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::certificates::Pair;

/// A running front. Ends when dropped.
#[derive(Debug)]
pub(super) struct TlsFront {
    pub(super) url: String,
    _server: JoinSet<()>,
}

impl TlsFront {
    /// Shows `own` and lets only those pass who show a certificate under `clients`.
    pub(super) async fn start(upstream: u16, own: &Pair, clients: RootCertStore) -> Self {
        let chain = CertificateDer::pem_file_iter(&own.certificate).expect("a file").map(|one| one.expect("PEM"));
        let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
        let verifier = WebPkiClientVerifier::builder(Arc::new(clients)).build().expect("a verifier");
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let config = config.with_single_cert(chain.collect(), key).expect("they go together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("https://localhost:{}", listener.local_addr().expect("bound").port());
        let upstream = SocketAddr::from(([127, 0, 0, 1], upstream));
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(forward(acceptor.clone(), stream, upstream));
            }
        });
        Self { url, _server: server }
    }
}

async fn forward(acceptor: TlsAcceptor, stream: TcpStream, upstream: SocketAddr) {
    // That somebody is refused, or hangs up, is for the other side to notice.
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let Ok(mut upstream) = TcpStream::connect(upstream).await else { return };
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
}
