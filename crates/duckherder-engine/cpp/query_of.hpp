// What a statement consists of.
#pragma once

#include "duckdb/common/optional_ptr.hpp"
#include "duckdb/parser/qualified_name.hpp"
#include "duckdb/parser/query_node.hpp"
#include "duckdb/parser/sql_statement.hpp"

#include <functional>

namespace duckherder {

//! What a statement runs: of a query, a change of rows, CREATE TABLE AS, CREATE VIEW, or an EXPLAIN of these; null of
//! any other.
duckdb::optional_ptr<duckdb::QueryNode> QueryOf(duckdb::SQLStatement &statement);
//! The name of the table that is inserted into, updated, deleted from or merged into; null if there is none.
duckdb::optional_ptr<duckdb::QualifiedName> TargetOf(duckdb::QueryNode &node);
//! Whether it is the UPDATE by which the rows of a table get a new column's default.
bool FillsColumn(const duckdb::QueryNode &node);
//! What a DDL statement, or the EXPLAIN of one, is about; null for any other.
duckdb::optional_ptr<duckdb::QualifiedName> SubjectOf(duckdb::SQLStatement &statement);
//! Whether it is CREATE VIEW.
bool IsOfView(const duckdb::SQLStatement &statement);

//! Whether the expression stands for exactly one column, whose name is its text.
bool IsNamedByText(const duckdb::ParsedExpression &expression);
//! Gives such columns of a query and of the queries in it, those of `which`, that name: their text may change then.
void NameByText(duckdb::QueryNode &node, const std::function<bool(const duckdb::ParsedExpression &)> &which);

} // namespace duckherder
