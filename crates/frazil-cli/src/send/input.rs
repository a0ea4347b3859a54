//! Opens files and standard input, sees through gzip and zstd by their first bytes, and counts what was read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFER_BYTES: usize = 256 * 1024;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Opens `path` (`-` is standard input), decompressed, without a byte order mark. Bytes read from the file itself are
/// added to `consumed`.
pub(super) fn open(path: &Path, consumed: &Arc<AtomicU64>) -> io::Result<Box<dyn BufRead>> {
    let raw: Box<dyn Read> = if is_stdin(path) { Box::new(io::stdin()) } else { Box::new(File::open(path)?) };
    let counted = Counted { inner: raw, consumed: consumed.clone() };
    decompress(counted)
}

/// What the input is called in messages.
pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) { "stdin".to_owned() } else { path.display().to_string() }
}

/// Sum of the sizes, if all are plain files.
pub(super) fn total_bytes(files: &[PathBuf]) -> Option<u64> {
    let size = |path: &PathBuf| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len());
    files.iter().map(size).sum()
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

fn decompress(raw: impl Read + 'static) -> io::Result<Box<dyn BufRead>> {
    let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
    // One fill may bring fewer than four bytes only from a pipe that ends or stutters there.
    let start = peek(&mut raw)?;
    let plain: Box<dyn Read> = if start.starts_with(&GZIP) {
        Box::new(flate2::bufread::MultiGzDecoder::new(raw))
    } else if start.starts_with(&ZSTD) {
        Box::new(zstd::stream::read::Decoder::with_buffer(raw)?)
    } else {
        Box::new(raw)
    };
    let mut plain = BufReader::with_capacity(BUFFER_BYTES, plain);
    if plain.fill_buf()?.starts_with(&BYTE_ORDER_MARK) {
        plain.consume(BYTE_ORDER_MARK.len());
    }
    Ok(Box::new(plain))
}

fn peek(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    Ok(reader.fill_buf()?.iter().take(ZSTD.len()).copied().collect())
}

/// Counts the bytes that pass.
struct Counted<R> {
    inner: R,
    consumed: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.consumed.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use super::*;

    #[test]
    fn compression_is_seen_by_content() {
        let text = b"{\"a\":1}\n{\"a\":2}\n";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).expect("memory");
        let gzip = gzip.finish().expect("memory");
        let zstd = zstd::encode_all(&text[..], 1).expect("memory");
        let marked = [&BYTE_ORDER_MARK[..], text].concat();
        for written in [text.to_vec(), [gzip.clone(), gzip].concat(), zstd, marked] {
            let mut read = Vec::new();
            decompress(Cursor::new(written)).expect("open").read_to_end(&mut read).expect("read");
            assert!(read.starts_with(text), "{read:?}");
        }
        assert!(peek(&mut decompress(Cursor::new(Vec::new())).expect("empty")).expect("empty").is_empty());
    }

    #[test]
    fn consumed_counts_bytes_of_the_file() {
        let mut file = tempfile::NamedTempFile::new().expect("file");
        file.write_all(b"{}\n").expect("write");
        let consumed = Arc::new(AtomicU64::new(0));
        let mut text = String::new();
        open(file.path(), &consumed).expect("open").read_to_string(&mut text).expect("read");
        assert_eq!((text.as_str(), consumed.load(Ordering::Relaxed)), ("{}\n", 3));
        assert_eq!(total_bytes(&[file.path().to_owned()]), Some(3));
        assert_eq!(total_bytes(&[PathBuf::from("-")]), None);
    }
}
