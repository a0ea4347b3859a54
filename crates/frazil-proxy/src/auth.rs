//! Who sends, and what they may send to: decided from headers alone, before a body is read.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use std::sync::Arc;

use frazil_core::rate::RateLimits;
use frazil_core::stream::StreamDefinition;
use frazil_core::token::{Token, TokenRecord};
use frazil_core::{StreamName, TableName};
use frazil_log::Directory;

use crate::error::Rejection;

/// A sender whose token was verified.
#[derive(Debug, Clone)]
pub struct Caller {
    record: Arc<TokenRecord>,
}

/// Verifies the token in `Authorization`, bare or behind `Bearer`, at `now` (microseconds since the Unix epoch).
///
/// # Errors
/// `401`, the same for malformed, unknown, revoked and expired tokens.
pub fn authenticate(headers: &HeaderMap, directory: &Directory, now: i64) -> Result<Caller, Rejection> {
    let value = headers.get(AUTHORIZATION).ok_or(Rejection::MissingToken)?;
    let text = value.to_str().map_err(|_| Rejection::InvalidToken)?.trim();
    if text.is_empty() {
        return Err(Rejection::MissingToken);
    }
    let token = Token::parse(without_scheme(text)).map_err(|_| Rejection::InvalidToken)?;
    match directory.token(token.id()) {
        Some(record) if record.verify(&token, now) => Ok(Caller { record }),
        Some(_) | None => Err(Rejection::InvalidToken),
    }
}

fn without_scheme(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        Some(_) | None => text,
    }
}

impl Caller {
    /// Id of the caller's token; scopes idempotency keys.
    pub fn token_id(&self) -> &str {
        &self.record.id
    }

    /// What all who use the caller's token may send together.
    pub fn limits(&self) -> RateLimits {
        self.record.limits
    }

    /// The stream of this name, if the caller may use it.
    ///
    /// # Errors
    /// `403` before `404`: a caller learns nothing about streams they may not use.
    pub fn stream(&self, directory: &Directory, name: &str) -> Result<Arc<StreamDefinition>, Rejection> {
        let parsed: StreamName =
            name.parse().map_err(|_| Rejection::StreamNotFound(name.chars().take(80).collect()))?;
        if !self.record.allows_stream(&parsed) {
            return Err(Rejection::StreamForbidden(name.to_owned()));
        }
        directory.stream(name).ok_or_else(|| Rejection::StreamNotFound(name.to_owned()))
    }

    /// Refuses tables the caller may not insert into.
    ///
    /// # Errors
    /// `403`.
    pub fn may_insert(&self, table: &TableName) -> Result<(), Rejection> {
        if self.record.allows_table(table) { Ok(()) } else { Err(Rejection::TableForbidden(table.clone())) }
    }
}

#[cfg(test)]
mod tests {
    use frazil_core::token::Pattern;

    use super::*;

    fn directory(token: &Token) -> Directory {
        let record = TokenRecord {
            id: token.id().to_owned(),
            name: "test".to_owned(),
            hash: token.hash(),
            streams: vec![Pattern("sales*".to_owned())],
            tables: vec![Pattern("lake.web.*".to_owned())],
            created: 0,
            expires: Some(100),
            limits: RateLimits::default(),
        };
        let stream = StreamDefinition::new("sales".parse().expect("valid"), 1);
        Directory::fixed(vec![stream], vec![record])
    }

    fn try_with(value: Option<&str>, directory: &Directory, now: i64) -> Result<Caller, Rejection> {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        }
        authenticate(&headers, directory, now)
    }

    #[test]
    fn both_forms_of_a_token_pass() {
        let token = Token::from_random([1; 6], [2; 32]);
        let directory = directory(&token);
        let text = token.reveal();
        for value in [text.clone(), format!("Bearer {text}"), format!("bearer  {text} ")] {
            let caller = try_with(Some(&value), &directory, 99).expect("valid");
            assert_eq!(caller.token_id(), token.id());
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let token = Token::from_random([1; 6], [2; 32]);
        let directory = directory(&token);
        let text = token.reveal();
        let other = Token::from_random([1; 6], [3; 32]).reveal();
        let unknown = Token::from_random([9; 6], [2; 32]).reveal();
        for missing in [None, Some(""), Some(" ")] {
            assert!(matches!(try_with(missing, &directory, 0), Err(Rejection::MissingToken)), "{missing:?}");
        }
        for bad in [other, unknown, format!("Basic {text}"), "Bearer".to_owned(), format!("{text} {text}")] {
            assert!(matches!(try_with(Some(&bad), &directory, 0), Err(Rejection::InvalidToken)), "{bad:?}");
        }
        assert!(matches!(try_with(Some(&text), &directory, 100), Err(Rejection::InvalidToken)), "expired");
    }

    #[test]
    fn scopes() {
        let token = Token::from_random([1; 6], [2; 32]);
        let directory = directory(&token);
        let caller = try_with(Some(&token.reveal()), &directory, 0).expect("valid");
        assert_eq!(caller.stream(&directory, "sales").expect("allowed").name.as_str(), "sales");
        assert!(matches!(caller.stream(&directory, "sales-eu"), Err(Rejection::StreamNotFound(_))));
        assert!(matches!(caller.stream(&directory, "hr"), Err(Rejection::StreamForbidden(_))));
        assert!(matches!(caller.stream(&directory, "No such"), Err(Rejection::StreamNotFound(_))));
        assert!(caller.may_insert(&"lake.web.clicks".parse().expect("valid")).is_ok());
        let forbidden = caller.may_insert(&"lake.hr.pay".parse().expect("valid"));
        assert!(matches!(forbidden, Err(Rejection::TableForbidden(_))));
    }
}
