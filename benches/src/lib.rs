//! Benchmarks of the ingest path, stage by stage.
