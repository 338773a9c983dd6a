// The names of columns that a user did not name: DuckDB takes them from the words of the statement.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/parser/query_node.hpp"

namespace duckherder {

//! Writes the names into `node` that its columns have in the statement which the user runs. On its way here the
//! statement has lost the catalog's name, and constants were evaluated.
void KeepColumnNames(duckdb::ClientContext &context, duckdb::QueryNode &node);

//! Lets a pushed statement's result have one name twice, as DuckDB's own results may.
void RegisterColumnNames(duckdb::DBConfig &config);

} // namespace duckherder
