//! Who may send: API tokens, stored only as a hash, and the patterns that scope them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::name::{StreamName, TableName};
use crate::rate::RateLimits;

const PREFIX: &str = "frz_";

/// A token as its holder has it: `frz_<id>_<secret>`. Shown once, when it is made.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

/// A text that is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Frazil token")]
pub struct MalformedToken;

impl Token {
    /// Makes a token from randomness: 48 bits name it, 256 bits are the secret.
    pub fn from_random(id: [u8; 6], secret: [u8; 32]) -> Self {
        let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id, secret: URL_SAFE_NO_PAD.encode(secret) }
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(MalformedToken)?;
        let hex = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let base64 = secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !hex || secret.len() != 43 || !base64 {
            return Err(MalformedToken);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
    }

    /// Names the token; not secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The text to hand to the holder.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }

    /// SHA-256 of the text form, in hexadecimal. A plain hash suffices: the secret has 256 random bits.
    pub fn hash(&self) -> String {
        Sha256::digest(self.reveal()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}{}_…)", self.id)
    }
}

/// A name or a pattern in which `*` stands for any characters, dots included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(pub String);

impl Pattern {
    /// Whether `name` matches.
    pub fn matches(&self, name: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut parts: Vec<&str> = parts.collect();
        let Some(last) = parts.pop() else { return rest.is_empty() };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

/// A token as stored under `token.<id>` in the control bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// Names the token.
    pub id: String,
    /// What the operator calls it.
    pub name: String,
    /// [`Token::hash`].
    pub hash: String,
    /// Streams it may send to.
    pub streams: Vec<Pattern>,
    /// Tables it may send to.
    pub tables: Vec<Pattern>,
    /// When it was made, in microseconds since the Unix epoch.
    pub created: i64,
    /// When it ends, in microseconds since the Unix epoch; never if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// What its holders together may send.
    #[serde(default, skip_serializing_if = "RateLimits::is_unlimited")]
    pub limits: RateLimits,
}

impl TokenRecord {
    /// Whether `token` is the one this record was made for and has not expired at `now` (microseconds).
    pub fn verify(&self, token: &Token, now: i64) -> bool {
        let same = self.hash.as_bytes().ct_eq(token.hash().as_bytes()).into();
        same && self.expires.is_none_or(|end| now < end)
    }

    /// Whether the holder may send to the stream.
    pub fn allows_stream(&self, stream: &StreamName) -> bool {
        self.streams.iter().any(|pattern| pattern.matches(stream.as_str()))
    }

    /// Whether the holder may insert into the table.
    pub fn allows_table(&self, table: &TableName) -> bool {
        let name = table.to_string();
        self.tables.iter().any(|pattern| pattern.matches(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(token: &Token) -> TokenRecord {
        TokenRecord {
            id: token.id().to_owned(),
            name: "test".to_owned(),
            hash: token.hash(),
            streams: vec![Pattern("sales*".to_owned())],
            tables: vec![Pattern("lake.web.*".to_owned())],
            created: 0,
            expires: Some(100),
            limits: RateLimits::default(),
        }
    }

    #[test]
    fn only_the_right_secret_in_time_passes() {
        let token = Token::from_random([1; 6], [2; 32]);
        let record = record(&token);
        let parsed = Token::parse(&token.reveal()).expect("own form");
        assert!(record.verify(&parsed, 99));
        assert!(!record.verify(&parsed, 100), "expired");
        assert!(!record.verify(&Token::from_random([1; 6], [3; 32]), 99), "wrong secret");
        assert!(!format!("{token:?}").contains(&token.secret));
    }

    #[test]
    fn texts_that_are_no_tokens() {
        let good = Token::from_random([1; 6], [2; 32]).reveal();
        for bad in ["", "frz_", "frz_010101010101_", &good[1..], &format!("{good}x"), &good.to_uppercase()] {
            assert_eq!(Token::parse(bad), Err(MalformedToken), "{bad:?}");
        }
    }

    #[test]
    fn scopes() {
        let record = record(&Token::from_random([1; 6], [2; 32]));
        assert!(record.allows_stream(&"sales-eu".parse().expect("valid")));
        assert!(!record.allows_stream(&"presales".parse().expect("valid")));
        assert!(record.allows_table(&"lake.web.clicks".parse().expect("valid")));
        assert!(!record.allows_table(&"lake.hr.pay".parse().expect("valid")));
    }

    #[test]
    fn patterns() {
        for (pattern, name, matches) in [
            ("*", "", true),
            ("*", "abc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("", "a", false),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*bc", "abcbc", true),
            ("a*c", "acb", false),
            ("a*b*c", "a__b__c", true),
            ("a*b*c", "a__c__b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(name), matches, "{pattern} {name}");
        }
    }
}
