//! Damage to files that no crash explains: a bit that turned, a tail that is missing.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Turns one bit of a file, chosen by `seed`, and makes it durable. Returns the offset of its byte. Use it while
/// nobody has the file open, on its path below a mount or in the backing folder.
///
/// # Errors
/// If the file cannot be changed, or is empty.
pub fn flip_bit(path: &Path, seed: u64) -> io::Result<u64> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    if length == 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is empty", path.display())));
    }
    let mut random = StdRng::seed_from_u64(seed);
    let at = random.random_range(0..length);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    byte[0] ^= 1 << random.random_range(0..8);
    file.write_all_at(&byte, at)?;
    file.sync_all()?;
    Ok(at)
}

/// Cuts the last `bytes` off a file, at most all of it, and makes it durable. Returns the new length.
///
/// # Errors
/// If the file cannot be changed.
pub fn truncate_tail(path: &Path, bytes: u64) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len().saturating_sub(bytes);
    file.set_len(length)?;
    file.sync_all()?;
    Ok(length)
}
