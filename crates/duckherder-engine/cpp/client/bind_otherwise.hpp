// Statements that are bound otherwise than DuckDB would by itself: built-in macros that keep them from going to a driver
// as a whole are written out, databases of one driver become those of one attachment, and what DuckDB has folded is put
// back.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/main/config.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! The statement of a text as it is to be bound; null if it is as it is written, and nothing of it was folded.
duckdb::unique_ptr<duckdb::SQLStatement> WriteOtherwise(duckdb::ClientContext &context, const duckdb::string &sql);
void RegisterBindOtherwise(duckdb::DBConfig &config);

} // namespace duckherder
