//! What the fuzz targets share. Each target states what must hold for every input; a panic is a finding.

use frazil_core::mapping::{EpochUnit, MappingPolicy, NonFinite};
use frazil_core::policy::{SystemColumns, TablePolicy, UnknownFieldPolicy};

/// Largest body after decompression in these targets, in bytes: small, so that the limit is met often.
pub const LIMIT: usize = 64 * 1024;

/// Takes the first byte off; 0 if there is none.
pub fn byte(data: &mut &[u8]) -> u8 {
    let Some((first, rest)) = data.split_first() else { return 0 };
    *data = rest;
    *first
}

/// What stands before the first zero byte, and what stands behind it.
pub fn split_at_zero(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == 0) {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &[]),
    }
}

/// One of all policies of a table.
pub fn policy(choice: u8) -> TablePolicy {
    let bit = |n: u8| choice >> n & 1 == 1;
    TablePolicy {
        mapping: MappingPolicy {
            epoch_unit: if bit(0) { EpochUnit::Seconds } else { EpochUnit::Nanos },
            case_insensitive: bit(1),
            numbers_in_strings: bit(2),
            non_finite: if bit(3) { NonFinite::Accept } else { NonFinite::Reject },
        },
        unknown_fields: match choice >> 4 & 3 {
            0 => UnknownFieldPolicy::Capture,
            1 => UnknownFieldPolicy::Evolve,
            2 => UnknownFieldPolicy::Reject,
            _ => UnknownFieldPolicy::Ignore,
        },
        system_columns: match choice >> 6 {
            0 => SystemColumns::Never,
            1 => SystemColumns::All,
            _ => SystemColumns::OnDemand,
        },
        ..TablePolicy::default()
    }
}
