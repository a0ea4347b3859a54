//! Tables that are staged, committed, altered and deleted from, and what a scan reads of them.

mod columns;
mod deleted;
mod fixture;
mod partitions;
