// What the cost of an operator depends on, beside its rows.
#pragma once

#include "duckdb/optimizer/relation_statistics/relation_statistics_extractor.hpp"
#include "duckdb/planner/operator/logical_aggregate.hpp"
#include "duckdb/planner/operator/logical_get.hpp"
#include "duckdb/planner/operator/logical_set_operation.hpp"

namespace duckherder {

//! What is computed for a row.
struct Operations {
	duckdb::idx_t all = 0;
	//! Those that take or give a text.
	duckdb::idx_t of_texts = 0;
};

//! Bytes of a row of these columns in memory, a text taken to be a short one.
duckdb::idx_t RowBytes(const duckdb::vector<duckdb::LogicalType> &types);
//! Bytes of the columns of a row that are read.
duckdb::idx_t ReadBytes(const duckdb::LogicalGet &get);
//! The functions, casts, comparisons and aggregates of an operator.
Operations CountOperations(duckdb::LogicalOperator &op);
//! How many values each of the aggregate's groups has, where they were counted.
duckdb::vector<duckdb::optional_idx> DistinctValues(duckdb::RelationStatsExtractor &statistics,
                                                    duckdb::LogicalAggregate &aggregate);
//! How many groups there are, as far as the distinct values of columns tell.
duckdb::optional_idx DistinctGroups(duckdb::RelationStatsExtractor &statistics, duckdb::LogicalAggregate &aggregate);

//! How many different rows each child of INTERSECT or EXCEPT gives, the same way; nothing if it matters how often.
duckdb::vector<duckdb::optional_idx> DistinctRows(duckdb::RelationStatsExtractor &statistics,
                                                  duckdb::LogicalSetOperation &operation);

} // namespace duckherder
