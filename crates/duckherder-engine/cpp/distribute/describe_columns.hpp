// The columns that a plan's operators give and compare, as JSON.
#pragma once

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

duckdb::string ColumnId(const duckdb::ColumnBinding &binding);
//! What an operator gives.
duckdb::string DescribeColumns(duckdb::LogicalOperator &op);
//! What it groups, joins or compares the rows of that child by.
duckdb::string DescribeKeys(duckdb::LogicalOperator &op, duckdb::idx_t side, bool explained);
//! Columns of the operator that are those of its (first) child under another name.
duckdb::string DescribeRenames(duckdb::LogicalOperator &op);

} // namespace duckherder
