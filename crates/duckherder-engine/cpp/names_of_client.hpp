// What the names in a client's statements mean, where these run.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! What the names of a statement mean that has lost the name of the session's database on its way here:
//!
//! - the first of two names is one of its schemas, even if another database is called so;
//! - if the client's default database is `elsewhere`, a function called by its name alone, or as a method, is DuckDB's own
//!   if that has one, whatever macros the session's database has; so it is with what its scalar macros call.
void UnderstandNames(duckdb::ClientContext &context, duckdb::SQLStatement &statement, bool elsewhere);

} // namespace duckherder
