//! What all parts of a store share: its files and its log, under one lock that is held for moments.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::cache::Cache;
use crate::error::{Result, StorageError};
use crate::extents::PackId;
use crate::format::{FileChange, Record};
use crate::layer::Layer;
use crate::objects::Objects;
use crate::packs::Upload;
use crate::state::State;
use crate::store::Options;
use crate::sync::lock;

/// Log objects of which is known which records they have.
const MOST_WRITTEN: usize = 4096;

/// A store, as its parts see it.
pub struct Core {
    pub objects: Arc<Objects>,
    pub cache: Arc<Cache>,
    pub options: Options,
    /// Which no other writer ever has.
    pub writer: String,
    /// The number of the log object with which this one took over.
    pub epoch: u64,
    pub handle: Handle,
    pub failure: watch::Sender<Option<StorageError>>,
    /// There is something for the log to do.
    pub log_work: Notify,
    /// The log has an object that was wanted as a proof, or the store has failed.
    pub proved: Notify,
    /// The writer has written its last, and tells those who wait for its place.
    pub leaving: Notify,
    shared: Mutex<Shared>,
    changed: Condvar,
}

/// What is under the lock.
pub struct Shared {
    /// After all records, also those that are on their way.
    pub state: State,
    /// What is not in a record yet, by file.
    pub unsynced: HashMap<u64, Unsynced>,
    /// Names of files that no record has yet.
    pub fresh: BTreeMap<String, u64>,
    pub next_file: u64,
    pub next_pack: u64,
    /// Records that wait for the log.
    pub pending: Vec<Record>,
    /// How many records there were ever, and how many of them are durable.
    pub appended: u64,
    pub durable: u64,
    /// The last log object.
    pub version: u64,
    pub failed: Option<StorageError>,
    pub closing: bool,
    pub uploading: HashMap<PackId, Arc<Upload>>,
    /// Of all packs that may be read.
    pub pack_bytes: HashMap<PackId, u64>,
    pub dead: Vec<Dead>,
    /// How often positions are pinned: the states after so many records.
    pub pins: BTreeMap<u64, usize>,
    /// Objects were removed that only states before this position need.
    pub removed: u64,
    /// The last log objects of this writer, and up to which position each has the records.
    pub written: VecDeque<(u64, u64)>,
    /// The record that last changed a file of a name.
    pub changed: HashMap<String, u64>,
    /// Since the last manifest.
    pub log_objects: u64,
    pub inline_bytes: u64,
    /// Until when nobody has taken over ([`signs`](crate::signs)); nothing, as long as nobody could have.
    pub sure_until: Option<Instant>,
    /// A log object is to be created, whether or not there are records for it.
    pub proof_wanted: bool,
}

/// Changes of a file that no record has yet.
pub struct Unsynced {
    pub current: Layer,
    /// What is being synced.
    pub frozen: Option<Layer>,
    /// Of a file that no record knows.
    pub name: Option<String>,
}

/// An object that nothing needs any more once its time has come.
pub struct Dead {
    pub name: String,
    pub pack: Option<PackId>,
    pub is_log: bool,
    /// The record with which it died, and once that is durable, the log object that has it, and when.
    pub position: u64,
    pub version: Option<u64>,
    pub since: Instant,
}

impl Core {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        objects: Arc<Objects>,
        cache: Arc<Cache>,
        options: Options,
        writer: String,
        epoch: u64,
        handle: Handle,
        state: State,
    ) -> Self {
        let pack_bytes = state.packs.iter().map(|(id, pack)| (*id, pack.bytes)).collect();
        let shared = Shared {
            next_file: state.next_file,
            state,
            unsynced: HashMap::new(),
            fresh: BTreeMap::new(),
            next_pack: 0,
            pending: Vec::new(),
            appended: 0,
            durable: 0,
            version: epoch,
            failed: None,
            closing: false,
            uploading: HashMap::new(),
            pack_bytes,
            dead: Vec::new(),
            pins: BTreeMap::new(),
            removed: 0,
            written: VecDeque::from([(epoch, 0)]),
            changed: HashMap::new(),
            log_objects: 0,
            inline_bytes: 0,
            sure_until: None,
            proof_wanted: false,
        };
        let (failure, _) = watch::channel(None);
        Self {
            objects,
            cache,
            options,
            writer,
            epoch,
            handle,
            failure,
            log_work: Notify::new(),
            proved: Notify::new(),
            leaving: Notify::new(),
            shared: Mutex::new(shared),
            changed: Condvar::new(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// The lock, unless the store has failed.
    ///
    /// # Errors
    /// It has.
    pub fn lock_sound(&self) -> Result<MutexGuard<'_, Shared>> {
        let shared = self.lock();
        shared.check()?;
        Ok(shared)
    }

    /// Waits until `done` says so.
    ///
    /// # Errors
    /// The store fails before.
    pub fn wait<'a>(
        &self,
        mut shared: MutexGuard<'a, Shared>,
        mut done: impl FnMut(&Shared) -> bool,
    ) -> Result<MutexGuard<'a, Shared>> {
        while !done(&shared) {
            shared.check()?;
            shared = self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(shared)
    }

    /// Tells those who wait that something is different.
    pub fn tell(&self) {
        self.changed.notify_all();
    }

    /// Nobody waits any more, but for what is to be written yet.
    pub fn close(&self) {
        self.lock().closing = true;
        self.log_work.notify_one();
        self.tell();
    }

    /// Nothing works from now on.
    pub fn fail(&self, error: StorageError) {
        self.fail_locked(&mut self.lock(), error);
    }

    fn fail_locked(&self, shared: &mut Shared, error: StorageError) {
        if shared.failed.is_some() {
            return;
        }
        tracing::error!(%error, "the storage has failed");
        let error = match error {
            StorageError::Fenced { .. } => error,
            other => StorageError::Failed { reason: other.to_string() },
        };
        shared.failed = Some(error.clone());
        self.failure.send_replace(Some(error));
        self.tell();
        self.log_work.notify_one();
        self.proved.notify_one();
    }

    /// Adds a record to the log; it is seen at once, and durable some time later.
    ///
    /// # Errors
    /// It makes no sense, which is a defect, and nobody knows what is there then.
    pub fn append(&self, shared: &mut Shared, record: Record) -> Result<()> {
        let mut names = shared.names_in(&record);
        if let Err(reason) = shared.state.apply(&record) {
            let error = self.objects.corrupt("a record of the log", reason);
            self.fail_locked(shared, error.clone());
            return Err(error);
        }
        shared.inline_bytes += inline_bytes(&record);
        for pack in &record.packs {
            shared.pack_bytes.insert(pack.id(), pack.bytes);
        }
        shared.appended += 1;
        names.extend(shared.names_in(&record));
        let position = shared.appended;
        shared.changed.extend(names.into_iter().map(|name| (name, position)));
        shared.pending.push(record);
        shared.bury_packs();
        self.log_work.notify_one();
        Ok(())
    }
}

impl Shared {
    /// # Errors
    /// The store has failed.
    pub fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// See [`Core::is_sure`].
    pub fn is_sure(&self) -> bool {
        // Nobody is answered any more once the store closes.
        self.closing || self.sure_until.is_none_or(|until| Instant::now() < until)
    }

    /// The names, as they are now, of the files that a record is about.
    fn names_in(&self, record: &Record) -> Vec<String> {
        let image = |change: &FileChange| self.state.files.get(&change.file);
        record.files.iter().filter_map(|change| Some(image(change)?.name.clone())).collect()
    }

    /// An object of the log has arrived, with all records up to a position.
    pub fn written(&mut self, number: u64, position: u64) {
        (self.version, self.durable) = (number, position);
        if self.written.len() == MOST_WRITTEN {
            self.written.pop_front();
        }
        self.written.push_back((number, position));
    }

    /// The log object that has the last of so many records, and, if it has more, how many of its records these are.
    pub fn object_of(&self, position: u64) -> Option<(u64, Option<u64>)> {
        let place = self.written.partition_point(|(_, last)| *last < position);
        let (number, last) = *self.written.get(place)?;
        if last == position {
            return Some((number, None));
        }
        let (_, before) = *self.written.get(place.checked_sub(1)?)?;
        Some((number, Some(position - before)))
    }

    /// The state for a manifest, which all records are in.
    pub fn start_manifest(&mut self) -> State {
        (self.log_objects, self.inline_bytes) = (0, 0);
        self.state.clone()
    }

    pub fn next_pack(&mut self, epoch: u64) -> PackId {
        self.next_pack += 1;
        PackId { writer: epoch, number: self.next_pack }
    }

    /// Packs that died with the last record.
    pub fn bury_packs(&mut self) {
        for pack in std::mem::take(&mut self.state.dead) {
            self.bury_pack(pack);
        }
    }

    pub fn bury_pack(&mut self, pack: PackId) {
        self.dead.push(Dead {
            name: pack.object(),
            pack: Some(pack),
            is_log: false,
            position: self.appended,
            version: None,
            since: Instant::now(),
        });
    }
}

/// Bytes that a record has itself.
fn inline_bytes(record: &Record) -> u64 {
    let extents = record.files.iter().flat_map(|file| &file.extents);
    extents.filter(|extent| extent.data.is_some()).map(|extent| extent.length).sum()
}
