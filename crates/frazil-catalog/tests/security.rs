//! Every endpoint with and without the catalog's token. The source of the router says which endpoints there are.

use std::collections::BTreeSet;

use reqwest::{Client, Method};

use crate::server::Server;

const TOKEN: &str = "hush-catalog";

/// Paths as the router has them, with the methods they take.
const ENDPOINTS: [(&str, &[Method]); 10] = [
    ("/v1/config", &[Method::GET]),
    ("/v1/namespaces", &[Method::GET, Method::POST]),
    ("/v1/namespaces/{namespace}", &[Method::GET, Method::HEAD, Method::DELETE]),
    ("/v1/namespaces/{namespace}/properties", &[Method::POST]),
    ("/v1/namespaces/{namespace}/tables", &[Method::GET, Method::POST]),
    ("/v1/namespaces/{namespace}/register", &[Method::POST]),
    ("/v1/namespaces/{namespace}/tables/{table}", &[Method::GET, Method::HEAD, Method::POST, Method::DELETE]),
    ("/v1/namespaces/{namespace}/tables/{table}/metrics", &[Method::POST]),
    ("/v1/tables/rename", &[Method::POST]),
    ("/v1/transactions/commit", &[Method::POST]),
];

#[tokio::test]
async fn every_endpoint_needs_the_token() {
    let server = Server::start_with(|config| config.token = Some(TOKEN.to_owned())).await;
    let client = Client::builder().no_proxy().build().expect("a client");
    let ask = async |method: &Method, path: &str, authorization: Option<&str>| {
        let mut request = client.request(method.clone(), format!("{}{path}", server.api.base));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request.body("{}").header("content-type", "application/json").send().await.expect("sent").status().as_u16()
    };
    let right = format!("Bearer {TOKEN}");
    let wrong =
        ["", "hush-catalog", "Bearer", "Bearer ", "Bearer hush-catalo", "Bearer hush-catalogs", "Basic hush-catalog"];
    for (path, methods) in ENDPOINTS {
        let path = path.replace("{namespace}", "ns").replace("{table}", "t");
        for method in methods {
            assert_eq!(ask(method, &path, None).await, 401, "{method} {path} without a token");
            for wrong in wrong {
                assert_eq!(ask(method, &path, Some(wrong)).await, 401, "{method} {path} with {wrong:?}");
            }
            let status = ask(method, &path, Some(&right)).await;
            assert!(![401, 403, 405].contains(&status), "{method} {path} with the token: {status}");
        }
        // What is not there is not told apart from what is.
        assert_eq!(ask(&Method::PATCH, &path, None).await, 401);
    }
    assert_eq!(ask(&Method::GET, "/nowhere", None).await, 401);
    assert_eq!(ask(&Method::GET, "/nowhere", Some(&right)).await, 404);
}

#[test]
fn no_endpoint_is_left_out() {
    let source = include_str!("../src/http.rs");
    let routed: BTreeSet<&str> =
        source.split(".route(\"").skip(1).map(|rest| rest.split('"').next().expect("a path")).collect();
    let listed: BTreeSet<&str> = ENDPOINTS.iter().map(|(path, _)| *path).collect();
    assert_eq!(routed, listed);
}
