// query() and query_table() for a client that calls the session's database by a name of its own.
#pragma once

#include "duckdb/main/database.hpp"

namespace duckherder {

//! Has both understand that name in what they are given: a text that nobody has seen before it is bound.
void RegisterNamedByClient(duckdb::DatabaseInstance &instance);

} // namespace duckherder
