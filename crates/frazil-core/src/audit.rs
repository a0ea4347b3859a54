//! Audit events: who created, changed or deleted what. Each becomes one row of a table of Frazil's own.
//!
//! Names and types of the columns are those that the field's other ingestion services use for this table, so that queries
//! fit both. Pure: how the event gets into the log is decided elsewhere.

use chrono::DateTime;
use serde::Serialize;
use serde_json::Value;

use crate::schema::{Field, Schema, Type};

/// Name of the table that has a row for every audit event.
pub const TABLE: &str = "platform_event_logs";

/// Something that somebody did to an installation, or tried to.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// Who did it.
    pub user_id: String,
    /// When, in microseconds since the Unix epoch.
    pub occurred_at: i64,
    /// By which program.
    pub service: &'static str,
    /// What was done, as `stream.create`.
    pub action: &'static str,
    /// Whether it succeeded.
    pub success: bool,
    /// To what and how: an object.
    pub payload: Value,
}

/// A row by the columns' names.
#[derive(Serialize)]
struct Row<'e> {
    user_id: &'e str,
    occurred_at: String,
    service: &'e str,
    action: &'e str,
    success: bool,
    payload: String,
}

impl AuditEvent {
    /// The event as one line of JSON, without the line feed.
    pub fn to_json(&self) -> String {
        let time = DateTime::from_timestamp_micros(self.occurred_at).unwrap_or_default();
        let row = Row {
            user_id: &self.user_id,
            occurred_at: time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            service: self.service,
            action: self.action,
            success: self.success,
            payload: self.payload.to_string(),
        };
        serde_json::to_string(&row).expect("a row has only plain values")
    }
}

/// Schema of the table, without the system columns.
pub fn schema() -> Schema {
    let columns = [
        ("user_id", Type::String),
        ("occurred_at", Type::Timestamptz),
        ("service", Type::String),
        ("action", Type::String),
        ("success", Type::Boolean),
        ("payload", Type::String),
    ];
    Schema::new((1..).zip(columns).map(|(id, (name, ty))| Field::optional(id, name, ty)).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::{MappingPolicy, NoColumn, Plan, RowMeta};

    #[test]
    fn an_event_fits_its_table_and_keeps_its_payload_as_text() {
        let event = AuditEvent {
            user_id: "ann\n@host".to_owned(),
            occurred_at: 1_700_000_000_000_001,
            service: "frazil",
            action: "token.create",
            success: true,
            payload: json!({"name": "sh\"op"}),
        };
        let line = event.to_json();
        assert_eq!(
            serde_json::from_str::<Value>(&line).expect("JSON"),
            json!({"user_id": "ann\n@host", "occurred_at": "2023-11-14T22:13:20.000001Z", "service": "frazil",
                "action": "token.create", "success": true, "payload": "{\"name\":\"sh\\\"op\"}"})
        );
        assert!(!line.contains('\n'));
        let plan = Plan::new(&schema(), &MappingPolicy::default()).expect("a plan");
        let meta = RowMeta { id: "", ts_micros: 0, write_id: "" };
        assert_eq!(plan.row(line.as_bytes(), &meta, &mut NoColumn), Ok(()));
    }
}
