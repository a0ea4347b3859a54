//! The server's side of Signature Version 4, for tests: computes a signature again from what arrived on the wire.
//!
//! Written from Amazon's description and checked with Amazon's published vectors, and shares no code with the signer.

use std::collections::BTreeMap;

use ring::{digest, hmac};

/// A key as the server knows it.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: Option<String>,
}

/// A server that answers for one service in one region.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    pub(crate) keys: Vec<Known>,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// A request as it arrived.
#[derive(Debug)]
pub(crate) struct Arrived<'r> {
    pub(crate) method: &'r str,
    /// Path and query, byte for byte.
    pub(crate) target: &'r str,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: &'r [u8],
}

impl Verifier {
    /// The id of the key that signed the request, or the answer of a server that refuses it.
    pub(crate) fn verify(&self, request: &Arrived<'_>) -> Result<String, String> {
        let header = |name: &str| request.headers.get(name).map(String::as_str);
        let missing = || "Missing Authentication Token".to_owned();
        let authorization =
            header("authorization").and_then(|text| text.strip_prefix("AWS4-HMAC-SHA256 ")).ok_or_else(missing)?;
        let fields: BTreeMap<&str, &str> =
            authorization.split(", ").filter_map(|field| field.split_once('=')).collect();
        let (id, scope) = fields["Credential"].split_once('/').ok_or_else(missing)?;
        let date = header("x-amz-date").ok_or_else(missing)?;
        let expected = format!("{}/{}/{}/aws4_request", &date[..8], self.region, self.service);
        if scope != expected {
            return Err(format!("Credential should be scoped to {expected}, not {scope}"));
        }
        let known = self.keys.iter().find(|known| known.id == id);
        let known =
            known.ok_or("UnrecognizedClientException: The security token included in the request is invalid.")?;
        if known.token.as_deref() != header("x-amz-security-token") {
            return Err("The security token included in the request is invalid.".to_owned());
        }
        let signed: Vec<&str> = fields["SignedHeaders"].split(';').collect();
        let must = |name: &&String| *name == "host" || *name == "content-type" || name.starts_with("x-amz-");
        if let Some(forgotten) = request.headers.keys().filter(must).find(|name| !signed.contains(&name.as_str())) {
            return Err(format!("InvalidSignatureException: {forgotten} must be signed"));
        }
        if header("x-amz-content-sha256") != Some(&hex(digest::digest(&digest::SHA256, request.body).as_ref())) {
            return Err("InvalidSignatureException: x-amz-content-sha256 is not the body's".to_owned());
        }
        let computed = signature(request, &signed, (&known.secret, &self.region, &self.service));
        if fields["Signature"] != computed {
            return Err("The request signature we calculated does not match the signature you provided.".to_owned());
        }
        Ok(id.to_owned())
    }
}

/// The signature of a request over these headers, with a secret, for a region and a service.
pub(crate) fn signature(
    request: &Arrived<'_>,
    signed: &[&str],
    (secret, region, service): (&str, &str, &str),
) -> String {
    let date = &request.headers["x-amz-date"];
    let scope = format!("{}/{region}/{service}/aws4_request", &date[..8]);
    let canonical = canonical(request, signed, service);
    let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let mac = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let mut key = mac(format!("AWS4{secret}").as_bytes(), &date[..8]);
    for part in [region, service, "aws4_request"] {
        key = mac(key.as_ref(), part);
    }
    hex(mac(key.as_ref(), &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}")).as_ref())
}

fn canonical(request: &Arrived<'_>, signed: &[&str], service: &str) -> String {
    let (path, query) = request.target.split_once('?').unwrap_or((request.target, ""));
    // What is on the wire is encoded once already: S3 takes it so, every other service encodes it again.
    let path = if service == "s3" { path.to_owned() } else { encode(path.as_bytes(), b"/") };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (encode(&decode(key), b""), encode(&decode(value), b"")))
        .collect();
    pairs.sort();
    let query: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    let value =
        |name: &str| request.headers.get(name).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let headers: String = signed.iter().map(|name| format!("{name}:{}\n", value(name).unwrap_or_default())).collect();
    let hash = hex(digest::digest(&digest::SHA256, request.body).as_ref());
    [request.method, &path, &query.join("&"), &headers, &signed.join(";"), &hash].join("\n")
}

fn encode(bytes: &[u8], kept: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte) || kept.contains(byte);
    bytes.iter().map(|byte| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let code = std::str::from_utf8(more.get(..2).unwrap_or_default()).ok();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
