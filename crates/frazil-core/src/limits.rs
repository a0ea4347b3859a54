//! Bounds that are part of the product's contract, each with its behaviour at the limit.
//!
//! Settings an operator may change live in the configuration of the role they belong to.

/// Longest `Idempotency-Key` accepted, in bytes. Longer: `400 BAD_REQUEST`.
pub const IDEMPOTENCY_KEY_MAX_BYTES: usize = 255;

/// Largest request body after decompression, in bytes, unless configured. Larger: `413`.
pub const BODY_MAX_BYTES: usize = 5_000_000;

/// Most events in one request. More: `400 BAD_REQUEST`.
pub const EVENTS_PER_REQUEST_MAX: usize = 100_000;

/// Per-event verdicts listed in one error answer; the rest are counted only.
pub const VERDICTS_MAX: usize = 100;

/// Size up to which small requests are packed into one log message, in bytes.
pub const PACK_TARGET_BYTES: usize = 256 * 1024;

/// Longest name of a stream, in bytes.
pub const STREAM_NAME_MAX_BYTES: usize = 63;

/// Longest full table name, in bytes.
pub const TABLE_NAME_MAX_BYTES: usize = 512;

/// Most shards of a stream.
pub const SHARDS_MAX: u32 = 1024;

/// Keys the dedupe window of one shard remembers. At the limit the oldest is forgotten first, so the
/// window gets shorter than configured; the metric `frazil_writer_dedupe_keys_forgotten_early_total` counts it.
pub const DEDUPE_KEYS_MAX: usize = 1_000_000;

/// Most tables that the events of one request go to. More: `400 BAD_REQUEST`.
pub const TABLES_PER_REQUEST_MAX: usize = 1000;

/// Largest schema of a stream's table template, as JSON, in bytes. Larger: refused when the stream is made.
pub const TEMPLATE_SCHEMA_MAX_BYTES: usize = 256 * 1024;
