// What tells the rows of a table's row groups from all others that there are or were: a worker that has kept rows reads
// its own only while they are those of the query's snapshot.
#pragma once

#include "fragment.hpp"
#include "duckdb/storage/data_table.hpp"
#include "duckdb/transaction/transaction_data.hpp"

#include <map>

namespace duckherder {

//! A row group as a snapshot sees it. Two that are equal have the same rows in the columns that were asked about.
struct RowGroupState {
	//! Of the row group, in the life of the process: what is rewritten gets another; 0: its rows can't be told from others.
	uint64_t number = 0;
	//! How many rows were ever put into it, and how many of these are left. Both change in one direction only.
	uint64_t inserted = 0;
	uint64_t visible = 0;

	bool operator==(const RowGroupState &other) const {
		return number == other.number && inserted == other.inserted && visible == other.visible;
	}
};

//! The row groups of a table by their first row ids, as the transaction sees them.
std::map<duckdb::idx_t, RowGroupState> RowGroupStates(duckdb::DataTable &table, duckdb::TransactionData transaction,
                                                      const duckdb::vector<duckdb::idx_t> &stored_columns);

} // namespace duckherder
