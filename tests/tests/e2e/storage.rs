//! `frazil doctor storage` against a real S3 server: every way in which it can be set up wrongly has its own words.

use std::path::Path;

use frazil_tests::seaweed::{self, Seaweed};
use frazil_tests::{clock, tools};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

struct Store {
    seaweed: Seaweed,
    dir: TempDir,
}

impl Store {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        Self { seaweed: Seaweed::start(dir.path()).await, dir }
    }

    /// What the command says with `section` as `[object_storage]`: its exit code and its findings.
    async fn doctor(&self, section: &str, environment: Vec<(String, String)>) -> (Option<i32>, Vec<Value>) {
        self.doctor_with(&[], section, environment).await
    }

    /// The same with more arguments.
    async fn doctor_with(
        &self,
        more: &[&str],
        section: &str,
        environment: Vec<(String, String)>,
    ) -> (Option<i32>, Vec<Value>) {
        let text = format!("[catalogs.lake]\nuri = \"http://127.0.0.1:9\"\n[object_storage]\n{section}");
        std::fs::write(self.dir.path().join("doctor.toml"), text).expect("temporary file");
        doctor(self.dir.path(), &[&["--config", "doctor.toml"], more].concat(), environment).await
    }

    /// The section that fits, with a bucket and keys.
    fn section(&self, bucket: &str, [key, secret]: [&str; 2]) -> String {
        let endpoint = &self.seaweed.endpoint;
        format!(
            "endpoint = \"{endpoint}\"\nregion = \"us-east-1\"\npath_style = true\naccess_key_id = \"{key}\"\n\
             secret_access_key = \"{secret}\"\ndefault_buckets = [\"{bucket}\"]\n"
        )
    }

    /// What it says of a setup that is wrong: the text of the only error.
    async fn error(&self, section: &str, environment: Vec<(String, String)>) -> String {
        let (code, findings) = self.doctor(section, environment).await;
        assert_eq!(code, Some(1), "{findings:?}");
        let error = findings.iter().find(|finding| finding["level"] == "error").expect("an error");
        error["message"].as_str().expect("text").to_owned()
    }
}

async fn doctor(dir: &Path, arguments: &[&str], environment: Vec<(String, String)>) -> (Option<i32>, Vec<Value>) {
    let mut command = Command::new(tools::frazil());
    command.args(["doctor", "storage", "--json"]).args(arguments).current_dir(dir).kill_on_drop(true).envs(environment);
    let output = command.output().await.expect("frazil runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), report["findings"].as_array().expect("findings").clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_tried_out_and_each_mistake_is_named() {
    let store = Store::start().await;
    let good = store.section("lake", seaweed::WRITER);
    let (code, findings) = store.doctor(&good, Vec::new()).await;
    assert_eq!(code, Some(0), "{findings:?}");
    assert_eq!(findings[0]["message"], "can write, read, list, upload in parts, delete");
    assert_eq!(findings.len(), 1);

    let missing = store.section("no-such-bucket", seaweed::WRITER);
    let said = store.error(&missing, Vec::new()).await;
    assert!(said.contains("there is no such bucket"), "{said}");

    let wrong = store.section("lake", [seaweed::ACCESS_KEY, "wrong"]);
    let said = store.error(&wrong, Vec::new()).await;
    assert!(said.contains("does not accept the credentials"), "{said}");

    let reader = store.section("lake", seaweed::READER);
    let said = store.error(&reader, Vec::new()).await;
    assert!(said.contains("the credentials do not allow it (on S3: s3:PutObject)"), "{said}");

    let nobody = good.replace(&store.seaweed.endpoint, "http://127.0.0.1:9");
    let said = store.error(&nobody, Vec::new()).await;
    assert!(said.contains("no answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_created_when_asked_and_then_left_alone() {
    let store = Store::start().await;
    for region in ["us-east-1", "eu-central-1"] {
        let bucket = format!("made-{region}");
        let section = store.section(&bucket, [seaweed::ACCESS_KEY, seaweed::SECRET_KEY]);
        let section = section.replace("region = \"us-east-1\"", &format!("region = \"{region}\""));
        let messages = |findings: Vec<Value>| -> Vec<String> {
            findings.iter().map(|finding| finding["message"].as_str().expect("text").to_owned()).collect()
        };
        let all = "can write, read, list, upload in parts, delete";
        let (code, findings) = store.doctor_with(&["--create-buckets"], &section, Vec::new()).await;
        assert_eq!(code, Some(0), "{findings:?}");
        assert_eq!(messages(findings), [format!("created the bucket {bucket} (region {region})"), all.to_owned()]);
        let (code, findings) = store.doctor_with(&["--create-buckets"], &section, Vec::new()).await;
        assert_eq!(code, Some(0), "{findings:?}");
        assert_eq!(messages(findings), [format!("the bucket {bucket} exists: left as it is"), all.to_owned()]);
    }
    // One who may make none; and what was not asked for is not made.
    let section = store.section("never-made", seaweed::WRITER);
    let said = store.error(&section, Vec::new()).await;
    assert!(said.contains("there is no such bucket"), "{said}");
    let (code, findings) = store.doctor_with(&["--create-buckets"], &section, Vec::new()).await;
    assert_eq!(code, Some(1), "{findings:?}");
    let said = findings[0]["message"].as_str().expect("text");
    assert!(said.contains("cannot create the bucket: the credentials do not allow it"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_an_hour_late_is_named() {
    let store = Store::start().await;
    clock::build(store.dir.path()).await;
    let environment = clock::environment(store.dir.path(), "doctor");
    clock::set(store.dir.path(), "doctor", -3_600_000_000_000);
    let good = store.section("lake", seaweed::WRITER);
    let said = store.error(&good, environment).await;
    assert!(said.contains("this machine's clock and the store's are too far apart"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_this_machine_and_a_configuration_without_any_place() {
    let dir = tempfile::tempdir().expect("temporary folder");
    std::fs::write(dir.path().join("doctor.toml"), "[catalogs.lake]\nuri = \"http://127.0.0.1:9\"\n").expect("file");
    let folder = format!("file://{}", dir.path().display());
    let (code, findings) = doctor(dir.path(), &["--config", "doctor.toml", &folder], Vec::new()).await;
    assert_eq!((code, findings.len()), (Some(0), 1), "{findings:?}");

    let mut command = Command::new(tools::frazil());
    command.args(["doctor", "storage", "--config", "doctor.toml"]).current_dir(dir.path());
    let output = command.output().await.expect("frazil runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("object_storage.default_buckets"), "{said}");
}
