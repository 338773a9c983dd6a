//! Reading a place that another writes, at one state after the other.
//!
//! ```text
//!   Mark { log object 7, 2 records } --> what is known: after log object 4 --> log/5, log/6, two records of log/7
//!                                        else: the last manifest before it, and the log from there
//! ```
//!
//! All states share the connections, the cache of pieces, and who fetches what. The packs that a state needs stay as long
//! as its writer has pinned it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::runtime::{Handle, Runtime};

use crate::cache::Cache;
use crate::error::{Result, StorageError};
use crate::location::Location;
use crate::log::read;
use crate::objects::{Objects, Requests};
use crate::open::{Loaded, apply_records, catch_up, load};
use crate::packs::run_on;
use crate::reader::Reader;
use crate::shared::Core;
use crate::state::State;
use crate::store::{Mark, Options, Version, start};
use crate::sync::lock;

/// Where more of them are missing, there is a manifest on the way.
const MOST_STEPS: u64 = 512;

/// A place that another writes.
pub struct Follower {
    objects: Arc<Objects>,
    cache: Arc<Cache>,
    options: Options,
    threads: Arc<Threads>,
    states: Arc<Mutex<States>>,
}

/// The states of a place after some log object.
#[derive(Default)]
struct States {
    /// The last of them, from which later ones are made.
    known: Option<Arc<Loaded>>,
    /// Those that somebody makes: all who want one share what it takes, and wait for no other.
    made: HashMap<u64, Shared<BoxFuture<'static, Result<Arc<Loaded>>>>>,
}

/// Threads for requests, which end with the last that needs them.
pub struct Threads(Mutex<Option<Runtime>>, Handle);

impl Threads {
    /// # Errors
    /// The system gives none.
    pub fn start() -> Result<Self> {
        let (runtime, ()) = start(async { Ok(()) })?;
        let handle = runtime.handle().clone();
        Ok(Self(Mutex::new(Some(runtime)), handle))
    }

    /// Runs a future on them, from any other thread; `shown` is the place, for people.
    ///
    /// # Errors
    /// What the future says.
    pub fn run<T: Send + 'static>(
        &self,
        shown: &str,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        run_on(&self.1, shown, future)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = lock(&self.0).take() {
            runtime.shutdown_background();
        }
    }
}

impl Follower {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// The cache's file can't be made.
    pub fn new(location: Location, options: Options) -> Result<Self> {
        let cache = Arc::new(Cache::new(&options.cache_directory, options.cache_bytes)?);
        let objects = Arc::new(Objects::new(location, options.patience));
        Ok(Self { objects, cache, options, threads: Arc::new(Threads::start()?), states: Arc::default() })
    }

    /// The files as they are at a mark. Blocks.
    ///
    /// # Errors
    /// The storage fails, the state is not there any more, or the place is not the one of the mark's writer.
    pub fn reader(&self, mark: &Mark) -> Result<Reader> {
        let (objects, states, mark) = (Arc::clone(&self.objects), Arc::clone(&self.states), mark.clone());
        let version = mark.version;
        let state = self.run(async move { state_at(&objects, &states, &mark).await })?;
        self.objects.was_admitted();
        Ok(self.reader_at(state, version))
    }

    /// The same of a version, or of the last one.
    ///
    /// # Errors
    /// The storage fails, or the version is not there, or not any more.
    pub fn reader_of(&self, version: Option<Version>) -> Result<Reader> {
        let objects = Arc::clone(&self.objects);
        let loaded = self.run(async move { load(&objects, version.map(|version| version.0)).await })?;
        self.objects.was_admitted();
        Ok(self.reader_at(loaded.state, Version(loaded.number)))
    }

    /// For people.
    pub fn shown(&self) -> &str {
        self.objects.shown()
    }

    /// Bytes of packs that it keeps.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// How many requests there were.
    pub fn requests(&self) -> Requests {
        self.objects.requests()
    }

    fn run<T: Send + 'static>(&self, future: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        self.threads.run(self.objects.shown(), future)
    }

    fn reader_at(&self, state: State, version: Version) -> Reader {
        let (objects, cache, options) = (Arc::clone(&self.objects), Arc::clone(&self.cache), self.options.clone());
        let core = Core::new(objects, cache, options, String::new(), version.0, self.threads.1.clone(), state);
        Reader::new(Arc::new(core), version, Arc::clone(&self.threads))
    }
}

async fn state_at(objects: &Arc<Objects>, states: &Mutex<States>, mark: &Mark) -> Result<State> {
    let number = mark.version.0;
    // The last state that has nothing later than the mark.
    let whole = if mark.records.is_some() { number.saturating_sub(1) } else { number };
    let reached = loaded_at(objects, states, whole).await?;
    let Some(records) = mark.records else {
        check_writer(objects, &reached.writer, mark)?;
        return Ok(reached.state.clone());
    };
    let missing = || objects.corrupt(&crate::log::numbered(crate::log::LOG, number), "it is missing");
    let object = read(objects, number).await?.ok_or_else(missing)?;
    check_writer(objects, &object.writer, mark)?;
    let mut reached = Loaded::clone(&reached);
    apply_records(objects, &mut reached, &object, records as usize)?;
    Ok(reached.state)
}

/// The state after a log object.
async fn loaded_at(objects: &Arc<Objects>, states: &Mutex<States>, number: u64) -> Result<Arc<Loaded>> {
    let made = {
        let mut states = lock(states);
        let known = states.known.clone();
        let make = || make(Arc::clone(objects), known, number).boxed().shared();
        states.made.entry(number).or_insert_with(make).clone()
    };
    let reached = made.await;
    let mut states = lock(states);
    states.made.remove(&number);
    let reached = reached?;
    // One that is further is of more use to whoever comes next.
    if states.known.as_ref().is_none_or(|known| known.number < reached.number) {
        states.known = Some(Arc::clone(&reached));
    }
    Ok(reached)
}

async fn make(objects: Arc<Objects>, known: Option<Arc<Loaded>>, number: u64) -> Result<Arc<Loaded>> {
    let is_near = |known: &Arc<Loaded>| number.checked_sub(known.number).is_some_and(|steps| steps <= MOST_STEPS);
    let went_on = match known.filter(is_near) {
        Some(from) => go_on(&objects, &from, number).await?,
        None => None,
    };
    match went_on {
        Some(reached) => Ok(Arc::new(reached)),
        None => load(&objects, Some(number)).await.map(Arc::new),
    }
}

fn check_writer(objects: &Objects, found: &str, mark: &Mark) -> Result<()> {
    match found == mark.writer {
        true => Ok(()),
        false => Err(StorageError::Location(format!(
            "{} is another place here than where its driver writes: check the environment (endpoint, credentials), or \
             what is mounted there",
            objects.shown()
        ))),
    }
}

/// Applies the log up to an object; `None` if one is missing, since a manifest has taken its place.
async fn go_on(objects: &Arc<Objects>, from: &Loaded, last: u64) -> Result<Option<Loaded>> {
    let mut loaded = from.clone();
    let is_there = catch_up(objects, &mut loaded, last, &[], "").await?;
    Ok(is_there.then_some(loaded))
}
