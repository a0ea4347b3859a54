//! Many clients on one table.

use futures::future::join_all;
use serde_json::json;

use crate::server::{Api, EVENTS, Server, expect_error, expect_ok, now_ms, set_property, snapshot, table_body};

const COMMITTERS: i64 = 8;

/// A client with a connection of its own.
fn clients(api: &Api) -> Vec<Api> {
    (0..COMMITTERS).map(|_| Api::new(api.base.clone())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_committers_exactly_one_wins_each_round() {
    let server = Server::with_table().await;
    let clients = clients(&server.api);
    let mut parent = None;
    for round in 1..=12_i64 {
        let requirement = json!([{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent }]);
        let attempts = clients.iter().zip(1..).map(|(client, number)| {
            let updates = snapshot(round * 100 + number, round, parent, now_ms());
            client.commit(requirement.clone(), updates)
        });
        let mut winners = Vec::new();
        for answer in join_all(attempts).await {
            if answer.0.is_success() {
                winners.push(answer.1["metadata"]["current-snapshot-id"].as_i64().expect("an id"));
            } else {
                expect_error(answer, 409, "CommitFailedException");
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        parent = winners.first().copied();
        assert_eq!(server.api.get(EVENTS).await["metadata"]["current-snapshot-id"].as_i64(), parent);
    }
    assert_eq!(server.metadata_files().len(), 13, "the losers' files are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_that_do_not_conflict_all_succeed() {
    let server = Server::with_table().await;
    let clients = clients(&server.api);
    for round in 0..5 {
        let attempts = clients.iter().enumerate().map(|(number, client)| async move {
            client.commit(json!([]), set_property(&format!("k{round}.{number}"), "v")).await
        });
        join_all(attempts).await.into_iter().for_each(|answer| drop(expect_ok(answer)));
    }
    let properties = server.api.get(EVENTS).await["metadata"]["properties"].clone();
    let set = properties.as_object().expect("object").keys().filter(|key| key.starts_with('k')).count();
    assert_eq!(set, 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_racing_creators_exactly_one_wins() {
    let server = Server::start().await;
    server.api.create_namespace(&["ns"]).await;
    let clients = clients(&server.api);
    let attempts =
        clients.iter().map(|client| client.post("/v1/namespaces/ns/tables", table_body("events", json!({}))));
    let mut winners = Vec::new();
    for answer in join_all(attempts).await {
        if answer.0.is_success() {
            winners.push(answer.1);
        } else {
            expect_error(answer, 409, "AlreadyExistsException");
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(server.api.get(EVENTS).await["metadata"], winners[0]["metadata"]);
}

/// Two processes on one database file: the swap is the arbiter, not a lock in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_servers_on_one_database_agree() {
    let one = Server::with_table().await;
    let two = one.sibling().await;
    let mut parent = None;
    for round in 1..=6_i64 {
        let requirement = json!([{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent }]);
        let (first, second) = tokio::join!(
            one.api.commit(requirement.clone(), snapshot(round * 10 + 1, round, parent, now_ms())),
            two.api.commit(requirement.clone(), snapshot(round * 10 + 2, round, parent, now_ms())),
        );
        assert!(first.0.is_success() != second.0.is_success(), "{} {}", first.0, second.0);
        parent = two.api.get(EVENTS).await["metadata"]["current-snapshot-id"].as_i64();
        assert_eq!(one.api.get(EVENTS).await["metadata"]["current-snapshot-id"].as_i64(), parent);
    }
}
