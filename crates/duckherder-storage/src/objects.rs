//! Requests to the storage, tried again for as long as it is worth, and counted.

use std::fmt::Display;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, PutMode, PutOptions, PutPayload};

use crate::error::{Result, StorageError};
use crate::location::Location;
use crate::refusal;

/// Between two tries, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How many requests a store has made, tries inside the client not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub puts: u64,
    pub put_bytes: u64,
    pub gets: u64,
    pub get_bytes: u64,
    pub lists: u64,
    pub deletes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    puts: AtomicU64,
    put_bytes: AtomicU64,
    gets: AtomicU64,
    get_bytes: AtomicU64,
    lists: AtomicU64,
    deletes: AtomicU64,
}

/// The objects of one place.
#[derive(Debug)]
pub struct Objects {
    location: Location,
    patience: Duration,
    /// Whether the storage has let us do all that there is to do.
    admitted: AtomicBool,
    counts: Counts,
}

/// What came of creating an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Created,
    /// Another one is there.
    Exists,
}

impl Objects {
    /// Requests are tried for `patience`.
    pub fn new(location: Location, patience: Duration) -> Self {
        Self { location, patience, admitted: AtomicBool::new(false), counts: Counts::default() }
    }

    /// The storage has let us do what we do: if it does not any more, that may pass.
    pub fn was_admitted(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }

    /// The same objects; requests are tried for `patience`, and counted apart.
    pub fn with_patience(&self, patience: Duration) -> Self {
        Self::new(self.location.clone(), patience)
    }

    pub fn shown(&self) -> &str {
        &self.location.shown
    }

    pub fn requests(&self) -> Requests {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counts { puts, put_bytes, gets, get_bytes, lists, deletes } = &self.counts;
        Requests {
            puts: count(puts),
            put_bytes: count(put_bytes),
            gets: count(gets),
            get_bytes: count(get_bytes),
            lists: count(lists),
            deletes: count(deletes),
        }
    }

    fn path(&self, name: &str) -> Path {
        self.location.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    fn store(&self) -> &dyn ObjectStore {
        self.location.store.as_ref()
    }

    /// An object's bytes, or some of them; `None` if there is no such object.
    ///
    /// # Errors
    /// The storage refuses, or does not answer.
    pub async fn get(&self, name: &str, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        let path = self.path(name);
        let wanted = range.as_ref().map(|range| range.end - range.start);
        self.patiently("read", name, || {
            let options = GetOptions { range: range.clone().map(GetRange::Bounded), ..GetOptions::default() };
            let path = &path;
            async move {
                add(&self.counts.gets, 1);
                match self.store().get_opts(path, options).await {
                    Ok(found) => {
                        let bytes = found.bytes().await.map_err(Failure::of)?;
                        if wanted.is_some_and(|wanted| wanted != bytes.len() as u64) {
                            return Err(Failure::final_(format!("it has only {} of the bytes", bytes.len())));
                        }
                        add(&self.counts.get_bytes, bytes.len() as u64);
                        Ok(Some(bytes))
                    }
                    // Where there is no bucket, nobody knows whether the object is there.
                    Err(error @ Error::NotFound { .. }) if refusal::of(&error).is_none() => Ok(None),
                    Err(error) => Err(Failure::of(error)),
                }
            }
        })
        .await
    }

    /// Writes an object that nobody else writes.
    ///
    /// # Errors
    /// The storage refuses, or does not answer.
    pub async fn put(&self, name: &str, payload: PutPayload) -> Result<()> {
        let path = self.path(name);
        self.patiently("write", name, || {
            let (path, payload) = (&path, payload.clone());
            self.count_put(payload.content_length());
            async move { self.store().put_opts(path, payload, PutOptions::default()).await.map_err(Failure::of) }
        })
        .await?;
        Ok(())
    }

    /// Writes an object unless there is one. After a try without an answer, the one that is there may be this one.
    ///
    /// # Errors
    /// The storage refuses, or does not answer.
    pub async fn create(&self, name: &str, bytes: Bytes) -> Result<Created> {
        let path = self.path(name);
        self.patiently("create", name, || {
            let (path, payload) = (&path, PutPayload::from_bytes(bytes.clone()));
            self.count_put(bytes.len());
            async move {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                match self.store().put_opts(path, payload, options).await {
                    Ok(_) => Ok(Created::Created),
                    Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Exists),
                    Err(error) => Err(Failure::of(error)),
                }
            }
        })
        .await
    }

    /// The names of objects in a folder, in order, those after `after` alone.
    ///
    /// # Errors
    /// The storage refuses, or does not answer.
    pub async fn list(&self, folder: &str, after: Option<&str>) -> Result<Vec<String>> {
        let path = self.path(folder);
        let mut names = self
            .patiently("list", folder, || {
                let (path, after) = (&path, after.map(|after| self.path(&format!("{folder}/{after}"))));
                async move {
                    add(&self.counts.lists, 1);
                    let found = match &after {
                        Some(after) => self.store().list_with_offset(Some(path), after),
                        None => self.store().list(Some(path)),
                    };
                    let names = found.map_ok(|meta| meta.location.filename().unwrap_or_default().to_string());
                    names.try_collect::<Vec<_>>().await.map_err(Failure::of)
                }
            })
            .await?;
        names.sort();
        Ok(names)
    }

    /// Removes objects; those that are not there are gone as well.
    ///
    /// # Errors
    /// The storage refuses, or does not answer.
    pub async fn delete(&self, names: &[String]) -> Result<()> {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        self.patiently("remove", names.first().map_or("", String::as_str), || {
            let paths = futures::stream::iter(paths.clone()).map(Ok).boxed();
            async move {
                add(&self.counts.deletes, 1);
                let mut removed = self.store().delete_stream(paths);
                while let Some(result) = removed.next().await {
                    match result {
                        Ok(_) | Err(Error::NotFound { .. }) => {}
                        Err(error) => return Err(Failure::of(error)),
                    }
                }
                Ok(())
            }
        })
        .await
    }

    fn count_put(&self, bytes: usize) {
        add(&self.counts.puts, 1);
        add(&self.counts.put_bytes, bytes as u64);
    }

    async fn patiently<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        what: &'static str,
        object: &str,
        mut request: impl FnMut() -> F,
    ) -> Result<T> {
        let mut tries = self.tries();
        loop {
            let failure = match self.in_time(request()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_final = match failure.outlook {
                Outlook::MayPass => false,
                Outlook::Refused => !self.admitted.load(Ordering::Relaxed),
                Outlook::Final => true,
            };
            if is_final {
                return Err(self.error(what, object, failure.reason));
            }
            tries.again(what, object, failure.reason).await?;
        }
    }

    /// A directory on a server that does not answer holds up threads, of which the runtime has so many and no more, but not
    /// who waits for them.
    async fn in_time<T>(&self, request: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let Some(limit) = self.location.limit else { return request.await };
        let late = || Failure { reason: format!("no answer for {} s", limit.as_secs_f64()), outlook: Outlook::MayPass };
        tokio::time::timeout(limit, request).await.unwrap_or_else(|_| Err(late()))
    }

    /// Begins something that is tried again for as long as it is worth.
    pub fn tries(&self) -> Tries<'_> {
        Tries { objects: self, begun: Instant::now(), pause: FIRST_PAUSE }
    }

    fn error(&self, what: &'static str, object: &str, reason: String) -> StorageError {
        StorageError::Request { what, object: object.to_string(), place: self.shown().to_string(), reason }
    }

    /// An object that is there, but not as it should be.
    pub fn corrupt(&self, object: &str, reason: impl Display) -> StorageError {
        StorageError::Corrupt {
            object: object.to_string(),
            place: self.shown().to_string(),
            reason: reason.to_string(),
        }
    }
}

/// Something that is tried again and again.
pub struct Tries<'a> {
    objects: &'a Objects,
    begun: Instant,
    pause: Duration,
}

impl Tries<'_> {
    /// After a try that failed for a reason which may pass: waits for the next one.
    ///
    /// # Errors
    /// It has been tried for long enough.
    pub async fn again(&mut self, what: &'static str, object: &str, reason: String) -> Result<()> {
        if self.begun.elapsed() + self.pause > self.objects.patience {
            return Err(self.objects.error(what, object, reason));
        }
        tracing::warn!(what, object, place = self.objects.shown(), reason, "the storage is asked again");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// A try that failed.
struct Failure {
    reason: String,
    outlook: Outlook,
}

/// What another try would come to.
enum Outlook {
    MayPass,
    /// We are not let in, or there is no bucket: for good, or while credentials are replaced or a clock is wrong (S3's
    /// `RequestTimeTooSkewed`).
    Refused,
    /// The same.
    Final,
}

impl Failure {
    fn of(error: Error) -> Self {
        if let Some(reason) = refusal::of(&error) {
            return Self { reason, outlook: Outlook::Refused };
        }
        let outlook = match error {
            Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::UnknownConfigurationKey { .. } => Outlook::Final,
            _ => Outlook::MayPass,
        };
        Self { reason: error.to_string(), outlook }
    }

    fn final_(reason: String) -> Self {
        Self { reason, outlook: Outlook::Final }
    }
}

fn add(counter: &AtomicU64, value: u64) {
    counter.fetch_add(value, Ordering::Relaxed);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_does_not_answer_is_an_error() {
        let directory = std::env::temp_dir().join(format!("duckherder-{}", uuid::Uuid::new_v4()));
        let patience = Duration::from_millis(300);
        let mut location = Location::parse(&format!("file://{}", directory.display()), patience).unwrap();
        location.limit = Some(Duration::from_millis(100));
        // Nobody writes into it: whoever opens it to read waits for ever.
        let made = std::process::Command::new("mkfifo").arg(directory.join("log")).status().unwrap();
        assert!(made.success());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let objects = Objects::new(location, patience);
        let error = runtime.block_on(objects.get("log", None)).unwrap_err().to_string();
        assert!(error.contains("no answer for 0.1 s"), "{error}");
        runtime.shutdown_background();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
