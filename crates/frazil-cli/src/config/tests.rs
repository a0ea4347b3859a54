//! Reading configurations as people write them, rightly and wrongly.

use std::io::Write;

use super::*;

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    parse(text, "frazil.toml", environment)
}

fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    read(text, environment).expect_err(text).to_string()
}

const FULL: &str = r#"
[nats]
servers = ["nats://a:4222", "nats://b:4222"]
token = "hush-nats"

[catalogs.lake]
uri = "https://catalog.example.com"
warehouse = "main"
[catalogs.lake.auth]
kind = "oauth2"
credential = "id:hush-oauth"
[catalogs.lake.headers]
x-api-key = "hush-header"
[catalogs.lake.properties]
"s3.endpoint" = "http://127.0.0.1:8333"
"s3.secret-access-key" = "hush-s3"

[proxy]
listen = "0.0.0.0:8080"
body_max = "2MiB"

[writer]
flush_interval = "1s"
memory = 536870912
"#;

#[test]
fn an_empty_file_is_the_defaults() {
    let config = read("", &[]).expect("valid");
    assert_eq!(config, Config::default());
    assert_eq!(config.default_catalog(), None);
}

#[test]
fn values_are_typed() {
    let config = read(FULL, &[]).expect("valid");
    assert_eq!(config.default_catalog(), Some("lake"));
    assert_eq!(config.proxy.settings().body_max_bytes, 2 << 20);
    let writer = config.writer.settings(1, 3);
    assert_eq!((writer.flush.max_age.as_secs(), writer.memory_bytes, writer.ordinal), (1, 512 << 20, 1));
    assert_eq!(config.catalogs["lake"].auth.kind, AuthKind::OAuth2);
}

#[test]
fn unknown_keys_and_wrong_values_are_refused_with_their_line() {
    for (text, words) in [
        ("[proxy]\nlisten = \"127.0.0.1:1\"\nlissten = 1\n", ["line 3", "unknown field `lissten`"]),
        ("[writers]\n", ["line 1", "unknown field `writers`"]),
        ("[writer]\nflush_interval = \"5\"\n", ["line 2", "is not a duration"]),
        ("[writer]\nflush_interval = 5\n", ["line 2", "expected a string"]),
        ("[proxy]\n\nbody_max = \"5 parsecs\"\n", ["line 3", "is not a size"]),
        ("[proxy]\nlisten = \"localhost\"\n", ["line 2", "invalid socket address"]),
        ("[catalogs.lake.auth]\nkind = \"basic\"\n", ["line 2", "unknown variant `basic`"]),
        ("[proxy\n", ["line 1", "frazil.toml"]),
    ] {
        let message = refusal(text, &[]);
        for word in words {
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}

#[test]
fn a_line_with_a_secret_is_not_shown() {
    for text in [
        "[nats]\npassword = hush\n",
        "[nats]\npassword = 475475\n",
        "[nats]\nservers = nats://u:hush@h\n",
        "[proxy.rate_limits]\nredis = [\"redis://:hush@h\"]\n",
        "[catalogs.lake.headers]\nx-tenant = [\"hush\"]\n",
        "[catalogs.lake.properties]\n\"s3.secret-access-key\" = hush\n",
        "[catalogs.lake]\nuri = \"ftp://u:hush@h\"\n",
        "[catalogs.lake]\nuri = \"http://h\"\n[proxy.rate_limits]\nredis = \"hush\"\n",
    ] {
        let message = refusal(text, &[]);
        assert!(!message.contains("hush") && !message.contains("475"), "{text}: {message}");
        assert!(message.contains("line 2") || message.contains("uri") || message.contains("rate_limits"), "{message}");
    }
    let shown = toml::to_string(&read("[catalogs.lake]\nuri = \"https://u:hush@h\"\n", &[]).expect("valid"));
    let shown = shown.expect("shown");
    assert!(!shown.contains("hush") && shown.contains("https://u:***@h"), "{shown}");
    for login in ["u:hush", "hush"] {
        let message = refusal(&format!("[nats]\nservers = [\"nats://{login}@h\"]\n"), &[]);
        assert!(message.contains("has a login in it") && !message.contains("hush"), "{message}");
    }
}

#[test]
fn every_complaint_is_listed() {
    let text = "default_catalog = \"nope\"\n[nats]\nservers = []\nuser = \"u\"\n[catalogs.\"a.b\"]\nuri = \"ftp://x\"\n\
                [catalog]\nlisten = \"0.0.0.0:8181\"\n[writer]\nflush_interval = \"0s\"\n[telemetry]\nlevel = \"a=b=c\"\n";
    let message = refusal(text, &[]);
    for words in [
        "default_catalog",
        "nats.servers",
        "user and password go together",
        "has no '.'",
        "must be an http:// or https:// URL",
        "catalog.database",
        "catalog.warehouse",
        "catalog.token is required",
        "writer: flush.max_age",
        "telemetry.level",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
}

#[test]
fn auth_kinds_take_their_own_secrets() {
    let auth = |auth: &str| read(&format!("[catalogs.lake]\nuri = \"http://x\"\n[catalogs.lake.auth]\n{auth}\n"), &[]);
    assert!(auth("kind = \"bearer\"\ntoken = \"t\"").is_ok());
    assert!(auth("kind = \"oauth2\"\ncredential = \"a:b\"\nscope = \"s\"").is_ok());
    for wrong in [
        "kind = \"bearer\"",
        "token = \"t\"",
        "kind = \"oauth2\"\ntoken = \"t\"",
        "kind = \"bearer\"\ncredential = \"c\"",
        "access_key_id = \"a\"\nsecret_access_key = \"s\"",
        "kind = \"bearer\"\ntoken = \"t\"\nsession_token = \"s\"",
        "kind = \"oauth2\"\ncredential = \"c\"\nregion = \"r\"",
        "kind = \"sigv4\"\naccess_key_id = \"a\"",
        "kind = \"sigv4\"\nsession_token = \"t\"",
        "kind = \"sigv4\"\ntoken = \"t\"",
        "kind = \"sigv4\"\nregion = \"eu/central\"",
        "kind = \"sigv4\"\nservice = \"\"",
    ] {
        assert!(auth(wrong).expect_err(wrong).to_string().contains("catalogs.lake.auth"), "{wrong}");
    }
}

#[test]
fn signed_requests_take_keys_or_those_of_the_environment() {
    let auth = |auth: &str| {
        let text = format!("[catalogs.lake]\nuri = \"http://x\"\n[catalogs.lake.auth]\nkind = \"sigv4\"\n{auth}\n");
        let config = read(&text, &[]).expect("valid");
        assert!(!toml::to_string(&config).expect("shown").contains("hush"));
        match crate::reach::catalog_config(&config.catalogs["lake"]).auth {
            frazil_iceberg::Auth::SigV4(sigv4) => sigv4,
            other => panic!("{other:?}"),
        }
    };
    let found = auth("");
    assert!(found.keys.is_none() && found.region.is_none() && found.service.is_none());
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "hush-secret\n").expect("written");
    let given = auth(&format!(
        "region = \"eu-central-1\"\nservice = \"s3tables\"\naccess_key_id = \"hush-id\"\n\
         secret_access_key_file = \"{}\"\nsession_token = \"hush-token\"",
        file.path().display()
    ));
    assert_eq!((given.region.as_deref(), given.service.as_deref()), (Some("eu-central-1"), Some("s3tables")));
    let keys = given.keys.expect("given");
    let secret = frazil_iceberg::rest::Secret::new;
    assert_eq!((keys.access_key_id, keys.secret_access_key), (secret("hush-id"), secret("hush-secret")));
    assert_eq!(keys.session_token, Some(secret("hush-token")));
}

#[test]
fn two_catalogs_need_a_default() {
    let text = "[catalogs.a]\nuri = \"http://a\"\n[catalogs.b]\nuri = \"http://b\"\n";
    assert!(refusal(text, &[]).contains("say which of a, b"));
    let config = read(text, &[("FRAZIL__DEFAULT_CATALOG", "b")]).expect("valid");
    assert_eq!(config.default_catalog(), Some("b"));
}

#[test]
fn the_environment_wins() {
    let config = read(
        FULL,
        &[
            ("FRAZIL__WRITER__FLUSH_INTERVAL", "250ms"),
            ("FRAZIL__PROXY__MAX_REQUESTS", "7"),
            ("FRAZIL__NATS__SERVERS", "[\"nats://c:4222\"]"),
            ("FRAZIL__NATS__TOKEN", "12345"),
            ("FRAZIL__CATALOGS__LAKE__VENDED_CREDENTIALS", "true"),
            ("FRAZIL__CATALOGS__LAKE__PROPERTIES__S3_ENDPOINT", "http://other"),
            ("FRAZIL__CATALOGS__LAKE__PROPERTIES__S3_ACCESS_KEY_ID", "id"),
            ("FRAZIL__CATALOGS__LAKE__HEADERS__X_API_KEY", "new"),
            ("FRAZIL__CATALOGS__OTHER__URI", "http://o"),
            ("FRAZIL__DEFAULT_CATALOG", "lake"),
            ("FRAZIL_URL", "not ours"),
            ("PATH", "/bin"),
        ],
    )
    .expect("valid");
    assert_eq!(config.writer.flush_interval.to_string(), "250ms");
    assert_eq!(config.proxy.max_requests, 7);
    assert_eq!(config.nats.servers, ["nats://c:4222"]);
    assert_eq!(config.nats.token.as_ref().map(Secret::reveal), Some("12345"));
    let lake = &config.catalogs["lake"];
    assert!(lake.vended_credentials);
    assert_eq!(lake.properties.0["s3.endpoint"], "http://other");
    assert_eq!(lake.properties.0["s3.access-key-id"], "id");
    assert_eq!(lake.headers["x-api-key"].reveal(), "new");
    assert_eq!(config.catalogs["other"].uri, "http://o");
}

#[test]
fn wrong_variables_are_named() {
    for (variable, value, words) in [
        ("FRAZIL__WRITER__FLUSH_INTERVAL", "5", "is not a duration"),
        ("FRAZIL__PROXY__MAX_REQUESTS", "many", "invalid type"),
        ("FRAZIL__PROXY__LISSTEN", "x", "unknown field"),
        ("FRAZIL__PROXY____LISTEN", "x", "between two"),
    ] {
        let message = refusal("", &[(variable, value)]);
        assert!(message.contains(variable) && message.contains(words), "{message}");
    }
}

#[test]
fn secrets_come_from_files_too_and_are_never_shown() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(b"hush-file\n").expect("write");
    let path = file.path().display();
    let text = FULL.replace("token = \"hush-nats\"", &format!("token_file = \"{path}\""))
        + &format!("[catalogs.lake.property_files]\n\"s3.access-key-id\" = \"{path}\"\n");
    let config = read(&text, &[]).expect("valid");
    assert_eq!(config.nats.token.as_ref().map(Secret::reveal), Some("hush-file"));
    assert_eq!(config.catalogs["lake"].properties.0["s3.access-key-id"], "hush-file");

    let mut config = read(FULL, &[]).expect("valid");
    config.nats.servers = vec!["nats://me:hush-url@a:4222".to_owned(), "nats://hush-url@a".to_owned()];
    for shown in [format!("{:?}", config.catalogs), toml::to_string(&config).expect("shown")] {
        assert!(!shown.contains("hush"), "{shown}");
        assert!(shown.contains("http://127.0.0.1:8333"), "{shown}");
    }

    let twice = format!("[nats]\ntoken = \"a\"\ntoken_file = \"{path}\"\n");
    assert!(refusal(&twice, &[]).contains("nats.token and nats.token_file are both set"));
    assert!(refusal("[nats]\ntoken_file = \"/nowhere/at/all\"\n", &[]).contains("nats.token"));
}

#[test]
fn keys_about_tls_that_do_not_go_together_are_refused() {
    let tls = "tls_certificate = \"c\"\ntls_key = \"k\"\n";
    let catalog = "[catalogs.lake]\nuri = \"https://x\"\n";
    for good in [
        format!("[proxy]\n{tls}tls_client_ca = \"a\"\ntls_reload_interval = \"1s\"\nadmin_listen = \"127.0.0.1:9\"\n"),
        format!("[nats]\n{tls}tls_ca = \"a\"\ntls_first = true\nnkey = \"SU\"\n"),
        format!("{catalog}{tls}tls_ca = \"a\"\n"),
        "[catalogs.lake]\nuri = \"http://x\"\ntls_ca = \"for the store\"\n".to_owned(),
    ] {
        read(&good, &[]).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (text, words) in [
        ("[proxy]\ntls_certificate = \"c\"\n", "proxy: tls_certificate and tls_key go together"),
        ("[proxy]\ntls_key = \"k\"\n", "proxy: tls_certificate and tls_key go together"),
        ("[proxy]\ntls_client_ca = \"a\"\n", "proxy.tls_client_ca: goes with"),
        ("[nats]\ntls_key = \"k\"\n", "nats: tls_certificate and tls_key go together"),
        ("[nats]\nnkey = \"SU\"\ntoken = \"t\"\n", "four ways to log in"),
        ("[nats]\nnkey = \"SU\"\ncredentials_file = \"f\"\n", "four ways to log in"),
        ("[catalogs.lake]\nuri = \"https://x\"\ntls_key = \"k\"\n", "catalogs.lake: tls_certificate and tls_key go"),
        ("[proxy]\nlisten = \"127.0.0.1:9\"\nadmin_listen = \"127.0.0.1:9\"\n", "the same address"),
    ] {
        let message = refusal(text, &[]);
        assert!(message.contains(words), "{text}: {message}");
    }
    for (limit, words) in [
        ("tls_reload_interval = \"0s\"", "proxy: tls_reload_interval"),
        ("tls_max_handshakes = 0", "proxy: tls_max_handshakes"),
    ] {
        let message = refusal(&format!("[proxy]\n{tls}{limit}\n"), &[]);
        assert!(message.contains(words), "{message}");
    }
    let plain = refusal(&format!("[catalogs.lake]\nuri = \"http://x\"\n{tls}"), &[]);
    assert!(plain.contains("must be an https:// URL"), "{plain}");
}

#[test]
fn files_about_tls_are_checked_apart_and_named() {
    let text = "[proxy]\ntls_certificate = \"/no/proxy\"\ntls_key = \"/no/key\"\n[nats]\ntls_ca = \"/no/nats\"\n\
                [catalogs.lake]\nuri = \"https://x\"\ntls_ca = \"/no/lake\"\n\
                [catalog]\ndatabase = \"d\"\nwarehouse = \"s3://b\"\ntls_ca = \"/no/store\"\n";
    let config = read(text, &[]).expect("a role reads the files of its own sections only");
    let message = check::check_files(&config).expect_err("nothing is there").to_string();
    let places = ["proxy.tls_certificate: ", "nats: ", "catalogs.lake: ", "catalog.tls_ca: "];
    for (place, file) in places.into_iter().zip(["/no/proxy", "/no/nats", "/no/lake", "/no/store"]) {
        assert!(message.lines().any(|line| line.trim().starts_with(place) && line.contains(file)), "{message}");
    }
    check::check_files(&Config::default()).expect("no files, no complaints");
    let seed = read("[nats]\nnkey = \"SUhush\"\n", &[]).expect("valid");
    let message = check::check_files(&seed).expect_err("no seed").to_string();
    assert!(message.contains("nkey") && !message.contains("hush"), "{message}");
    assert!(!toml::to_string(&seed).expect("shown").contains("hush"));
}

#[test]
fn metrics_reports_go_where_it_says() {
    let proxy =
        |keys: &str| read(&format!("[proxy.iceberg_metrics]\n{keys}\n"), &[]).map(|config| config.proxy.settings());
    let reports = proxy("").expect("valid").iceberg_metrics.expect("on unless switched off");
    assert_eq!((reports.stream.as_str(), reports.namespace.as_str()), ("default", "frazil_system"));
    let reports = proxy("stream = \"engines\"\nnamespace = \"lake.ops\"").expect("valid").iceberg_metrics.expect("on");
    assert_eq!((reports.stream.as_str(), reports.namespace.as_str()), ("engines", "lake.ops"));
    assert_eq!(proxy("enabled = false").expect("valid").iceberg_metrics, None);
    for (keys, words) in [
        ("stream = \"No such\"", "stream name \"No such\" must be"),
        ("namespace = \"a..b\"", "proxy: iceberg_metrics.namespace: "),
    ] {
        let message = proxy(keys).expect_err(keys).to_string();
        assert!(message.contains(words), "{message}");
    }

    let catalog = |keys: &str| {
        let text = "[catalog]\ndatabase = \"d\"\nwarehouse = \"s3://b\"\n[catalog.iceberg_metrics]\n".to_owned();
        read(&(text + keys), &[]).map(|config| config.catalog.expect("given").iceberg_metrics)
    };
    assert!(catalog("").expect("valid").settings().is_none());
    let reports = catalog("url = \"https://proxy\"\ntoken = \"hush\"\nqueue = 7").expect("valid");
    assert!(!format!("{reports:?}").contains("hush"));
    let reports = reports.settings().expect("a proxy");
    assert_eq!((reports.url.as_str(), reports.token.as_str(), reports.queue), ("https://proxy", "hush", 7));
    for (keys, words) in [
        ("url = \"https://proxy\"", "url goes with token"),
        ("token = \"hush\"", "token: goes with url"),
        ("url = \"ftp://u:hush@proxy\"\ntoken = \"t\"", "must be an http:// or https:// URL"),
        ("queue = 0", "queue: must be at least 1"),
    ] {
        let message = catalog(keys).expect_err(keys).to_string();
        assert!(message.contains(words) && !message.contains("hush"), "{message}");
    }
}

#[test]
fn audit_events_go_where_it_says() {
    const LAKE: &str = "[catalogs.lake]\nuri = \"http://127.0.0.1:8181\"\n";
    let audit = |keys: &str| read(&format!("{LAKE}[audit]\n{keys}\n"), &[]).map(|config| config.audit);
    assert_eq!(audit("").expect("valid").stream, None, "off unless a stream is named");
    let section = audit("stream = \"trail\"\nnamespace = \"lake.ops\"").expect("valid");
    let table = section.table("other").expect("a name").to_string();
    assert_eq!((section.stream.expect("named").as_str(), table.as_str()), ("trail", "lake.ops.platform_event_logs"));
    for (text, words) in [
        (format!("{LAKE}[audit]\nnamespace = \"a..b\""), "audit.namespace: "),
        (format!("{LAKE}[audit]\nuser = \"\""), "audit.user: must not be empty"),
        ("[audit]\nstream = \"trail\"".to_owned(), "audit.stream: the events need a table"),
    ] {
        let message = refusal(&text, &[]);
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn what_is_shown_can_be_read_again() {
    let shown = toml::to_string(&Config::default()).expect("shown");
    assert_eq!(read(&shown, &[]).expect("valid"), Config::default());
}

#[test]
fn the_documented_example_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/frazil.toml");
    let text = std::fs::read_to_string(path).expect("docs/frazil.toml");
    let config = read(&text, &[]).expect("valid");
    // The commented-out keys are the defaults: uncommented, the file still means the same.
    let uncommented: String =
        text.lines().map(|line| line.strip_prefix("#= ").unwrap_or(line)).collect::<Vec<_>>().join("\n");
    assert_eq!(read(&uncommented, &[]).expect("valid"), config);
}

/// The configurations in a page.
fn snippets(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("split yields one part")).collect()
}

/// Puts a file that exists in the place of every file that is named.
fn with_files(table: &mut toml::Table, file: &str) {
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) if key == "property_files" => {
                inner.iter_mut().for_each(|(_, path)| *path = toml::Value::String(file.to_owned()));
            }
            toml::Value::Table(inner) => with_files(inner, file),
            _ if key.ends_with("_file") => *value = toml::Value::String(file.to_owned()),
            _ => {}
        }
    }
}

#[test]
fn the_documented_catalogs_are_valid() {
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(secret.path(), "secret").expect("written");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/catalogs");
    let mut pages = Vec::new();
    for entry in std::fs::read_dir(folder).expect("docs/catalogs") {
        let path = entry.expect("a readable entry").path();
        let page = std::fs::read_to_string(&path).expect("a page");
        let found = snippets(&page);
        assert!(!found.is_empty(), "{} has no configuration", path.display());
        for text in found {
            // The host that the compatibility matrix puts an address in the place of.
            let text = text.replace("catalog:8181", "127.0.0.1:8181");
            let mut table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            with_files(&mut table, secret.path().to_str().expect("text"));
            let text = toml::to_string(&table).expect("TOML");
            let config = read(&text, &[]).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(config.catalogs.contains_key("lake"), "{}", path.display());
        }
        pages.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    for page in ["embedded", "glue", "lakekeeper", "polaris", "s3-tables", "seaweedfs", "unity"] {
        assert!(pages.iter().any(|found| found == page), "docs/catalogs/{page}.md is missing");
    }
}

#[test]
fn the_keys_in_the_other_pages_exist() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let mut checked = 0;
    for entry in std::fs::read_dir(docs).expect("docs") {
        let path = entry.expect("a readable entry").path();
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        for text in snippets(&std::fs::read_to_string(&path).expect("a page")) {
            let table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            Config::try_from_table(table).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            checked += 1;
        }
    }
    assert!(checked > 3, "{checked} configurations in docs/*.md");
}
