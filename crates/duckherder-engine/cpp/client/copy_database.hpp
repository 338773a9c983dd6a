// COPY FROM DATABASE ... TO a driver.
#pragma once

#include "duckdb/main/client_context.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! If the plan copies a database to a driver: has the driver create what the database holds, and lets its rows stream.
void CopyToDriver(duckdb::ClientContext &context, duckdb::unique_ptr<duckdb::LogicalOperator> &plan);

} // namespace duckherder
