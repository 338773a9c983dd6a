// Functions that only this client has: registered by its program, as with Python's create_function.
#pragma once

#include "duckdb/main/database.hpp"
#include "duckdb/parser/parsed_expression.hpp"

namespace duckherder {

//! Whether `expression` calls a scalar function that is neither DuckDB's nor an extension's.
bool CallsClientFunction(duckdb::DatabaseInstance &db, const duckdb::ParsedExpression &expression);

} // namespace duckherder
