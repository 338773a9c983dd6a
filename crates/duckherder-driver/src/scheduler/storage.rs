//! Tables that workers in other processes read where the driver keeps them, in object storage.
//!
//! ```text
//!   the query's snapshot --> position of the storage --> log object 7, of which 2 records   pinned while the query runs
//!                                                            |
//!   task: SELECT ... FROM "3f..@12/sales".main.orders <------'  a database that has just these bytes
//! ```

use std::sync::Arc;

use duckherder_engine::distribute::{Fragment, Snapshot, StoredDatabases};
use duckherder_planner::Split;
use duckherder_proto::task::{StorageDatabase, StorageState};
use duckherder_storage::{Pin, Store};

/// Where the driver's databases are.
pub struct StorageHome {
    pub store: Arc<Store>,
    /// For workers.
    pub url: String,
}

/// The databases of a query in the state that it reads.
pub struct InStorage {
    state: StorageState,
    /// What the driver calls them, in the state's order.
    catalogs: Vec<String>,
    /// Keeps the state's objects.
    _pin: Pin,
}

impl StorageHome {
    /// What of a snapshot is in a state of the storage, once that is durable; `None` if nothing is.
    pub fn state_of(&self, snapshot: &Snapshot, driver: u64) -> Option<InStorage> {
        let StoredDatabases { position, databases } = snapshot.stored();
        if databases.is_empty() {
            return None;
        }
        let pin = self.store.pin_at(position)?;
        // If it fails, so do all statements.
        let mark = self.store.mark(position).ok().flatten()?;
        let (catalogs, databases) = databases
            .into_iter()
            .map(|database| {
                let name = format!("{driver:x}@{}/{}", database.as_of, database.file);
                (database.name, StorageDatabase { file: database.file, name })
            })
            .unzip();
        let state = StorageState {
            url: self.url.clone(),
            writer: mark.writer,
            version: mark.version.0,
            records: mark.records,
            databases,
        };
        Some(InStorage { state, catalogs, _pin: pin })
    }
}

impl InStorage {
    pub fn state(&self) -> &StorageState {
        &self.state
    }

    /// The SQL of a split of an input there, if its table is there.
    pub fn sql(&self, fragment: &Fragment, input: usize, split: &Split) -> Option<String> {
        let catalog = fragment.catalog(input).ok()??;
        let place = self.catalogs.iter().position(|known| *known == catalog)?;
        fragment.split_sql_in(input, split, &self.state.databases.get(place)?.name).ok()
    }
}
