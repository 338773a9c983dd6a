// What an operator's rows can be shuffled by.
#pragma once

#include "duckdb/planner/logical_operator.hpp"

namespace duckherder {

//! A key of a hash shuffle, over the columns of what is shuffled.
struct ShuffleKey {
	duckdb::unique_ptr<duckdb::Expression> value;
	//! A row that has NULL here need not meet any other.
	bool null_meets_none;
};
using ShuffleKeys = duckdb::vector<ShuffleKey>;

//! Whether the least and the greatest value of a key say which rows of a scan can have it: what is compared as numbers are,
//! and is the same if it is equal.
bool HasRange(const duckdb::LogicalType &type);
//! The keys by which rows of the operator's child `side` must meet; none if there are no such.
ShuffleKeys KeysOf(duckdb::LogicalOperator &consumer, duckdb::idx_t side);

} // namespace duckherder
