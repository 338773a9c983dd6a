// VARIANTs on their way through Arrow, as the STRUCT that DuckDB keeps them in.
//
// DuckDB's own Arrow form of a VARIANT is the one of Parquet, which has no unsigned integers, no HUGEINT, INTERVAL, BIT
// and more: it refuses some values and gives others another type. Between our own processes a VARIANT keeps every bit.
#pragma once

#include "duckdb/common/types/data_chunk.hpp"

namespace duckdb {
class ClientContext;
}

namespace duckherder {

//! What a value of this type travels as: the type itself, but for the VARIANTs in it.
duckdb::LogicalType TravellingType(const duckdb::LogicalType &type);
duckdb::vector<duckdb::LogicalType> TravellingTypes(const duckdb::vector<duckdb::LogicalType> &types);

//! Makes `to` refer to the columns of `from`, in their TravellingTypes.
void ToTravellingTypes(duckdb::DataChunk &from, duckdb::DataChunk &to);
//! The inverse, for one column.
void FromTravellingType(duckdb::Vector &from, duckdb::Vector &to, duckdb::idx_t count);

} // namespace duckherder
