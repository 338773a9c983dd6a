//! The log: records become durable, many in one object.
//!
//! One object is on its way at a time; what comes meanwhile goes with the next. An object is created, never overwritten:
//! where another writer's object is, that writer has taken over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::{Result, StorageError};
use crate::format::{LOG_MAGIC, LogObject, MANIFEST_MAGIC, Manifest, Record, decode, encode};
use crate::manifest::{self, MANIFESTS};
use crate::objects::{Created, Objects};
use crate::shared::{Core, Dead};
use crate::state::State;

pub const LOG: &str = "log";
/// How long a log object stays after a manifest has taken its place: longer than any writer's [`proof`], by any clock.
///
/// [`proof`]: crate::Options::proof
pub const LOG_STAYS: Duration = Duration::from_secs(30);
/// How often a writer that has nothing to write looks for successors.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of records in one object, about.
const MOST_BYTES: u64 = 16 << 20;
/// When a manifest is due: after so many objects, or once the log has more than the most of these bytes, or more than the
/// least and a quarter of what files have in packs.
const MANIFEST_OBJECTS: u64 = 256;
const MANIFEST_BYTES: std::ops::Range<u64> = 1 << 20..16 << 20;

/// A manifest is also due when nothing has been written for [`LOOK_EVERY`], and the log has this much.
const IDLE_BYTES: u64 = 64 << 10;

/// The name of an object with a number.
pub fn numbered(folder: &str, number: u64) -> String {
    format!("{folder}/{number:020}")
}

/// Writes the log until the store is closed or fails.
pub async fn run(core: Arc<Core>, writer_name: String) {
    let now = Instant::now();
    let mut writer =
        Writer { proof: now, written: now, manifest: core.epoch, writing: None, oldest: 0, writer_name, core };
    if let Err(error) = writer.run().await {
        writer.core.fail(error);
    }
    // Nobody waits in vain.
    writer.core.proved.notify_one();
}

struct Writer {
    core: Arc<Core>,
    writer_name: String,
    /// When it was known that there is no successor.
    proof: Instant,
    /// When the last object was.
    written: Instant,
    /// The last manifest of this writer.
    manifest: u64,
    writing: Option<tokio::task::JoinHandle<Result<u64>>>,
    /// The first log object that may still be there.
    oldest: u64,
}

/// What the log is to do next.
enum Work {
    Write {
        number: u64,
        records: Vec<Record>,
        position: u64,
        snapshot: Option<State>,
        /// Somebody waits for an object that was begun now.
        proves: bool,
    },
    /// Nothing comes: there is time for a manifest.
    Tidy {
        number: u64,
        snapshot: State,
    },
    Wait,
    End {
        snapshot: Option<State>,
    },
}

impl Writer {
    async fn run(&mut self) -> Result<()> {
        loop {
            match self.next_work()? {
                Work::Write { number, records, position, snapshot, proves } => {
                    self.write(number, records).await?;
                    self.written(number, position);
                    if proves {
                        self.core.proved.notify_one();
                    }
                    if let Some(snapshot) = snapshot {
                        self.begin_manifest(snapshot, number);
                    }
                }
                Work::Tidy { number, snapshot } => self.begin_manifest(snapshot, number),
                Work::Wait => {
                    // An elapsed wait is as good as being woken.
                    let _ = tokio::time::timeout(LOOK_EVERY, self.core.log_work.notified()).await;
                    if self.proof.elapsed() >= LOOK_EVERY {
                        self.look_at_next().await?;
                    }
                }
                Work::End { snapshot } => return self.end(snapshot).await,
            }
            self.hear_of_manifest(false).await?;
        }
    }

    fn next_work(&self) -> Result<Work> {
        let mut shared = self.core.lock_sound()?;
        if shared.pending.is_empty() && !shared.proof_wanted {
            if !shared.closing {
                let idle = self.written.elapsed() >= LOOK_EVERY && self.writing.is_none();
                if idle && shared.inline_bytes >= IDLE_BYTES {
                    let (number, snapshot) = (shared.version, shared.start_manifest());
                    return Ok(Work::Tidy { number, snapshot });
                }
                return Ok(Work::Wait);
            }
            let snapshot = (shared.log_objects > 0).then(|| shared.state.clone());
            return Ok(Work::End { snapshot });
        }
        let mut bytes = 0;
        let mut count = 0;
        for record in &shared.pending {
            if count > 0 && bytes > MOST_BYTES {
                break;
            }
            bytes += prost::Message::encoded_len(record) as u64;
            count += 1;
        }
        let whole = count == shared.pending.len();
        let records: Vec<_> = shared.pending.drain(..count).collect();
        let position = shared.durable + count as u64;
        let proves = std::mem::take(&mut shared.proof_wanted);
        shared.log_objects += 1;
        // The state is that of the object only if the object has all records.
        let due = shared.log_objects >= MANIFEST_OBJECTS
            || shared.inline_bytes >= MANIFEST_BYTES.end
            || (shared.inline_bytes >= MANIFEST_BYTES.start && shared.inline_bytes * 4 >= shared.state.space().0);
        let snapshot = (due && whole && self.writing.is_none()).then(|| shared.start_manifest());
        Ok(Work::Write { number: shared.version + 1, records, position, snapshot, proves })
    }

    fn begin_manifest(&mut self, snapshot: State, number: u64) {
        let task = manifest::write(Arc::clone(&self.core), snapshot, number, self.writer_name.clone());
        self.writing = Some(tokio::spawn(task));
    }

    async fn write(&mut self, number: u64, records: Vec<Record>) -> Result<()> {
        let writer = self.core.writer.clone();
        let object = LogObject { number, writer, writer_name: self.writer_name.clone(), records };
        let begun = Instant::now();
        create(&self.core.objects, &object, encode(LOG_MAGIC, &object)).await?;
        if self.proof.elapsed() > self.core.options.proof {
            self.look_for_successor().await?;
        }
        self.proof = begun;
        self.written = Instant::now();
        Ok(())
    }

    fn written(&self, number: u64, position: u64) {
        let mut shared = self.core.lock();
        shared.written(number, position);
        let now = Instant::now();
        for dead in &mut shared.dead {
            if dead.version.is_none() && dead.position <= position {
                (dead.version, dead.since) = (Some(number), now);
            }
        }
        drop(shared);
        self.core.tell();
    }

    /// A writer that took over has created the object that would be this one's next. It is cheaper to ask for that than to
    /// list.
    async fn look_at_next(&mut self) -> Result<()> {
        let begun = Instant::now();
        let next = self.core.lock().version + 1;
        match read(&self.core.objects, next).await? {
            None => self.proof = begun,
            // An own one had no answer: it is found out when that is tried again.
            Some(found) if found.writer == self.core.writer => {}
            Some(found) => {
                let place = self.core.objects.shown().to_string();
                return Err(StorageError::Fenced { place, by: found.writer_name });
            }
        }
        Ok(())
    }

    /// A writer that took over has written a manifest first of all, and there is always one that is later than all log
    /// objects that were removed.
    async fn look_for_successor(&mut self) -> Result<()> {
        let begun = Instant::now();
        // Its own manifest may just come to be there.
        self.hear_of_manifest(true).await?;
        let last = format!("{:020}", self.manifest);
        let found = self.core.objects.list(MANIFESTS, Some(&last)).await?;
        let Some(name) = found.last() else {
            self.proof = begun;
            return Ok(());
        };
        let name = format!("{MANIFESTS}/{name}");
        let by = match self.core.objects.get(&name, None).await? {
            Some(bytes) => match decode::<Manifest>(MANIFEST_MAGIC, &bytes) {
                Ok(manifest) => manifest.writer_name,
                Err(reason) => return Err(self.core.objects.corrupt(&name, reason)),
            },
            None => "one of many since".to_string(),
        };
        Err(StorageError::Fenced { place: self.core.objects.shown().to_string(), by })
    }

    /// What came of a manifest that is being written.
    async fn hear_of_manifest(&mut self, wait: bool) -> Result<()> {
        let Some(task) = self.writing.take_if(|task| wait || task.is_finished()) else { return Ok(()) };
        let number = task.await.map_err(|error| StorageError::Failed { reason: error.to_string() })??;
        self.replaced(number);
        Ok(())
    }

    /// There is a manifest: log objects up to it, and the manifest before, are not needed any more.
    fn replaced(&mut self, number: u64) {
        let mut shared = self.core.lock();
        let position = shared.durable;
        let range = self.oldest.max(self.core.epoch)..=number;
        let logs: Vec<u64> = range.filter(|log| !shared.state.fences.contains(log)).collect();
        let mut bury = |name, is_log| {
            let since = Instant::now();
            shared.dead.push(Dead { name, pack: None, is_log, position, version: Some(number), since });
        };
        for log in logs {
            bury(numbered(LOG, log), true);
        }
        bury(numbered(MANIFESTS, self.manifest), false);
        (self.manifest, self.oldest) = (number, number + 1);
    }

    async fn end(&mut self, snapshot: Option<State>) -> Result<()> {
        self.hear_of_manifest(true).await?;
        if let Some(snapshot) = snapshot {
            let number = self.core.lock().version;
            if number > self.manifest {
                manifest::write(Arc::clone(&self.core), snapshot, number, self.writer_name.clone()).await?;
                self.replaced(number);
            }
        }
        Ok(())
    }
}

/// Creates a log object.
///
/// # Errors
/// Another writer's is there, or the storage does not answer.
pub async fn create(objects: &Objects, object: &LogObject, bytes: Bytes) -> Result<()> {
    let name = numbered(LOG, object.number);
    let fenced = |by| StorageError::Fenced { place: objects.shown().to_string(), by };
    let mut tries = objects.tries();
    loop {
        if objects.create(&name, bytes.clone()).await? == Created::Created {
            return Ok(());
        }
        // An earlier try may have had no answer.
        match read(objects, object.number).await? {
            Some(found) if found.writer == object.writer => return Ok(()),
            Some(found) => return Err(fenced(found.writer_name)),
            None => {}
        }
        // It was another's and was removed since; or it never was: S3 also says so (409) while another request for the
        // object is on its way, such as an earlier try of this one.
        let before = format!("{:020}", object.number.saturating_sub(1));
        if !objects.list(MANIFESTS, Some(&before)).await?.is_empty() {
            return Err(fenced("one that has gone on since".to_string()));
        }
        tries.again("create", &name, "the storage says both that it is there and that it is not".to_string()).await?;
    }
}

/// Reads a log object, if there is one.
///
/// # Errors
/// It is none, or the storage does not answer.
pub async fn read(objects: &Objects, number: u64) -> Result<Option<LogObject>> {
    let name = numbered(LOG, number);
    let Some(bytes) = objects.get(&name, None).await? else { return Ok(None) };
    let object: LogObject = decode(LOG_MAGIC, &bytes).map_err(|reason| objects.corrupt(&name, reason))?;
    if object.number == number {
        Ok(Some(object))
    } else {
        Err(objects.corrupt(&name, format!("it says that it is number {}", object.number)))
    }
}
