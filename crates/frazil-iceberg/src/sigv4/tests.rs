//! What the signer makes, judged by a verifier that is itself judged by Amazon's published vectors.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::Method;
use tokio::task::JoinSet;

use super::verifier::{Arrived, Known, Verifier, signature};
use super::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const FORM_SHA256: &str = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";

/// A vector of Amazon's published test suite for Signature Version 4: key AKIDEXAMPLE, us-east-1, service `service`.
struct Vector {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    /// Beside host and date.
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    signature: &'static str,
}

const fn get(name: &'static str, target: &'static str, signature: &'static str) -> Vector {
    Vector { name, method: "GET", target, headers: &[], body: "", signature }
}

const VECTORS: [Vector; 9] = [
    get("get-vanilla", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    get(
        "get-vanilla-query-order-key-case",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    get(
        "get-vanilla-query-order-encoded",
        "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    get("get-vanilla-utf8-query", "/?ሴ=bar", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
    get("get-utf8", "/ሴ", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
    get(
        "get-unreserved",
        "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    Vector {
        name: "post-vanilla",
        method: "POST",
        target: "/",
        headers: &[],
        body: "",
        signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    },
    Vector {
        name: "get-vanilla-with-session-token",
        method: "GET",
        target: "/",
        headers: &[("x-amz-security-token", TOKEN)],
        body: "",
        signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    },
    Vector {
        name: "post-x-www-form-urlencoded",
        method: "POST",
        target: "/",
        headers: &[("content-length", "13"), FORM, ("x-amz-content-sha256", FORM_SHA256)],
        body: "Param1=value1",
        signature: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    },
];

#[test]
fn the_verifier_computes_the_published_signatures() {
    for vector in VECTORS {
        let own = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        let headers = own.iter().chain(vector.headers);
        let headers: BTreeMap<String, String> =
            headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let signed: Vec<String> = headers.keys().cloned().collect();
        let signed: Vec<&str> = signed.iter().map(String::as_str).collect();
        let request = Arrived { method: vector.method, target: vector.target, headers, body: vector.body.as_bytes() };
        assert_eq!(signature(&request, &signed, (SECRET, "us-east-1", "service")), vector.signature, "{}", vector.name);
    }
}

/// A vector of Amazon's own Rust client with encoded characters in its path, which is signed encoded twice.
#[test]
fn the_verifier_encodes_paths_twice() {
    let own = [("host", "lambda.us-east-2.amazonaws.com"), ("x-amz-date", "20210511T154045Z")];
    let request = Arrived {
        method: "POST",
        target: "/2015-03-31/functions/arn%3Aaws%3Alambda%3Aus-west-2%3A892717189312%3Afunction%3Amy-rusty-fun/invocations",
        headers: own.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        body: b"",
    };
    assert_eq!(
        signature(&request, &["host", "x-amz-date"], (SECRET, "us-east-2", "lambda")),
        "4b93abbcc68be32bd64c18e2c71150660ab4c29bbd6c32a383a7517a88fc1804"
    );
}

fn verifier(service: &str, token: Option<&str>) -> Verifier {
    let known = Known { id: "AKIDEXAMPLE".to_owned(), secret: SECRET.to_owned(), token: token.map(str::to_owned) };
    Verifier { keys: vec![known], region: "us-east-1".to_owned(), service: service.to_owned() }
}

/// What a server reads of a request that was signed and is sent.
fn arrived<'r>(request: &'r reqwest::Request, target: &'r str, body: &'r [u8]) -> Arrived<'r> {
    let text = |value: &HeaderValue| value.to_str().expect("text").to_owned();
    let mut headers: BTreeMap<String, String> =
        request.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let port = request.url().port().map(|port| format!(":{port}")).unwrap_or_default();
    headers.insert("host".to_owned(), format!("{}{port}", request.url().host_str().expect("a host")));
    Arrived { method: request.method().as_str(), target, headers, body }
}

#[tokio::test]
async fn what_is_signed_is_what_a_server_computes() {
    let given = |token| Some(Keys { id: "AKIDEXAMPLE", secret: SECRET, session_token: token });
    for (service, token) in [("execute-api", None), ("glue", Some(TOKEN)), ("s3tables", None), ("s3", None)] {
        let signer = Signer::new(source(given(token)), "us-east-1", service).expect("a signer");
        for (method, target, body) in [
            (Method::GET, "/", ""),
            (Method::GET, "/iceberg/v1/config?warehouse=arn%3Aaws%3As3tables%3Aus-east-1%3A1%3Abucket%2Fb", ""),
            (Method::HEAD, "/v1/arn%3Aaws%2Fb/namespaces/a%2Fb%1Fc.d/tables/x%3Fy%23z%20%25", ""),
            (Method::GET, "/v1/namespaces/%E1%88%B4/tables?zoo=1&pageToken=a%2Bb%3D&parent=a%1Fb&empty=", ""),
            (Method::POST, "/v1/namespaces/ns/tables/t%7E~-._", "{\"updates\":[]}"),
            (Method::DELETE, "/v1/namespaces/ns/tables/t?purgeRequested=false", ""),
        ] {
            for origin in ["https://glue.us-east-1.amazonaws.com", "http://127.0.0.1:8181"] {
                let url = format!("{origin}{target}").parse().expect("a URL");
                let mut request = reqwest::Request::new(method.clone(), url);
                request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
                request.headers_mut().insert("x-tenant", HeaderValue::from_static("two  spaces"));
                request.headers_mut().insert("accept", HeaderValue::from_static("application/json"));
                signer.sign(&mut request, Some(&Bytes::from(body))).await.expect("signed");
                let seen = arrived(&request, target, body.as_bytes());
                assert_eq!(verifier(service, token).verify(&seen), Ok("AKIDEXAMPLE".to_owned()), "{service} {target}");
                let changed = Arrived { target: "/v1/elsewhere", ..arrived(&request, target, body.as_bytes()) };
                assert!(verifier(service, token).verify(&changed).is_err(), "{service} {target}");
                let changed = Arrived { body: b"another", ..arrived(&request, target, b"") };
                assert!(verifier(service, token).verify(&changed).is_err(), "{service} {target}");
            }
        }
    }
}

#[tokio::test]
async fn credentials_that_no_header_can_carry_are_refused() {
    for (id, session_token) in [("A\nB", None), ("Å", None), ("", None), ("A", Some("t\r\n")), ("A", Some(""))] {
        let signer = Signer::new(source(Some(Keys { id, secret: SECRET, session_token })), "r", "s").expect("a signer");
        let mut request = reqwest::Request::new(Method::GET, "http://h/".parse().expect("a URL"));
        let refused = signer.sign(&mut request, None).await.expect_err("refused");
        assert!(matches!(refused, SignError::Settings(_)), "{id:?} {session_token:?}: {refused}");
    }
}

/// A container's credential service, as of EKS Pod Identity: each answer has another key, valid for `life`.
async fn credential_service(life: Duration) -> (String, Arc<AtomicU64>, JoinSet<()>) {
    let asked = Arc::new(AtomicU64::new(0));
    let counter = asked.clone();
    let answer = move |headers: axum::http::HeaderMap| async move {
        assert_eq!(headers.get("authorization").map(HeaderValue::as_bytes), Some(&b"pod-token"[..]));
        let count = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let expiration = (chrono::Utc::now() + life).to_rfc3339();
        serde_json::json!({
            "AccessKeyId": format!("KEY{count}"), "SecretAccessKey": format!("secret{count}"),
            "Token": format!("token{count}"), "Expiration": expiration,
        })
        .to_string()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let url = format!("http://{}/v1/credentials", listener.local_addr().expect("address"));
    let router = axum::Router::new().route("/v1/credentials", axum::routing::get(answer));
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, router).await.expect("serve") });
    (url, asked, server)
}

async fn key_of_next_request(signer: &Signer) -> String {
    let mut request = reqwest::Request::new(Method::GET, "http://h/v1/config".parse().expect("a URL"));
    signer.sign(&mut request, None).await.expect("signed");
    let keys = (1..200).map(|number| Known {
        id: format!("KEY{number}"),
        secret: format!("secret{number}"),
        token: Some(format!("token{number}")),
    });
    let verifier = Verifier { keys: keys.collect(), region: "r".to_owned(), service: "s".to_owned() };
    verifier.verify(&arrived(&request, "/v1/config", b"")).expect("verified")
}

#[tokio::test]
async fn credentials_of_the_environment_are_renewed_before_they_expire() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "pod-token").expect("written");
    let chain = |url: &str| {
        let file = file.path().to_str().expect("text");
        AmazonS3Builder::new()
            .with_config(AmazonS3ConfigKey::ContainerCredentialsFullUri, url)
            .with_config(AmazonS3ConfigKey::ContainerAuthorizationTokenFile, file)
    };
    let (url, asked, _server) = credential_service(Duration::from_secs(3600)).await;
    let signer = Signer::new(chain(&url), "r", "s").expect("a signer");
    for _ in 0..3 {
        assert_eq!(key_of_next_request(&signer).await, "KEY1");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "kept while they are good for long");

    // Good for two more minutes, and yet renewed.
    let (url, asked, _server) = credential_service(Duration::from_secs(120)).await;
    let signer = Signer::new(chain(&url), "r", "s").expect("a signer");
    assert_eq!(key_of_next_request(&signer).await, "KEY1");
    let renewed = async { while key_of_next_request(&signer).await == "KEY1" {} };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.expect("long before they expire");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn refusals_of_a_signature_are_told_from_those_of_a_permission() {
    for (body, expected) in [
        (r#"{"message":"Signature expired: 20260101T000000Z is now earlier than 20260101T010000Z"}"#, "clock"),
        (r#"{"message":"Signature not yet current: 20260101T010000Z is still later than"}"#, "clock"),
        ("<Error><Code>RequestTimeTooSkewed</Code></Error>", "clock"),
        (r#"{"message":"The security token included in the request is expired"}"#, "expired"),
        (r#"{"__type":"UnrecognizedClientException","message":"The security token included"}"#, "does not know"),
        (r#"{"message":"Credential should be scoped to a valid region. "}"#, "another region"),
        (r#"{"message":"The request signature we calculated does not match"}"#, "another signature"),
        (r#"{"message":"Missing Authentication Token"}"#, "no signature"),
    ] {
        let said = refusal(body.as_bytes());
        assert!(said.is_some_and(|said| said.contains(expected)), "{body}: {said:?}");
    }
    assert_eq!(
        refusal(br#"{"message":"User: arn:aws:iam::1:user/u is not authorized to perform: glue:GetTable"}"#),
        None
    );
}
