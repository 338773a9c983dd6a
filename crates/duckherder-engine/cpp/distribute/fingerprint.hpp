// What tells a plan from others.
#pragma once

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! The same for each plan of the same operators and constants over the same tables, whose sizes are estimated to be of the
//! same magnitude, as long as DuckDB writes them in the same way.
duckdb::hash_t Fingerprint(const duckdb::LogicalOperator &root);

} // namespace duckherder
