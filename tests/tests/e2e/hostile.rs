//! Input made to hurt gets its documented answer in bounded time and memory.

use frazil_tests::cluster::{Cluster, Options};

#[tokio::test(flavor = "multi_thread")]
async fn bodies_made_to_hurt() {
    let cluster = Cluster::start(Options::default()).await;
    let pid = cluster.proxy_pid().to_string();
    println!("{}", cluster.python("hostile.py", &["--proxy-pid", &pid]).await);
}
