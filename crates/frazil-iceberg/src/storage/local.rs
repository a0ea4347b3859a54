//! Files of this machine. Owns their durability: a write returns after the file *and* its name are on disk.
//!
//! Every function runs its blocking calls on tokio's blocking pool.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use uuid::Uuid;

use super::{ObjectEntry, Result, StorageError};

/// What to do with a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Replace,
    Refuse,
}

pub(super) async fn put(path: PathBuf, data: Bytes, existing: Existing) -> Result<()> {
    blocking(path, move |path| put_blocking(path, &data, existing)).await
}

pub(super) async fn get(path: PathBuf, range: Option<Range<u64>>) -> Result<Bytes> {
    blocking(path, move |path| {
        let mut file = File::open(path)?;
        let mut content = Vec::new();
        match range {
            None => file.read_to_end(&mut content)?,
            Some(range) => {
                file.seek(SeekFrom::Start(range.start))?;
                file.take(range.end.saturating_sub(range.start)).read_to_end(&mut content)?
            }
        };
        Ok(content.into())
    })
    .await
}

pub(super) async fn delete(path: PathBuf) -> Result<()> {
    blocking(path, |path| fs::remove_file(path)).await
}

/// Removes an empty directory.
pub(super) async fn remove_directory(path: PathBuf) -> Result<()> {
    blocking(path, |path| fs::remove_dir(path)).await
}

pub(super) async fn size(path: PathBuf) -> Result<u64> {
    blocking(path, |path| {
        let metadata = fs::metadata(path)?;
        // Object stores have no directories: nothing may tell the two kinds of storage apart.
        if metadata.is_file() { Ok(metadata.len()) } else { Err(io::ErrorKind::NotFound.into()) }
    })
    .await
}

pub(super) async fn list(path: PathBuf, prefix: String) -> Result<Vec<ObjectEntry>> {
    blocking(path, move |path| {
        let mut entries = Vec::new();
        let mut pending = vec![(path.to_path_buf(), prefix.trim_end_matches('/').to_owned())];
        while let Some((directory, location)) = pending.pop() {
            list_directory(&directory, &location, &mut pending, &mut entries)?;
        }
        Ok(entries)
    })
    .await
}

async fn blocking<T, F>(path: PathBuf, operation: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(&Path) -> io::Result<T> + Send + 'static,
{
    let run = move || operation(&path).map_err(|error| StorageError::from_io(&path.to_string_lossy(), error));
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => result,
        Err(join) => match join.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(cancelled) => Err(StorageError::Unavailable { location: String::new(), source: cancelled.into() }),
        },
    }
}

fn put_blocking(path: &Path, data: &[u8], existing: Existing) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(directory)?;
    let temporary = directory.join(format!(".{}.tmp", Uuid::new_v4()));
    let written = write_synced(&temporary, data).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, path),
        // A link fails if the name exists, so exactly one of many racing creators wins.
        Existing::Refuse => fs::hard_link(&temporary, path).and_then(|()| fs::remove_file(&temporary)),
    });
    if let Err(error) = written {
        // Best effort: the temporary name is referenced by nobody.
        drop(fs::remove_file(&temporary));
        return Err(error);
    }
    sync_directory(directory)
}

fn write_synced(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(data)?;
    file.sync_all()
}

/// Creates missing directories, each synced into its parent: a synced file in a directory whose own name was never
/// written is lost just the same.
fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_directories(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn list_directory(
    directory: &Path,
    location: &str,
    pending: &mut Vec<(PathBuf, String)>,
    entries: &mut Vec<ObjectEntry>,
) -> io::Result<()> {
    let read = match fs::read_dir(directory) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        other => other?,
    };
    for entry in read {
        let entry = entry?;
        let location = format!("{location}/{}", entry.file_name().to_string_lossy());
        let metadata = match entry.metadata() {
            // Deleted since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if metadata.is_dir() {
            pending.push((entry.path(), location));
        } else {
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            let modified_ms = i64::try_from(modified.as_millis()).unwrap_or(i64::MAX);
            entries.push(ObjectEntry { location, size: metadata.len(), modified_ms });
        }
    }
    Ok(())
}
