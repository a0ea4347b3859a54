//! [`ObjectStorage`] as `iceberg`'s `Storage`, for its manifest readers and writers. Owns no behaviour of its own.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig,
    StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{ObjectStorage, StorageError};

/// The live handle is never serialized (it holds secrets): a deserialized one has the environment's credentials.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct FrazilStorage {
    #[serde(skip)]
    storage: ObjectStorage,
}

pub(super) fn build(storage: ObjectStorage) -> FileIO {
    FileIOBuilder::new(Arc::new(FrazilStorage { storage })).build()
}

#[typetag::serde]
impl StorageFactory for FrazilStorage {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for FrazilStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        self.storage.exists(path).await.map_err(failed)
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        Ok(FileMetadata { size: self.storage.size(path).await.map_err(failed)? })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        self.storage.get(path).await.map_err(failed)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        Ok(Box::new(Reader { storage: self.storage.clone(), location: path.to_owned() }))
    }

    async fn write(&self, path: &str, bs: Bytes) -> Result<()> {
        self.storage.put(path, bs).await.map_err(failed)
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let writer =
            Writer { storage: self.storage.clone(), location: path.to_owned(), content: Some(BytesMut::new()) };
        Ok(Box::new(writer))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        self.storage.delete(path).await.map_err(failed)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        for entry in self.storage.list(path).await.map_err(failed)? {
            self.storage.delete(&entry.location).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.storage.delete(&path).await.map_err(failed)?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    storage: ObjectStorage,
    location: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.storage.get_range(&self.location, range).await.map_err(failed)
    }
}

/// Collects in memory and puts on close: manifests and manifest lists are small, and nothing half-written is ever
/// visible.
struct Writer {
    storage: ObjectStorage,
    location: String,
    content: Option<BytesMut>,
}

impl Writer {
    fn closed(&self) -> Error {
        Error::new(ErrorKind::Unexpected, format!("{} is closed already", self.location))
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bs: Bytes) -> Result<()> {
        match &mut self.content {
            Some(content) => {
                content.extend_from_slice(&bs);
                Ok(())
            }
            None => Err(self.closed()),
        }
    }

    async fn close(&mut self) -> Result<()> {
        let content = self.content.take().ok_or_else(|| self.closed())?;
        self.storage.put(&self.location, content.freeze()).await.map_err(failed)
    }
}

fn failed(error: StorageError) -> Error {
    Error::new(ErrorKind::Unexpected, "storage operation failed")
        .with_retryable(error.is_retryable())
        .with_source(error)
}
