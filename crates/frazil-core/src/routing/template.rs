//! The template of a routing rule as text: literal pieces and fields in braces. Knows nothing of events.

use super::RoutingError;
use crate::limits::TABLE_NAME_MAX_BYTES;

/// Longest template, in bytes: the paths of fields count too. Longer: refused when the stream is made.
const TEMPLATE_MAX_BYTES: usize = 2 * TABLE_NAME_MAX_BYTES;

/// A template, taken apart.
#[derive(Debug)]
pub(super) struct Template {
    segments: Vec<Segment>,
}

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Segment {
    Literal(String),
    /// The value of the field with this number.
    Field(usize),
}

impl Template {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// A name that it could give.
    pub(super) fn example(&self) -> String {
        let piece = |segment: &Segment| match segment {
            Segment::Literal(text) => text.clone(),
            Segment::Field(_) => "x".to_owned(),
        };
        self.segments.iter().map(piece).collect()
    }

    /// Whether a field stands before the first dot.
    pub(super) fn chooses_catalog(&self) -> bool {
        let first_dot = self.segments.iter().position(|s| matches!(s, Segment::Literal(text) if text.contains('.')));
        let before = &self.segments[..first_dot.unwrap_or(self.segments.len())];
        before.iter().any(|segment| matches!(segment, Segment::Field(_)))
    }
}

/// Takes a template apart; the second value has the path of each field.
pub(super) fn parse(text: &str) -> Result<(Template, Vec<Vec<String>>), RoutingError> {
    let fail = |what: &str| Err(RoutingError(format!("the template {text:?} {what}")));
    if text.len() > TEMPLATE_MAX_BYTES {
        return Err(RoutingError(format!("the template is longer than {TEMPLATE_MAX_BYTES} bytes")));
    }
    let (mut segments, mut paths) = (Vec::new(), Vec::<Vec<String>>::new());
    let mut rest = text;
    while let Some(open) = rest.find(['{', '}']) {
        if rest[open..].starts_with('}') {
            return fail("has a `}` without its `{`");
        }
        if open > 0 {
            segments.push(Segment::Literal(rest[..open].to_owned()));
        }
        let inside = &rest[open + 1..];
        let Some(close) = inside.find(['{', '}']).filter(|at| inside[*at..].starts_with('}')) else {
            return fail("has a `{` without its `}`");
        };
        let path: Vec<String> = inside[..close].split('.').map(|name| name.trim().to_owned()).collect();
        if path.iter().any(String::is_empty) {
            return fail("has a field without a name");
        }
        let known = paths.iter().position(|found| *found == path);
        segments.push(Segment::Field(known.unwrap_or(paths.len())));
        if known.is_none() {
            paths.push(path);
        }
        rest = &inside[close + 1..];
    }
    if paths.is_empty() {
        return fail("has no field in braces; name the table as the stream's default table instead");
    }
    if !rest.is_empty() {
        segments.push(Segment::Literal(rest.to_owned()));
    }
    Ok((Template { segments }, paths))
}
