//! Describing what the database holds, as one session sees it, for the client's catalog.

use duckherder_engine::Described;
use duckherder_proto::actions::{Catalog, CatalogEntry, EntryKind};

use crate::error::Result;
use crate::session::SessionCore;
use crate::sql::quote_identifier;

/// The session's catalog, or just its version if the client has that one already.
///
/// # Errors
/// DuckDB's, for example because the transaction was aborted.
pub fn describe(core: &SessionCore, known_version: Option<u64>) -> Result<Catalog> {
    let connection = &core.connection;
    let version = core.database.catalog_version(connection.catalog_version()?);
    if known_version == Some(version) {
        return Ok(Catalog { version, unchanged: true, ..Catalog::default() });
    }
    let Described { database, mut entries } = connection.describe()?;
    for entry in &mut entries {
        if entry.kind() == EntryKind::Schema {
            entry.sql = create_schema(entry);
        }
    }
    Ok(Catalog { version, unchanged: false, entries, database })
}

fn create_schema(schema: &CatalogEntry) -> String {
    format!("CREATE SCHEMA {};", quote_identifier(&schema.name))
}
