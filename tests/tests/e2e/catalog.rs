//! The embedded catalog under PyIceberg's own client.

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::lake::python;

#[tokio::test(flavor = "multi_thread")]
async fn pyiceberg_uses_the_embedded_catalog() {
    let cluster = Cluster::start(Options { writers: 0, ..Options::default() }).await;
    let arguments = ["--uri", &cluster.lake.uri, "--warehouse", &cluster.warehouse()].map(str::to_owned);
    println!("{}", python("catalog_pyiceberg.py", &arguments).await);
}
