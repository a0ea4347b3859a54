//! What a client is told about a stored request: where in the log its events are.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::checkpoint::{Incarnation, Sequence};
use crate::name::{Shard, StreamName, TableName};

/// Names the log positions of one acknowledged request. Opaque to clients; contains nothing secret and
/// grants nothing. Text form: URL-safe base64 of
/// `1|<stream>|<shard>|<incarnation>|<first>|<last>|<table>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Receipt {
    /// The shard that stored the events.
    pub shard: Shard,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Sequence of the first message with events of the request.
    pub first: Sequence,
    /// Sequence of the last message with events of the request.
    pub last: Sequence,
    /// The table the events are for.
    pub table: TableName,
}

/// A text that is not a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a receipt of this service")]
pub struct MalformedReceipt;

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard: Shard { stream, index }, incarnation, first, last, table } = self;
        let text = format!("1|{stream}|{index}|{incarnation}|{first}|{last}|{table}");
        f.write_str(&URL_SAFE_NO_PAD.encode(text))
    }
}

impl FromStr for Receipt {
    type Err = MalformedReceipt;

    fn from_str(text: &str) -> Result<Self, MalformedReceipt> {
        if text.len() > 2048 {
            return Err(MalformedReceipt);
        }
        parse(text).ok_or(MalformedReceipt)
    }
}

fn parse(text: &str) -> Option<Receipt> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let parts: Vec<&str> = text.splitn(7, '|').collect();
    let ["1", stream, index, incarnation, first, last, table] = parts.as_slice() else { return None };
    let stream: StreamName = stream.parse().ok()?;
    let receipt = Receipt {
        shard: Shard::new(stream, index.parse().ok()?),
        incarnation: incarnation.parse().ok()?,
        first: first.parse().ok()?,
        last: last.parse().ok()?,
        table: table.parse().ok()?,
    };
    (receipt.first <= receipt.last).then_some(receipt)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// 1. Text round trip.
        #[test]
        fn round_trip(index: u32, incarnation: u64, a: u64, b: u64, table in "[a-z|]{1,9}") {
            let receipt = Receipt {
                shard: Shard::new("sales".parse().expect("valid"), index),
                incarnation: Incarnation(incarnation),
                first: a.min(b),
                last: a.max(b),
                table: format!("lake.web.{table}").parse().expect("valid"),
            };
            prop_assert_eq!(receipt.to_string().parse::<Receipt>(), Ok(receipt));
        }

        /// 2. No text makes the parser panic.
        #[test]
        fn any_text(text: String) {
            let _ = text.parse::<Receipt>();
            let _ = URL_SAFE_NO_PAD.encode(&text).parse::<Receipt>();
        }
    }
}
