// Indexes of a database that was opened with a log, which DuckDB (2.0.0) loses or spoils in two ways.
//
// Until its table is first written to, an index that CREATE INDEX has made only remembers what the log has done to it:
//
// - A checkpoint at the end of a commit elsewhere in the database writes the index without that (the FIXME in
//   `SingleFileCheckpointWriter::WriteTable`), and removes the log. The index lacks rows from the next start on: queries
//   don't find them, and whoever changes one ends the database.
// - After an end in the middle of a checkpoint, DuckDB puts the two logs together and replays them within the transaction
//   that has found them. Deletions are cleaned up while that is active, which has an index remember each of them twice
//   (`IndexEntry::RemoveFromIndex`); at the second one, the database ends.
#pragma once

#include "duckdb/common/identifier.hpp"
#include "duckdb/common/string.hpp"

namespace duckdb {
class ClientContext;
class FileSystem;
struct AttachInfo;
} // namespace duckdb

namespace duckherder {

//! Whether DuckDB would put two logs together to open the database in `path`. Opened and closed, without a checkpoint, it
//! has one, which can be replayed well.
bool HasTwoLogs(duckdb::FileSystem &files, const duckdb::string &path);

//! Has the two logs of a database put together, if it has two, before it is attached.
void UniteLogs(duckdb::ClientContext &context, const duckdb::string &path);

//! Has the indexes of an open database do what they remember, but for those that need an extension which is not loaded; of
//! all open databases, without a name.
void CatchUpIndexes(duckdb::ClientContext &context, const duckdb::Identifier &name = duckdb::Identifier());

//! Before an ATTACH of a user's: the logs of the file are put together, as far as the statement says where that is.
void BeforeAttach(duckdb::ClientContext &context, const duckdb::AttachInfo &info);

//! After it: the indexes of what was attached since do what they remember.
void AfterAttach(duckdb::ClientContext &context);

} // namespace duckherder
