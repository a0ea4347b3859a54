//! What the path decides from headers alone. The path as a whole is tested over HTTP.

use super::*;

fn key_of(values: &[&str]) -> Result<Option<String>, Rejection> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append("idempotency-key", axum::http::HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
    }
    idempotency_key(&headers)
}

#[test]
fn idempotency_keys() {
    let longest = "k".repeat(IDEMPOTENCY_KEY_MAX_BYTES);
    assert_eq!(key_of(&[]).expect("none"), None);
    for (text, key) in [("abc", "abc"), ("\"abc\"", "abc"), (" a-1_~ ", "a-1_~"), ("\"", "\""), (&longest, &longest)] {
        assert_eq!(key_of(&[text]).expect(text).as_deref(), Some(key));
    }
    for bad in ["", "\"\"", "a b", "ä", "a\tb", &format!("{longest}k")] {
        assert!(matches!(key_of(&[bad]), Err(Rejection::Malformed { name: "Idempotency-Key", .. })), "{bad:?}");
    }
    assert!(key_of(&["a", "a"]).is_err());
}

#[test]
fn iomete_names_have_exactly_three_parts() {
    assert_eq!(three_parts("lake.web.clicks").expect("three").to_string(), "lake.web.clicks");
    assert!(matches!(three_parts("web.clicks"), Err(Rejection::MalformedTable(_))));
    assert!(matches!(three_parts("clicks"), Err(Rejection::MalformedTable(_))));
    assert!(matches!(three_parts("lake.web.eu.clicks"), Err(Rejection::Malformed { name: "table", .. })));
    assert!(matches!(three_parts("lake..clicks"), Err(Rejection::MalformedTable(_))));
}
