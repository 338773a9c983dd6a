//! A place in object storage whose only writer this is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::cache::Cache;
use crate::collect::collect;
use crate::error::{Result, StorageError};
use crate::files::{File, OpenMode};
use crate::location::Location;
use crate::objects::{Objects, Requests};
use crate::open::{Claim, Taken, take_over};
use crate::packs::run;
use crate::shared::{Core, Shared};
use crate::sync::lock;
use crate::{log, manifest, signs};

/// Threads for requests.
const THREADS: usize = 2;
/// How long requests may take to end when the store is closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the cache's file is to be.
    pub cache_directory: PathBuf,
    /// Its most bytes.
    pub cache_bytes: u64,
    /// How long objects stay that only readers of earlier versions may need.
    pub keep: Duration,
    /// For how long a writer that has not heard of a successor may believe that there is none, less than the half minute that
    /// log objects stay: nobody can have removed those of a successor until then.
    pub proof: Duration,
    /// How long a request is tried.
    pub patience: Duration,
    /// Who this is, for whoever takes over or is taken over from.
    pub writer_name: String,
    /// What this shows to those who wait for its place.
    pub about: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_directory: std::env::temp_dir(),
            cache_bytes: 8 << 30,
            keep: Duration::from_secs(600),
            proof: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            writer_name: format!("process {}", std::process::id()),
            about: String::new(),
        }
    }
}

/// One state of all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Bytes in packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// That files have.
    pub live_bytes: u64,
    /// Of the packs that they are in.
    pub pack_bytes: u64,
}

/// The store. Its calls block; dropping it lets go of the place without a word.
pub struct Store {
    core: Arc<Core>,
    place: String,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    runtime: Runtime,
    log: tokio::task::JoinHandle<()>,
    signs: tokio::task::JoinHandle<()>,
}

/// A state whose objects stay while this is there.
pub struct Pin {
    core: Arc<Core>,
    position: u64,
    version: Version,
}

impl Pin {
    /// The last log object when it was made.
    pub fn version(&self) -> Version {
        self.version
    }
}

/// The state after some record, for readers elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose log object it is: readers of another place by the same name find another's.
    pub writer: String,
    pub version: Version,
    /// How many of the object's records it is after; `None`: all.
    pub records: Option<u64>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shared = self.core.lock();
        if let Some(count) = shared.pins.get_mut(&self.position) {
            *count -= 1;
            if *count == 0 {
                shared.pins.remove(&self.position);
            }
        }
    }
}

impl Store {
    /// Takes a place over from whoever writes there.
    ///
    /// # Errors
    /// The storage can't be reached, or does not have what a driver has written.
    pub fn open(location: Location, options: Options) -> Result<Self> {
        let everybody = |_| StorageError::Failed { reason: "the place was not taken over".to_string() };
        Self::take(location, options, None)?.map_err(everybody)
    }

    /// The same from whom a claim names alone; otherwise, who has the place, if that is known.
    pub(crate) fn take(
        location: Location,
        options: Options,
        claim: Option<Claim>,
    ) -> Result<Result<Self, Option<String>>> {
        let cache = Arc::new(Cache::new(&options.cache_directory, options.cache_bytes)?);
        let objects = Arc::new(Objects::new(location, options.patience));
        let writer = uuid::Uuid::new_v4().to_string();
        let name = options.writer_name.clone();
        let (runtime, taken) = start({
            let name = name.clone();
            async move {
                let mut loaded = match take_over(&objects, &writer, &name, claim.as_ref()).await? {
                    Taken::Ours(loaded) => loaded,
                    Taken::Not(by) => return Ok(Err(by)),
                };
                if loaded.state.place.is_empty() {
                    loaded.state.place = uuid::Uuid::new_v4().to_string();
                }
                let (snapshot, place) = (loaded.state.clone(), loaded.state.place.clone());
                let handle = tokio::runtime::Handle::current();
                let core = Arc::new(Core::new(objects, cache, options, writer, loaded.number, handle, loaded.state));
                let manifest = manifest::write(Arc::clone(&core), snapshot, loaded.number, name);
                futures::try_join!(manifest, signs::put(&core, &core.objects, 0, false))?;
                core.objects.was_admitted();
                Ok(Ok((core, place)))
            }
        })?;
        let (core, place) = match taken {
            Ok(taken) => taken,
            Err(by) => {
                runtime.shutdown_background();
                return Ok(Err(by));
            }
        };
        tracing::info!(place = core.objects.shown(), version = core.epoch, "this driver writes to its storage");
        let log = runtime.spawn(log::run(Arc::clone(&core), name));
        runtime.spawn(collect(Arc::clone(&core)));
        let signs = runtime.spawn(signs::show(Arc::clone(&core)));
        Ok(Ok(Self { core, place, threads: Mutex::new(Some(Threads { runtime, log, signs })) }))
    }

    /// Which place it is, whoever writes there.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The number of this writer's life among those of all writers of the place; the last one has the greatest.
    pub fn epoch(&self) -> u64 {
        self.core.epoch
    }

    /// Whether it is certain that no standby has taken over of which this writer has not heard. Does not wait.
    ///
    /// # Errors
    /// The storage has failed, or another writer has taken over.
    pub fn is_sure(&self) -> Result<bool> {
        self.core.is_sure()
    }

    /// Waits until it is certain.
    ///
    /// # Errors
    /// As for [`is_sure`](Self::is_sure).
    pub fn wait_sure(&self) -> Result<()> {
        self.core.wait_sure()
    }

    /// For people.
    pub fn shown(&self) -> &str {
        self.core.objects.shown()
    }

    /// Opens a file; `None` if there is none, and none is to be made.
    ///
    /// # Errors
    /// The storage has failed.
    pub fn open_file(&self, name: &str, mode: OpenMode) -> Result<Option<File>> {
        self.core.open(name, mode)
    }

    /// # Errors
    /// The storage has failed.
    pub fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.core.lock_sound()?.id(name).is_some())
    }

    /// Removes a file; `false` if there is none.
    ///
    /// # Errors
    /// The storage has failed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.core.remove(name)
    }

    /// Gives a file another name; another file of that name is gone.
    ///
    /// # Errors
    /// There is no such file, or the storage has failed.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.core.rename(from, to)
    }

    /// The names of all files.
    ///
    /// # Errors
    /// The storage has failed.
    pub fn names(&self) -> Result<Vec<String>> {
        let shared = self.core.lock_sound()?;
        let mut names: Vec<_> = shared.state.names.keys().chain(shared.fresh.keys()).cloned().collect();
        names.sort();
        Ok(names)
    }

    /// A whole file, if it is there.
    ///
    /// # Errors
    /// The storage fails.
    pub fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(file) = self.open_file(name, OpenMode::default())? else { return Ok(None) };
        let mut bytes = vec![0; file.length()? as usize];
        let count = file.read(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(Some(bytes))
    }

    /// Writes a whole file in the place of what was there; it is durable afterwards.
    ///
    /// # Errors
    /// The storage fails.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let mode = OpenMode { create: true, truncate: true };
        if let Some(file) = self.open_file(name, mode)? {
            file.write(0, bytes)?;
            file.sync()?;
        }
        self.wait_durable()
    }

    /// Waits until all that was synced is durable.
    ///
    /// # Errors
    /// The storage fails: nobody knows how much of it is.
    pub fn wait_durable(&self) -> Result<()> {
        self.wait_durable_to(self.position())
    }

    /// How much was synced so far.
    pub fn position(&self) -> u64 {
        self.core.lock().appended
    }

    /// Waits until all that was synced up to a position is durable.
    ///
    /// # Errors
    /// The storage fails, or has failed, whatever was durable then.
    pub fn wait_durable_to(&self, position: u64) -> Result<()> {
        drop(self.core.wait(self.core.lock_sound()?, |shared| shared.durable >= position)?);
        Ok(())
    }

    /// The last durable state.
    pub fn version(&self) -> Version {
        Version(self.core.lock().version)
    }

    /// The last durable state, whose objects stay until the pin is dropped.
    pub fn pin(&self) -> Pin {
        let mut shared = self.core.lock();
        let position = shared.durable;
        self.pin_locked(&mut shared, position)
    }

    /// The same of the state after the first `position` records of this store's life, which may not be durable yet; `None`
    /// if some of its objects may be gone.
    pub fn pin_at(&self, position: u64) -> Option<Pin> {
        let mut shared = self.core.lock();
        let is_there = position >= shared.removed && position <= shared.appended;
        is_there.then(|| self.pin_locked(&mut shared, position))
    }

    fn pin_locked(&self, shared: &mut Shared, position: u64) -> Pin {
        *shared.pins.entry(position).or_default() += 1;
        Pin { core: Arc::clone(&self.core), position, version: Version(shared.version) }
    }

    /// Where readers elsewhere find the state after the first `position` records, once these are durable; `None` if that
    /// is not known any more.
    ///
    /// # Errors
    /// The storage fails.
    pub fn mark(&self, position: u64) -> Result<Option<Mark>> {
        self.wait_durable_to(position)?;
        let writer = self.core.writer.clone();
        Ok(self.core.lock().object_of(position).map(|(number, records)| Mark {
            writer,
            version: Version(number),
            records,
        }))
    }

    /// The last record that has changed a file of this name; 0 if none has in this store's life.
    pub fn changed(&self, name: &str) -> u64 {
        self.core.lock().changed.get(name).copied().unwrap_or_default()
    }

    /// How much space files take.
    pub fn space(&self) -> Space {
        let (live_bytes, pack_bytes) = self.core.lock().state.space();
        Space { live_bytes, pack_bytes }
    }

    /// How many requests there were, but for those about standbys.
    pub fn requests(&self) -> Requests {
        self.core.objects.requests()
    }

    /// Ends with the error with which the store fails, or never.
    pub fn failure(&self) -> impl Future<Output = StorageError> + Send + 'static {
        let mut failure = self.core.failure.subscribe();
        let core = Arc::clone(&self.core);
        async move {
            let _core = core;
            match failure.wait_for(Option::is_some).await.map(|error| error.clone()) {
                Ok(Some(error)) => error,
                _ => std::future::pending().await,
            }
        }
    }

    /// Makes all that was synced durable, and ends.
    ///
    /// # Errors
    /// The storage fails, or has failed before.
    pub fn close(&self) -> Result<()> {
        let Some(threads) = lock(&self.threads).take() else { return Ok(()) };
        self.core.close();
        let log = threads.log;
        let ended =
            run(
                &self.core,
                async move { log.await.map_err(|error| StorageError::Failed { reason: error.to_string() }) },
            );
        let sound = ended.and_then(|()| self.core.lock().check());
        if sound.is_ok() {
            self.core.leaving.notify_one();
            let signs = threads.signs;
            // Who waits for it finds out by itself, too.
            let told = run(&self.core, async move { Ok(tokio::time::timeout(CLOSE_LIMIT, signs).await) });
            if !matches!(told, Ok(Ok(Ok(())))) {
                tracing::warn!(place = self.shown(), "that this driver has ended could not be told");
            }
        }
        tracing::info!(place = self.shown(), requests = ?self.requests(), "storage closed");
        // Waiting inside an asynchronous task would panic.
        let ended = std::thread::spawn(move || threads.runtime.shutdown_timeout(CLOSE_LIMIT)).join();
        if ended.is_err() {
            tracing::warn!("the storage's threads did not end");
        }
        sound
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(threads) = lock(&self.threads).take() {
            self.core.close();
            threads.runtime.shutdown_background();
        }
    }
}

/// Threads for requests, and what the first of these has given; blocks, wherever it is called.
///
/// # Errors
/// What the future says.
pub fn start<T: Send + 'static>(first: impl Future<Output = Result<T>> + Send + 'static) -> Result<(Runtime, T)> {
    let failed = |error: &dyn std::fmt::Display| StorageError::Failed { reason: error.to_string() };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("storage")
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        // Whoever starts waits for it.
        let _ = tell.send(first.await);
    });
    let done = told.recv().map_err(|error| failed(&error)).and_then(|done| done);
    match done {
        Ok(done) => Ok((runtime, done)),
        Err(error) => {
            runtime.shutdown_background();
            Err(error)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;

    /// Whoever was shut out may try to create it at any time.
    #[test]
    fn what_has_shut_a_writer_out_stays() {
        let bucket = Arc::new(InMemory::new());
        let location = Location::new(bucket, Path::from("x"), "test://x");
        let open = || Store::open(location.clone(), Options::default()).unwrap();
        let first = open();
        first.write_file("a", b"1").unwrap();
        first.write_file("a", b"2").unwrap();
        let second = open();
        second.write_file("a", b"3").unwrap();
        let third = open();
        third.write_file("a", b"4").unwrap();
        third.close().unwrap();
        let (fences, logs) = ([1, 4, 6], ["2", "3", "5", "7"].map(|number| format!("log/{number:0>20}")));
        let begun = Instant::now();
        loop {
            let shared = third.core.lock();
            assert_eq!(shared.state.fences.iter().copied().collect::<Vec<_>>(), fences);
            let mut dead: Vec<_> = shared.dead.iter().map(|dead| dead.name.clone()).collect();
            dead.retain(|name| name.starts_with("log/"));
            dead.sort();
            if dead == logs {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{dead:?}");
            drop(shared);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
