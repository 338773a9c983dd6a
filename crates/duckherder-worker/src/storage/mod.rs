//! The driver's databases, read where it keeps them: in object storage, in the state that a query sees.
//!
//! ```text
//!   a task's StorageState --Place--> Follower   the log of that place, and a cache of its packs on the local disk
//!            |                          |
//!            |                       Reader     all files in the state
//!            '--name of a database--> Mount     attached READ_ONLY under that name, shared by all tasks that read it
//! ```
//!
//! A mount whose database has not changed since is used by later queries, too. Where the storage can't be reached, the
//! driver sends the rows.

mod files;
mod place;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use duckherder_engine::{Database, EngineError, stored_path};
use duckherder_proto::task::{StorageDatabase, StorageState};
use duckherder_storage::{Mark, Reader, StorageError, Version};

use crate::cache::quoted;
use crate::connections::TaskConnections;
use crate::error::Result;
pub use files::MountedFiles;
use place::Place;

/// How many bytes of packs a worker keeps of each place if nobody says otherwise.
pub const DEFAULT_STORAGE_CACHE_BYTES: u64 = 8 << 30;
/// Databases that stay attached though nobody reads them.
const MOST_IDLE: usize = 8;
/// The same of one file: its earlier states.
const MOST_IDLE_STATES: usize = 2;

/// What a worker reads of drivers' storages.
pub struct StorageReads {
    database: Database,
    /// Those that are idle may have plans that read what is detached.
    connections: Arc<TaskConnections>,
    /// Those of `database`.
    files: Arc<MountedFiles>,
    cache_directory: PathBuf,
    /// Of each place.
    cache_bytes: u64,
    places: Mutex<HashMap<String, Arc<Place>>>,
    mounts: Mutex<Mounts>,
}

#[derive(Default)]
struct Mounts {
    by_name: HashMap<String, Arc<Slot>>,
    clock: u64,
}

/// The place of a mount, from before it is attached.
struct Slot {
    place: Arc<Place>,
    file: String,
    /// Held by whoever attaches it.
    mount: Mutex<Option<Arc<Mount>>>,
    /// Shared with who reads it.
    used: Arc<()>,
    last_used: Mutex<u64>,
}

/// A database in one of its states.
struct Mount {
    place: Arc<Place>,
    file: String,
    reader: Reader,
    /// A state whose objects are there as long as somebody reads, in which the database has the same bytes.
    latest: RwLock<Mark>,
}

/// Keeps the databases of a task attached.
pub struct InUse(#[allow(dead_code, reason = "it is counted")] Vec<Arc<()>>);

impl StorageReads {
    /// Databases are attached to `database`, which was opened with `files`. `cache_bytes`: how much of each place may be
    /// kept in a file of `cache_directory`; 0: nothing is read.
    pub fn new(
        database: Database,
        files: Arc<MountedFiles>,
        connections: Arc<TaskConnections>,
        cache_directory: PathBuf,
        cache_bytes: u64,
    ) -> Arc<Self> {
        let (places, mounts) = (Mutex::default(), Mutex::default());
        Arc::new(Self { database, connections, files, cache_directory, cache_bytes, places, mounts })
    }

    /// What it keeps of all places.
    pub fn cached_bytes(&self) -> u64 {
        lock(&self.places).values().map(|place| place.cached_bytes()).sum()
    }

    /// Attaches the databases of a state, if they are not yet; `None` if the driver is to send their rows. Blocks.
    pub fn open(&self, state: &StorageState) -> Option<InUse> {
        if self.cache_bytes == 0 {
            return None;
        }
        let place = self.place(&state.url)?;
        if place.is_broken() {
            return None;
        }
        let mark = Mark { writer: state.writer.clone(), version: Version(state.version), records: state.records };
        let mut used = Vec::new();
        for database in &state.databases {
            let (slot, in_use) = self.slot(&place, database);
            used.push(in_use);
            match self.attach(&slot, &database.name, &mark) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    place.broke(&error.to_string());
                    return None;
                }
            }
        }
        self.detach_idle();
        Some(InUse(used))
    }

    fn place(&self, url: &str) -> Option<Arc<Place>> {
        let known = lock(&self.places).get(url).cloned();
        if known.is_some() {
            return known;
        }
        // A directory on a server that does not answer holds up whoever looks at it, and nobody else.
        match Place::new(url, &self.cache_directory, self.cache_bytes) {
            Ok(place) => {
                let mut places = lock(&self.places);
                // Those of drivers that are gone.
                places.retain(|_, place| Arc::strong_count(place) > 1);
                Some(Arc::clone(places.entry(url.to_string()).or_insert(Arc::new(place))))
            }
            Err(error) => {
                tracing::warn!(url, %error, "this worker can't read the driver's storage: the driver sends the rows");
                None
            }
        }
    }

    fn slot(&self, place: &Arc<Place>, database: &StorageDatabase) -> (Arc<Slot>, Arc<()>) {
        let mut mounts = lock(&self.mounts);
        mounts.clock += 1;
        let clock = mounts.clock;
        let slot = mounts.by_name.entry(database.name.clone()).or_insert_with(|| {
            Arc::new(Slot {
                place: Arc::clone(place),
                file: database.file.clone(),
                mount: Mutex::default(),
                used: Arc::default(),
                last_used: Mutex::default(),
            })
        });
        *lock(&slot.last_used) = clock;
        (Arc::clone(slot), Arc::clone(&slot.used))
    }

    /// Attaches a database, if it is not yet; `false`, if its place could not be read while this task waited for others that
    /// tried.
    fn attach(&self, slot: &Slot, name: &str, mark: &Mark) -> Result<bool> {
        let mut mount = lock(&slot.mount);
        if let Some(mount) = &*mount {
            mount.has_the_bytes_at(mark);
            return Ok(true);
        }
        if slot.place.is_broken() {
            return Ok(false);
        }
        let (place, file) = (Arc::clone(&slot.place), slot.file.clone());
        let reader = place.reader(mark)?;
        let made = Arc::new(Mount { place, file, reader, latest: RwLock::new(mark.clone()) });
        // DuckDB reads of it as it attaches it.
        let path = stored_path(&self.files.add(name, Arc::clone(&made))).replace('\'', "''");
        let attached = self.execute(&format!("ATTACH '{path}' AS {} (READ_ONLY)", quoted(name)));
        if attached.is_err() {
            self.files.remove(name);
        }
        attached?;
        tracing::debug!(name, version = mark.version.0, requests = ?slot.place.requests(), "a state of a database is attached");
        slot.place.works();
        *mount = Some(made);
        Ok(true)
    }

    fn execute(&self, sql: &str) -> Result<()> {
        Ok(self.database.connect()?.execute(sql)?)
    }

    /// Detaches what was not read for longest, if too much is idle.
    fn detach_idle(&self) {
        for (name, slot) in self.superfluous() {
            self.detach(&name, &slot);
        }
    }

    /// Idle databases that are too many.
    fn superfluous(&self) -> Vec<(String, Arc<Slot>)> {
        let mounts = lock(&self.mounts);
        let idle = mounts.by_name.iter().filter(|(_, slot)| slot.is_idle());
        let mut idle: Vec<_> = idle
            .map(|(name, slot)| {
                let file = format!("{}/{}", slot.place.shown(), slot.file);
                (*lock(&slot.last_used), file, name.clone(), Arc::clone(slot))
            })
            .collect();
        idle.sort_by_key(|(last_used, ..)| Reverse(*last_used));
        let mut states: HashMap<String, usize> = HashMap::new();
        let mut kept = 0;
        idle.retain(|(_, file, ..)| {
            let states = states.entry(file.clone()).or_default();
            *states += 1;
            let stays = *states <= MOST_IDLE_STATES && kept < MOST_IDLE;
            kept += usize::from(stays);
            !stays
        });
        idle.into_iter().map(|(_, _, name, slot)| (name, slot)).collect()
    }

    /// Detaches a database unless somebody reads it. Its slot is given up last: whoever wants it meanwhile waits at the slot,
    /// and has it attached again.
    fn detach(&self, name: &str, slot: &Arc<Slot>) {
        // Whoever holds it is about to read it.
        let Ok(mut mount) = slot.mount.try_lock() else { return };
        if !slot.is_idle() {
            return;
        }
        if mount.is_some() {
            // Plans that were kept read it.
            self.connections.forget();
            if let Err(error) = self.execute(&format!("DETACH DATABASE IF EXISTS {}", quoted(name))) {
                tracing::warn!(name, %error, "a state of a database stays attached");
                return;
            }
            self.files.remove(name);
            *mount = None;
        }
        let mut mounts = lock(&self.mounts);
        let is_given_up = slot.is_idle() && mounts.by_name.get(name).is_some_and(|known| Arc::ptr_eq(known, slot));
        if is_given_up {
            mounts.by_name.remove(name);
        }
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.used) == 1
    }
}

impl Mount {
    fn has_the_bytes_at(&self, mark: &Mark) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let order = |mark: &Mark| (mark.version, mark.records.unwrap_or(u64::MAX));
        if order(mark) > order(&latest) {
            latest.clone_from(mark);
        }
    }

    /// Bytes of the database, or one of its logs, if there is such a file.
    fn length(&self, file: &str) -> Option<u64> {
        self.reader.length(file)
    }

    /// # Errors
    /// The storage fails, for which the worker is to blame: others may be able to read it.
    fn read(&self, file: &str, offset: u64, target: &mut [u8]) -> Result<usize, EngineError> {
        let mut read = self.reader.read(file, offset, target);
        if matches!(read, Err(StorageError::Corrupt { .. })) {
            // A pack has gone since nobody needs the state it was of; the bytes are where the latest state has them.
            let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner).clone();
            read = self.place.reader(&latest).and_then(|later| {
                self.reader.look_into(&later);
                self.reader.read(file, offset, target)
            });
        }
        read.map_err(|error| {
            self.place.broke(&error.to_string());
            EngineError::lost(error.to_string())
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use duckherder_storage::{Location, Options, Store};

    use super::*;

    /// A database in a place, and who reads it there.
    struct Fixture {
        directory: PathBuf,
        url: String,
        _store: Store,
        mark: Mark,
        database: Database,
        reads: Arc<StorageReads>,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = std::env::temp_dir().join(format!("duckherder-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir_all(&directory).unwrap();
            let made = directory.join("made.duckdb");
            let database = Database::open(made.to_str().unwrap(), &[]).unwrap();
            database.connect().unwrap().execute("CREATE TABLE t AS SELECT 1 AS i").unwrap();
            drop(database);
            let url = format!("file://{}/store", directory.display());
            let options = Options { cache_directory: directory.clone(), cache_bytes: 64 << 20, ..Options::default() };
            let store = Store::open(Location::parse(&url, options.patience).unwrap(), options).unwrap();
            store.write_file("d.duckdb", &std::fs::read(&made).unwrap()).unwrap();
            let mark = store.mark(store.position()).unwrap().unwrap();

            let files = Arc::new(MountedFiles::default());
            let database = Database::open_stored(":memory:", &[], Arc::clone(&files) as _).unwrap();
            let connections = Arc::new(TaskConnections::new(database.clone()));
            let reads = StorageReads::new(database.clone(), files, connections, directory.clone(), 64 << 20);
            Self { directory, url, _store: store, mark, database, reads }
        }

        fn state(&self, name: &str) -> StorageState {
            let databases = vec![StorageDatabase { file: "d.duckdb".to_string(), name: name.to_string() }];
            let Mark { writer, version, records } = self.mark.clone();
            StorageState { url: self.url.clone(), writer, version: version.0, records, databases }
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// More states than stay attached when idle, and tasks that want those that are just being detached.
    #[test]
    fn a_state_that_is_wanted_while_it_is_detached_is_attached_again() {
        let fixture = Fixture::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let fixture = &fixture;
                scope.spawn(move || {
                    for turn in 0..100 {
                        let name = format!("{}/d.duckdb", (turn + thread) % (MOST_IDLE_STATES + 2));
                        let in_use = fixture.reads.open(&fixture.state(&name));
                        assert!(in_use.is_some(), "the place counts as broken");
                        let read = format!("SELECT i FROM {}.main.t", quoted(&name));
                        fixture.database.connect().unwrap().execute(&read).unwrap();
                    }
                });
            }
        });
    }

    #[test]
    fn a_place_that_another_task_found_broken_is_not_tried() {
        let fixture = Fixture::new();
        let state = fixture.state("1/d.duckdb");
        let place = fixture.reads.place(&fixture.url).unwrap();
        let (slot, _) = fixture.reads.slot(&place, &state.databases[0]);
        let trying = lock(&slot.mount);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| fixture.reads.open(&state));
            while slot.is_idle() {
                std::thread::yield_now();
            }
            place.broke("no answer");
            drop(trying);
            assert!(waiting.join().unwrap().is_none());
        });
        assert!(lock(&slot.mount).is_none());
    }
}
