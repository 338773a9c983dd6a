// Built-in macros (list_sum, nullif, fdiv ...), which keep DuckDB from handing a statement over as a whole: it takes
// them for something of the client's own.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! Writes the built-in macros that a statement calls out, as the binder does; whether there was one.
bool ExpandBuiltInMacros(duckdb::ClientContext &context, duckdb::SQLStatement &statement);

} // namespace duckherder
