//! Compiles proto/ without protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto";
    println!("cargo::rerun-if-changed={root}");
    let files = protox::compile(["frazil/v1/ingest.proto"], [root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure()
        // No `connect` on the client: which transport it runs on is for whoever uses it.
        .build_transport(false)
        // Events are the bulk of a message, and are passed on as they lie in it.
        .bytes(".frazil.v1.IngestRequest.events")
        .compile_fds(files)?;
    Ok(())
}
