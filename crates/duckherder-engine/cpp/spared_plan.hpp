// Plans that DuckDB's optimizer has nothing to do for.
#pragma once

#include "duckdb/optimizer/optimizer_extension.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! Before DuckDB's own passes: they go past the plan, until `TakeSpared`.
void SparePasses(duckdb::unique_ptr<duckdb::LogicalOperator> &plan);
//! After them: the plan is there again.
void TakeSpared(duckdb::OptimizerExtensionInput &input, duckdb::unique_ptr<duckdb::LogicalOperator> &plan);

} // namespace duckherder
