// What the plan of a task calls things.
#pragma once

#include "duckdb/planner/operator/logical_get.hpp"

namespace duckherder {

//! An error of a task is shown as one of the user's statement: its columns get the names that the tables give them, and
//! nothing points into the fragment's text. For a plan that DuckDB has not optimised yet.
void NameAsTables(duckdb::LogicalOperator &plan);
//! The columns that a scan can read, as they are called where they come from, whatever the SQL calls them.
const duckdb::vector<duckdb::Identifier> &ColumnNames(const duckdb::LogicalGet &get);

} // namespace duckherder
