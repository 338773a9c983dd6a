// What a statement consists of beside a query: the parts of an entry of the catalog.
#pragma once

#include "duckdb/parser/parsed_data/create_table_info.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <functional>

namespace duckherder {

//! Calls `expression` with each type, default, generated column and condition of a CREATE TABLE or ALTER TABLE, and with
//! what a scalar macro consists of; `query` with what a table macro does. (QueryOf finds other queries.)
void ForEachPartOf(duckdb::SQLStatement &statement, const std::function<void(duckdb::ParsedExpression &)> &expression,
                   const std::function<void(duckdb::QueryNode &)> &query);
//! The same of a table.
void ForEachPartOf(duckdb::CreateTableInfo &table, const std::function<void(duckdb::ParsedExpression &)> &expression);

} // namespace duckherder
