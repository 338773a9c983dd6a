// Which statements and plans can be used again.
#pragma once

#include "duckdb/main/prepared_statement_data.hpp"
#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! Whether a statement of this kind may be kept as it was parsed.
bool MayBeKept(const duckdb::SQLStatement &statement);
bool IsQuery(const duckdb::SQLStatement &statement);

bool HasTableScan(const duckdb::LogicalOperator &op);
//! Whether a plan, before it is optimised, holds until names, settings or rows change: not for ever what was now.
bool DependsOnCatalogAndRowsOnly(duckdb::ClientContext &context, const duckdb::PreparedStatementData &data,
                                 const duckdb::LogicalOperator &plan);
//! Whether an optimised plan keeps nothing of one run for the next.
bool CanRunAgain(const duckdb::LogicalOperator &plan);
//! Whether the same plan may be distributed differently the next time, though nothing has changed.
bool IsProvisional(duckdb::ClientContext &context);
//! The values for a plan's parameters; false if with these values the statement means something else.
bool FitParameters(const duckdb::PreparedStatementData &data,
                   const duckdb::identifier_map_t<duckdb::BoundParameterData> &given,
                   duckdb::identifier_map_t<duckdb::BoundParameterData> &fitting);

} // namespace duckherder
