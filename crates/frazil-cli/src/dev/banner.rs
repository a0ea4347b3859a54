//! What `frazil dev` prints when all is up: lines that work when pasted. Pure.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What the lines are about.
pub(super) struct Banner<'a> {
    pub(super) proxy: &'a str,
    pub(super) catalog: &'a str,
    pub(super) embedded: bool,
    pub(super) warehouse: &'a str,
    pub(super) data_dir: &'a str,
    pub(super) token: &'a str,
    /// Storage properties, secrets among them, which are not printed.
    pub(super) properties: &'a BTreeMap<String, String>,
}

const TABLE: &str = "demo.events";

impl Banner<'_> {
    /// The text, without the `ready` line.
    pub(super) fn text(&self) -> String {
        let Self { proxy, catalog, warehouse, data_dir, token, .. } = self;
        let mut text = format!(
            "\nFrazil is up.\n\
             \x20 proxy      {proxy}\n\
             \x20 catalog    {catalog} (Iceberg REST)\n\
             \x20 warehouse  {warehouse}\n\
             \x20 data       {data_dir}\n\n\
             Send an event; the table is created from it:\n\n\
             curl -sS '{proxy}/v1/streams/default/events?wait=committed' -H 'Authorization: Bearer {token}' \
             -H 'table: {TABLE}' -d '{{\"user\": \"ada\", \"action\": \"login\", \"at\": \"2026-01-01T12:00:00Z\"}}'\n\n\
             Or a file:  frazil send --table {TABLE} --data-dir '{data_dir}' events.ndjson\n\n"
        );
        self.pyiceberg(&mut text);
        self.duckdb(&mut text);
        text
    }

    fn pyiceberg(&self, text: &mut String) {
        let mut arguments = format!("uri=\"{}\"", self.catalog);
        if !self.embedded {
            let _ = write!(arguments, ", warehouse=\"{}\"", self.warehouse);
        }
        let shown = ["s3.endpoint", "s3.region"].iter().filter_map(|key| Some((key, self.properties.get(*key)?)));
        let extra: Vec<String> = shown.map(|(key, value)| format!("\"{key}\": \"{value}\"")).collect();
        if !extra.is_empty() {
            let _ = write!(arguments, ", **{{{}}}", extra.join(", "));
        }
        let secret = if self.properties.contains_key("s3.secret-access-key") {
            " (with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in its environment)"
        } else {
            ""
        };
        let _ = write!(
            text,
            "Read it with PyIceberg{secret}:\n\n\
             from pyiceberg.catalog import load_catalog\n\
             catalog = load_catalog(\"frazil\", {arguments})\n\
             print(catalog.load_table(\"{TABLE}\").scan().to_arrow().to_pylist())\n\n"
        );
    }

    fn duckdb(&self, text: &mut String) {
        if !self.embedded || self.warehouse.starts_with("s3://") {
            return;
        }
        let _ = write!(
            text,
            "Or with DuckDB:\n\n\
             INSTALL iceberg; LOAD iceberg;\n\
             ATTACH 'frazil' AS frazil (TYPE iceberg, ENDPOINT '{}', AUTHORIZATION_TYPE 'none');\n\
             SELECT * FROM frazil.{TABLE};\n\n",
            self.catalog
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_real_addresses_and_no_secrets() {
        let properties = BTreeMap::from([
            ("s3.endpoint".to_owned(), "http://127.0.0.1:8333".to_owned()),
            ("s3.secret-access-key".to_owned(), "hush".to_owned()),
        ]);
        let mut banner = Banner {
            proxy: "http://127.0.0.1:41234",
            catalog: "http://127.0.0.1:45678",
            embedded: true,
            warehouse: "file:///data/warehouse",
            data_dir: "/data",
            token: "frz_x",
            properties: &BTreeMap::new(),
        };
        let text = banner.text();
        assert!(
            text.lines().any(|line| line.starts_with("curl ") && line.contains(":41234/v1/") && line.contains("frz_x"))
        );
        assert!(text.contains("ENDPOINT 'http://127.0.0.1:45678'"), "{text}");
        banner.properties = &properties;
        banner.warehouse = "s3://lake";
        let text = banner.text();
        assert!(text.contains("s3.endpoint") && !text.contains("hush") && !text.contains("DuckDB"), "{text}");
    }
}
