// Aggregates in two steps: states from the tasks, combined and finalized on the driver.
#pragma once

#include "exchange.hpp"
#include "duckdb/optimizer/optimizer.hpp"

namespace duckherder {

//! Replaces the aggregate at `place`, somewhere below `root`, by one that combines the states of tasks.
void CutAggregate(duckdb::Optimizer &optimizer, duckdb::shared_ptr<DistributedQuery> query,
                  duckdb::unique_ptr<duckdb::LogicalOperator> &root,
                  duckdb::unique_ptr<duckdb::LogicalOperator> &place, duckdb::LogicalGet &scan);

} // namespace duckherder
