//! Tests of the REST client against a catalog that checks every signature by itself.

use std::collections::VecDeque;
use std::time::Duration;

use iceberg::{NamespaceIdent, TableIdent};
use reqwest::Method;

use super::stub::{Fault, Stub};
use super::*;
use crate::sigv4::verifier::{Known, Verifier};

const SCHEMA: &str = r#"{"type":"struct","schema-id":0,"fields":[{"id":1,"name":"n","required":false,"type":"long"}]}"#;

/// A catalog that takes signatures of this key only, and a client that makes them.
async fn signed(service: Option<&str>, token: Option<&str>) -> (Stub, RestCatalogConfig) {
    let stub = Stub::start().await;
    let (region, service_name) = ("eu-central-1".to_owned(), service.unwrap_or("execute-api").to_owned());
    let known = Known { id: "AKID".to_owned(), secret: "AKID/secret".to_owned(), token: token.map(str::to_owned) };
    let verifier = Verifier { keys: vec![known], region: region.clone(), service: service_name };
    stub.with(|shared| shared.verifier = Some(verifier));
    let mut config = stub.config();
    let keys = AwsKeys {
        access_key_id: Secret::new("AKID"),
        secret_access_key: Secret::new("AKID/secret"),
        session_token: token.map(Secret::new),
    };
    config.auth = Auth::SigV4(SigV4 { region: Some(region), service: service.map(str::to_owned), keys: Some(keys) });
    (stub, config)
}

#[tokio::test]
async fn every_request_is_signed_as_the_server_computes_it() {
    for (service, token) in [(None, None), (Some("glue"), Some("temporary/token==")), (Some("s3tables"), None)] {
        let (stub, mut config) = signed(service, token).await;
        config.warehouse = Some("arn:aws:s3tables:eu-central-1:1:bucket/b".to_owned());
        config.headers = BTreeMap::from([("x-tenant".to_owned(), "acme".to_owned())]);
        config.vended_credentials = true;
        let catalog = RestCatalog::connect(config.clone()).await.expect("connect");
        let namespace = NamespaceIdent::from_strs(["a/b", "c d", "ü"]).expect("namespace");
        catalog.create_namespace(&namespace).await.expect("with parents");
        catalog.list_namespaces(Some(&namespace)).await.expect("a query with a separator");
        let ident = TableIdent::from_strs(["a/b", "c d", "ü", "x?y#z %"]).expect("ident");
        let create = crate::create::create_table(SCHEMA, "", "", BTreeMap::new(), None).expect("definition");
        catalog.create_table(&ident, create).await.expect("create");
        assert!(catalog.table_exists(&ident).await.expect("exists"));
        catalog.commit_table(&ident, Vec::new(), Vec::new()).await.expect("commit");
        catalog.drop_table(&ident).await.expect("drop");
        stub.with(|shared| {
            assert_eq!(shared.signed_by.len(), shared.seen.len(), "all of them were good");
            assert!(shared.seen.iter().any(|seen| seen.path.contains("a%2Fb%1Fc%20d%1F%C3%BC/tables/x%3Fy%23z%20%25")));
            let authorization = shared.seen[0].headers["authorization"].to_str().expect("text");
            assert!(authorization.contains(&format!("/eu-central-1/{}/", service.unwrap_or("execute-api"))));
            assert!(authorization.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date;"), "{authorization}");
            assert!(authorization.contains("x-tenant"), "{authorization}");
        });
        let shown = format!("{config:?}");
        assert!(!shown.contains("AKID") && !shown.contains("temporary"), "{shown}");
    }
}

#[tokio::test]
async fn a_wrong_secret_region_or_service_is_told() {
    let (stub, config) = signed(Some("glue"), None).await;
    let other = |change: &dyn Fn(&mut SigV4)| {
        let mut config = config.clone();
        let Auth::SigV4(sigv4) = &mut config.auth else { panic!("signed") };
        change(sigv4);
        config
    };
    let keys = |id: &str, token: Option<&str>| {
        let (id, secret) = (Secret::new(id), Secret::new("wrong"));
        Some(AwsKeys { access_key_id: id, secret_access_key: secret, session_token: token.map(Secret::new) })
    };
    for (config, words) in [
        (other(&|sigv4| sigv4.keys = keys("AKID", None)), "the secret key is wrong"),
        (other(&|sigv4| sigv4.keys = keys("NOBODY", None)), "does not know the access key"),
        (other(&|sigv4| sigv4.keys = keys("AKID", Some("another"))), "the session token does not belong to it"),
        (other(&|sigv4| sigv4.region = Some("us-east-1".to_owned())), "another region or service"),
        (other(&|sigv4| sigv4.service = None), "another region or service"),
    ] {
        let refused = RestCatalog::connect(config).await.expect_err("refused");
        assert!(matches!(&refused, CatalogError::Unauthorized { message } if message.contains(words)), "{refused}");
        assert!(!refused.is_retryable());
    }
    assert_eq!(stub.with(|shared| shared.signed_by.len()), 0);
}

#[tokio::test]
async fn a_signature_of_another_time_is_told_with_the_clocks() {
    let (stub, config) = signed(None, None).await;
    let catalog = RestCatalog::connect(config).await.expect("connect");
    let ident = TableIdent::from_strs(["ns", "t"]).expect("ident");
    let refuse = |message, date| stub.with(|shared| shared.refusals = VecDeque::from([(403, message, date)]));
    refuse("Signature expired: 20260101T000000Z is now earlier than …", Some("Wed, 21 Oct 2015 07:28:00 GMT"));
    let refused = catalog.load_table(&ident).await.expect_err("refused").to_string();
    assert!(refused.contains("clock") && refused.contains(" s ahead of it"), "{refused}");
    refuse("Signature not yet current", None);
    let refused = catalog.commit_table(&ident, Vec::new(), Vec::new()).await.expect_err("refused");
    assert!(
        matches!(&refused, CommitError::Rejected(CatalogError::Unauthorized { message }) if message.contains("clock"))
    );
    // A permission is not a signature.
    refuse("User: arn:aws:iam::1:user/u is not authorized to perform: glue:GetTable", None);
    let refused = catalog.load_table(&ident).await.expect_err("refused");
    assert!(matches!(&refused, CatalogError::Forbidden { message } if message.contains("glue:GetTable")), "{refused}");
}

#[tokio::test]
async fn every_try_is_signed_anew() {
    let (stub, mut config) = signed(None, None).await;
    // Signatures of two seconds differ: the server asks for as much time between the tries.
    config.retry.max = Duration::from_secs(2);
    stub.with(|shared| shared.retry_after = Some(2));
    let catalog = RestCatalog::connect(config).await.expect("connect");
    let namespace = NamespaceIdent::new("ns".to_owned());
    stub.fault(Method::GET, Fault::Refuse(503));
    assert_eq!(catalog.list_tables(&namespace).await.expect("the second try"), []);
    let dates: Vec<String> = stub.with(|shared| {
        let tries = shared.seen.iter().filter(|seen| seen.path.ends_with("/namespaces/ns/tables"));
        tries.map(|seen| seen.headers["x-amz-date"].to_str().expect("text").to_owned()).collect()
    });
    assert!(dates.len() == 2 && dates[0] < dates[1], "{dates:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (stub, config) = signed(None, Some("temporary")).await;
    let elsewhere = Stub::start().await;
    let catalog = RestCatalog::connect(config).await.expect("connect");
    stub.with(|shared| shared.moved = Some(format!("http://{}/v1/config", elsewhere.address)));
    let ident = TableIdent::from_strs(["ns", "t"]).expect("ident");
    let error = catalog.load_table(&ident).await.expect_err("a redirect");
    assert!(matches!(error, CatalogError::Malformed { .. }), "{error}");
    assert_eq!(elsewhere.with(|shared| shared.seen.len()), 0, "the session token was shown to nobody else");
}

#[tokio::test]
async fn settings_that_make_no_signature_are_refused_before_anything_is_sent() {
    let (stub, mut config) = signed(None, None).await;
    let keys =
        AwsKeys { access_key_id: Secret::new("A\u{e5}"), secret_access_key: Secret::new("s"), session_token: None };
    config.auth = Auth::SigV4(SigV4 { region: Some("r".to_owned()), service: None, keys: Some(keys) });
    let refused = RestCatalog::connect(config).await.expect_err("refused");
    assert!(
        matches!(&refused, CatalogError::Configuration { message } if message.contains("access key id")),
        "{refused}"
    );
    assert_eq!(stub.with(|shared| shared.seen.len()), 0);
}
