//! Code generated from `proto/`: messages, server and client of the gRPC front. Nothing is written by hand but this file.

/// `frazil.v1`: what `proto/frazil/v1/ingest.proto` says, and its service.
pub mod v1 {
    // Comments of the generator itself have no documentation of their modules and methods.
    #![allow(missing_docs, unreachable_pub, unused_qualifications, missing_debug_implementations, clippy::all)]
    tonic::include_proto!("frazil.v1");

    use prost::Name;

    impl Name for Problem {
        const NAME: &'static str = "Problem";
        const PACKAGE: &'static str = "frazil.v1";
    }
}

/// The encoded `google.protobuf.FileDescriptorSet` of `frazil.v1`, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
