// An optimised plan as the planner reads it.
#pragma once

#include "export.hpp"

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! The plan as JSON; the fields are documented in the planner (`plan.rs`). `scans`: those of the plan; `not_written`: operators that were to be
//! cut, by number, and can't be written as SQL; `explained`: operators are named for who looks at the plan.
duckdb::string DescribePlan(duckdb::ClientContext &context, duckdb::LogicalOperator &root, const Scans &scans,
                            const duckdb::vector<uint64_t> &not_written, bool explained);
//! Undoes compressed materialization, so that every column has the type that SQL gives it.
void UndoCompression(duckdb::LogicalOperator &root);

} // namespace duckherder
