#pragma once

#include "duckdb/common/optional_ptr.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

namespace duckherder {

//! What a statement runs: of a query, a change of rows, CREATE TABLE AS, CREATE VIEW, or an EXPLAIN of these; null of
//! any other.
duckdb::optional_ptr<duckdb::QueryNode> QueryOf(duckdb::SQLStatement &statement);
//! Whether it is CREATE VIEW.
bool IsOfView(const duckdb::SQLStatement &statement);

} // namespace duckherder
