//! Taking over a place: its files as they are after the last log object, and the next object, which shuts out the
//! writer before.

use std::sync::Arc;

use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::error::{Result, StorageError};
use crate::format::{LOG_MAGIC, LogObject, MANIFEST_MAGIC, Manifest, SIGN_MAGIC, Sign, decode, encode};
use crate::log::{self, LOG, numbered, read};
use crate::manifest::MANIFESTS;
use crate::objects::{Created, Objects};
use crate::signs;
use crate::state::State;

/// Log objects that are read at once.
const AT_ONCE: usize = 32;
/// How often others may be quicker.
const TRIES: usize = 20;
/// Log objects that are created at once to shut out a writer that goes on.
const MOST_FENCES: u64 = 64;

/// Files after a log object.
#[derive(Clone)]
pub struct Loaded {
    pub state: State,
    /// The object's number; 0 if there is none.
    pub number: u64,
    /// Who has written it, or the manifest of that number.
    pub writer: String,
}

impl Loaded {
    /// The log goes on with an object of `writer`.
    fn follow(&mut self, number: u64, writer: &str) {
        if self.writer != writer {
            self.state.fences.insert(number);
            self.writer = writer.to_string();
        }
        self.number = number;
    }
}

/// From whom a place is to be taken, and from nobody else.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Who has written the end of the log; empty, if there is none.
    pub writer: String,
    /// What the last writer showed for so long that it counts as gone; nothing, if none has ever shown itself.
    pub sign: Option<Sign>,
}

/// What came of taking a place over.
pub enum Taken {
    Ours(Box<Loaded>),
    /// The last writer is there after all; or another one has taken its place: the one that has written the end of the log.
    Not(Option<String>),
}

/// The files as they are after the last log object, or after that with number `version`.
///
/// # Errors
/// The storage fails, or does not have what it should have.
pub async fn load(objects: &Arc<Objects>, version: Option<u64>) -> Result<Loaded> {
    let mut problem = String::new();
    for _ in 0..TRIES {
        match try_load(objects, version).await? {
            Ok(loaded) => return Ok(loaded),
            // A writer has written a manifest since, and removed what was before.
            Err(missing) => problem = missing,
        }
    }
    Err(objects.corrupt(&problem, "it is missing"))
}

/// Or what is missing.
async fn try_load(objects: &Arc<Objects>, version: Option<u64>) -> Result<Result<Loaded, String>> {
    let wanted = |number: &u64| version.is_none_or(|version| *number <= version);
    let manifests = numbers_of(objects, MANIFESTS, None).await?;
    let mut loaded = Loaded { state: State::default(), number: 0, writer: String::new() };
    if let Some(number) = manifests.into_iter().rfind(wanted) {
        let name = numbered(MANIFESTS, number);
        let Some(bytes) = objects.get(&name, None).await? else { return Ok(Err(name)) };
        let manifest: Manifest = decode(MANIFEST_MAGIC, &bytes).map_err(|reason| objects.corrupt(&name, reason))?;
        let writer = manifest.writer.clone();
        let state = State::of_manifest(manifest).map_err(|reason| objects.corrupt(&name, reason))?;
        loaded = Loaded { state, number, writer };
    }
    let logs = numbers_of(objects, LOG, (loaded.number > 0).then_some(loaded.number)).await?;
    let logs: Vec<_> = logs.into_iter().filter(|number| *number > loaded.number && wanted(number)).collect();
    let reads: Vec<_> = logs.into_iter().map(|number| read_numbered(Arc::clone(objects), number).boxed()).collect();
    let mut read = futures::stream::iter(reads).buffered(AT_ONCE);
    while let Some((number, object)) = read.try_next().await? {
        let expected = loaded.number + 1;
        let Some(object) = object.filter(|_| number == expected) else { return Ok(Err(numbered(LOG, expected))) };
        apply(objects, &mut loaded, &object)?;
    }
    if let Some(version) = version.filter(|version| loaded.number < *version) {
        return Ok(Err(numbered(LOG, version)));
    }
    Ok(Ok(loaded))
}

async fn read_numbered(objects: Arc<Objects>, number: u64) -> Result<(u64, Option<LogObject>)> {
    Ok((number, read(&objects, number).await?))
}

/// Goes on with the next log object.
fn apply(objects: &Objects, loaded: &mut Loaded, object: &LogObject) -> Result<()> {
    apply_records(objects, loaded, object, object.records.len())?;
    loaded.follow(object.number, &object.writer);
    Ok(())
}

/// Does what the first records of a log object say.
///
/// # Errors
/// They make no sense.
pub fn apply_records(objects: &Objects, loaded: &mut Loaded, object: &LogObject, count: usize) -> Result<()> {
    for record in object.records.iter().take(count) {
        let applied = loaded.state.apply(record);
        applied.map_err(|reason| objects.corrupt(&numbered(LOG, object.number), reason))?;
    }
    loaded.state.dead.clear();
    Ok(())
}

async fn numbers_of(objects: &Objects, folder: &str, after: Option<u64>) -> Result<Vec<u64>> {
    let after = after.map(|after| format!("{after:020}"));
    let names = objects.list(folder, after.as_deref()).await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Shuts out the writer before: afterwards, the log's last object is one of this writer.
///
/// A writer that goes on all the time is quicker than one object after the other, so several are created at once if need
/// be, and nothing is read meanwhile: those before the first of this writer are the other's, which fails to create its next.
///
/// With a claim, nobody is shut out who is not in it, and nobody who goes on: what the writer shows is looked at once more
/// after the end of its log was found, and the one object that is created then is the next one, or none. A writer that
/// makes sure of its place shows another beat first, and then creates that object.
///
/// # Errors
/// The storage fails, or other drivers start all the time.
pub async fn take_over(
    objects: &Arc<Objects>,
    writer: &str,
    writer_name: &str,
    claim: Option<&Claim>,
) -> Result<Taken> {
    let mut loaded = load(objects, None).await?;
    let before = claim.and_then(|claim| claim.sign.as_ref());
    if let Some(claim) = claim {
        if loaded.writer != claim.writer {
            return Ok(Taken::Not(Some(loaded.writer)));
        }
        if signs::find(objects, None).await? != claim.sign {
            return Ok(Taken::Not(None));
        }
    }
    let (mut last, mut count) = (loaded.number, 1);
    for _ in 0..TRIES {
        let numbers = last + 1..=last + count;
        let creations: Vec<_> = numbers.clone().map(|number| create(objects, number, writer, writer_name)).collect();
        let mut own = Vec::new();
        for (number, created) in numbers.zip(futures::future::join_all(creations).await) {
            match created {
                Ok(()) => own.push(number),
                Err(StorageError::Fenced { .. }) if claim.is_some() => {
                    return Ok(Taken::Not(read(objects, number).await?.map(|found| found.writer)));
                }
                // Who goes on is not waited for: what it has written is read once it can't.
                Err(StorageError::Fenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        last += count;
        if let Some(first) = own.first().filter(|_| own.last() == Some(&last)) {
            let is_next = is_next(objects, *first, &own).await?;
            if !is_next && claim.is_some() {
                return Ok(Taken::Not(None));
            }
            if !is_next || !catch_up(objects, &mut loaded, last, &own, writer).await? {
                loaded = load(objects, None).await?;
            }
            if is_next && loaded.writer == writer {
                check_conditions(objects, before, loaded.number, writer, writer_name).await?;
                return Ok(Taken::Ours(Box::new(loaded)));
            }
            last = loaded.number;
        }
        count = (count * 4).min(MOST_FENCES);
    }
    Err(StorageError::Location(format!(
        "other drivers write to {} all the time: stop them first, or use another place",
        objects.shown()
    )))
}

/// Whether no log object was where the first of these is now. Others may have gone on for so long that theirs was removed:
/// there is always a manifest that is later than what was. What took its place goes, before anybody takes it for theirs.
async fn is_next(objects: &Objects, first: u64, own: &[u64]) -> Result<bool> {
    let Some(later) = numbers_of(objects, MANIFESTS, Some(first - 1)).await?.into_iter().max() else { return Ok(true) };
    let replaced: Vec<_> = own.iter().filter(|number| **number <= later).map(|number| numbered(LOG, *number)).collect();
    objects.delete(&replaced).await?;
    Ok(false)
}

async fn create(objects: &Objects, number: u64, writer: &str, writer_name: &str) -> Result<()> {
    let object = empty(number, writer, writer_name);
    log::create(objects, &object, encode(LOG_MAGIC, &object)).await
}

fn empty(number: u64, writer: &str, writer_name: &str) -> LogObject {
    LogObject { number, writer: writer.to_string(), writer_name: writer_name.to_string(), records: Vec::new() }
}

/// Goes on with all log objects up to `last`, of which `own` are known to be `writer`'s, without records; `false`, if one
/// is not there any more: a manifest has taken its place.
///
/// # Errors
/// The storage fails, or a log object makes no sense.
pub async fn catch_up(
    objects: &Arc<Objects>,
    loaded: &mut Loaded,
    last: u64,
    own: &[u64],
    writer: &str,
) -> Result<bool> {
    let of_others = (loaded.number + 1..=last).filter(|number| own.binary_search(number).is_err());
    let reads: Vec<_> = of_others.map(|number| read_numbered(Arc::clone(objects), number).boxed()).collect();
    let mut read = futures::stream::iter(reads).buffered(AT_ONCE);
    while let Some((number, object)) = read.try_next().await? {
        let Some(object) = object else { return Ok(false) };
        for before in loaded.number + 1..number {
            loaded.follow(before, writer);
        }
        apply(objects, loaded, &object)?;
    }
    for number in loaded.number + 1..=last {
        loaded.follow(number, writer);
    }
    Ok(true)
}

/// There are storages that do as they like with a condition that they do not know. What is there already is created once
/// more: the sign of the writer before, if there is one, since Google takes one request a second to write an object.
async fn check_conditions(
    objects: &Objects,
    before: Option<&Sign>,
    number: u64,
    writer: &str,
    writer_name: &str,
) -> Result<()> {
    if let Some(sign) = before
        && objects.create(&numbered(signs::SIGNS, sign.epoch), encode(SIGN_MAGIC, sign)).await? == Created::Exists
    {
        return Ok(());
    }
    // Or it was removed meanwhile: this one stays.
    let object = encode(LOG_MAGIC, &empty(number, writer, writer_name));
    match objects.create(&numbered(LOG, number), object).await? {
        Created::Exists => Ok(()),
        Created::Created => Err(StorageError::Location(format!(
            "the storage of {} creates an object that is there already (it has no conditional writes): two drivers would \
             overwrite what the other has written; use a storage that has them",
            objects.shown()
        ))),
    }
}
