// Indexes of CREATE INDEX and ALTER TABLE that DuckDB (2.0.0) would build wrongly: the statement is refused instead.
//
// DuckDB builds an index of all rows that the table still has, and it has a deleted row for as long as a transaction is
// open that sees it. Nobody takes such a row out of the new index again:
//
// - A query by the index finds the row's number, which another row may have by then; a UNIQUE index refuses a key that is
//   there no more.
// - Once that transaction has ended, the deletion is cleaned up: its rows are looked for among those that were deleted
//   since the index is there. If there are such, but not these, the whole database is given up
//   (`IndexEntry::RemoveFromIndex`).
//
// Nor has the index what others append or update while it is built. (Not covered: an UPDATE that was planned before the
// index was there, and begins to update only after that.)
#pragma once

namespace duckdb {
struct DBConfig;
}

namespace duckherder {

//! Has all connections of this database build indexes in this way.
void RegisterIndexBuilds(duckdb::DBConfig &config);

} // namespace duckherder
