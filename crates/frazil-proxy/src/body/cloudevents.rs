//! CloudEvents 1.0 over HTTP: structured, batched and binary mode, to events in the JSON event format.
//!
//! An event in the JSON event format is taken as it came: it is checked, never written anew, so no number changes. In
//! binary mode the event is put together from the headers and the body. Whether it fits a table is decided elsewhere.
//!
//! Rules of the specification (CloudEvents 1.0.2, with its JSON event format and HTTP protocol binding) that are checked:
//! the required attributes, the form of the others, attribute names, and that `data` and `data_base64` exclude each
//! other. A member that is null counts as absent. Values of extensions are not looked into.

use std::borrow::Cow;
use std::fmt;

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::lines::{Full, LineWriter};
use super::{Events, Format, Tolerance};
use crate::error::Rejection;

#[cfg(test)]
mod tests;

/// The header that marks a request in binary mode.
pub(super) const SPECVERSION_HEADER: &str = "ce-specversion";

/// What all headers with an attribute begin with.
const PREFIX: &str = "ce-";

/// The attributes that every event has, in the order in which they are written.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];

/// The attribute that says what the data is; in binary mode it travels as `Content-Type`.
const DATA_CONTENT_TYPE: &str = "datacontenttype";

/// The attributes of a CloudEvent in binary mode: checked, the required ones first, the others by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes(Vec<(String, String)>);

/// The event of a body in structured mode. What breaks the rules of CloudEvents stays an event where the body is split
/// tolerantly; whether it fits its table is then the only question.
///
/// # Errors
/// `400` for what is not exactly one JSON object, or breaks the rules.
pub(super) fn structured(body: &[u8], tolerance: Tolerance) -> Result<Events, Rejection> {
    let refuse = |message: &str| Err(Rejection::InvalidCloudEvent { index: None, message: message.to_owned() });
    let events = Events::split(body, Format::Json, tolerance)?;
    if is_array(body) {
        return refuse("the body is an array; send it as application/cloudevents-batch+json");
    }
    if events.len() != 1 {
        return refuse("the body holds several values; send an array as application/cloudevents-batch+json");
    }
    check_all(&events, tolerance, |_| None)?;
    Ok(events)
}

/// The events of a body in batched mode, under the same tolerance.
///
/// # Errors
/// `400` for what is not a JSON array, or for the first element that breaks the rules.
pub(super) fn batched(body: &[u8], tolerance: Tolerance) -> Result<Events, Rejection> {
    let events = Events::split(body, Format::Json, tolerance)?;
    if !is_array(body) {
        let message = "the body is not an array; send a single event as application/cloudevents+json".to_owned();
        return Err(Rejection::InvalidCloudEvent { index: None, message });
    }
    check_all(&events, tolerance, Some)?;
    Ok(events)
}

fn is_array(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.trim_ascii_start().first() == Some(&b'[')
}

fn check_all(events: &Events, tolerance: Tolerance, name: fn(usize) -> Option<usize>) -> Result<(), Rejection> {
    match tolerance {
        Tolerance::KeepLines => Ok(()),
        Tolerance::Strict => events.iter().enumerate().try_for_each(|(index, event)| {
            check(event).map_err(|message| Rejection::InvalidCloudEvent { index: name(index), message })
        }),
    }
}

/// Whether JSON text is a valid event, and if not, why.
fn check(event: &[u8]) -> Result<(), String> {
    if event.first() != Some(&b'{') {
        return Err("it is not a JSON object".to_owned());
    }
    let Members(members) = serde_json::from_slice(event).map_err(|error| error.to_string())?;
    let present = |name: &str| members.iter().any(|(key, _)| key == name);
    for (name, value) in &members {
        match name.as_str() {
            "data" => {}
            "data_base64" => {
                let text = string(value).ok_or("data_base64: must be a string")?;
                STANDARD.decode(text.as_bytes()).map_err(|error| format!("data_base64: not valid base64: {error}"))?;
            }
            name if is_core(name) => {
                check_attribute(name, &string(value).ok_or_else(|| format!("{name}: must be a string"))?)?;
            }
            name => check_name(name)?,
        }
    }
    if let Some(name) = REQUIRED.into_iter().find(|name| !present(name)) {
        return Err(format!("{name}: this attribute is required"));
    }
    if present("data") && present("data_base64") {
        return Err("data: must not be given together with data_base64".to_owned());
    }
    Ok(())
}

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(serde::Deserialize)]
    struct Text<'t>(#[serde(borrow)] Cow<'t, str>);
    serde_json::from_str(value.get()).ok().map(|Text(text)| text)
}

/// Whether it is an attribute of the specification, whose values are all strings.
fn is_core(name: &str) -> bool {
    REQUIRED.contains(&name) || matches!(name, "datacontenttype" | "dataschema" | "subject" | "time")
}

/// The form of an attribute of the specification.
fn check_attribute(name: &str, value: &str) -> Result<(), String> {
    match name {
        _ if value.is_empty() => Err(format!("{name}: must not be empty")),
        "specversion" if value != "1.0" => Err(format!("specversion: {value:.20?} is not supported; 1.0 is")),
        "time" => match DateTime::parse_from_rfc3339(value) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("time: {value:.40?} is no RFC 3339 date and time: {error}")),
        },
        _ => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(format!("{name:.60?}: names of attributes consist of the letters a to z and of digits"))
}

/// The members of an object that are not null, as they were sent.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if value.get() != "null" {
                        members.push((name, value));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Attributes {
    /// Reads the headers of a request in binary mode.
    ///
    /// # Errors
    /// `400` for the first header that breaks the rules, and for a required one that is missing.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Rejection> {
        Self::read(headers).map_err(|message| Rejection::InvalidCloudEvent { index: None, message })
    }

    fn read(headers: &HeaderMap) -> Result<Self, String> {
        let mut attributes = Vec::new();
        for name in headers.keys().filter_map(|name| name.as_str().strip_prefix(PREFIX)) {
            check_name(name).map_err(|message| format!("the header {PREFIX}{message}"))?;
            if matches!(name, DATA_CONTENT_TYPE | "data") {
                return Err(format!("the header {PREFIX}{name} is not allowed; the body is the data, of Content-Type"));
            }
            let value = only(headers, name)?;
            if is_core(name) {
                check_attribute(name, &value).map_err(|message| format!("the header {PREFIX}{message}"))?;
            }
            attributes.push((name.to_owned(), value));
        }
        if let Some(value) = headers.get(CONTENT_TYPE) {
            let value = value.to_str().map_err(|_| "the header content-type is not visible ASCII")?;
            attributes.push((DATA_CONTENT_TYPE.to_owned(), value.to_owned()));
        }
        let rank = |name: &str| REQUIRED.iter().position(|required| *required == name).unwrap_or(REQUIRED.len());
        attributes.sort_by(|(a, _), (b, _)| (rank(a), a).cmp(&(rank(b), b)));
        match REQUIRED.into_iter().zip(1..).find(|(name, n)| attributes.get(n - 1).is_none_or(|(key, _)| key != name)) {
            Some((name, _)) => Err(format!("the header {PREFIX}{name} is required")),
            None => Ok(Self(attributes)),
        }
    }

    /// What the data is.
    fn data_kind(&self) -> DataKind {
        let found = self.0.iter().find(|(name, _)| name == DATA_CONTENT_TYPE);
        let essence = found.map(|(_, value)| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        match essence.as_deref() {
            None | Some("") => DataKind::Json,
            Some(essence) if essence.ends_with("/json") || essence.ends_with("+json") => DataKind::Json,
            Some(essence) if essence.starts_with("text/") => DataKind::Text,
            Some(_) => DataKind::Binary,
        }
    }
}

/// The value of a header that may be there only once.
fn only(headers: &HeaderMap, name: &str) -> Result<String, String> {
    let mut values = headers.get_all(format!("{PREFIX}{name}")).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => {
            unescape(value).ok_or_else(|| format!("the header {PREFIX}{name} is not UTF-8 after percent-decoding"))
        }
        _ => Err(format!("the header {PREFIX}{name} is given more than once")),
    }
}

/// A header's value as the binding has it: out of its double quotes, if it has any, then percent-decoded once. A percent
/// sign without two hexadecimal digits stands for itself, for the sake of senders that do not encode.
fn unescape(value: &HeaderValue) -> Option<String> {
    let bytes = value.as_bytes().trim_ascii();
    let quoted = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    let bytes = quoted.map_or(Cow::Borrowed(bytes), |inside| Cow::Owned(unquote(inside)));
    String::from_utf8(percent_decode(&bytes)).ok()
}

/// The inside of a quoted string of HTTP without its backslashes.
fn unquote(mut inside: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(inside.len());
    while let [first, rest @ ..] = inside {
        let (byte, rest) = match (first, rest) {
            (b'\\', [escaped, rest @ ..]) => (*escaped, rest),
            _ => (*first, rest),
        };
        plain.push(byte);
        inside = rest;
    }
    plain
}

fn percent_decode(mut bytes: &[u8]) -> Vec<u8> {
    let hex = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut plain = Vec::with_capacity(bytes.len());
    while let [first, rest @ ..] = bytes {
        let encoded = match (first, rest) {
            (b'%', [high, low, rest @ ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| (high * 16 + low, rest)),
            _ => None,
        };
        let (byte, rest) = encoded.unwrap_or((*first, rest));
        plain.push(byte);
        bytes = rest;
    }
    plain
}

/// How data becomes a member of the event.
enum DataKind {
    Json,
    Text,
    Binary,
}

/// The event of a request in binary mode, of at most `limit` bytes. An empty body is no data.
///
/// # Errors
/// `400` for data that is not the JSON it is said to be, `413`.
pub(super) fn binary(attributes: &Attributes, data: &[u8], limit: usize) -> Result<Events, Rejection> {
    let data = match (attributes.data_kind(), std::str::from_utf8(data)) {
        _ if data.is_empty() => Data::None,
        (DataKind::Json, text) => Data::Json(json(text.map_err(|error| {
            let message = format!("data: not valid UTF-8 at byte {}", error.valid_up_to());
            Rejection::InvalidCloudEvent { index: None, message }
        })?)?),
        (DataKind::Text, Ok(text)) => Data::Text(text),
        // Text of another charset keeps its bytes.
        (DataKind::Text | DataKind::Binary, _) => Data::Binary(data),
    };
    write(attributes, &data, limit).map_err(|full| full.rejection(limit))
}

fn json(text: &str) -> Result<&str, Rejection> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str::<&RawValue>(text).map(RawValue::get).map_err(|error| {
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message).to_owned();
        Rejection::InvalidJson { line: error.line().max(1), column: error.column(), message }
    })
}

/// The data of an event.
enum Data<'d> {
    None,
    Json(&'d str),
    Text(&'d str),
    Binary(&'d [u8]),
}

fn write(attributes: &Attributes, data: &Data<'_>, limit: usize) -> Result<Events, Full> {
    let mut line = LineWriter::new(limit);
    for (index, (name, value)) in attributes.0.iter().enumerate() {
        line.raw(if index == 0 { b"{" } else { b"," })?;
        line.string(name)?;
        line.raw(b":")?;
        line.string(value)?;
    }
    match data {
        Data::None => {}
        Data::Json(json) => {
            line.raw(b",\"data\":")?;
            line.value(json)?;
        }
        Data::Text(text) => {
            line.raw(b",\"data\":")?;
            line.string(text)?;
        }
        Data::Binary(bytes) => {
            line.raw(b",\"data_base64\":")?;
            line.base64(bytes)?;
        }
    }
    line.raw(b"}")?;
    line.end()?;
    Ok(line.finish())
}
