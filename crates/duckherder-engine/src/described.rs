//! What a connection's default database holds, as a client's catalog is told of it.

use duckherder_proto::actions::{CatalogEntry, Column, EntryKind, SequenceState};

use crate::connection::Connection;
use crate::error::{EngineError, Result};
use crate::ffi::{self, DhError};

/// The user's entries of a database.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// The database's name.
    pub database: String,
    /// By kind, each kind in the order in which its entries were made.
    pub entries: Vec<CatalogEntry>,
}

/// In the order in which they can be made, with DuckDB's names.
const KINDS: [(EntryKind, &str); 8] = [
    (EntryKind::Schema, "Schema"),
    (EntryKind::Type, "Type"),
    (EntryKind::Sequence, "Sequence"),
    (EntryKind::Table, "Table"),
    (EntryKind::View, "View"),
    (EntryKind::Index, "Index"),
    (EntryKind::ScalarMacro, "Macro Function"),
    (EntryKind::TableMacro, "Table Macro Function"),
];

impl Connection {
    /// Everything in the default database that is not DuckDB's own. Types of the user's own are written out.
    ///
    /// # Errors
    /// The transaction was aborted.
    pub fn describe(&self) -> Result<Described> {
        let mut error = DhError::none();
        let mut texts: Vec<String> = Vec::new();
        let sink = std::ptr::from_mut(&mut texts).cast();
        // SAFETY: the handle is alive; the sink is a `Vec<String>` that outlives the call.
        unsafe { ffi::dh_connection_describe(self.as_ptr(), ffi::push_text, sink, &mut error) };
        error.into_result(())?;
        let mut texts = Texts(texts.into_iter());
        let database = texts.0.next().unwrap_or_default();
        let mut found = Vec::new();
        while texts.0.len() > 0 {
            found
                .push(texts.entry().ok_or_else(|| EngineError::new("INTERNAL", "an entry of the catalog is cut off"))?);
        }
        found.sort_by_key(|(kind, id, _)| (*kind, *id));
        Ok(Described { database, entries: found.into_iter().map(|(_, _, entry)| entry).collect() })
    }
}

/// What C++ tells, text by text.
struct Texts(std::vec::IntoIter<String>);

impl Texts {
    /// The next entry, where its kind comes, and its number among all.
    fn entry(&mut self) -> Option<(usize, u64, CatalogEntry)> {
        let kind = self.0.next()?;
        let place = KINDS.iter().position(|(_, name)| *name == kind)?;
        let (schema, name) = (self.0.next()?, self.0.next()?);
        let id = self.0.next()?.parse().ok()?;
        let sql = self.0.next()?;
        let comment = self.optional()?;
        let table = self.0.next()?;
        let estimated_rows = self.0.next()?.parse().unwrap_or_default();
        let sequence = self.sequence()?;
        let columns = self.0.next()?.parse().ok()?;
        let columns = (0..columns).map(|_| self.column()).collect::<Option<Vec<_>>>()?;
        let kind = KINDS[place].0.into();
        Some((place, id, CatalogEntry { kind, schema, name, sql, table, estimated_rows, comment, columns, sequence }))
    }

    /// Where a sequence stands; nothing if it was not used, or is none.
    fn sequence(&mut self) -> Option<Option<SequenceState>> {
        let (uses, next, last) = (self.0.next()?, self.0.next()?, self.0.next()?);
        let (Ok(uses), Ok(next_value)) = (uses.parse(), next.parse()) else { return Some(None) };
        Some(Some(SequenceState { uses, next_value, last_value: last.parse().ok() }))
    }

    fn column(&mut self) -> Option<Column> {
        Some(Column {
            name: self.0.next()?,
            type_name: self.0.next()?,
            not_null: !self.0.next()?.is_empty(),
            default_sql: self.optional()?,
            comment: self.optional()?,
            generated: !self.0.next()?.is_empty(),
        })
    }

    fn optional(&mut self) -> Option<Option<String>> {
        let (given, text) = (self.0.next()?, self.0.next()?);
        Some((!given.is_empty()).then_some(text))
    }
}
