// Chunks on their way into one Arrow batch.
#pragma once

#include "duckdb/common/arrow/appender/append_data.hpp"
#include "duckdb/common/arrow/arrow_appender.hpp"

namespace duckherder {

//! What duckdb::ArrowAppender makes, byte for byte. That one goes through values row by row and grows the buffer of
//! texts with each of them: half of what it takes to encode a table like TPC-H's `lineitem`. Here vectors of fixed width
//! are copied whole, and texts after one look at how long all of them are; other columns are DuckDB's own.
class BatchAppender {
public:
	//! `capacity`: rows that are expected.
	BatchAppender(duckdb::vector<duckdb::LogicalType> types, duckdb::idx_t capacity, duckdb::ClientProperties options,
	              const duckdb::unordered_map<duckdb::idx_t, const duckdb::shared_ptr<duckdb::ArrowTypeExtensionData>>
	                  &extension_types);

	//! Appends rows `from` up to `to` of a chunk.
	void Append(duckdb::DataChunk &chunk, duckdb::idx_t from, duckdb::idx_t to);
	duckdb::idx_t RowCount() const {
		return rows;
	}
	//! Bytes of the rows so far.
	duckdb::idx_t ByteSize() const;
	//! The batch. The appender is of no further use.
	ArrowArray Finalize();

private:
	duckdb::vector<duckdb::LogicalType> types;
	duckdb::ClientProperties options;
	duckdb::vector<duckdb::unique_ptr<duckdb::ArrowAppendData>> columns;
	duckdb::idx_t rows = 0;
};

} // namespace duckherder
