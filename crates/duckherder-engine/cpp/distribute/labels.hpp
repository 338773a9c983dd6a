// Operators in a few words, for who draws a plan.
#pragma once

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! What the operator does, for example `AGGREGATE sum(v) BY g`; long expressions are cut.
duckdb::string OperatorLabel(duckdb::LogicalOperator &op);

} // namespace duckherder
