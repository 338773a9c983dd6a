// An optimised plan as the planner reads it.
#pragma once

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! The plan as JSON; the fields are documented in the planner (`plan.rs`).
duckdb::string DescribePlan(duckdb::ClientContext &context, duckdb::LogicalOperator &root);
//! The operator with this preorder number, as the place that owns it.
duckdb::unique_ptr<duckdb::LogicalOperator> *FindOperator(duckdb::unique_ptr<duckdb::LogicalOperator> &root,
                                                          uint64_t number);
//! Undoes compressed materialization, so that every column has the type that SQL gives it.
void UndoCompression(duckdb::LogicalOperator &root);

} // namespace duckherder
