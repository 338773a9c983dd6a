// The query that a task runs, as the tree that it is: parsing its text would take longer than all else that comes before
// its first row.
#pragma once

#include "bridge.hpp"

#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! A statement of the query.
duckdb::unique_ptr<duckdb::SQLStatement> StatementOf(duckdb::unique_ptr<duckdb::QueryNode> query);

//! The query as bytes, for any process that has the same DuckDB.
duckdb::string WriteQuery(const duckdb::QueryNode &query);

//! A statement of the query that `bytes` have from WriteQuery. Throws if they have none.
duckdb::unique_ptr<duckdb::SQLStatement> ReadQuery(DhText bytes);

} // namespace duckherder
