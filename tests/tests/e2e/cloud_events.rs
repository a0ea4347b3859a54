//! CloudEvents as the official SDKs of two languages send them.

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::tools;

#[tokio::test(flavor = "multi_thread")]
async fn official_sdks_of_python_and_javascript() {
    let cluster = Cluster::start(Options::default()).await;
    let (script, packages) = (tools::root().join("tests/js/cloudevents.cjs"), tools::tool("js/node_modules"));
    let paths = [&script, &packages].map(|path| path.to_str().expect("a plain path"));
    println!("{}", cluster.python("cloud_events.py", &["--js", paths[0], "--node-path", paths[1]]).await);
}
