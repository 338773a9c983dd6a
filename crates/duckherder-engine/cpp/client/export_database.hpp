// EXPORT DATABASE of a driver's database.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! DuckDB orders what it writes by the dependencies that its own catalogs keep. Of a driver's it does not know any, and
//! would write tables before the macros that their defaults, CHECKs and generated columns call.
void ExportInOrder(duckdb::ClientContext &context, duckdb::unique_ptr<duckdb::LogicalOperator> &plan);

} // namespace duckherder
