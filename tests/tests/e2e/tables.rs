//! Which table an event goes to, and what a table is made of that does not exist yet.

use frazil_tests::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn one_request_for_many_tables() {
    let cluster = Cluster::start(Options::default()).await;
    println!("{}", cluster.python("routing.py", &[]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_made_as_the_stream_declares() {
    let cluster = Cluster::start(Options::default()).await;
    println!("{}", cluster.python("templates.py", &[]).await);
}
