// Macros of a driver that the client unfolds, since their call concerns the client, too, and what calls them there.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/parsed_data/create_index_info.hpp"
#include "duckdb/parser/parsed_data/create_macro_info.hpp"
#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "snapshot.hpp"

namespace duckherder {

//! The driver describes what is in its database without that database's name; in the client its tables and macros need one.
void QualifyNames(duckdb::ClientContext &context, duckdb::CreateMacroInfo &info, Snapshot &snapshot,
                  const duckdb::Identifier &catalog);

//! So it is with the macros that a table's defaults, generated columns and CHECKs call. Whether there were such.
bool QualifyCalls(duckdb::ClientContext &context, duckdb::CreateTableInfo &info, Snapshot &snapshot,
                  const duckdb::Identifier &catalog);
//! And with an index's expressions.
void QualifyCalls(duckdb::ClientContext &context, duckdb::CreateIndexInfo &info, Snapshot &snapshot,
                  const duckdb::Identifier &catalog);

} // namespace duckherder
