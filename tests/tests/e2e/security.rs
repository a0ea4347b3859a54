//! A closed deployment of real processes: least permissions suffice, revoked tokens end, two proxies share a limit, and no
//! secret is ever told.

mod deployment;

use std::time::Duration;

use frazil_tests::client::Api;
use frazil_tests::until;
use tokio::task::JoinSet;

use deployment::{Deployment, PERMISSIONS};

const PATIENCE: Duration = Duration::from_secs(60);

async fn status(api: &Api, table: &str, body: &str) -> u16 {
    api.events(table, body.to_owned()).send().await.expect("the proxy answers").status().as_u16()
}

/// Proxies hear of new and revoked tokens within moments.
async fn answers(api: &Api, expected: u16) {
    until("the proxy to know the token", PATIENCE, || async {
        (status(api, "sec.t", "[]").await == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn least_permissions_suffice_and_no_more_is_allowed() {
    let mut closed = Deployment::start(&[]).await;
    let (token, _) = closed.token(&["--name", "app"]).await;
    let (_proxy, url) = closed.proxy("proxy").await;
    let _writer = closed.writer();
    let api = closed.api(&url, &token);
    answers(&api, 200).await;
    api.commit("sec.t", r#"[{"id":1},{"id":2}]"#).await;
    for user in ["proxy", "writer"] {
        for forbidden in [
            &["token", "create", "--name", "mine"][..],
            &["stream", "create", "mine", "--max-bytes", "64MiB"],
            &["stream", "update", "default", "--max-events-per-second", "1"],
            &["stream", "delete", "default", "--yes", "--force"],
        ] {
            let output = closed.run(user, forbidden).await;
            assert!(!output.status.success(), "{user} may {forbidden:?}");
        }
    }
    assert_eq!(status(&api, "sec.t", r#"{"id":3}"#).await, 200, "all is as it was");
    let violations = std::fs::read_to_string(closed.file("nats.log")).expect("UTF-8");
    let beyond: Vec<&str> = violations
        .lines()
        .filter(|line| line.contains("Violation") && (line.contains("frazil-proxy") || line.contains("frazil-writer")))
        .collect();
    assert!(beyond.is_empty(), "the roles themselves want more: {beyond:#?}");
}

#[test]
fn the_documented_permissions_are_those() {
    let path = frazil_tests::tools::root().join("docs/security.md");
    let text = std::fs::read_to_string(path).expect("docs/security.md");
    for subject in PERMISSIONS.split('"').skip(1).step_by(2) {
        assert!(text.contains(&format!("\"{subject}\"")), "docs/security.md does not mention {subject}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_and_two_proxies_share_a_limit() {
    let limits = ["--max-events-per-second", "1", "--events-burst", "60"];
    let mut closed = Deployment::start(&limits).await;
    let (token, id) = closed.token(&["--name", "app"]).await;
    let ((_one, first), (_two, second)) = tokio::join!(closed.proxy("proxy-1"), closed.proxy("proxy-2"));
    let apis = [closed.api(&first, &token), closed.api(&second, &token)];
    for api in &apis {
        answers(api, 200).await;
    }
    // Makes the table, and one event of the burst is gone.
    assert_eq!(status(&apis[0], "sec.shared", r#"{"id":0}"#).await, 200);
    let started = tokio::time::Instant::now();
    let mut tasks = JoinSet::new();
    for at in 0..120 {
        let request = apis[at % 2].events("sec.shared", format!(r#"{{"id":{at}}}"#));
        tasks.spawn(async move {
            let answer = request.send().await.expect("the proxy answers");
            let after = answer.headers().get("retry-after").map(|value| value.to_str().expect("ASCII").to_owned());
            (answer.status().as_u16(), after)
        });
    }
    let answers_of_both = tasks.join_all().await;
    let flowed = started.elapsed().as_secs() + 1;
    let accepted = answers_of_both.iter().filter(|(status, _)| *status == 200).count() as u64;
    // Alone, each would have let its whole burst in.
    assert!((50..=59 + flowed).contains(&accepted), "{accepted} of 120 in {flowed} s: {answers_of_both:?}");
    let others = answers_of_both.iter().filter(|(status, _)| *status != 200);
    assert!(others.into_iter().all(|(status, after)| *status == 429 && after.is_some()), "{answers_of_both:?}");

    closed.admin(&["token", "revoke", &id]).await;
    for api in &apis {
        answers(api, 401).await;
        let receipt = api.get("/v1/receipts/anything").send().await.expect("the proxy answers");
        assert_eq!(receipt.status().as_u16(), 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_told() {
    let mut closed = Deployment::start(&["--max-events-per-second", "1000"]).await;
    let (token, _) = closed.token(&["--name", "app"]).await;
    let (_proxy, url) = closed.proxy("proxy").await;
    let _writer = closed.writer();
    let api = closed.api(&url, &token);
    answers(&api, 200).await;
    api.commit("sec.t", r#"{"id":1}"#).await;
    let mut told = String::new();
    told += &every_kind_of_answer(&api, &url).await;
    let output = closed.admin(&["token", "list"]).await + &closed.admin(&["token", "list", "--json"]).await;
    told += &output;

    for (name, arguments) in [
        ("bad-proxy", &["proxy"][..]),
        ("bad-writer", &["writer", "--ordinal", "0", "--replicas", "1"]),
        ("bad-list", &["token", "list"]),
    ] {
        told += &closed.fails(name, arguments, &closed.config("proxy", "hush-nats-wrong")).await;
    }
    // Each server goes in turn, and what is said of it is kept.
    closed.redis.kill9().await;
    told += &every_kind_of_answer(&api, &url).await;
    closed.catalog.kill9().await;
    told += &every_kind_of_answer(&api, &url).await;
    closed.nats.kill9().await;
    told += &every_kind_of_answer(&api, &url).await;

    let file = closed.file("proxy.toml");
    let check = tokio::process::Command::new(frazil_tests::tools::frazil()).arg("check-config").arg(&file).output();
    let check = check.await.expect("frazil runs");
    assert!(check.status.success());
    let shown = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(shown.contains("redis = \"***\""), "{shown}");
    told += &shown;
    for broken in ["redis = \"redis://:hush-redis@\\u0000\"", "redis = [\"hush-redis\"]", "redis = \"hush-redis\""] {
        let text = closed.config("proxy", "hush-nats-proxy");
        let line = text.lines().find(|line| line.starts_with("redis = ")).expect("configured").to_owned();
        told += &closed.fails("broken", &["proxy"], &text.replace(&line, broken)).await;
    }

    let logs = closed.logs();
    assert!(logs.contains("DEBUG") && logs.lines().count() > 50, "too little was logged to tell: {logs}");
    let secret = token.rsplit('_').next().expect("three parts");
    for (what, text) in [("answers", &told), ("logs", &logs)] {
        for secret in ["hush", secret] {
            let found: Vec<&str> = text.lines().filter(|line| line.contains(secret)).take(5).collect();
            assert!(found.is_empty(), "{what} tell {secret:?}: {found:#?}");
        }
    }
}

/// What the proxy says to good and bad requests, headers included, and its metrics.
async fn every_kind_of_answer(api: &Api, url: &str) -> String {
    let mut told = String::new();
    let fresh = format!("sec.t{}", url.len());
    for request in [
        api.events("sec.t", r#"{"id":1}"#),
        api.events(&fresh, r#"{"id":1}"#),
        api.events("nowhere.sec.t", r#"{"id":1}"#),
        api.events("sec.t", "{"),
        api.events("sec.t", r#"{"id":"x"}"#),
        api.events("sec..t", "{}"),
        api.iomete("default", "{}").header("authorization", "wrong"),
        api.get("/v1/receipts/nonsense"),
        api.get("/metrics"),
        api.get("/readyz"),
        api.get("/openapi.json"),
    ] {
        let answer = request.send().await.expect("the proxy answers");
        told += &format!("{:?}\n", answer.headers());
        told += &answer.text().await.expect("text");
        told.push('\n');
    }
    told
}
