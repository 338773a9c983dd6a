// What the names in a client's statements mean, where these run.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! What the names of a statement mean that has lost the name of the session's database on its way here:
//!
//! - the first of two names is one of its schemas, even if another database is called so;
//! - if the client's default database is `elsewhere`, tables, and what the statement makes or changes, are the session's
//!   database's, also where DuckDB has something of that name.
void UnderstandNames(duckdb::ClientContext &context, duckdb::SQLStatement &statement, bool elsewhere);

//! Has `current_schema()` say `main` to a client that looks elsewhere first.
void RegisterCurrentSchema(duckdb::DatabaseInstance &instance);

//! Has DuckDB look for names alone as it would in the client: if the client's default database is `elsewhere`, among its
//! own functions first, also for what macros, generated columns, defaults and constraints of the session's database call.
void SearchAsClient(duckdb::ClientContext &context, bool elsewhere);

} // namespace duckherder
