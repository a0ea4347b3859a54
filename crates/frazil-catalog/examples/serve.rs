//! Serves a catalog on a directory: `cargo run -p frazil-catalog --example serve -- DIR PORT`.

use std::collections::HashMap;
use std::path::PathBuf;

use frazil_catalog::{Catalog, CatalogConfig, serve};
use frazil_iceberg::Roots;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(directory), Some(port)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve DIR PORT".into());
    };
    let directory = std::path::absolute(PathBuf::from(directory))?;
    std::fs::create_dir_all(&directory)?;
    let catalog = Catalog::open(CatalogConfig {
        database: directory.join("catalog.db"),
        warehouse: format!("file://{}/warehouse", directory.display()),
        storage_properties: HashMap::new(),
        name: "frazil".to_owned(),
        token: None,
        storage_roots: Roots::default(),
        reports: None,
    })?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, catalog, CancellationToken::new()).await?;
    Ok(())
}
