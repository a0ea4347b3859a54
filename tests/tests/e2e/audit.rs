//! The audit trail: what commands change is a row of `platform_event_logs`, or is not changed.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use frazil_tests::cluster::{Cluster, Options};
use frazil_tests::hand::{frazil, succeeded};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);
const TABLE: &str = "frazil_system.platform_event_logs";

/// Commands of this deployment with an `[audit]` section.
struct Audited {
    dir: PathBuf,
}

impl Audited {
    fn new(cluster: &Cluster) -> Self {
        let arguments = cluster.script_arguments(&[]);
        let plain = Path::new(arguments.last().expect("the configuration is last")).to_owned();
        let text = std::fs::read_to_string(&plain).expect("a configuration");
        let audited = format!("{text}\n[audit]\nstream = \"audit\"\nuser = \"ann\"\n");
        // A port that nobody listens on.
        let away = audited.replace(&cluster.lake.uri, "http://127.0.0.1:1");
        assert_ne!(away, audited);
        std::fs::write(plain.with_file_name("audited.toml"), audited).expect("a file can be written");
        std::fs::write(plain.with_file_name("away.toml"), away).expect("a file can be written");
        Self { dir: plain.parent().expect("it lies in a folder").to_owned() }
    }

    async fn run(&self, line: &str) -> Output {
        frazil(&self.dir, "audited.toml", &line.split(' ').collect::<Vec<_>>()).await
    }

    /// What a command said that must have failed.
    async fn refused(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(!output.status.success(), "{line} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// Action, success and payload of every row, in the order in which it happened.
fn events(read: &Value) -> Vec<(String, bool, Value)> {
    let mut rows: Vec<&Value> = read["rows"].as_array().expect("rows").iter().collect();
    rows.sort_by_key(|row| row["occurred_at"].as_str());
    let event = |row: &Value| {
        assert_eq!((&row["user_id"], &row["service"]), (&json!("ann"), &json!("frazil")));
        let payload = serde_json::from_str(row["payload"].as_str().expect("text")).expect("JSON");
        (row["action"].as_str().expect("text").to_owned(), row["success"].as_bool().expect("a boolean"), payload)
    };
    rows.into_iter().map(event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_change_is_recorded_or_not_changed() {
    let cluster = Cluster::start(Options::default()).await;
    let audited = Audited::new(&cluster);
    // Without the stream there is no trail, and so no change.
    for line in ["token create --name early", "stream create early"] {
        let said = audited.refused(line).await;
        assert!(said.contains("nothing was changed: there is no stream audit"), "{said}");
    }
    let listed =
        cluster.frazil(&["token", "list", "--json"]).await + &cluster.frazil(&["stream", "list", "--json"]).await;
    assert!(!listed.contains("early"), "{listed}");

    succeeded(audited.run("stream create audit").await);
    let token = succeeded(audited.run("token create --name shop").await);
    succeeded(audited.run("token revoke shop").await);
    succeeded(audited.run("stream create sales").await);
    succeeded(audited.run("stream update sales --shards 2").await);
    let said = audited.refused("stream create sales").await;
    assert!(said.contains("exists already"), "{said}");
    succeeded(audited.run("stream delete sales --yes").await);
    let said = audited.refused("stream delete audit --yes").await;
    assert!(said.contains("takes the audit events"), "{said}");
    let schema = r#"{"type":"struct","fields":[{"id":1,"name":"id","required":false,"type":"long"}]}"#;
    std::fs::write(audited.dir.join("schema.json"), schema).expect("a file can be written");
    succeeded(audited.run("table create shop.orders --schema schema.json").await);
    // What only looks is no event, nor is what the plain configuration changes.
    succeeded(audited.run("token list").await);
    cluster.frazil(&["token", "create", "--name", "plain"]).await;

    let read = cluster.lake.rows(TABLE, 8, LIMIT).await;
    assert_eq!(read["partition"], json!(["day(__ts__)"]));
    assert_eq!(read["types"]["occurred_at"], "timestamptz");
    let events = events(&read);
    let actions: Vec<(&str, bool)> = events.iter().map(|(action, success, _)| (action.as_str(), *success)).collect();
    let expected = [
        ("stream.create", true),
        ("token.create", true),
        ("token.revoke", true),
        ("stream.create", true),
        ("stream.update", true),
        ("stream.create", false),
        ("stream.delete", true),
        ("table.create", true),
    ];
    assert_eq!(actions, expected);
    assert_eq!(events[0].2["definition"]["name"], "audit");
    assert_eq!(events[1].2["token"]["name"], "shop");
    let secret = token.trim();
    assert!(events.iter().all(|(.., payload)| !payload.to_string().contains(secret)), "no secret in the trail");
    assert_eq!((&events[4].2["before"]["shards"], &events[4].2["after"]["shards"]), (&json!(1), &json!(2)));
    assert!(events[5].2["error"].as_str().is_some_and(|error| error.contains("exists already")), "{:?}", events[5]);
    assert_eq!(events[7].2["table"], "frazil.shop.orders");

    // A catalog that is away keeps nobody from revoking a token.
    let revoke = ["token", "revoke", "plain"];
    let output = frazil(&audited.dir, "away.toml", &revoke).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("cannot look for table"), "{said}");
    cluster.lake.rows(TABLE, 9, LIMIT).await;
}
