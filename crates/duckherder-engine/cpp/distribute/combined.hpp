// Aggregates whose states another aggregate combines, and nothing else sees.
#pragma once

#include "duckdb/planner/operator/logical_aggregate.hpp"

namespace duckherder {

//! The aggregate below, if `combining` does nothing but combine its states, and what is between the two asks nothing of them
//! and takes row by row: several states of a group, each of a part of its rows, then serve as well as one.
duckdb::optional_ptr<const duckdb::LogicalAggregate> CombinedBy(const duckdb::LogicalAggregate &combining);

} // namespace duckherder
