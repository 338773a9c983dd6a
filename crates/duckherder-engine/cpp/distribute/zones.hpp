// Which values of a column are where in a table, or in files, for the planner: `Zone` there.
#pragma once

#include "duckdb/catalog/catalog_entry/duck_table_entry.hpp"
#include "duckdb/function/partition_stats.hpp"

namespace duckherder {

//! So many rows, none of which has a value, as a number, beyond these.
struct Zone {
	duckdb::idx_t rows;
	int64_t least;
	int64_t greatest;
};

//! The least and the greatest number that a value of a type that has ranges can be.
void LimitsOf(const duckdb::LogicalType &type, int64_t &lowest, int64_t &highest);

//! The column's zones, in order; of larger tables, of some row groups that stand for others. Nothing if not all row groups
//! have something to say, or the column may have a NULL.
duckdb::vector<Zone> ZonesOf(duckdb::ClientContext &context, duckdb::DuckTableEntry &table,
                             const duckdb::ColumnDefinition &column);
//! Adds those of row groups of a file, which has the column at `place`; false if one has nothing to say, or a NULL.
bool AddZones(duckdb::vector<Zone> &zones, const duckdb::vector<duckdb::PartitionStatistics> &groups,
              duckdb::idx_t place);

} // namespace duckherder
