//! A file as one object, which any program can read: a backup.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart};

use crate::error::{Result, StorageError};
use crate::location::Location;
use crate::refusal;

/// How long a request is tried: all that came before would be lost with it.
const PATIENCE: Duration = Duration::from_secs(180);
/// What one request sends or gets, at least; an upload has 10,000 of them at most.
const PART_BYTES: u64 = 8 << 20;
const MOST_PARTS: u64 = 10_000;
/// Requests at once.
const AT_ONCE: usize = 4;

/// An object that has a URL: `s3://BUCKET/KEY`, `gs://BUCKET/KEY`, `az://CONTAINER/KEY`.
#[derive(Debug)]
pub struct WholeObject {
    location: Location,
}

impl WholeObject {
    /// Sends nothing.
    ///
    /// # Errors
    /// It is no such URL, or credentials make no sense.
    pub fn parse(text: &str) -> Result<Self> {
        let location = Location::parse_for_long(text, PATIENCE)?;
        if location.prefix.as_ref().is_empty() {
            return Err(StorageError::Location(format!("{text} names no object: add a key, as in s3://BUCKET/KEY")));
        }
        Ok(Self { location })
    }

    /// Writes the object, in the place of what may be there; it appears as a whole, or not at all. Reads `file` on the
    /// calling thread.
    ///
    /// # Errors
    /// The file can't be read, or the storage refuses or does not answer.
    pub async fn upload(&self, file: &Path) -> Result<()> {
        let mut source = File::open(file).map_err(|error| self.failed("read", error))?;
        let bytes = source.metadata().map_err(|error| self.failed("read", error))?.len();
        let part = part_bytes(bytes);
        let upload = self.store().put_multipart(&self.location.prefix).await;
        let mut upload =
            WriteMultipart::new_with_chunk_size(upload.map_err(|error| self.refused("write", error))?, part);
        let sent = self.send(&mut source, &mut upload, part).await;
        if sent.is_err() {
            // What was wrong is known already; parts that stay, as when the driver is killed, are nobody's object, and a
            // matter of the bucket's rules.
            let _ = upload.abort().await;
            return sent;
        }
        upload.finish().await.map_err(|error| self.refused("write", error))?;
        Ok(())
    }

    async fn send(&self, source: &mut File, upload: &mut WriteMultipart, part: usize) -> Result<()> {
        let mut buffer = vec![0; part];
        loop {
            let read = source.read(&mut buffer).map_err(|error| self.failed("read", error))?;
            if read == 0 {
                return Ok(());
            }
            upload.wait_for_capacity(AT_ONCE).await.map_err(|error| self.refused("write", error))?;
            upload.write(&buffer[..read]);
        }
    }

    /// Writes the object's bytes to a new `file`, on the calling thread.
    ///
    /// # Errors
    /// There is no such object, it changes meanwhile, the storage does not answer, or the file can't be written.
    pub async fn download(&self, file: &Path) -> Result<()> {
        let (store, path) = (self.store(), &self.location.prefix);
        let found = store.head(path).await.map_err(|error| self.refused("read", error))?;
        let mut target = File::create_new(file).map_err(|error| self.failed("copy", error))?;
        let starts = (0..found.size).step_by(PART_BYTES as usize);
        let parts = futures::stream::iter(starts.map(|start| {
            let range = start..(start + PART_BYTES).min(found.size);
            let options = GetOptions {
                range: Some(GetRange::Bounded(range)),
                if_match: found.e_tag.clone(),
                ..GetOptions::default()
            };
            async move { store.get_opts(path, options).await?.bytes().await }
        }));
        let mut parts = parts.buffered(AT_ONCE);
        let mut written = 0;
        while let Some(part) = parts.try_next().await.map_err(|error| self.refused("read", error))? {
            written += part.len() as u64;
            target.write_all(&part).map_err(|error| self.failed("copy", error))?;
        }
        if written != found.size {
            return Err(self.failed("read", format!("it has {} bytes, and {written} came", found.size)));
        }
        target.sync_all().map_err(|error| self.failed("copy", error))
    }

    fn store(&self) -> &dyn ObjectStore {
        self.location.store.as_ref()
    }

    /// What the storage said.
    fn refused(&self, what: &'static str, error: Error) -> StorageError {
        let reason = match error {
            Error::NotFound { .. } if what == "read" => "there is no such object".to_string(),
            Error::NotFound { .. } => "there is no such bucket".to_string(),
            Error::Precondition { .. } => "another one took its place meanwhile: try again".to_string(),
            error => refusal::of(&error).unwrap_or_else(|| error.to_string()),
        };
        self.failed(what, reason)
    }

    fn failed(&self, what: &'static str, reason: impl ToString) -> StorageError {
        let object = self.location.prefix.filename().unwrap_or_default().to_string();
        StorageError::Request { what, object, place: self.location.shown.clone(), reason: reason.to_string() }
    }
}

fn part_bytes(bytes: u64) -> usize {
    usize::try_from(PART_BYTES.max(bytes.div_ceil(MOST_PARTS))).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_never_has_too_many_parts() {
        assert_eq!(part_bytes(1), 8 << 20);
        for bytes in [1_u64 << 30, 1 << 40, (1 << 43) + 1] {
            assert!(bytes.div_ceil(part_bytes(bytes) as u64) <= MOST_PARTS);
        }
    }

    #[test]
    fn a_bucket_is_no_object() {
        let error = WholeObject::parse("s3://bucket/").unwrap_err().to_string();
        assert!(error.contains("names no object"), "{error}");
    }
}
