//! Texts with a grammar that come from outside: names, tokens, receipts, checkpoints, marks, routing rules. What is
//! accepted prints as something that is read as the same.
#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use frazil_core::checkpoint::{Checkpoint, CheckpointDelta, Incarnation};
use frazil_core::idempotency::KeyedRange;
use frazil_core::receipt::Receipt;
use frazil_core::replay::Replayed;
use frazil_core::routing::Routing;
use frazil_core::token::{Pattern, Token};
use frazil_core::{StreamName, TableName};
use frazil_fuzz::{byte, split_at_zero};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut data = data;
    let kind = byte(&mut data);
    let (first, second) = split_at_zero(data);
    let (Ok(text), Ok(event)) = (std::str::from_utf8(first), std::str::from_utf8(second)) else { return };
    match kind % 10 {
        0 => stream(text),
        1 => table(text),
        2 => token(text),
        3 => round_trips::<Receipt>(text),
        4 => round_trips::<Checkpoint>(text),
        5 => round_trips::<CheckpointDelta>(text),
        6 => round_trips::<Incarnation>(text),
        7 => round_trips::<Replayed>(text),
        8 => round_trips::<KeyedRange>(text),
        _ => route(text, event),
    }
});

fn round_trips<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    let Ok(value) = text.parse::<T>() else { return };
    let printed = value.to_string();
    assert_eq!(printed.parse::<T>().ok().as_ref(), Some(&value), "{text:?} printed as {printed:?}");
}

/// A stream's name is a token of a NATS subject and of a JetStream stream's name.
fn stream(text: &str) {
    round_trips::<StreamName>(text);
    if let Ok(name) = text.parse::<StreamName>() {
        let plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        assert!(name.as_str().chars().all(plain), "{name}");
    }
}

fn table(text: &str) {
    round_trips::<TableName>(text);
    let Ok(name) = TableName::parse(text, "lake").and_then(TableName::as_sent) else { return };
    let parts = name.namespace().iter().map(String::as_str).chain([name.catalog(), name.table()]);
    for part in parts {
        assert!(!part.is_empty() && !part.contains(['.', '/', '\\', '\n', '\r', '\0']), "{name:?}");
    }
}

fn token(text: &str) {
    let Ok(token) = Token::parse(text) else { return };
    assert_eq!(Token::parse(&token.reveal()).as_ref().map(Token::hash), Ok(token.hash()));
    assert!(!format!("{token:?}").contains(text), "a token does not show itself");
    let _either = Pattern(text.to_owned()).matches(token.id());
}

/// Whatever an event says, it comes to a table of the template's shape or to none.
fn route(template: &str, event: &str) {
    let rule = Routing { table: template.to_owned(), allow: Vec::new(), fallback: None };
    let Ok(mut router) = rule.compile("lake", false) else { return };
    if let Ok(table) = router.table_of(event.as_bytes()) {
        assert_eq!(table.to_string().parse::<TableName>().as_ref(), Ok(table.as_ref()));
        assert!(!table.table().ends_with("__dead_letter"), "{table}");
    }
}
