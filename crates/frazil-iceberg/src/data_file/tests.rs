//! Staging end to end: rows go in, files come out of storage and are read back with the Parquet reader.

mod defects;
mod files;
mod fixture;
mod properties;
mod sorting;
mod spread;
