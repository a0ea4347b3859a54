//! How files are written: the caller's defaults, overruled by the table's own properties. Must not look at data.

use std::collections::HashMap;
use std::str::FromStr;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::error::StageError;

const TARGET_FILE_SIZE: &str = "write.target-file-size-bytes";
const ROW_GROUP_SIZE: &str = "write.parquet.row-group-size-bytes";
const PAGE_SIZE: &str = "write.parquet.page-size-bytes";
const PAGE_ROWS: &str = "write.parquet.page-row-limit";
const DICTIONARY_SIZE: &str = "write.parquet.dict-size-bytes";
const CODEC: &str = "write.parquet.compression-codec";
const LEVEL: &str = "write.parquet.compression-level";

/// Parquet compression codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// No compression.
    Uncompressed,
    /// Snappy.
    Snappy,
    /// Gzip.
    Gzip,
    /// LZ4, raw block format.
    Lz4,
    /// Zstandard.
    Zstd,
    /// Brotli.
    Brotli,
}

impl FromStr for Codec {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name.to_ascii_lowercase().as_str() {
            "uncompressed" | "none" => Ok(Self::Uncompressed),
            "snappy" => Ok(Self::Snappy),
            "gzip" => Ok(Self::Gzip),
            "lz4" | "lz4_raw" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            "brotli" => Ok(Self::Brotli),
            _ => Err(()),
        }
    }
}

/// Defaults of one [`stage`](super::stage) call. The table's own `write.…` properties overrule them, except the name
/// and the concurrency.
#[derive(Clone, Debug)]
pub struct StageOptions {
    /// Part of every file name. Must be unique for each call, as a writer's name with a new uuid is: a second call
    /// with the same prefix would replace the files of the first.
    pub file_prefix: String,
    /// A file is closed once it has this many bytes. Overruled by `write.target-file-size-bytes`.
    pub target_file_size_bytes: u64,
    /// A row group is closed once it has about this many bytes. Overruled by `write.parquet.row-group-size-bytes`.
    pub row_group_bytes: u64,
    /// Most rows of a row group.
    pub row_group_rows: usize,
    /// Most files that are uploaded at the same time.
    pub max_concurrent_uploads: usize,
    /// Overruled by `write.parquet.compression-codec`.
    pub compression: Codec,
    /// Level of the codec, if it has levels. Overruled by `write.parquet.compression-level`.
    pub compression_level: Option<i32>,
}

impl StageOptions {
    /// Iceberg's own sizes (512 MiB files, 128 MiB row groups), Zstandard level 1, 16 uploads at a time.
    #[must_use]
    pub fn new(file_prefix: impl Into<String>) -> Self {
        Self {
            file_prefix: file_prefix.into(),
            target_file_size_bytes: 512 * 1024 * 1024,
            row_group_bytes: 128 * 1024 * 1024,
            row_group_rows: 1024 * 1024,
            max_concurrent_uploads: 16,
            compression: Codec::Zstd,
            compression_level: None,
        }
    }
}

/// Options and properties taken together.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) target_file_size_bytes: usize,
    pub(super) writer: WriterProperties,
}

impl Settings {
    /// `statistics_bytes` is where footer statistics of strings are cut off; `None` keeps them whole. `sorted_by` are
    /// the columns that rows come sorted by.
    pub(super) fn new(
        properties: &HashMap<String, String>,
        options: &StageOptions,
        statistics_bytes: Option<usize>,
        sorted_by: Vec<SortingColumn>,
    ) -> Result<Self, StageError> {
        let target = size(properties, TARGET_FILE_SIZE)?.unwrap_or(saturate(options.target_file_size_bytes));
        let row_group = size(properties, ROW_GROUP_SIZE)?.unwrap_or(saturate(options.row_group_bytes));
        let mut writer = WriterProperties::builder()
            .set_created_by(concat!("frazil ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(compression(properties, options)?)
            .set_max_row_group_row_count(Some(options.row_group_rows.max(1)))
            .set_max_row_group_bytes(Some(row_group.max(1)))
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_statistics_truncate_length(statistics_bytes)
            .set_sorting_columns((!sorted_by.is_empty()).then_some(sorted_by));
        if let Some(bytes) = size(properties, PAGE_SIZE)? {
            writer = writer.set_data_page_size_limit(bytes);
        }
        if let Some(rows) = size(properties, PAGE_ROWS)? {
            writer = writer.set_data_page_row_count_limit(rows);
        }
        if let Some(bytes) = size(properties, DICTIONARY_SIZE)? {
            writer = writer.set_dictionary_page_size_limit(bytes);
        }
        Ok(Self { target_file_size_bytes: target.max(1), writer: writer.build() })
    }
}

fn saturate(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn size(properties: &HashMap<String, String>, key: &str) -> Result<Option<usize>, StageError> {
    let Some(value) = properties.get(key) else { return Ok(None) };
    match value.trim().parse::<usize>() {
        Ok(bytes) if bytes > 0 => Ok(Some(bytes)),
        Ok(_) | Err(_) => Err(invalid(key, value, "a whole number above zero")),
    }
}

fn compression(properties: &HashMap<String, String>, options: &StageOptions) -> Result<Compression, StageError> {
    let chosen = properties.get(CODEC);
    let codec = match chosen {
        Some(name) => Codec::from_str(name.trim())
            .map_err(|()| invalid(CODEC, name, "uncompressed, snappy, gzip, lz4, zstd or brotli"))?,
        None => options.compression,
    };
    // The option's level belongs to the option's codec.
    let default_level = if codec == options.compression { options.compression_level } else { None };
    let property = properties.get(LEVEL).map(|value| value.trim()).filter(|value| !value.is_empty());
    let level = match property {
        Some(value) => {
            Some(value.parse::<i32>().map_err(|_| invalid(LEVEL, value, "a compression level of the codec"))?)
        }
        None => default_level,
    };
    with_level(codec, level).ok_or_else(|| {
        invalid(LEVEL, &level.map(|level| level.to_string()).unwrap_or_default(), "a compression level of the codec")
    })
}

/// `None` if the codec has no such level.
fn with_level(codec: Codec, level: Option<i32>) -> Option<Compression> {
    let unsigned = || level.map(u32::try_from).transpose().ok();
    Some(match codec {
        Codec::Uncompressed => Compression::UNCOMPRESSED,
        Codec::Snappy => Compression::SNAPPY,
        Codec::Lz4 => Compression::LZ4_RAW,
        // Level 1: half the processor time of the usual 3 for files a few percent larger.
        Codec::Zstd => Compression::ZSTD(ZstdLevel::try_new(level.unwrap_or(1)).ok()?),
        Codec::Gzip => Compression::GZIP(match unsigned()? {
            Some(level) => GzipLevel::try_new(level).ok()?,
            None => GzipLevel::default(),
        }),
        Codec::Brotli => Compression::BROTLI(match unsigned()? {
            Some(level) => BrotliLevel::try_new(level).ok()?,
            None => BrotliLevel::default(),
        }),
    })
}

fn invalid(key: &str, value: &str, expected: &'static str) -> StageError {
    StageError::Property { key: key.to_owned(), value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, StageError> {
        Settings::new(&properties(pairs), &StageOptions::new("p"), Some(64), Vec::new())
    }

    #[test]
    fn a_table_without_properties_gets_zstd_1() {
        let settings = settings(&[]).expect("defaults are valid");
        let level = ZstdLevel::try_new(1).expect("level 1 exists");
        assert_eq!(settings.writer.compression(&"a".into()), Compression::ZSTD(level));
        assert_eq!(settings.target_file_size_bytes, 512 * 1024 * 1024);
    }

    #[test]
    fn the_tables_properties_win() {
        let settings = settings(&[
            (CODEC, "GZIP"),
            (LEVEL, "9"),
            (ROW_GROUP_SIZE, "1000"),
            (PAGE_SIZE, "2000"),
            (PAGE_ROWS, "30"),
            (DICTIONARY_SIZE, "4000"),
            (TARGET_FILE_SIZE, "5000"),
        ])
        .expect("valid");
        let level = GzipLevel::try_new(9).expect("level 9 exists");
        assert_eq!(settings.writer.compression(&"a".into()), Compression::GZIP(level));
        assert_eq!(settings.writer.max_row_group_bytes(), Some(1000));
        assert_eq!(settings.writer.data_page_row_count_limit(), 30);
        assert_eq!(settings.target_file_size_bytes, 5000);
    }

    #[test]
    fn a_level_of_the_options_is_not_used_for_another_codec_of_the_table() {
        let options = StageOptions { compression_level: Some(19), ..StageOptions::new("p") };
        let settings = Settings::new(&properties(&[(CODEC, "gzip")]), &options, None, Vec::new()).expect("valid");
        assert_eq!(settings.writer.compression(&"a".into()), Compression::GZIP(GzipLevel::default()));
    }

    #[test]
    fn values_that_cannot_be_honoured_are_refused() {
        for (key, value) in [(CODEC, "lzo"), (LEVEL, "99"), (LEVEL, "fast"), (PAGE_SIZE, "0"), (ROW_GROUP_SIZE, "-1")] {
            let error = settings(&[(key, value)]).expect_err("must be refused");
            assert!(matches!(&error, StageError::Property { key: named, .. } if named == key), "{error}");
            assert!(!error.is_retryable());
        }
    }
}
