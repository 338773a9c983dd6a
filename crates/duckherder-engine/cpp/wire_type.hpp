// DuckDB types as text that binds anywhere: types that a database defined are written out.
#pragma once

#include "duckdb/common/types.hpp"

namespace duckdb {
class ClientContext;
}

namespace duckherder {

//! The type as SQL text, e.g. `ENUM('a', 'b')` for a column of a user's type `mood`, `VARCHAR('nocase')` for one with
//! COLLATE nocase; JSON keeps its name.
duckdb::string WireTypeName(const duckdb::LogicalType &type);
//! The type without any name that a database gave to it.
duckdb::LogicalType WithoutUserTypes(const duckdb::LogicalType &type);
//! Whether the type, or one in it, has a collation.
bool IsCollated(const duckdb::LogicalType &type);
//! The same type, its texts compared byte by byte.
duckdb::LogicalType WithoutCollations(const duckdb::LogicalType &type);
//! The inverse of WireTypeName.
duckdb::LogicalType ParseWireType(duckdb::ClientContext &context, const duckdb::string &text);

} // namespace duckherder
