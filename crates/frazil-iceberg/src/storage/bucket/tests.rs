//! Tests of the creation of buckets against a server that checks signatures and counts what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::task::JoinSet;

use super::*;
use crate::sigv4::verifier::{Arrived, Known, Verifier};
use crate::storage::ProbeCause;

/// What a server has and was asked.
#[derive(Default)]
struct Server {
    buckets: Vec<String>,
    /// How a bucket is refused, by method.
    refusals: HashMap<&'static str, (u16, &'static str)>,
    asked: Vec<(String, String)>,
    region: &'static str,
}

type Shared = Arc<Mutex<Server>>;

async fn start(server: Server) -> (String, Shared, JoinSet<()>) {
    let shared = Arc::new(Mutex::new(server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    let router = axum::Router::new().fallback(handle).with_state(shared.clone());
    let mut task = JoinSet::new();
    task.spawn(async move { axum::serve(listener, router).await.expect("serve") });
    (endpoint, shared, task)
}

async fn handle(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("body");
    let mut server = shared.lock().expect("no panic while held");
    let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let headers =
        parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.to_str().expect("text").to_owned()));
    let arrived = Arrived { method: parts.method.as_str(), target: &target, headers: headers.collect(), body: &body };
    let keys = vec![Known { id: "AKID".to_owned(), secret: "secret".to_owned(), token: None }];
    let verifier = Verifier { keys, region: server.region.to_owned(), service: "s3".to_owned() };
    if verifier.verify(&arrived).is_err() {
        return error(403, "SignatureDoesNotMatch");
    }
    server.asked.push((parts.method.to_string(), String::from_utf8_lossy(&body).into_owned()));
    if let Some((status, code)) = server.refusals.get(parts.method.as_str()) {
        return error(*status, code);
    }
    let bucket = parts.uri.path().trim_start_matches('/').to_owned();
    match (parts.method.as_str(), server.buckets.contains(&bucket)) {
        ("GET", true) => StatusCode::OK.into_response(),
        ("GET", false) => error(404, "NoSuchBucket"),
        ("PUT", false) => {
            server.buckets.push(bucket);
            StatusCode::OK.into_response()
        }
        (method, exists) => panic!("{method} of a bucket (exists: {exists})"),
    }
}

fn error(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code><Message>As asked.</Message></Error>");
    (StatusCode::from_u16(status).expect("status"), body).into_response()
}

fn storage(endpoint: &str, region: &str, secret: &str) -> ObjectStorage {
    let properties = [
        ("s3.endpoint", endpoint),
        ("s3.region", region),
        ("s3.path-style-access", "true"),
        ("s3.access-key-id", "AKID"),
        ("s3.secret-access-key", secret),
    ];
    ObjectStorage::new(properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

#[tokio::test]
async fn a_missing_bucket_is_created_in_its_region_and_an_existing_one_is_left_alone() {
    for (region, constraint) in
        [("us-east-1", None), ("auto", None), ("eu-central-1", Some("<LocationConstraint>eu-central-1<"))]
    {
        let (endpoint, shared, _server) = start(Server { region, ..Server::default() }).await;
        let storage = storage(&endpoint, region, "secret");
        let created = storage.create_bucket("s3://lake/some/folder").await.expect("created");
        assert_eq!(created, BucketOutcome::Created { bucket: "lake".to_owned(), region: region.to_owned() });
        let again = storage.create_bucket("s3a://lake").await.expect("seen");
        assert_eq!(again, BucketOutcome::Existed { bucket: "lake".to_owned() });
        let server = shared.lock().expect("no panic while held");
        let methods: Vec<&str> = server.asked.iter().map(|(method, _)| method.as_str()).collect();
        assert_eq!(methods, ["GET", "PUT", "GET"]);
        match constraint {
            Some(constraint) => assert!(server.asked[1].1.contains(constraint), "{:?}", server.asked),
            None => assert_eq!(server.asked[1].1, "", "{region}"),
        }
    }
    for folder in ["file:///var/lib/lake", "memory://bucket/x"] {
        let outcome = ObjectStorage::default().create_bucket(folder).await.expect("nothing to do");
        assert_eq!(outcome, BucketOutcome::NotABucket);
    }
}

#[tokio::test]
async fn a_bucket_that_cannot_be_seen_is_not_created() {
    for ((status, code), cause) in [
        ((403, "AccessDenied"), ProbeCause::Permission),
        ((403, "RequestTimeTooSkewed"), ProbeCause::Clock),
        ((400, "AuthorizationHeaderMalformed"), ProbeCause::Region),
        ((404, "NoSuchKey"), ProbeCause::Other),
    ] {
        let refusals = HashMap::from([("GET", (status, code))]);
        let (endpoint, shared, _server) = start(Server { refusals, region: "r", ..Server::default() }).await;
        let failure = storage(&endpoint, "r", "secret").create_bucket("s3://lake").await.expect_err("refused");
        assert_eq!(failure.cause, cause, "{failure:?}");
        assert!(failure.message.contains(code), "{failure:?}");
        assert_eq!(shared.lock().expect("no panic while held").asked.len(), 1, "only looked at");
    }
    let (endpoint, shared, _server) = start(Server { region: "r", ..Server::default() }).await;
    let failure = storage(&endpoint, "r", "wrong").create_bucket("s3://lake").await.expect_err("refused");
    assert_eq!(failure.cause, ProbeCause::Credentials, "{failure:?}");
    assert_eq!(shared.lock().expect("no panic while held").asked.len(), 0);
}

#[tokio::test]
async fn a_bucket_elsewhere_exists_and_one_of_somebody_else_is_told() {
    let moved = HashMap::from([("GET", (301, "PermanentRedirect"))]);
    let (endpoint, _, _server) = start(Server { refusals: moved, region: "r", ..Server::default() }).await;
    let outcome = storage(&endpoint, "r", "secret").create_bucket("s3://lake").await.expect("seen");
    assert_eq!(outcome, BucketOutcome::Existed { bucket: "lake".to_owned() });

    let (put, taken) = ((409, "BucketAlreadyOwnedByYou"), (409, "BucketAlreadyExists"));
    let race = HashMap::from([("PUT", put)]);
    let (endpoint, _, _server) = start(Server { refusals: race, region: "r", ..Server::default() }).await;
    let outcome = storage(&endpoint, "r", "secret").create_bucket("s3://lake").await.expect("ours");
    assert_eq!(outcome, BucketOutcome::Existed { bucket: "lake".to_owned() });

    let theirs = HashMap::from([("PUT", taken)]);
    let (endpoint, _, _server) = start(Server { refusals: theirs, region: "r", ..Server::default() }).await;
    let failure = storage(&endpoint, "r", "secret").create_bucket("s3://lake").await.expect_err("taken");
    assert_eq!(failure.message, "BucketAlreadyExists: As asked.");
}

#[test]
fn a_bucket_has_the_address_of_its_objects() {
    for (endpoint, path_style, bucket, expected) in [
        (None, None, "lake", "https://lake.s3.eu-central-1.amazonaws.com/"),
        (None, None, "my.lake", "https://s3.eu-central-1.amazonaws.com/my.lake"),
        (None, Some(true), "lake", "https://s3.eu-central-1.amazonaws.com/lake"),
        (Some("http://s3:9000/"), None, "lake", "http://s3:9000/lake"),
        (Some("https://s3.example.com"), Some(false), "lake", "https://lake.s3.example.com/"),
    ] {
        assert_eq!(url(bucket, endpoint, path_style, "eu-central-1"), expected);
    }
}
