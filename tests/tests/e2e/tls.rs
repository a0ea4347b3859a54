//! TLS between everybody: senders, proxy, NATS, catalog and store; certificates that are replaced, and wrong ones.

mod certificates;
mod deployment;
mod front;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use frazil_tests::hand::succeeded;
use frazil_tests::load::Load;
use frazil_tests::until;
use rustix::process::Signal;
use tokio::task::JoinSet;

use deployment::Deployment;

const LIMIT: Duration = Duration::from_secs(120);
const TOTAL: u64 = 20_000;

/// What a command said that must have failed.
fn refused(output: std::process::Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_become_rows_with_tls_everywhere_and_strangers_are_refused() {
    let deployment = Deployment::start().await;
    let sender = deployment.senders.sign("sender");
    let api = deployment.api(&sender);
    let events: String = (0..500).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    api.commit("e2e.tls", &events).await;

    // The command line goes the same way.
    let more: String = (500..1_000).map(|id| format!("{{\"id\":{id}}}\n")).collect();
    let path = |path: &std::path::Path| path.to_str().expect("temporary folders have plain names").to_owned();
    let (file, ca) = (path(&deployment.file("more.ndjson", &more)), path(&deployment.servers.ca()));
    let (certificate, key) = (path(&sender.certificate), path(&sender.key));
    let send = ["send", "--wait", "--table", "e2e.tls", "--url", &deployment.url(), "--token", deployment.token()];
    let send = [&send[..], &["--max-retry-time", "1s"]].concat();
    let tls = ["--tls-ca", &ca, "--tls-certificate", &certificate, "--tls-key", &key, &file];
    succeeded(deployment.frazil(&[&send[..], &tls[..]].concat()).await);
    deployment.lake.assert_exactly_once("e2e.tls", 1_000).await;
    assert!(refused(deployment.frazil(&[&send[..], &[&file]].concat()).await).contains("UnknownIssuer"));

    // Senders: none, of another authority, expired.
    let stranger = deployment.clients.sign("stranger");
    let expired = deployment.senders.sign_until("expired", 2021);
    for shown in [None, Some(&stranger), Some(&expired)] {
        let client = deployment.servers.client(shown).build().expect("client builds");
        client.get(format!("{}/livez", deployment.url())).send().await.expect_err("refused");
    }
    let failures = "frazil_proxy_tls_handshake_failures_total{reason=\"client_certificate\"} 3";
    until(failures, LIMIT, || async { deployment.admin("/metrics").await.contains(failures).then_some(()) }).await;

    // Frazil itself, towards NATS and the catalog.
    let own = deployment.clients.sign("frazil");
    let old = deployment.clients.sign_until("old", 2021);
    for arguments in [&["stream", "list"][..], &["table", "describe", "e2e.tls"]] {
        succeeded(deployment.frazil_as(&own, &deployment.servers.ca(), arguments).await);
        let message = refused(deployment.frazil_as(&old, &deployment.servers.ca(), arguments).await);
        assert!(message.contains("client certificate"), "{arguments:?}: {message}");
        let message = refused(deployment.frazil_as(&own, &deployment.senders.ca(), arguments).await);
        assert!(message.contains("name one that has with tls_ca"), "{arguments:?}: {message}");
    }
    succeeded(deployment.frazil(&["check-config"]).await);
    let mismatched = certificates::Pair { key: old.key, ..own };
    let message = refused(deployment.frazil_as(&mismatched, &deployment.servers.ca(), &["check-config"]).await);
    assert_eq!(message.matches("does not belong to the certificate").count(), 2, "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load_without_a_failed_request() {
    let deployment = Deployment::start().await;
    let sender = deployment.senders.sign("sender");
    let load = Load {
        apis: vec![deployment.api(&sender)],
        table: "e2e.renewed".to_owned(),
        key_prefix: "renewed".to_owned(),
        total: TOTAL,
        batch: 20,
        connections: 4,
        acked: Arc::new(AtomicU64::new(0)),
    };
    let acked = load.acked.clone();
    let (mut running, mut newcomers) = (JoinSet::new(), JoinSet::new());
    running.spawn(load.run());
    // A connection of its own for every request.
    let newcomer = deployment.servers.client(Some(&sender)).pool_max_idle_per_host(0).build().expect("client builds");
    let (url, served) = (format!("{}/livez", deployment.url()), Arc::new(AtomicU64::new(0)));
    let count = served.clone();
    newcomers.spawn(async move {
        loop {
            let answer = newcomer.get(&url).send().await.expect("a new connection is served");
            assert!(answer.status().is_success());
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    for round in 1..=5_u64 {
        let part = TOTAL * round / 8;
        until("the load to go on", LIMIT, || async { (acked.load(Ordering::Relaxed) >= part).then_some(()) }).await;
        let before = served.load(Ordering::Relaxed);
        deployment.servers.sign("proxy");
        // Every second time without waiting for the interval.
        if round % 2 == 0 {
            deployment.proxy.signal(Signal::HUP).expect("the proxy runs");
        }
        let in_force = || async { (loads(&deployment).await >= round).then_some(()) };
        until("the new certificate", LIMIT, in_force).await;
        let newly = || async { (served.load(Ordering::Relaxed) > before + 5).then_some(()) };
        until("new connections", LIMIT, newly).await;
        assert!(newcomers.try_join_next().is_none(), "a new connection failed\n{}", deployment.proxy.log_tail());
    }
    let report = running.join_next().await.expect("one load runs").expect("the load does not panic");
    assert!(newcomers.try_join_next().is_none(), "a new connection failed\n{}", deployment.proxy.log_tail());
    assert_eq!(report.retries, 0, "{}", deployment.proxy.log_tail());
    println!("{} requests on connections of their own", served.load(Ordering::Relaxed));
    let api = deployment.api(&sender);
    for receipt in &report.receipts {
        api.wait_committed(receipt).await;
    }
    deployment.lake.assert_exactly_once("e2e.renewed", TOTAL).await;
}

/// New certificates that came in force.
async fn loads(deployment: &Deployment) -> u64 {
    let text = deployment.admin("/metrics").await;
    let value = |line: &str| line.strip_prefix("frazil_proxy_tls_reloads_total{outcome=\"loaded\"} ")?.parse().ok();
    text.lines().find_map(value).unwrap_or_else(|| panic!("no count of reloads in {text}"))
}
