// What Arrow can't carry as it is, on its way as what DuckDB keeps it in.
//
// - DuckDB's own Arrow form of a VARIANT is the one of Parquet, which has no unsigned integers, no HUGEINT, INTERVAL, BIT
//   and more: it refuses some values and gives others another type.
// - A UNION in Arrow has no NULLs of its own: one whose member is NULL and one that is NULL itself are the same.
// - An ENUM in Arrow is a dictionary, all of it in every batch, which DuckDB can't read where there is no value at all in a
//   list of them.
#pragma once

#include "duckdb/common/types/data_chunk.hpp"

namespace duckdb {
class ClientContext;
}

namespace duckherder {

//! What a value of this type travels as: the type itself, but for the VARIANTs, UNIONs and ENUMs in it.
duckdb::LogicalType TravellingType(const duckdb::LogicalType &type);
duckdb::vector<duckdb::LogicalType> TravellingTypes(const duckdb::vector<duckdb::LogicalType> &types);

//! Makes `to` refer to the columns of `from`, in their TravellingTypes.
void ToTravellingTypes(duckdb::DataChunk &from, duckdb::DataChunk &to);
//! The inverse, for one column.
void FromTravellingType(duckdb::Vector &from, duckdb::Vector &to, duckdb::idx_t count);

} // namespace duckherder
