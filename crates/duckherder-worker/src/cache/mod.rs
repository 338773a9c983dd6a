//! Rows of the driver's tables that this worker keeps, in a DuckDB file of its own.
//!
//! ```text
//!   a task's input  --find-->  pieces   row groups as a snapshot sees them: read here, nothing is asked of the driver
//!                   --want-->  fill     what is missing: the task gets it from the driver this time, and it is fetched
//!                                       once more, in the background, for the next
//! ```
//!
//! What is kept is told by row groups ([`StoredGroup`]), not by names or times: rows that have changed since are asked for
//! as others, those that were appended since are the only ones that are missing.

mod fill;
mod pieces;

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duckherder_engine::{Database, EngineError, Interrupter};
use duckherder_proto::task::{StoredGroup, StoredRows};

use crate::connections::TaskConnections;
use crate::error::Result;
use crate::peers::Peers;
pub use pieces::Used;
use pieces::{Piece, Pieces};

/// How many bytes a worker keeps if nobody says otherwise.
pub const DEFAULT_CACHE_BYTES: u64 = 8 << 30;
/// The name of the file in the worker's DuckDB.
const CATALOG: &str = "duckherder_cache";
/// A view of it, with which it shows that it can be used.
const USABLE: &str = "usable";
/// The column of row ids, as SQL, beside those of a table.
pub const ROW_ID: &str = "\"duckherder row id\"";
/// Of a value, or a row id: what has more than the limit even so is never fetched.
const LEAST_BYTES: u64 = 4;
/// Inputs that wait to be fetched; more are forgotten until a task asks for them again.
const MOST_WAITING: usize = 256;

/// What a worker keeps.
pub struct SplitCache {
    database: Database,
    /// Those that are idle may have plans that read what is dropped.
    connections: Arc<TaskConnections>,
    peers: Arc<Peers>,
    directory: PathBuf,
    /// As Arrow has them in memory: DuckDB's file is no larger.
    limit: u64,
    state: Mutex<State>,
    /// Held while a new file takes the place of one that can't be used.
    mending: Mutex<()>,
}

#[derive(Default)]
struct State {
    pieces: Pieces,
    /// Inputs that are missing, and where to ask for them.
    waiting: VecDeque<(StoredRows, String)>,
    /// Rows that turned out to be more than may be kept.
    too_large: HashSet<Vec<StoredGroup>>,
    /// A thread fetches what waits.
    filling: bool,
    /// Ends what it runs.
    interrupter: Option<Interrupter>,
    closed: bool,
    /// How many files there were before this one.
    life: u64,
}

/// An input that is here, at least in part.
pub struct Found {
    /// A query of its rows, with the columns in order.
    pub sql: String,
    /// Row groups that the query expects as a relation of their own: [`ROW_ID`], and the columns.
    pub missing: Vec<StoredGroup>,
    /// As long as this lives, so do the rows.
    #[allow(dead_code, reason = "it lives as long as the task")]
    pub used: Used,
}

impl SplitCache {
    /// A cache in a new file of `directory`, which is made if it is missing; nothing if `limit` is 0.
    ///
    /// # Errors
    /// The file can't be made.
    pub fn open(
        database: &Database,
        connections: &Arc<TaskConnections>,
        peers: &Arc<Peers>,
        directory: &Path,
        limit: u64,
    ) -> Result<Option<Arc<Self>>> {
        if limit == 0 {
            return Ok(None);
        }
        attach(database, directory)?;
        Ok(Some(Arc::new(Self {
            database: database.clone(),
            connections: Arc::clone(connections),
            peers: Arc::clone(peers),
            directory: directory.to_path_buf(),
            limit,
            state: Mutex::default(),
            mending: Mutex::default(),
        })))
    }

    /// Which file it is: see [`mend`](Self::mend).
    pub fn life(&self) -> u64 {
        self.lock().life
    }

    /// What used the file of `life` has failed. If DuckDB refuses that file, as it does after a checkpoint that found no
    /// room, there is a new one, with nothing in it, or the next time, if there is no room for one. Whether it was that.
    pub fn mend(&self, life: u64) -> bool {
        let _one = self.mending.lock().unwrap_or_else(PoisonError::into_inner);
        if self.life() != life {
            return true;
        }
        let Ok(connection) = self.database.connect() else { return false };
        let Err(error) = connection.execute(&format!("CREATE OR REPLACE VIEW {} AS SELECT 1", qualified(USABLE)))
        else {
            return false;
        };
        tracing::warn!(%error, "the cache's file can't be used any more: what it has is forgotten");
        {
            let mut state = self.lock();
            state.pieces = Pieces::default();
            state.life += 1;
        }
        self.connections.forget();
        let renewed = connection.execute(&format!("DETACH DATABASE IF EXISTS {CATALOG}"));
        let renewed = renewed.map_err(Into::into).and_then(|()| attach(&self.database, &self.directory));
        if let Err(error) = renewed {
            tracing::warn!(%error, "nothing is kept until there can be another file");
        }
        true
    }

    /// The rows of all these parts, if they are here, but for some, which will be the relation `rest`.
    pub fn find(&self, wanted: &[StoredRows], rest: &str) -> Option<Found> {
        self.lock().pieces.find(wanted, rest)
    }

    /// Fetches the rows from the driver at `location` once there is time. To be called inside the runtime.
    pub fn want(self: &Arc<Self>, wanted: &StoredRows, location: &str) {
        let rows: u64 = wanted.groups.iter().map(|group| group.visible).sum();
        if rows.saturating_mul((wanted.columns.len() as u64 + 1) * LEAST_BYTES) > self.limit {
            return;
        }
        let mut state = self.lock();
        let known = state.waiting.iter().any(|(waiting, _)| waiting == wanted);
        if state.closed || known || state.too_large.contains(&wanted.groups) || state.waiting.len() == MOST_WAITING {
            return;
        }
        state.waiting.push_back((wanted.clone(), location.to_string()));
        if !std::mem::replace(&mut state.filling, true) {
            let (cache, runtime) = (Arc::clone(self), tokio::runtime::Handle::current());
            tokio::task::spawn_blocking(move || cache.fill_all(&runtime));
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.lock().pieces.bytes()
    }

    /// Fetches nothing any more, and forgets what waits.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
        if let Some(interrupter) = &state.interrupter {
            interrupter.interrupt();
        }
    }

    /// What has these row groups is not fetched again.
    fn refuse(&self, groups: &[StoredGroup]) {
        let mut state = self.lock();
        if state.too_large.len() == MOST_WAITING {
            state.too_large.clear();
        }
        state.too_large.insert(groups.to_vec());
    }

    /// Takes in a piece that was fetched, and lets go of what it replaces and of the oldest that are too many.
    fn keep(&self, piece: Piece) -> Result<()> {
        let dropped = self.lock().pieces.add(piece, self.limit);
        self.drop_tables(&dropped)
    }

    fn drop_tables(&self, tables: &[String]) -> Result<()> {
        if tables.is_empty() {
            return Ok(());
        }
        // Plans that were kept read the tables as they were.
        self.connections.forget();
        let connection = self.database.connect()?;
        for table in tables {
            connection.execute(&format!("DROP TABLE IF EXISTS {}", qualified(table)))?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the file. Nothing of it is wanted after this process: there is no log, and the file goes when it is closed,
/// whatever happens.
fn attach(database: &Database, directory: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        EngineError::new("IO", format!("cannot make a cache in {}: {error}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let file = directory.join(format!("duckherder-cache-{}.duckdb", uuid::Uuid::new_v4()));
    let path = file.display().to_string().replace('\'', "''");
    let attached = database.connect()?.execute(&format!("ATTACH '{path}' AS {CATALOG} (RECOVERY_MODE no_wal_writes)"));
    // Where that failed, there may be a part of a file.
    let removed = std::fs::remove_file(&file);
    attached?;
    Ok(removed.map_err(failed)?)
}

/// A name as SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn qualified(table: &str) -> String {
    format!("{CATALOG}.main.{table}")
}
